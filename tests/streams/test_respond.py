"""The respond role: each alert reaches the desk, whatever fails on the way, and outboxes reach Kafka."""

from __future__ import annotations

import asyncio
import json

from prometheus_client import CollectorRegistry

from casework.outbox import OutboxEntry
from streams.metrics import StreamMetrics
from streams.murmur2 import partition_of
from streams.respond import RespondRole
from streams.topics import ALERTS, CARD_STATES, DEAD_LETTERS
from tests.streams.fake_desk import FakeDesk
from tests.streams.kafka_world import PARTITIONS, World, eventually, running


def alert(world: World, transaction: str, card: str = "card-a") -> None:
    body = {
        "alert_id": f"al-{transaction}", "transaction_id": transaction, "card_token": card, "event_time_ms": 1,
        "action": "FREEZE",
    }  # fmt: skip
    world.write(ALERTS, card, json.dumps(body).encode(), [("ce_time", b"2026-11-22T10:00:00.000Z")])


def test_alerts_reach_the_desk_and_the_outbox_reaches_kafka(world: World) -> None:
    """A store that is down is waited for; a record that is no alert, or breaks our code, is put aside alone."""
    registry = CollectorRegistry()
    desk = FakeDesk()
    desk.failures_left = 3
    desk.poison = "t-poison"
    desk.outbox = [OutboxEntry(f"{n}", 1, CARD_STATES, f"card-{n}", b"{}", {"ce_id": f"e-{n}"}) for n in range(1, 9)]

    async def story() -> None:
        for number in range(20):
            alert(world, f"t-{number}", card=f"card-{number % 5}")
        alert(world, "t-poison", card="card-1")
        world.write(ALERTS, "card-2", b"no alert, but card 4111111111111111")
        world.writer.flush()
        async with running(RespondRole(desk, world.settings, StreamMetrics(registry))):
            await eventually(lambda: len(desk.answered) == 20, "20 alerts answered")
            await eventually(lambda: not desk.outbox, "the outbox relayed")

    asyncio.run(story())
    assert sorted(desk.answered) == sorted(f"t-{number}" for number in range(20))
    states = world.read(CARD_STATES)
    assert sorted(dict(record.headers)["ce_id"] or b"" for record in states) == [b"e-%d" % n for n in range(1, 9)]
    assert all(record.partition == partition_of(record.key or b"", PARTITIONS) for record in states)
    letters = world.read(DEAD_LETTERS)
    assert len(letters) == 2
    assert all(b"4111111111111111" not in (record.value or b"") for record in letters)
    assert registry.get_sample_value("cardwatch_freezes_total", {"outcome": "frozen"}) == 20


def test_what_was_answered_is_not_answered_again_after_a_graceful_stop(world: World) -> None:
    """The offsets of answered alerts are committed; the next worker goes on behind them."""

    async def story() -> None:
        first, second = FakeDesk(), FakeDesk()
        alert(world, "t-1")
        world.writer.flush()
        async with running(RespondRole(first, world.settings, StreamMetrics(CollectorRegistry()))):
            await eventually(lambda: first.answered == ["t-1"], "the first alert")
        alert(world, "t-2")
        world.writer.flush()
        async with running(RespondRole(second, world.settings, StreamMetrics(CollectorRegistry()))):
            await eventually(lambda: bool(second.answered), "the second alert")
        assert second.answered == ["t-2"]

    asyncio.run(story())


def test_a_stop_does_not_wait_for_a_store_that_is_down(world: World) -> None:
    """Alerts in hand are left uncommitted, for the next worker."""

    async def story() -> None:
        down, up = FakeDesk(), FakeDesk()
        down.failures_left = 10**9
        alert(world, "t-1")
        world.writer.flush()
        async with running(RespondRole(down, world.settings, StreamMetrics(CollectorRegistry()))):
            await eventually(lambda: down.failures_left < 10**9, "a try")
        async with running(RespondRole(up, world.settings, StreamMetrics(CollectorRegistry()))):
            await eventually(lambda: up.answered == ["t-1"], "the alert")

    asyncio.run(story())
