"""Positions against logs: what Kafka would skip in silence is refused, or counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from streams.checkpoint_format import Position
from streams.cluster import ClusterFacts
from streams.errors import ClusterError, SettingsError, TopicError, WorkerError
from streams.records import RawRecord, TopicPartition
from streams.seam import StreamShell
from streams.settings import StreamSettings
from streams.sources import place_sources, require_unchanged
from streams.topics import LABELS, TRANSACTIONS
from telemetry.vitals import Vitals
from tests.streams.stand_in import KEY

SOURCE, OTHER = TopicPartition(TRANSACTIONS, 3), TopicPartition(LABELS, 3)


def test_a_position_within_its_log_is_where_to_go_on() -> None:
    """Also at the very end of the log, and at its beginning without a checkpoint."""
    found = place_sources({SOURCE: 7, OTHER: 0}, {SOURCE: range(7, 7), OTHER: range(4, 9)})
    assert found.position(3) == Position(7, 4)
    assert not found.lost


def test_a_log_that_ends_before_our_position_is_refused() -> None:
    """A topic made anew counts from zero: its records would pass for known ones, and be skipped."""
    with pytest.raises(TopicError, match=r"ends at offset 5, its checkpoint is at 7: the topic was made anew"):
        place_sources({SOURCE: 7}, {SOURCE: range(5, 5)})


def test_records_that_kafka_removed_are_counted() -> None:
    """A worker that was away for longer than the topic keeps records goes on at what is left, and says what is not."""
    found = place_sources({SOURCE: 7, OTHER: 0}, {SOURCE: range(10, 20), OTHER: range(0)})
    assert found.starts[SOURCE] == 10
    assert found.lost == {TRANSACTIONS: 3}


FACTS = ClusterFacts("cluster-a", {TRANSACTIONS: "id-a", LABELS: "id-b"}, 8)


@pytest.mark.parametrize(
    ("now", "error"),
    [
        (ClusterFacts("cluster-b", FACTS.topic_ids, 8), ClusterError),
        (ClusterFacts("cluster-a", {**FACTS.topic_ids, LABELS: "id-c"}, 8), TopicError),
        (ClusterFacts("cluster-a", FACTS.topic_ids, 16), TopicError),
    ],
)
def test_another_cluster_or_topic_ends_the_worker(now: ClusterFacts, error: type[SettingsError]) -> None:
    """What changes under a running worker is noticed; the same facts, or a broker that tells no ids, are no change."""
    with pytest.raises(error):
        require_unchanged(FACTS, now)
    require_unchanged(FACTS, FACTS)
    require_unchanged(FACTS, ClusterFacts("cluster-a", {}, 8))


class Consumer:
    """What the watchdog sees of Faust's consumer."""

    def __init__(self, *, assigned: int, highwater: int | None = None, read: int | None = None) -> None:
        self._assigned, self._highwater = assigned, highwater
        self.next_offset = None if read is None else read + 1
        self._thread = self
        self.at: int | None = self.next_offset
        self.sought: list[int] = []
        self.open: tuple[int, int] | None = None

    def held_up(self, _partition: Any) -> tuple[int, int] | None:
        return self.open

    def read_to(self, _partition: Any) -> int | None:
        return self.at

    async def call_thread(self, function: Any, *arguments: Any) -> Any:
        return await function(*arguments)

    async def seek_back(self, _partition: Any, offset: int) -> None:
        self.sought.append(offset)
        self.at = offset

    def assignment(self) -> set[Any]:
        return {SOURCE} if self._assigned else set()

    def highwater(self, _partition: Any) -> int | None:
        return self._highwater


class Nothing:
    """A role that is asked nothing here."""

    async def assigned(self, partitions: Any, generation: int) -> dict[Any, Any]:
        raise NotImplementedError

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        raise NotImplementedError

    async def revoked(self, partitions: Any) -> None:
        raise NotImplementedError

    async def stopping(self) -> None:
        raise NotImplementedError

    def interrupt(self) -> None:
        """Nothing is at hand."""


def shell(vitals: Vitals, consumer: Consumer | None, *, rebalancing: bool, taken: bool) -> StreamShell:
    settings = StreamSettings("nowhere:1", "memory://x", KEY, recovery_timeout_s=1.0, stall_timeout_s=1.01)
    made = StreamShell("score", (TRANSACTIONS,), Nothing(), settings, vitals)
    made._app = SimpleNamespace(rebalancing=rebalancing, _consumer=consumer, consumer=consumer)
    made.turns.taken = frozenset({SOURCE} if taken else ())
    if consumer is not None and consumer.next_offset is not None:
        made.turns.next_offsets[SOURCE] = consumer.next_offset
    return made


