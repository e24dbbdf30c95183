"""What checkpoints cost the stream, what they write, and how long a restart reads, by the number of live cards.

The engine and the checkpointer of a score worker run without Kafka: batches are assessed as fast as they go, outputs
count as acknowledged at once, the store is a folder on the local disk. Every card has made a few payments before the
measurement; then cards drawn at random pay, and a checkpoint is taken after so many payments as come in five seconds.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks import portfolio, results, workload
from benchmarks.options import Options
from benchmarks.portfolio import PARTITIONS, Paying
from cardwatch.settings import shipped_toml
from detector.models import ModelsConfig, Trainer
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams.checkpoint_format import Origin, Position
from streams.checkpointing import Checkpointer
from streams.checkpoints import CheckpointStore
from streams.detector_core import DetectorCore
from streams.metrics import StreamMetrics
from streams.ownership import Found, Ownership
from streams.producer import Producer
from streams.records import TopicPartition
from streams.recovery import Answered
from streams.sources import Sources
from streams.topics import LABELS, TRANSACTIONS

NAME = "checkpoints"
PURPOSE = "what checkpoints cost the stream, what they write, and how long a restart reads"

_KEY = bytes(range(16))
_CARDS = (10_000, 100_000, 1_000_000)
_PAYMENTS_BEFORE = 2
_APART_MS = 250
# Payments between two checkpoints: five seconds of 40,000 a second, which is as fast as one worker goes, and of 5,000.
_RATES = (40_000, 5_000)
_INTERVAL_S = 5
_CHECKPOINTS = 1
_MERCHANTS, _TERMINALS, _DEVICES = 20_000, 30_000, 200_000
_ORIGIN = Origin("benchmark", {}, "benchmark", "benchmark")
_MIB = 1024**2


class _Acknowledged:
    """A producer whose outputs are all acknowledged."""

    positions: Mapping[TopicPartition, int] = {}

    def fence(self) -> tuple[()]:
        return ()

    async def settled(self, _fence: object) -> None:
        await asyncio.sleep(0)


async def _accept(_offsets: Mapping[TopicPartition, int]) -> bool:
    return True


class _Pauses:
    """Stands in for the histogram of pauses and keeps every one."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def observe_many(self, values: NDArray[np.float64]) -> None:
        self.seconds += values.tolist()


@dataclass(frozen=True, slots=True)
class Measured:
    """What one size and rate showed; times in seconds, sizes in bytes."""

    cards: int
    rate: int
    payments: int
    state_bytes: int
    longest_pause_s: float
    pause_s: float
    written_bytes: int
    base_bytes: int
    base_s: float
    restore_s: float

    def row(self) -> list[str]:
        """A row of the table."""
        return [
            f"{self.cards:,}",
            f"{self.rate:,}",
            f"{self.longest_pause_s * 1e3:.1f}",
            f"{self.pause_s / self.payments * 1e6:.2f}",
            f"{self.written_bytes / _MIB:,.1f}",
            f"{self.base_bytes / _MIB:,.0f}",
            f"{self.base_s:.1f}",
            f"{self.restore_s:.1f}",
        ]


class _Worker:
    """A score worker without Kafka, and the payments of its cards."""

    def __init__(self, folder: Path, cards: int, model: ModelVersion) -> None:
        self._rng = np.random.default_rng(17)
        self._cards = cards
        self._clock_ms = workload.START_MS
        self._number = 0
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)
        self.pauses = _Pauses()
        self._registry = CollectorRegistry()
        metrics = StreamMetrics(self._registry)
        metrics.checkpoint_pause = cast("object", self.pauses)  # type: ignore[assignment] # keeps every one
        self.state = EngineState(StateConfig(_KEY), RateTable.from_mapping(shipped_toml("rates.toml")))
        self.core = DetectorCore(self.state, model, Policy.from_mapping(shipped_toml("policy.toml")))
        self.store = CheckpointStore(f"file://{folder}", _ORIGIN)
        self.ownership = Ownership(self.core, _no_tails)
        producer = cast("Producer", _Acknowledged())
        self.checkpointer = Checkpointer(self.core, producer, self.store, _accept, metrics, time.thread_time)

    def take_over(self, generation: int) -> float:
        """Open all partitions as a restart does; returns the seconds."""
        started_s = time.perf_counter()
        opened = self.ownership.keep(frozenset(range(PARTITIONS)), generation)
        found = self.store.load(opened, generation, self.core.new_room)
        answered = {partition: Answered() for partition in opened}
        positions = dict.fromkeys(opened, Position(0, 0))
        positions |= {partition: restored.manifest.position for partition, restored in found.partitions.items()}
        starts = {TopicPartition(TRANSACTIONS, number): at.next_offset for number, at in positions.items()}
        starts |= {TopicPartition(LABELS, number): at.label_next_offset for number, at in positions.items()}
        all_found = Found(found.partitions, found.shared, Sources(starts, {}), answered, found.epoch)
        self.ownership.open(opened, all_found, self.store)
        return time.perf_counter() - started_s

    def pay(self, partition: int, cards: NDArray[np.int64]) -> None:
        """Let cards of a partition pay, one batch."""
        count, rng = len(cards), self._rng
        numbers = range(self._number, self._number + count)
        self._number += count
        offset = np.arange(self._offsets[partition], self._offsets[partition] + count)
        self._offsets[partition] += count
        columns = {
            "transaction_id": [f"t{number}" for number in numbers],
            "card_token": [f"card-{card}" for card in cards.tolist()],
            "event_time_ms": (self._clock_ms + _APART_MS * np.arange(count)).tolist(),
            "amount_minor": rng.integers(100, 20_000, count).tolist(),
            "currency": ["EUR"] * count,
            "merchant_id": [f"m{number}" for number in rng.integers(0, _MERCHANTS, count).tolist()],
            "terminal_id": [f"t{number}" for number in rng.integers(0, _TERMINALS, count).tolist()],
            "device_id": [f"d{number}" for number in rng.integers(0, _DEVICES, count).tolist()],
            "country": ["DE"] * count,
        }
        self._clock_ms += _APART_MS * count
        self.core.assess(self.core.build(columns, partition, offset))
        owned = self.ownership.partitions[partition]
        owned.position = Position(self._offsets[partition], 0)
        self.checkpointer.batch_done(self.ownership, count)

    def all_cards(self) -> Iterator[Paying]:
        """Every card once, in batches of its partition."""
        return portfolio.all_cards(self._cards, self._rng)

    def some_cards(self, payments: int) -> Iterator[Paying]:
        """Random cards, the partitions in turn."""
        return portfolio.some_cards(self._cards, payments, self._rng)

    async def checkpoint(self) -> None:
        """Take a checkpoint; the base that may be due is read to its end beside it."""
        while not await self.checkpointer.checkpoint(self.ownership, self._clock_ms, complete=False):
            await self.checkpointer.settled()
        await self.checkpointer.settled()

    @property
    def written_bytes(self) -> int:
        """Bytes of the last checkpoint, without bases."""
        return int(self._registry.get_sample_value("cardwatch_checkpoint_bytes") or 0)


