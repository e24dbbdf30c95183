"""What the batch seam does with Faust's threads that no role can see."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.errors import RecordFormatError, WorkerError
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
        self.ends: dict[str, int | None] = {"highwater": 12, "stable": 12}

    def highwater(self, _: TP) -> int | None:
        return self.ends["highwater"]

    def last_stable_offset(self, _: TP) -> int | None:
        return self.ends["stable"]

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


@pytest.mark.parametrize(
    ("found", "reached", "first", "sought"),
    [([7, 8], 8, 7, 7), ([9], 10, 9, 9), ([], 5, None, 5), ([], None, None, 5), ([], 900, 900, 5)],
)
def test_what_seems_to_be_missing_is_looked_for_in_the_log(
    monkeypatch: pytest.MonkeyPatch, found: list[int], reached: int | None, first: int | None, sought: int
) -> None:
    """The next fetch begins with what is there; one record is enough to say it.

    Where there is nothing for longer than one look can read, as of a large transaction that was aborted, each look goes
    on where the last one ended.
    """
    thread, consumer = new_thread(), Consumer()

    async def fetch(_: Any, asked: Any, partitions: Any, **limits: Any) -> Any:
        assert (asked, partitions, consumer.sought) == (consumer, {_OURS}, {_OURS: 5})
        assert limits["max_records"] == 1
        return {_OURS: [SimpleNamespace(offset=offset) for offset in found]} if found else {}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(thread, "_consumer", consumer)
    monkeypatch.setattr(thread, "read_to", lambda _: reached)
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


@pytest.mark.parametrize(
    ("highwater", "stable", "readable", "held_up"),
    [(12, 12, 12, None), (12, 9, 9, (9, 12)), (12, -1, 12, None), (12, None, 12, None), (None, None, None, None)],
)
def test_what_is_readable_ends_at_an_open_transaction(
    monkeypatch: pytest.MonkeyPatch,
    highwater: int | None,
    stable: int | None,
    readable: int | None,
    held_up: tuple[int, int] | None,
) -> None:
    """Some brokers do not say where; then it is the end of the partition."""
    thread, consumer = new_thread(), Consumer()
    consumer.ends = {"highwater": highwater, "stable": stable}
    monkeypatch.setattr(thread, "_consumer", consumer)
    assert (thread.readable_to(_OURS), thread.held_up(_OURS)) == (readable, held_up)


def test_nobody_fetches_while_somebody_looks() -> None:
    """Both move the position: what one has taken, the other would say is not there."""
    thread = new_thread()
    ended: list[bool] = []

    async def story() -> None:
        async with thread._fetching:
            waiting = [asyncio.create_task(work) for work in (thread.find(_OURS, 5), thread._fetch_records(None, None))]
            await asyncio.sleep(0.01)
            ended.extend(task.done() for task in waiting)
            for task in waiting:
                task.cancel()

    asyncio.run(story())
    assert ended == [False, False]


class Batches:
    """A handler that takes its time."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.began, self.goes_on = asyncio.Event(), asyncio.Event()

    async def assigned(self, partitions: Any, _: int) -> Any:
        return dict.fromkeys(partitions, 0)

    async def batch(self, _: Any, records: Any) -> None:
        self.began.set()
        await self.goes_on.wait()
        self.seen += [record.offset for record in records]


def draining(monkeypatch: pytest.MonkeyPatch, turns: Turns, fetch: Any) -> tuple[_BatchConsumer, Any]:
    """A consumer whose fetches are full with three records, and its fetcher."""
    consumer = _BatchConsumer.__new__(_BatchConsumer)
    app = SimpleNamespace(
        shell=SimpleNamespace(turns=turns), conf=SimpleNamespace(broker_max_poll_records=3), should_stop=False
    )
    for name, value in {
        "app": app,
        "_stopped": asyncio.Event(),
        "flow_active": True,
        "consumer_stopped_errors": (),
        "generation": lambda: 1,
        "_get_active_partitions": lambda: {_OURS},
        "_wait_next_records": fetch,
    }.items():
        monkeypatch.setattr(consumer, name, value, raising=False)
    return consumer, SimpleNamespace(_stopped=asyncio.Event())


@pytest.mark.parametrize(("size", "is_ahead"), [(3, True), (2, False)])
def test_who_is_behind_fetches_ahead(monkeypatch: pytest.MonkeyPatch, size: int, *, is_ahead: bool) -> None:
    """While a full fetch is handled the next one is under way; all come, in order, and a stop leaves nothing."""

    async def story() -> tuple[list[int], int, int]:
        handler = Batches()
        asked: list[int] = []

        async def fetch(timeout: float) -> Any:  # noqa: ASYNC109 - Faust's name
            assert timeout > 0
            asked.append(len(asked))
            if len(asked) > 4:
                await asyncio.sleep(60)
            start = (len(asked) - 1) * size
            return {_OURS: [SimpleNamespace(offset=start + n) for n in range(size)]}, None

        turns = Turns("score", handler)  # type: ignore[arg-type] # as much of a handler as is asked here
        await turns.take_over(frozenset({TopicPartition(*_OURS)}), 1)
        consumer, fetcher = draining(monkeypatch, turns, fetch)
        draining_task = asyncio.create_task(consumer._drain_messages(fetcher))
        await handler.began.wait()
        await asyncio.sleep(0.01)
        asked_meanwhile = len(asked)
        handler.goes_on.set()
        await asyncio.sleep(0.05)
        app: Any = consumer.app
        app.should_stop = True
        draining_task.cancel()
        await asyncio.wait([draining_task])
        return handler.seen, asked_meanwhile, len(asyncio.all_tasks())

    seen, asked_meanwhile, tasks = asyncio.run(story())
    assert seen == list(range(4 * size))
    assert (asked_meanwhile, tasks) == (2 if is_ahead else 1, 1)


def test_a_fetch_ahead_that_fails_ends_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched before is handled all the same."""

    async def story() -> list[int]:
        handler = Batches()
        handler.goes_on.set()
        asked: list[float] = []

        async def fetch(timeout: float) -> Any:  # noqa: ASYNC109 - Faust's name
            asked.append(timeout)
            if len(asked) > 1:
                message = "damaged"
                raise RecordFormatError(message)
            return {_OURS: [SimpleNamespace(offset=n) for n in range(3)]}, None

        turns = Turns("score", handler)  # type: ignore[arg-type] # as much of a handler as is asked here
        await turns.take_over(frozenset({TopicPartition(*_OURS)}), 1)
        consumer, fetcher = draining(monkeypatch, turns, fetch)
        await consumer._drain_messages(fetcher)
        with pytest.raises(WorkerError, match="RecordFormatError"):
            await turns.wait_broken()
        return handler.seen

    assert asyncio.run(story()) == [0, 1, 2]