STALLS = [
    ("a rebalance is under way", None, True, False),
    ("never taken over", Consumer(assigned=1), False, False),
    ("never fetched", Consumer(assigned=1), False, True),
    ("5 records wait", Consumer(assigned=1, highwater=5), False, True),
    ("2 records wait", Consumer(assigned=1, highwater=5, read=2), False, True),
]


@pytest.mark.parametrize(("why", "consumer", "rebalancing", "taken"), STALLS)
def test_a_stall_ends_the_role_and_readiness_says_so_before(
    why: str,
    consumer: Consumer | None,
    rebalancing: bool,  # noqa: FBT001
    taken: bool,  # noqa: FBT001
) -> None:
    """Whatever stopped in silence, the worker is not ready at half of the time, and ends with the reason at all."""

    async def story() -> None:
        vitals = Vitals()
        vitals.started()
        watched = shell(vitals, consumer, rebalancing=rebalancing, taken=taken)
        watched.turns.note_progress()
        watch = asyncio.create_task(watched._watch_progress())
        was_unready = False
        while not watch.done():
            await asyncio.sleep(0.02)
            was_unready |= not watch.done() and why in vitals.ready().picture["waits_for"].get("progress", "")
        assert was_unready
        with pytest.raises(WorkerError) as failed:
            await watched.wait_broken()
        assert why in str(failed.value.__cause__)

    asyncio.run(story())


@pytest.mark.parametrize("consumer", [None, Consumer(assigned=0), Consumer(assigned=1, highwater=5, read=4)])
def test_who_has_nothing_to_do_does_not_stall(consumer: Consumer | None) -> None:
    """A spare worker without partitions, and one that has read everything, wait for ever and stay ready."""
    is_taken = consumer is not None and bool(consumer.assignment())
    assert shell(Vitals(), consumer, rebalancing=False, taken=is_taken).waits_for() is None


def test_the_end_of_a_transaction_is_no_record_that_waits() -> None:
    """It takes an offset and brings nothing: what was read and did not arrive is read once more, and then known."""

    async def story() -> None:
        consumer = Consumer(assigned=1, highwater=12, read=10)
        watched = shell(Vitals(), consumer, rebalancing=False, taken=True)
        consumer.at = 12
        await watched._read_again()
        assert (consumer.sought, watched.waits_for()) == ([], "1 records wait")
        await watched._read_again()
        assert (consumer.sought, watched.waits_for()) == ([11], "1 records wait")
        consumer.at = 12
        assert watched.waits_for() is None
        for _ in range(2):
            await watched._read_again()
            assert (consumer.sought, watched.waits_for()) == ([11], None)
        watched.turns.is_handing_over = True
        assert watched.waits_for() == "1 records wait"
        watched.turns.is_handing_over = False
        consumer.at = 13
        assert watched.waits_for() is None
        consumer._highwater = 13
        assert watched.waits_for() == "1 records wait"
        for _ in range(2):
            await watched._read_again()
        assert consumer.sought == [11, 11]

    asyncio.run(story())


def test_reading_what_was_aborted_is_no_stall() -> None:
    """Nothing of it is delivered, and where there is always more of it, there is always something behind."""

    async def story() -> None:
        consumer = Consumer(assigned=1, highwater=1_000, read=10)
        watched = shell(Vitals(), consumer, rebalancing=False, taken=True)
        for position in (20, 30, 40):
            consumer.at = position
            watched.turns.progress_s = 0.0
            await watched._read_again()
            assert (watched.turns.progress_s > 0.0) == (position > 20)
        assert consumer.sought == []
        watched.turns.progress_s = 0.0
        for _ in range(2):
            await watched._read_again()
        assert (consumer.sought, watched.turns.progress_s) == ([11], 0.0)

    asyncio.run(story())


def test_readiness_names_a_transaction_that_stays_open() -> None:
    """Payments behind it wait and nobody can help it from here; another one that is open later is another matter."""

    async def story() -> None:
        consumer = Consumer(assigned=1, highwater=11, read=10)
        watched = shell(Vitals(), consumer, rebalancing=False, taken=True)
        consumer.open = 11, 40
        assert [watched._held_up() for _ in range(3)] == [None] * 3
        said = watched._held_up()
        assert said is not None
        assert f"{SOURCE.topic}/{SOURCE.partition}" in said
        assert "offset 11" in said
        consumer.open = 50, 60
        assert watched._held_up() is None
        consumer.open = None
        assert [watched._held_up() for _ in range(5)] == [None] * 5

    asyncio.run(story())