def _no_tails(_starts: Mapping[TopicPartition, int]) -> NoReturn:
    """Nothing is read back: `take_over` says that nothing was answered."""
    message = "there is no Kafka here"
    raise RuntimeError(message)


def _bytes_under(folder: Path, name: str) -> int:
    """Bytes of all objects of this name."""
    return sum(path.stat().st_size for path in folder.rglob(name))


def run(options: Options) -> None:
    """Measure, keep the results, and write the table."""
    # What is decided is of no matter here.
    model = Trainer(ModelsConfig.from_mapping(shipped_toml("models.toml"))).version("m-000000", 0)
    measured: list[Measured] = []
    for cards in _CARDS:
        with tempfile.TemporaryDirectory(prefix="cardwatch-checkpoints-") as folder:
            measured += asyncio.run(_measure(Path(folder), cards, model, options))
        gc.collect()
    results.save(NAME, {"sizes": [asdict(each) for each in measured]})
    head = (
        "live cards", "payments/s", "longest pause, ms", "copied, µs a payment", "written a checkpoint, MiB",
        "base, MiB", "base written, s", "restart reads, s",
    )  # fmt: skip
    text = results.table(head, [each.row() for each in measured])
    results.write_section(NAME, f"{results.machine_lines(options.busy_before)}\n\n{text}")


async def _measure(folder: Path, cards: int, model: ModelVersion, options: Options) -> list[Measured]:
    """One number of cards, at all rates."""
    worker = _Worker(folder, cards, model)
    worker.take_over(1)
    for round_number in range(_PAYMENTS_BEFORE):
        options.say(f"{cards:,} cards: payment {round_number + 1} of each")
        for partition, paying in worker.all_cards():
            worker.pay(partition, paying)
    started_s = time.perf_counter()
    await worker.checkpoint()
    base_s = time.perf_counter() - started_s
    base_bytes = _bytes_under(folder, "base.bin")
    found: list[Measured] = []
    for rate in _RATES:
        options.say(f"{cards:,} cards: checkpoints at {rate:,} payments a second")
        worker.pauses.seconds.clear()
        written = 0
        for _ in range(_CHECKPOINTS):
            for partition, paying in worker.some_cards(rate * _INTERVAL_S):
                worker.pay(partition, paying)
            await worker.checkpoint()
            written += worker.written_bytes
        state_bytes = sum(size for _, _, size in worker.core.usage().tables.values())
        found.append(
            Measured(
                cards, rate, rate * _INTERVAL_S * _CHECKPOINTS, state_bytes, max(worker.pauses.seconds),
                sum(worker.pauses.seconds), written // _CHECKPOINTS, base_bytes, base_s,
                _restart(folder, cards, model, worker),
            )
        )  # fmt: skip
    return found


def _restart(folder: Path, cards: int, model: ModelVersion, before: _Worker) -> float:
    """How long a new worker reads; what it then has is what the other one has."""
    after = _Worker(folder, cards, model)
    seconds = after.take_over(2)
    for subject in (*range(PARTITIONS), None):
        arrays = dict(before.core.changes(subject).base_arrays())
        for name, array in after.core.changes(subject).base_arrays():
            if name.startswith("at.") and not np.array_equal(array, arrays[name]):
                message = f"state {subject} is not what was saved"
                raise RuntimeError(message)
    return seconds
