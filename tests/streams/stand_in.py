"""A stand-in for the engine: as simple as can be, but with state that shows whether a record counted once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.examples import Examples
from detector.labels import Matured
from detector.layout import OF_LABELS, OF_MATURED, OF_TRANSACTIONS
from detector.shadows import Shadow
from detector.shared_rows import ROW_WORDS
from detector.sources import Applied, SharedRows
from detector.texts import pack_code
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action
from streams.checkpoint_objects import Arrays, Room
from streams.core import LabelOutcome, Progress, StateUse
from streams.encoding import Versions
from streams.recovery import StandingDecision

KEY = b"0123456789abcdef"
FREEZE_FROM_MINOR = 1_000_000
POISON_CURRENCY = "XPF"


@dataclass(frozen=True)
class Shown:
    alert_id: str
    evidence: tuple[Any, ...] = ()
    last_payments: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Assessed:
    batch: TransactionBatch
    action: NDArray[np.int64]
    score: NDArray[np.float64]
    evidence: Mapping[int, Shown]
    unlabelled: Examples
    shared: SharedRows = field(default_factory=lambda: rows_of(0, range(0), ()))
    shadows: Sequence[Shadow] = ()

    @property
    def anomaly(self) -> NDArray[np.float64]:
        return np.zeros(len(self.batch))

    @property
    def flags(self) -> NDArray[np.int64]:
        return np.zeros(len(self.batch), dtype=np.int64)

    rule_hits = flags

    @property
    def expected_loss_minor(self) -> NDArray[np.int64]:
        return self.batch.amount_minor

    def reason_codes(self, row: int) -> list[str]:
        return ["large_amount"] if row in self.evidence else []


@dataclass
class Partition:
    next_offset: int = 0
    label_next_offset: int = 0
    watermark_ms: int = 0
    payments_by_card: dict[str, int] = field(default_factory=dict)
    identities: dict[str, float] = field(default_factory=dict)
    decided: dict[str, list[int]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Shared:
    """What all partitions share: how many payments there were, and what of each partition is in that number."""

    payments: int = 0
    known: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)


def rows_of(partition: int, span: range, offsets: Sequence[int], source: int = int(OF_TRANSACTIONS)) -> SharedRows:
    """A row for each offset."""
    words = np.zeros((len(offsets), ROW_WORDS), dtype=np.int64)
    words[:, 0] = offsets
    return SharedRows(partition, source, span.start, span.stop, 0, words)


def examples_of(values: list[float], labels: list[int]) -> Examples:
    bins = np.array(values, dtype=np.float64).astype(np.uint8).reshape(-1, 1)
    return Examples.of_nobody(
        bins, np.array(labels, dtype=np.int64), np.ones(len(labels)), np.zeros(len(labels), np.int64)
    )


class WholeState:
    """A state without increments: every change is the whole, and so is its room."""

    layout = "whole"
    held_bytes = 0

    def __init__(self, state: Callable[[], dict[str, Any]] = dict) -> None:
        self._state = state
        self.content: dict[str, Any] = {}

    def arrays(self) -> Arrays:
        return self.content

    def drain(self, most_lines: int) -> bool:  # noqa: ARG002 - there is nothing to copy
        return True

    def take(self) -> WholeState:
        taken = WholeState()
        taken.content = {"state": np.frombuffer(json.dumps(self._state()).encode(), dtype=np.uint8).copy()}
        return taken

    def release(self, taken: WholeState) -> None:
        """Nothing is kept."""

    def put_back(self, taken: WholeState) -> None:
        """The next one is whole again."""

    def base_arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield "nothing", np.zeros(0, dtype=np.int64)

    def room_for(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:  # noqa: ARG002
        return None

    def apply(self, arrays: Arrays) -> None:
        if "state" in arrays:
            self.content = json.loads(bytes(arrays["state"]).decode())


class StandInCore:
    """Scores a payment by how many its card has made; freezes what is large. Fails on one currency.

    A payment that comes again counts once and gets its first decision. `Partition.decided` is what is remembered of
    each payment: its offset and its action.
    """

    def __init__(self, model: str = "m-stand-in") -> None:
        self.partitions: dict[int, Partition] = {}
        self.model = model
        self.shared = Shared()
        self._changes: dict[int | None, WholeState] = {None: WholeState(lambda: vars(self.shared))}
        self.adopted: list[tuple[int, int]] = []
        self.broadcast: list[tuple[str, bytes | None]] = []

    def warm_up(self) -> None:
        pass

    def config_digest(self) -> str:
        return "stand-in"

    def new_room(self, layout: str) -> WholeState:
        assert layout == WholeState.layout
        return WholeState()

    def open(self, partition: int, saved: Room | None) -> None:
        self.partitions[partition] = Partition()
        if saved is not None:
            assert isinstance(saved, WholeState)
            self.partitions[partition] = Partition(**saved.content)
        self._changes[partition] = WholeState(lambda: vars(self.partitions[partition]))

    def drop(self, partition: int) -> None:
        self.partitions.pop(partition, None)

    def progress(self, partition: int) -> Progress:
        state = self.partitions[partition]
        is_replaying = self.shared.known.get(str(partition), 0) > state.next_offset
        return Progress(state.next_offset, state.label_next_offset, state.watermark_ms, is_replaying)

    def changes(self, subject: int | None) -> WholeState:
        return self._changes[subject]

    def open_shared(self, saved: Room | None) -> None:
        assert saved is None or isinstance(saved, WholeState)
        self.shared = Shared() if saved is None else Shared(**saved.content)

    def build(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> TransactionBatch:
        return build_batch(columns, key=KEY, partition=partition, offset=offset)

    def assess(self, batch: TransactionBatch) -> Assessed:
        state = self.partitions[batch.partition]
        if pack_code(POISON_CURRENCY, 3) in batch.currency:
            message = "a bug of ours"
            raise ZeroDivisionError(message)
        if int(batch.offset[0]) < state.next_offset:
            message = "stale"
            raise AssertionError(message)
        scores, actions, new = [], [], []
        first = state.next_offset
        freeze = (batch.amount_minor >= self.freeze_from_minor()).tolist()
        for row, (card, transaction) in enumerate(zip(batch.card_token, batch.transaction_id, strict=True)):
            assert card is not None
            identity = f"{card}/{transaction}"
            if identity not in state.identities:
                state.payments_by_card[card] = state.payments_by_card.get(card, 0) + 1
                state.identities[identity] = state.payments_by_card[card] / 1000
                state.decided[identity] = [int(batch.offset[row]), int(Action.FREEZE if freeze[row] else Action.ALLOW)]
                new.append(int(batch.offset[row]))
            scores.append(state.identities[identity])
            actions.append(state.decided[identity][1])
        state.next_offset = int(batch.offset[-1]) + 1
        state.watermark_ms = max(state.watermark_ms, int(batch.event_time_ms.max()))
        action = np.array(actions, dtype=np.int64)
        shown = {row: Shown(f"al-{batch.transaction_id[row]}") for row in np.nonzero(action)[0].tolist()}
        shared = rows_of(batch.partition, range(first, state.next_offset), new)
        self.apply_rows(shared)
        sample = [score for score, offset in zip(scores, batch.offset.tolist(), strict=True) if offset % 4 == 0]
        return Assessed(batch, action, np.array(scores), shown, examples_of(sample, [-1] * len(sample)), shared)

    def freeze_from_minor(self) -> int:
        return FREEZE_FROM_MINOR

    def adopt(self, assessed: Any, row: int, standing: StandingDecision) -> None:
        batch: TransactionBatch = assessed.batch
        decided = self.partitions[batch.partition].decided[f"{batch.card_token[row]}/{batch.transaction_id[row]}"]
        if decided[0] == int(batch.offset[row]):
            decided[1] = standing.action
        self.adopted.append((int(assessed.batch.offset[row]), standing.action))

    def label(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> LabelOutcome:
        state = self.partitions[partition]
        values, labels, outcomes = [], [], []
        for card, transaction, label in zip(
            columns["card_token"], columns["transaction_id"], columns["label"], strict=True
        ):
            identity = f"{card}/{transaction}"
            if identity not in state.identities:
                outcomes.append("unknown")
                continue
            outcomes.append("applied")
            state.labels[identity] = label
            values.append(state.identities[identity])
            labels.append(label)
        first, state.label_next_offset = state.label_next_offset, int(offset[-1]) + 1
        nothing = np.zeros(len(outcomes), dtype=np.int64)
        shared = rows_of(partition, range(first, state.label_next_offset), (), int(OF_LABELS))
        return LabelOutcome(examples_of(values, labels), outcomes, nothing, nothing, shared)

    def usage(self) -> StateUse:
        return StateUse({"cards": (1, 2, 3)}, 0)

    def mature(self, partition: int, now_ms: int) -> Matured:  # noqa: ARG002 - nothing grows old here
        return Matured(examples_of([], []), rows_of(partition, range(0), (), int(OF_MATURED)))

    def follow(self, partitions: Iterable[int]) -> None:
        pass

    @property
    def shared_payments(self) -> int:
        return self.shared.payments

    def apply_rows(self, rows: SharedRows) -> Applied:
        if rows.source != OF_TRANSACTIONS:
            return Applied(0, 0)
        known = self.shared.known.get(str(rows.partition), 0)
        new = sum(number >= known for number in rows.words[:, 0].tolist())
        self.shared.payments += new
        self.shared.known[str(rows.partition)] = max(known, rows.next)
        return Applied(new, max(rows.first - known, 0))

    def will_be_replayed(self, rows: SharedRows) -> bool:
        known = self.shared.known.get(str(rows.partition), 0)
        is_log = rows.source == OF_TRANSACTIONS
        return is_log and rows.first > known >= self.partitions[rows.partition].next_offset

    def rows_position(self, partition: int) -> int:
        return self.shared.read.get(str(partition), 0)

    def rows_read(self, partition: int, position: int) -> None:
        self.shared.read[str(partition)] = max(position, self.rows_position(partition))

    def close_gap(self, partition: int) -> int:
        known, reached = self.shared.known.get(str(partition), 0), self.partitions[partition].next_offset
        self.shared.known[str(partition)] = max(known, reached)
        return max(reached - known, 0)

    def versions(self) -> Versions:
        return Versions(self.model, "policy-1", "rates-1", ("rule-1",))

    def bequests(self) -> list[tuple[str, bytes]]:
        return []

    def take_over(self, topic: str, value: bytes | None) -> None:
        self.broadcast.append((topic, value))
        if topic == "cardwatch.models.v1" and value is not None:
            self.model = value.decode()
