"""What the batch seam does with Faust's threads that no role can see."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.records import TopicPartition
from streams.seam import _BatchConsumer
from streams.seam_thread import ConsumerThread
from streams.turns import Turns

_OURS, _LOST = TP("payments", 0), TP("payments", 1)


class Consumer:
    """Knows what is assigned, and keeps seeks."""

    def __init__(self) -> None:
        self.sought: dict[TP, int] = {}
        self.assigned = {_OURS}

    def assignment(self) -> set[TP]:
        return self.assigned

    def seek(self, partition: TP, offset: int) -> None:
        self.sought[partition] = offset


def new_thread() -> ConsumerThread:
    """One that is not connected to anything."""
    thread = ConsumerThread.__new__(ConsumerThread)
    thread._fetching = asyncio.Lock()
    return thread


@pytest.mark.parametrize("flows", [True, False])
def test_a_fetch_that_ends_while_nothing_flows_is_put_back(monkeypatch: pytest.MonkeyPatch, *, flows: bool) -> None:
    """It may have waited through a rebalance and come behind its seek: dropped, these records would be lost."""
    brought = {tp: [SimpleNamespace(offset=offset) for offset in (7, 8)] for tp in (_OURS, _LOST)}

    async def fetch(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        return brought

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    thread, consumer = new_thread(), Consumer()
    monkeypatch.setattr(thread, "consumer", SimpleNamespace(flow_active=flows), raising=False)
    assert asyncio.run(thread._fetch_records(consumer, None)) == (brought if flows else {})
    assert consumer.sought == ({} if flows else {_OURS: 7})


@pytest.mark.parametrize(("found", "first", "sought"), [([7, 8], 7, 7), ([9], 9, 9), ([], None, 5)])
def test_what_seems_to_be_missing_is_looked_for_in_the_log(
    monkeypatch: pytest.MonkeyPatch, found: list[int], first: int | None, sought: int
) -> None:
    """The next fetch begins with what is there; one record is enough to say it."""
    thread, consumer = new_thread(), Consumer()

    async def fetch(_: Any, asked: Any, partitions: Any, **limits: Any) -> Any:
        assert (asked, partitions, consumer.sought) == (consumer, {_OURS}, {_OURS: 5})
        assert limits["max_records"] == 1
        return {_OURS: [SimpleNamespace(offset=offset) for offset in found]} if found else {}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(thread, "_consumer", consumer)
    assert asyncio.run(thread.find(_OURS, 5)) == first
    assert consumer.sought == {_OURS: sought}
    assert asyncio.run(thread.find(_LOST, 5)) is None
    assert consumer.sought == {_OURS: sought}


def test_a_look_that_waited_through_a_rebalance_seeks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the partition over again has said where to go on."""
    thread, consumer = new_thread(), Consumer()

    async def fetch(*_: Any, **__: Any) -> Any:
        consumer.assigned, consumer.sought = {_OURS}, {}
        return {_OURS: [SimpleNamespace(offset=9)]}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(thread, "_consumer", consumer)
    assert asyncio.run(thread.find(_OURS, 5)) is None
    assert consumer.sought == {}


def seeking(monkeypatch: pytest.MonkeyPatch, handler: Any, committed: dict[TP, int | None]) -> _BatchConsumer:
    """A consumer in the first rebalance of its group."""
    consumer = _BatchConsumer.__new__(_BatchConsumer)

    async def finds_committed() -> Any:
        return committed

    async def seeks(_: Any) -> None:
        """Done."""

    for name, value in {
        "app": SimpleNamespace(shell=SimpleNamespace(turns=Turns("score", handler)), rebalancing_count=1),
        "_assigned_in": 1,
        "assignment": lambda: {_OURS, _LOST},
        "generation": lambda: 1,
        "seek_to_committed": finds_committed,
        "seek_wait": seeks,
    }.items():
        monkeypatch.setattr(consumer, name, value, raising=False)
    return consumer


@pytest.mark.parametrize(("said", "start"), [({}, 7), ({TopicPartition(*_OURS): 3}, 3)])
def test_what_was_committed_does_not_wait_after_a_rebalance(
    monkeypatch: pytest.MonkeyPatch, said: dict[TopicPartition, int], start: int
) -> None:
    """Reading goes on where the handler says, else at what was committed: what is behind that is no lag, no stall."""

    class Handler:
        async def assigned(self, *_: Any) -> Any:
            return {**dict.fromkeys((TopicPartition(*_OURS), TopicPartition(*_LOST))), **said}

    consumer = seeking(monkeypatch, Handler(), {_OURS: 7, _LOST: None})

    async def story() -> None:
        await consumer.perform_seek()

    asyncio.run(story())
    app: Any = consumer.app
    assert app.shell.turns.next_offsets == {TopicPartition(*_OURS): start}


def test_a_rebalance_that_ends_within_the_next_one_lets_nothing_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust lets records flow after every takeover, be it the last one or not."""

    class Handler:
        async def assigned(self, *_: Any) -> Any:
            consumer.app.rebalancing_count += 1
            return {}

    consumer = seeking(monkeypatch, Handler(), {})

    async def story() -> None:
        for _ in range(2):
            with pytest.raises(RebalanceAgain):
                await consumer.perform_seek()

    asyncio.run(story())
    assert consumer.app.rebalancing_count == 2


def test_who_was_thrown_out_while_it_joined_takes_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no generation by which others could tell what it writes; it joins again."""
    consumer = seeking(monkeypatch, None, {})
    monkeypatch.setattr(consumer, "generation", lambda: -1)
    with pytest.raises(RebalanceAgain):
        asyncio.run(consumer.perform_seek())
