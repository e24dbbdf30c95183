"""How the cost of a payment and the memory of a card grow: from ten thousand cards to five million, on one core.

First every card pays twice, then cards drawn at random pay and are timed, so nearly every payment meets a card that is
in no cache. Cards pay twice a day, however many there are: time goes faster where there are few. Memory is that of
cards which have paid so for 37 days, the longest window and a week.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import portfolio, results, workload
from benchmarks.one_core import one_core
from benchmarks.options import Options
from benchmarks.portfolio import BATCH, PARTITIONS
from benchmarks.small_bank import shipped_models
from cardwatch.settings import shipped_toml
from detector.catalogue import DAY_MS
from detector.engine import assess_batch
from detector.models import Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from detector.usage import TableUse, state_usage

NAME = "growth"
PURPOSE = "what a payment costs and a card takes, from 10,000 cards to 5,000,000"

PAGE = results.REPOSITORY / "docs" / "scale.md"
_KEY = bytes(range(16))
_CARDS = (10_000, 100_000, 1_000_000, 5_000_000)
_A_DAY = 2
# Few batches: where there are few cards, each has soon paid more often than the others have.
_PAYMENTS_BEFORE, _TIMED_BATCHES = 2, 12
_MERCHANTS, _TERMINALS, _DEVICES_PER_CARD = 40_000, 250_000, 0.5
# For memory.
_STEADY_CARDS, _STEADY_DAYS = 40_000, 37
_PER_CARD = ("cards", "events")
_MIB, _KIB = 1024**2, 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time of a payment by the number of cards, and the memory of the process."""

    cards: int
    us: float
    rss_mib: float

    def row(self, first: Cost) -> list[str]:
        """A row of the table, beside the fewest cards."""
        return [f"{self.cards:,}", f"{self.us:.2f}", f"{self.us / first.us:.2f}", f"{self.rss_mib:,.0f}"]


class _Bank:
    """An engine whose cards pay when they are told to; nothing of Kafka."""

    def __init__(self, cards: int, events: int) -> None:
        a_partition = cards // PARTITIONS
        config = StateConfig(
            _KEY, cards=a_partition + a_partition // 4 + 64, events=events // PARTITIONS + 65_536, payments=65_536,
            entities=2 * (_MERCHANTS + _TERMINALS) + int(2 * _DEVICES_PER_CARD * cards), buckets=32_000_000,
        )  # fmt: skip
        self.state = EngineState(config, RateTable.from_mapping(shipped_toml("rates.toml")))
        for partition in range(PARTITIONS):
            self.state.open_partition(partition)
        self._policy = Policy.from_mapping(shipped_toml("policy.toml"))
        self._model = Trainer(shipped_models()).scorer("m-000000")
        self._rng = np.random.default_rng(29)
        self._cards, self._apart_us = cards, DAY_MS * 1_000 // (_A_DAY * cards)
        self._clock_us = workload.START_MS * 1_000
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)

    def batch(self, partition: int, cards: NDArray[np.int64]) -> TransactionBatch:
        """Payments of cards of a partition, each at one of many merchants and on the card's own device."""
        count, rng, first = len(cards), self._rng, self._offsets[partition]
        self._offsets[partition] += count
        devices = (cards * _DEVICES_PER_CARD).astype(np.int64)
        columns = {
            "transaction_id": [f"t{partition}-{number}" for number in range(first, first + count)],
            "card_token": [f"card-{card}" for card in cards.tolist()],
            "event_time_ms": (self._clock_us + self._apart_us * np.arange(count)) // 1_000,
            "amount_minor": rng.integers(100, 20_000, count),
            "currency": ["EUR"] * count,
            "merchant_id": [f"m{number}" for number in rng.integers(0, _MERCHANTS, count).tolist()],
            "terminal_id": [f"t{number}" for number in rng.integers(0, _TERMINALS, count).tolist()],
            "device_id": [f"d{number}" for number in devices.tolist()],
            "country": ["DE"] * count,
        }
        self._clock_us += self._apart_us * count
        return build_batch(columns, key=_KEY, partition=partition, offset=np.arange(first, first + count))

    def assess(self, batch: TransactionBatch) -> None:
        """Score a batch."""
        assess_batch(self.state, batch, self._model, self._policy)

    def all_cards(self) -> Iterator[TransactionBatch]:
        """Every card once, partition by partition."""
        return (self.batch(*paying) for paying in portfolio.all_cards(self._cards, self._rng))

    def some_cards(self, batches: int) -> Iterator[TransactionBatch]:
        """Random cards, the partitions in turn."""
        paying = portfolio.some_cards(self._cards, batches * BATCH, self._rng)
        return (self.batch(*each) for each in paying)


