"""Rows of shared entities at a takeover, and what is said of those that are missing or unreadable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from detector.sources import SharedRows
from streams.entity_rows import EntityRows
from streams.metrics import StreamMetrics
from streams.producer import Producer
from streams.records import ReadRecord, TopicPartition
from streams.topics import ENTITY_ROWS
from tests.streams.stand_in import Partition, StandInCore, rows_of


class Topic:
    """One partition of the topic: records from some offset on, to be followed or read to its end."""

    def __init__(self, values: Sequence[bytes], first: int = 0) -> None:
        self.records = [ReadRecord(ENTITY_ROWS, 0, first + n, 1_000, None, value, ()) for n, value in enumerate(values)]
        self._next = 0
        self.known_ends: dict[int, int] = {}

    def start(self) -> None:
        """Nothing has to be started."""

    def follow(self, positions: Mapping[int, int]) -> None:
        self._next = positions.get(0, len(self.records))

    def take(self) -> ReadRecord | None:
        self._next += 1
        return self.records[self._next - 1] if self._next <= len(self.records) else None

    def ends(self) -> Mapping[int, int]:
        return self.known_ends

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def open_tails(self, starts: Mapping[TopicPartition, int]) -> Iterator[Any]:
        (start,) = starts.values()
        yield {}, iter([record for record in self.records if record.offset >= start])


class Worker:
    """Hears of the topic; `offsets` are those of the payments of its partition that it has checkpointed."""

    def __init__(self, topic: Topic, next_offset: int = 0) -> None:
        self.core, self.registry, self.topic = StandInCore(), CollectorRegistry(), topic
        self.core.partitions[0] = Partition(next_offset=next_offset)
        producer = cast("Producer", None)
        self.rows = EntityRows(self.core, producer, topic, StreamMetrics(self.registry), lambda: 1_500)
        self.rows.start(1)

    def catch_up(self) -> None:
        asyncio.run(self.rows.catch_up([0], self.topic.open_tails))

    def counted(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"cardwatch_entity_rows_{name}")


def rows(first: int, stop: int) -> SharedRows:
    """Rows of payments, one an offset."""
    return rows_of(0, range(first, stop), range(first, stop))


def test_a_takeover_hears_the_former_owner_to_the_end() -> None:
    """Each row once, whatever was published twice; from where the shared entities stood."""
    worker = Worker(Topic([rows(0, 4).to_bytes(), rows(2, 6).to_bytes(), rows(6, 9).to_bytes()]), next_offset=3)
    worker.catch_up()
    assert worker.core.shared_payments == 9
    assert worker.core.rows_position(0) == 3
    worker.catch_up()
    assert worker.counted("applied_total") == 9
    assert worker.counted("missed_total") == 0


def test_what_a_replay_makes_anew_is_left_to_it() -> None:
    """Without a checkpoint, and with the topic's beginning gone, the log says everything; nothing is missed."""
    worker = Worker(Topic([rows(5, 8).to_bytes(), rows(8, 9).to_bytes()], first=7))
    worker.catch_up()
    assert worker.core.shared_payments == 0
    assert worker.core.rows_position(0) == 0
    assert worker.core.apply_rows(rows(0, 9)).rows == 9
    assert worker.counted("missed_total") == 0


@pytest.mark.parametrize("follows", [False, True])
def test_what_nobody_can_bring_is_counted(*, follows: bool) -> None:
    """Behind a gap things go on: at a takeover whose own log begins later, and while another worker is heard."""
    worker = Worker(Topic([rows(5, 8).to_bytes()]), next_offset=8)
    if follows:
        worker.rows.follow_others([])
        worker.rows.apply_waiting()
        assert worker.counted("staleness_seconds_sum") == 0.5
    else:
        worker.catch_up()
    assert worker.core.shared_payments == 3
    assert worker.counted("missed_total") == 5


def test_what_is_no_row_is_passed_over() -> None:
    """Somebody else's bytes, and rows of another partition, are counted; those behind them are applied."""
    other = rows_of(1, range(2), (0, 1)).to_bytes()
    worker = Worker(Topic([b"{}", other, rows(0, 2).to_bytes()]))
    worker.rows.follow_others([])
    assert not worker.rows.apply_waiting()
    rejected = worker.registry.get_sample_value("cardwatch_broadcast_rejected_total", {"topic": ENTITY_ROWS})
    assert rejected == 2
    assert worker.core.shared_payments == 2
    assert worker.core.rows_position(0) == 3


def test_rows_are_applied_some_at_a_time() -> None:
    """A worker that is behind does not hold its own stream up: what is left waits for the next moment."""
    worker = Worker(Topic([rows(2 * n, 2 * n + 2).to_bytes() for n in range(1_000)]))
    worker.rows.follow_others([])
    worker.rows.apply_after(1)
    heard = worker.core.shared_payments
    assert 0 < heard < 200
    while worker.rows.apply_waiting():
        assert worker.core.shared_payments > heard
    assert worker.core.shared_payments == 2_000


def test_what_waits_is_shown_as_lag() -> None:
    """Records that are in the topic and not applied; nothing is said until its end is known, own partitions apart."""
    topic = Topic([rows(2 * n, 2 * n + 2).to_bytes() for n in range(5)])
    worker = Worker(topic)
    worker.rows.follow_others([])
    assert worker.rows.lag() is None
    topic.known_ends = {0: 5}
    assert worker.rows.lag() == 5
    assert not worker.rows.apply_waiting()
    assert worker.rows.lag() == 0
    worker.rows.follow_others([0])
    topic.known_ends = {}
    assert worker.rows.lag() == 0
