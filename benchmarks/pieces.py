"""Pieces of the hot path, each run when it is asked for: what `benchmarks.check` compares between two checkouts.

`python -m benchmarks.pieces` builds up a small bank, says which pieces it has, then runs the piece that each line of
its input names and answers with the microseconds of processor time that a row took. Each run gets the next payments of
a seeded stream, so two processes that are asked for the same pieces do the same work.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np

from benchmarks.one_core import one_core
from benchmarks.small_bank import shipped_models
from cardwatch.settings import shipped_toml
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.payments import Payments
from cardwatch.simulator.wire import to_columns, to_records, transaction_ids
from detector.assessments import Assessments
from detector.engine import assess_batch
from detector.examples import Examples
from detector.labels import apply_labels, build_label_batch
from detector.models import Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from streams.card_numbers import CardNumberCheck
from streams.codecs import TransactionCodec
from streams.encoding import Versions
from streams.plain_decisions import encode_plain
from streams.records import ReadRecord
from streams.topics import TRANSACTIONS

_KEY = bytes(range(16))
_START_MS = 1_735_689_600_000  # 2025-01-01
_WORLD = WorldSettings(seed=41, cards=20_000, merchants=4_000, attacks_per_thousand_cards_day=2.0)
_FUTURE_BOUND_MS = 600_000
HISTORY_ROWS, ROWS, SMALL_ROWS = 100_000, 4_096, 128
_SMALL_BATCHES = 16
# More than the payments of one run change.
_LINES = 1 << 20

# What is timed, and the rows that it handles; all that has to be made for it has been.
Work = tuple[Callable[[], object], int]


class Bank:
    """A bank with a history, and models that have learned from all of it.

    Attributes:
        pieces: by name, what makes the work of the next run.
    """

    def __init__(self, history_rows: int = HISTORY_ROWS) -> None:
        """Play a history."""
        self._simulator = Simulator(_WORLD)
        self._stream = self._simulator.stream(_START_MS)
        config = StateConfig(
            _KEY, cards=80_000, events=8_000_000, payments=2_000_000, entities=200_000, buckets=8_000_000
        )
        self._state = EngineState(config, RateTable.from_mapping(shipped_toml("rates.toml")))
        self._state.open_partition(0)
        self._policy = Policy.from_mapping(shipped_toml("policy.toml"))
        self._trainer = Trainer(shipped_models())
        self._model = self._trainer.scorer("m-000001")
        self._codec = TransactionCodec(CardNumberCheck(), _FUTURE_BOUND_MS)
        self._next_offset = self._next_label = 0
        for _ in range(0, history_rows, ROWS):
            payments, batch = self._take(ROWS)
            self._assessed = self._assess(batch)
            self._trainer.learn(self._label(payments))
            # A model that has learned sees frauds, and those are explained.
            self._model = self._trainer.scorer("m-000001")
        self._records = self._made_records()
        self.pieces: dict[str, Callable[[], Work]] = {
            "decode and check JSON": self._decode_work,
            "assess, batches of 4,096": lambda: self._assess_work(ROWS, 1),
            "assess, batches of 128": lambda: self._assess_work(SMALL_ROWS, _SMALL_BATCHES),
            "copy what changed": self._copy_work,
            "write ALLOW decisions": self._write_work,
            "join labels": self._label_work,
            "learn": self._learn_work,
        }

    def _take(self, rows: int) -> tuple[Payments, TransactionBatch]:
        """The next payments."""
        payments = self._stream.take(rows)
        offset = np.arange(self._next_offset, self._next_offset + rows, dtype=np.int64)
        self._next_offset += rows
        return payments, build_batch(to_columns(self._simulator.world, payments), key=_KEY, offset=offset)

    def _assess(self, batch: TransactionBatch) -> Assessments:
        return assess_batch(self._state, batch, self._model, self._policy)

    def _label(self, payments: Payments) -> Examples:
        """Labels of payments, as true as can be."""
        rows = len(payments)
        columns = {
            "transaction_id": transaction_ids(payments),
            "card_token": to_columns(self._simulator.world, payments)["card_token"],
            "label": (payments.attack > 0).astype(np.int64),
            "label_time_ms": payments.event_time_ms + 1_000,
        }
        offset = np.arange(self._next_label, self._next_label + rows, dtype=np.int64)
        self._next_label += rows
        return apply_labels(self._state, build_label_batch(columns, key=_KEY, offset=offset)).examples

    def _made_records(self) -> list[ReadRecord]:
        """Payments as a consumer hands them over."""
        encode = msgspec.json.Encoder().encode
        made = to_records(self._simulator.world, self._simulator.stream(_START_MS).take(ROWS))
        return [
            ReadRecord(
                TRANSACTIONS, 0, offset, record["event_time_ms"], record["card_token"].encode(), encode(record), ()
            )
            for offset, record in enumerate(made)
        ]

    # ------------------------------------------------------------------------------------------------------- the pieces

    def _decode_work(self) -> Work:
        return lambda: self._codec.decode(self._records, _START_MS), ROWS

    def _assess_work(self, rows: int, batches: int) -> Work:
        made = [self._take(rows)[1] for _ in range(batches)]
        return lambda: [self._assess(batch) for batch in made], rows * batches

    def _copy_work(self) -> Work:
        """The state's changes since the last copy; they are then forgotten, as after a checkpoint."""
        parts = (self._state.changes(0), self._state.shared_changes)
        for changes in parts:
            changes.drain(_LINES)
            changes.release(changes.take())
        self._assess(self._take(ROWS)[1])
        return lambda: [changes.drain(_LINES) for changes in parts], ROWS

    def _write_work(self) -> Work:
        versions = Versions("m-000001", self._policy.version, self._state.rates.version, tuple(self._policy.rule_ids))

        def write() -> object:
            plain = encode_plain(self._assessed, versions)
            return plain.messages(np.flatnonzero(plain.is_plain))

        return write, ROWS

    def _label_work(self) -> Work:
        payments, batch = self._take(ROWS)
        self._assess(batch)
        return lambda: self._label(payments), ROWS

    def _learn_work(self) -> Work:
        payments, batch = self._take(ROWS)
        self._assess(batch)
        examples = self._label(payments)
        return lambda: self._trainer.learn(examples), max(1, len(examples))

    def digest(self) -> str:
        """Of all that the pieces have changed."""
        return f"{self._state.digest()} {self._trainer.version('m-000001', 0).digest}"

    def run(self, piece: str) -> float:
        """Run a piece; microseconds of processor time a row."""
        work, rows = self.pieces[piece]()
        started_s = time.thread_time()
        work()
        return (time.thread_time() - started_s) / rows * 1e6


def main() -> None:
    """Answer to a parent until it closes the pipe."""
    with one_core():
        bank = Bank()
        for name in bank.pieces:
            bank.run(name)
        print(json.dumps(list(bank.pieces)), flush=True)
        for line in sys.stdin:
            print(json.dumps(bank.run(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
