"""Orders to tell an endpoint again, carried out beside the role that tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from casework.adapters.memory_replays import MemoryReplays
from casework.adapters.memory_webhooks import MemoryWebhooks
from casework.adapters.posting import Poster
from casework.replays import Picked, Replay, ReplayOf, ReplayProgress
from casework.webhook_log import Line, Outcome
from casework.webhooks import Endpoint
from streams import replaying
from streams.errors import BroadcastError
from streams.metrics import StreamMetrics
from streams.records import ReadRecord
from streams.replaying import KAFKA_AWAY, ReplayRole
from streams.topic_tail import read_since
from streams.topics import CASES
from tests.services.webhook_receiver import Received, Receiver, Reply, receiving
from tests.streams.kafka_world import World, eventually, running
from tests.streams.test_webhooks import STORY, tell
from tests.streams.webhook_process import LATER_MS, endpoint


def role(told: Endpoint, world: World, log: MemoryWebhooks, replays: MemoryReplays) -> ReplayRole:
    """Looks for orders many times a second."""
    posting = Poster(told.url, 20.0, may_be_private=True)
    metrics = StreamMetrics(CollectorRegistry())
    return ReplayRole(told, posting, log, replays, world.settings, metrics, lambda: LATER_MS, look_every_s=0.02)


def order(of: ReplayOf, **fields: Any) -> Replay:
    return Replay("replay-1", of, "ann", "They lost it.", LATER_MS, **fields)


async def over(replays: MemoryReplays) -> ReplayProgress:
    """How the order of the bank ended."""
    await eventually(lambda: "bank" in replays._progress and "bank" not in replays._ordered, "it is over")
    return replays._progress["bank"]


def stood(world: World, kind: bytes) -> tuple[str, int, int]:
    """Id and place of the first event of a kind."""
    for each in read_since(world.settings, (CASES,), 0):
        if b'"type":"%s"' % kind in (each.value or b""):
            return (dict(each.headers)["ce_id"] or b"").decode(), each.partition, each.offset
    raise AssertionError(kind)


def test_a_span_of_time_is_told_again(world: World) -> None:
    """Of the kinds that the endpoint wants, under the ids that they have, and written down."""

    async def play() -> None:
        log, replays = MemoryWebhooks(), MemoryReplays()
        async with receiving(Receiver()) as receiver:
            ids = tell(world)
            await replays.order("bank", order(ReplayOf.SPAN, before_ms=STORY[-1].time_ms))
            async with running(role(endpoint(receiver.url), world, log, replays)):
                done = await over(replays)
            wanted = [event for event in STORY if event.time_ms < STORY[-1].time_ms]
            assert (done.told, done.refused, done.missing, done.stopped_by) == (len(wanted), 0, 0, "")
            assert len(receiver.received) == len(wanted)
            assert set(receiver.ids()) <= set(ids)
            assert len(await log.newest("bank", 100)) == len(wanted)
            assert await replays.ordered("bank") is None

    asyncio.run(play())


@pytest.mark.parametrize("of", [ReplayOf.UNTOLD, ReplayOf.PICKED])
def test_single_events_are_told_again(world: World, of: ReplayOf) -> None:
    """Those alone; one that no longer stands where it stood is counted as missing."""

    async def play() -> None:
        log, replays = MemoryWebhooks(), MemoryReplays()
        async with receiving(Receiver()) as receiver:
            tell(world)
            lost, partition, offset = await asyncio.to_thread(stood, world, b"closed")
            happened_ms = STORY[0].time_ms
            for name, at in ((lost, offset), ("event-gone", 10**6)):
                await log.write(
                    "bank",
                    Line(name, "case.closed", happened_ms, 5, 6, Outcome.REFUSED, "HTTP 400", CASES, partition, at),
                )
            places = [(lost, offset), ("event-gone", 10**6)] if of is ReplayOf.PICKED else []
            picked = tuple(Picked(name, happened_ms, CASES, partition, at) for name, at in places)
            await replays.order("bank", order(of, picked=picked))
            async with running(role(endpoint(receiver.url), world, log, replays)):
                done = await over(replays)
            assert receiver.ids() == [lost]
            assert (done.told, done.missing) == (1, 1)
            assert [line.webhook_id for line in await log.untold("bank")] == ["event-gone"]

    asyncio.run(play())


def test_a_test_tells_nothing_and_is_not_written_down(world: World) -> None:
    """It says whether the endpoint takes what is signed with our secret."""

    async def play() -> None:
        log, replays = MemoryWebhooks(), MemoryReplays()
        async with receiving(Receiver()) as receiver:
            await replays.order("bank", order(ReplayOf.TEST))
            async with running(role(endpoint(receiver.url), world, log, replays)):
                done = await over(replays)
                assert (done.told, done.stopped_by, receiver.received[0].told["type"]) == (1, "", "webhook.test")
                receiver.reply = lambda _received: 404
                await replays.order("bank", order(ReplayOf.TEST))
                assert (await over(replays)).stopped_by == "HTTP 404"
            assert await log.newest("bank", 10) == []

    asyncio.run(play())


def test_it_ends_where_the_endpoint_is_away(world: World) -> None:
    """What comes behind was not told, and whoever ordered it sees at which answer."""

    async def play() -> None:
        replays, answers = MemoryReplays(), [204, 400, 503]
        async with receiving(Receiver(lambda _received: answers.pop(0))) as receiver:
            tell(world)
            await replays.order("bank", order(ReplayOf.SPAN))
            async with running(role(endpoint(receiver.url), world, MemoryWebhooks(), replays)):
                done = await over(replays)
            assert (done.told, done.refused, done.missing, done.stopped_by) == (1, 1, 0, "HTTP 503")
            assert len(receiver.received) == 3

    asyncio.run(play())


def test_a_cancelled_order_is_left_and_one_of_a_dead_worker_begun_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancels is heard before the next event; what a worker leaves stands for the next."""
    monkeypatch.setattr(replaying, "_NOTE_EVERY_S", 0.0)

    async def play() -> None:
        log, replays = MemoryWebhooks(), MemoryReplays()
        async with receiving(Receiver()) as receiver:
            ids = tell(world)
            ordered = order(ReplayOf.SPAN)
            await replays.order("bank", ordered)
            dying = role(endpoint(receiver.url), world, log, replays)

            def and_die(_received: Received) -> Reply:
                dying._stopping.set()
                return 204

            receiver.reply = and_die
            async with running(dying):
                await eventually(lambda: len(receiver.received) == 1, "the first event is told")
            assert len(receiver.received) == 1
            assert await replays.ordered("bank") == ordered
            cancelled = ReplayProgress(ordered, told=1, cancelled_by="bob", ended_ms=LATER_MS)

            def and_cancel(_received: Received) -> Reply:
                replays._ordered.clear()
                replays._progress["bank"] = cancelled
                return 204

            receiver.reply = and_cancel
            heir = role(endpoint(receiver.url), world, log, replays)
            async with running(heir):
                await eventually(lambda: replays._progress.get("bank") == cancelled, "the next worker begins")
                await replays.order("bank", order(ReplayOf.TEST))
                await eventually(lambda: len(receiver.received) == 3, "it is free for the next order")
            assert set(receiver.ids()[:2]) <= set(ids)
            assert receiver.received[2].told["type"] == "webhook.test"

    asyncio.run(play())


def test_a_kafka_that_cannot_be_read_ends_the_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ordered it is told, and orders it again."""

    def broken(*_arguments: object) -> Iterator[ReadRecord]:
        yield ReadRecord(CASES, 0, 0, 0, None, b"no event", [])
        message = "no broker"
        raise BroadcastError(message)

    monkeypatch.setattr(replaying, "read_since", broken)

    async def play() -> None:
        replays = MemoryReplays()
        await replays.order("bank", order(ReplayOf.SPAN))
        told = endpoint("http://127.0.0.1:9/")
        async with running(role(told, world, MemoryWebhooks(), replays)):
            assert (await over(replays)).stopped_by == KAFKA_AWAY

    asyncio.run(play())
