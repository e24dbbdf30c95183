"""Rows a second of the engine alone, by the size of its batches, and where the time goes. One core, no Kafka."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks import results, workload
from benchmarks.one_core import one_core
from benchmarks.options import Options
from benchmarks.stages import ENGINE, StageClock
from cardwatch.settings import shipped_toml
from cardwatch.simulator import Simulator
from detector.engine import assess_batch
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch

NAME = "engine"
PURPOSE = "assess_batch alone, by size of batch, and the time of its stages"

_KEY = bytes(range(16))
_LARGEST_BATCH = 4_096
# Share of the payments that make a history first, and then that are assessed in batches of each size; small batches are
# slow and need fewer.
_HISTORY_SHARE = 0.3
_SHARES = {1: 0.02, 16: 0.08, 128: 0.2, 1_024: 0.2, _LARGEST_BATCH: 0.2}


@dataclass(frozen=True, slots=True)
class Measured:
    """Payments assessed in batches of one size, and the seconds it took."""

    batch_rows: int
    payments: int
    build_s: float
    assess_s: float

    def row(self) -> list[str]:
        """A row of the table."""
        both_s = self.build_s + self.assess_s
        return [
            f"{self.batch_rows:,}",
            f"{self.payments / self.assess_s:,.0f}",
            f"{self.payments / both_s:,.0f}",
            f"{both_s / self.payments * self.batch_rows * 1e3:,.2f}",
        ]


class Feed:
    """Simulated payments as batches of any size, one after the other."""

    def __init__(self) -> None:
        self._stream = Simulator(workload.STREAM_WORLD).stream(workload.START_MS)
        self._offset = 0

    def batches(self, payments: int, batch_rows: int) -> tuple[list[TransactionBatch], float]:
        """The next payments in batches, and the seconds that `build_batch` took."""
        built: list[TransactionBatch] = []
        build_s = 0.0
        while payments > 0:
            rows = min(payments, batch_rows)
            columns = self._stream.columns(rows)
            offset = np.arange(self._offset, self._offset + rows, dtype=np.int64)
            started_s = time.perf_counter()
            built.append(build_batch(columns, key=_KEY, offset=offset))
            build_s += time.perf_counter() - started_s
            self._offset += rows
            payments -= rows
        return built, build_s


def run(options: Options) -> None:
    """Measure, save, and write the tables."""
    model, policy = workload.warmed_model(), Policy.from_mapping(shipped_toml("policy.toml"))
    clock = StageClock()
    with one_core():
        state = EngineState(state_config(options.records), RateTable.from_mapping(shipped_toml("rates.toml")))
        state.open_partition(0)
        feed = Feed()
        options.say("compiling, or loading what was compiled, and building up a history")
        _assess(feed, state, model, policy, round(options.records * _HISTORY_SHARE), _LARGEST_BATCH)
        measured: list[Measured] = []
        for rows, share in _SHARES.items():
            options.say(f"batches of {rows:,}")
            payments = max(round(options.records * share), rows)
            with clock.watching(ENGINE if rows == _LARGEST_BATCH else ()):
                measured.append(_assess(feed, state, model, policy, payments, rows))
    results.save(
        NAME,
        {"load_before": options.busy_before, "sizes": [asdict(each) for each in measured], "stages_s": clock.seconds},
    )
    results.write_section(NAME, _text(options, measured, clock))


def _assess(
    feed: Feed, state: EngineState, model: ModelVersion, policy: Policy, payments: int, batch_rows: int
) -> Measured:
    """Build and assess the next payments."""
    batches, build_s = feed.batches(payments, batch_rows)
    started_s = time.perf_counter()
    for batch in batches:
        assess_batch(state, batch, model, policy)
    return Measured(batch_rows, payments, build_s, time.perf_counter() - started_s)


def state_config(records: int) -> StateConfig:
    """Room for everything that is played."""
    return StateConfig(
        _KEY, cards=200_000, events=8 * records, payments=2 * records,
        entities=500_000, buckets=24 * records,
    )  # fmt: skip


def _text(options: Options, measured: list[Measured], clock: StageClock) -> str:
    """The tables."""
    head = ("batch, payments", "assess_batch, payments/s", "with build_batch, payments/s", "ms a batch")
    largest = measured[-1]
    stages = clock.rows(largest.payments, largest.assess_s)
    history = (
        f"After a history of {round(options.records * _HISTORY_SHARE):,} payments of 50,000 cards, one core, one "
        "partition, the warm model and the shipped policy:"
    )
    return "\n\n".join(
        (
            results.machine_lines(options.busy_before),
            history,
            results.table(head, [each.row() for each in measured]),
            f"Where the time of `assess_batch` goes in batches of {largest.batch_rows:,}:",
            results.table(("stage", "µs a payment", "share"), stages),
        )
    )