def run(options: Options) -> None:
    """Measure, save, and write the tables."""
    with one_core():
        costs = [_cost(cards, options) for cards in _CARDS]
        used = _memory(_STEADY_CARDS, _STEADY_DAYS, options)
    results.save(NAME, {"costs": [asdict(each) for each in costs], "used": [asdict(each) for each in used]})
    head = ("cards", "assess_batch, µs a payment", "beside the fewest", "memory of the process, MiB")
    said = (
        f"Batches of {BATCH:,} over {PARTITIONS} partitions of one process, {_MERCHANTS:,} merchants, "
        f"{_TERMINALS:,} terminals and a device for every second card; processor time:"
    )
    table = results.table(head, [each.row(costs[0]) for each in costs])
    results.write_section(NAME, f"{results.machine_lines(options.busy_before)}\n\n{said}\n\n{table}", PAGE)
    results.write_section("growth_memory", _memory_text(used), PAGE)


def _cost(cards: int, options: Options) -> Cost:
    """Time payments among so many cards."""
    options.say(f"{cards:,} cards")
    bank = _Bank(cards, 24 * cards)
    for _ in range(_PAYMENTS_BEFORE):
        for batch in bank.all_cards():
            bank.assess(batch)
    spent_s = []
    for batch in bank.some_cards(_TIMED_BATCHES):
        started_s = time.thread_time()
        bank.assess(batch)
        spent_s.append(time.thread_time() - started_s)
    # The median: now and then a table grows, or the system has something else to do on this core.
    cost = Cost(cards, float(np.median(spent_s)) / BATCH * 1e6, _rss_mib())
    options.say(f"{cost.us:.2f} µs a payment, {cost.rss_mib:,.0f} MiB")
    del bank
    gc.collect()
    return cost


def _memory(cards: int, days: int, options: Options) -> list[TableUse]:
    """What cards that pay steadily take."""
    options.say(f"{cards:,} cards that pay {_A_DAY} times a day for {days} days")
    bank = _Bank(cards, 160 * cards)
    for _ in range(days * _A_DAY):
        for batch in bank.all_cards():
            bank.assess(batch)
    return state_usage(bank.state)


def _memory_text(used: list[TableUse]) -> str:
    """Bytes by kind, beside what a card may take."""
    rows = [
        [
            each.table,
            f"{each.rows:,}",
            f"{each.size_bytes / each.rows:,.0f}",
            f"{each.size_bytes / _MIB:,.1f}",
            f"{each.size_bytes / _STEADY_CARDS / _KIB:.2f}" if each.table in _PER_CARD else "–",
        ]
        for each in used
        if each.rows
    ]
    of_card = sum(each.size_bytes for each in used if each.table in _PER_CARD) / _STEADY_CARDS / _KIB
    said = (
        f"{_STEADY_CARDS:,} cards, {_A_DAY} payments a day each for {_STEADY_DAYS} days: {of_card:.2f} KiB a card for "
        "its row and what it remembers."
    )
    return f"{said}\n\n{results.table(('what', 'rows', 'bytes a row', 'MiB', 'KiB a card'), rows)}"


def _rss_mib() -> float:
    """Memory of this process now."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / _KIB
