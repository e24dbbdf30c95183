"""Webhooks from Kafka to receivers of every kind: all at least once, a card's events in order, nobody held up."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from casework.adapters.memory_webhooks import MemoryWebhooks
from casework.adapters.posting import Poster
from casework.cases import CaseEvent
from casework.errors import StoreUnavailableError
from casework.outbox import messages_of
from casework.records import case_event_draft
from casework.replays import Replay, ReplayOf
from casework.webhook_log import Disabled, Line, Outcome, Standing
from casework.webhooks import TOLD_TOPICS, Endpoint
from streams import webhooks
from streams.metrics import StreamMetrics
from streams.topic_tail import read_since
from streams.topics import CARD_STATES, CASES
from streams.untold import MOST_REFUSALS
from streams.webhook_replay import Meant, Replayed, in_batches, meant_by, replay
from tests.casework.examples import NOW_MS
from tests.contracts.test_history import story
from tests.services.webhook_receiver import HANG, NO_HTTP, RESET, SLOW_BODY, Received, Receiver, Reply, receiving
from tests.streams.kafka_world import World, eventually, running
from tests.streams.webhook_process import GIVE_UP_MS, LATER_MS, endpoint, role

_ROOT = Path(__file__).parents[2]
STORY = story(count=4)


def tell(world: World, events: list[CaseEvent] = STORY) -> list[str]:
    """Write events as the relay writes them; their ids."""
    ids = []
    for event in events:
        (message,) = messages_of(f"{event.case_id}-{event.sequence}", event.time_ms, [case_event_draft(event)], None)
        world.write(CASES, event.card_token, message.value, list(message.headers.items()))
        ids.append(message.headers["ce_id"])
    world.writer.flush()
    return ids


def by_card(receiver: Receiver) -> dict[str, list[int]]:
    """The times of what each card's receiver was told, in the order in which it was taken, each id once."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for each in receiver.received:
        data = each.told["data"]
        found[data["card_token"]].setdefault(each.webhook_id, data["sequence"])
    return {card: list(sequences.values()) for card, sequences in found.items()}


def in_order() -> dict[str, list[int]]:
    wanted: defaultdict[str, list[int]] = defaultdict(list)
    for event in STORY:
        wanted[event.card_token].append(event.sequence)
    return dict(wanted)


def counted(metrics: StreamMetrics, name: str = "bank") -> dict[str, float]:
    """What became of events."""
    return {
        outcome: metrics.webhook_events.labels(name, outcome)._value.get()
        for outcome in ("delivered", "refused", "expired", "unreadable")
    }


def test_everything_is_told_once_in_order_and_survives_a_restart(world: World) -> None:
    """Cases and cards, what was there before and what comes; what is no event is counted and passed over."""
    metrics = StreamMetrics(CollectorRegistry())
    card_state = {
        "card_token": "card-1", "state": "frozen", "sequence": 1, "actor": "ann", "command_id": "command-1",
        "command_time_ms": NOW_MS,
    }  # fmt: skip

    async def play() -> Receiver:
        async with receiving(Receiver()) as receiver:
            told = endpoint(receiver.url)
            ids = tell(world, STORY[:6])
            world.write(CASES, "card-0", b"no event", [("ce_id", b"event-x")])
            world.write(CASES, "card-0", b"no headers")
            world.write(CARD_STATES, "card-1", msgspec.json.encode(card_state), [("ce_id", b"event-card")])
            async with running(role(told, world.settings, metrics=metrics)):
                await eventually(lambda: len(receiver.received) >= 7, "the first part")
            ids += tell(world, STORY[6:])
            async with running(role(told, world.settings)):
                await eventually(lambda: len(receiver.received) > len(ids), "the rest")
            assert sorted(receiver.ids()) == sorted([*ids, "event-card"])
        return receiver

    receiver = asyncio.run(play())
    (card,) = [each.told for each in receiver.received if each.webhook_id == "event-card"]
    assert (card["type"], card["data"]["command_id"]) == ("card.frozen", "command-1")
    receiver.received = [each for each in receiver.received if each.webhook_id != "event-card"]
    assert by_card(receiver) == in_order()
    assert counted(metrics) == {"delivered": 7, "refused": 0, "expired": 0, "unreadable": 2}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_receiver_does_it_has_everything_in_order_at_last(world: World, seed: int) -> None:
    """A third of its answers are failures of every kind; per card nothing comes before what it follows."""
    chance = random.Random(seed)

    def reply(_received: Received) -> Reply:
        bad: list[Reply] = [500, 503, 429, RESET, NO_HTTP, SLOW_BODY]
        return chance.choice(bad) if chance.random() < 0.33 else 204

    async def play() -> None:
        log = MemoryWebhooks()
        async with receiving(Receiver(reply)) as receiver:
            told = endpoint(receiver.url)
            ids = tell(world)
            posting = Poster(told.url, 2.0, may_be_private=True)
            async with running(role(told, world.settings, log=log, posting=posting)):
                await eventually(lambda: len(told_of(log)) == len(ids), "everything")
            assert {line.webhook_id for line in told_of(log)} == set(ids)
            assert {line.outcome for line in told_of(log)} == {Outcome.DELIVERED}
            assert by_card(receiver) == in_order()

    asyncio.run(play())


def told_of(log: MemoryWebhooks, name: str = "bank") -> list[Line]:
    return list(log._lines[name])


@pytest.mark.parametrize("bad", [500, HANG, RESET])
def test_an_endpoint_that_is_away_holds_up_nobody(world: World, bad: Reply) -> None:
    """Another has everything meanwhile; the one that comes back gets everything, and its wait was shown."""
    metrics = StreamMetrics(CollectorRegistry())
    is_back = False

    async def play() -> None:
        nonlocal is_back
        async with AsyncExitStack() as stack:
            dead = await stack.enter_async_context(receiving(Receiver(lambda _received: 204 if is_back else bad)))
            good = await stack.enter_async_context(receiving(Receiver()))
            ids = tell(world)
            told = endpoint(dead.url, name="dead")
            posting = Poster(dead.url, 0.5, may_be_private=True)
            await stack.enter_async_context(running(role(told, world.settings, metrics=metrics, posting=posting)))
            await stack.enter_async_context(running(role(endpoint(good.url, name="good"), world.settings)))
            await eventually(lambda: len(good.received) == len(ids), "the good one has everything")
            await eventually(lambda: metrics.webhook_waiting.labels("dead")._value.get() > 60, "that it waits is shown")
            await eventually(lambda: len(dead.received) > 3, "the dead one is asked again")
            is_back = True
            await eventually(lambda: counted(metrics, "dead")["delivered"] == len(ids), "it has everything")
            await eventually(lambda: metrics.webhook_waiting.labels("dead")._value.get() == 0, "nothing waits")
            assert by_card(good) == in_order()

    asyncio.run(play())


def test_how_it_goes_is_said_while_an_endpoint_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since when something waits and what the last answer was; once all is taken, that nothing waits."""
    monkeypatch.setattr(webhooks, "_SAY_EVERY_S", 0.05)
    reply: Reply = HANG

    def said() -> Standing:
        return log._standings["bank"].get(world.settings.worker_name, Standing(0))

    log = MemoryWebhooks()

    async def play() -> None:
        nonlocal reply
        async with receiving(Receiver(lambda _received: reply)) as receiver:
            tell(world)
            told = endpoint(receiver.url)
            posting = Poster(told.url, 0.5, may_be_private=True)
            async with running(role(told, world.settings, log=log, posting=posting)):
                await eventually(lambda: said() == Standing(LATER_MS), "it says that it is there")
                await eventually(lambda: said().oldest_waiting_ms == STORY[0].time_ms, "the first event waits")
                assert (said().failed_ms, bool(said().failure)) == (LATER_MS, True)
                reply = 204
                await eventually(lambda: said().oldest_waiting_ms is None, "nothing waits")

    asyncio.run(play())


def test_an_event_that_breaks_the_endpoint_holds_up_its_card_alone(world: World) -> None:
    """All others are told, also what comes later; a card's other events wait for it."""

    def reply(received: Received) -> Reply:
        return 500 if received.told["data"]["card_token"] == "card-1" else 204

    async def play() -> None:
        log = MemoryWebhooks()
        async with receiving(Receiver(reply)) as receiver:
            tell(world)
            others = len([event for event in STORY if event.card_token != "card-1"])
            async with running(role(endpoint(receiver.url), world.settings, log=log)):
                await eventually(lambda: len(told_of(log)) == others, "all others")
                tell(world, [replace(STORY[0], case_id="case-later", card_token="card-later")])
                await eventually(lambda: len(told_of(log)) == others + 1, "the one that came later")
            assert by_card(receiver) == {**in_order(), "card-later": [1], "card-1": [1]}

    asyncio.run(play())


def test_gone_disables_until_somebody_enables(world: World) -> None:
    """Nothing is asked of it any more, also after a restart; what came meanwhile is told when it is enabled."""
    log, metrics, is_back = MemoryWebhooks(), StreamMetrics(CollectorRegistry()), False

    async def play() -> None:
        nonlocal is_back
        async with receiving(Receiver(lambda _received: 204 if is_back else 410)) as receiver:
            told = endpoint(receiver.url, "case.closed")
            ids = tell(world)
            async with running(role(told, world.settings, log=log, metrics=metrics)):
                await eventually(lambda: log._disabled.keys() == {"bank"}, "it is disabled")
                await eventually(lambda: metrics.webhook_disabled.labels("bank")._value.get() == 1, "that is shown")
            is_back, asked = True, len(receiver.received)
            again = StreamMetrics(CollectorRegistry())
            async with running(role(told, world.settings, log=log, metrics=again)):
                await eventually(
                    lambda: again.webhook_disabled.labels("bank")._value.get() == 1, "it is still disabled"
                )
                assert len(receiver.received) == asked
                await log.enable("bank")
                await eventually(lambda: len(told_of(log)) == 4, "it is told again")
                await eventually(lambda: again.webhook_disabled.labels("bank")._value.get() == 0, "that is shown")
            assert {line.webhook_id for line in told_of(log)} <= set(ids)

    asyncio.run(play())


def has_asked_again(receiver: Receiver) -> bool:
    """Whether some event came twice."""
    ids = [received.webhook_id for received in receiver.received]
    return len(ids) > len(set(ids))


def test_one_that_fails_for_too_long_is_disabled(world: World) -> None:
    """Not answered for as long as events are kept for it: the next that it does not take is the last it is asked."""
    log, metrics, now_ms = MemoryWebhooks(), StreamMetrics(CollectorRegistry()), LATER_MS

    async def play() -> None:
        nonlocal now_ms
        async with receiving(Receiver(lambda _received: 500)) as receiver:
            tell(world)
            told = role(endpoint(receiver.url), world.settings, log=log, metrics=metrics, clock=lambda: now_ms)
            async with running(told):
                # Only when all who were due have been asked is it known since when it is away.
                await eventually(lambda: has_asked_again(receiver), "it is asked again")
                assert log._disabled == {}
                now_ms += GIVE_UP_MS + 1
                await eventually(lambda: counted(metrics)["expired"] == len(STORY), "what is too old is given up")
                assert log._disabled == {}
                tell(world, [replace(STORY[0], case_id="case-new", time_ms=now_ms)])
                await eventually(lambda: "bank" in log._disabled, "it is disabled")

    asyncio.run(play())
    assert log._disabled["bank"] == Disabled(LATER_MS + GIVE_UP_MS + 1, "it has not answered for too long")


def order(of: ReplayOf, **fields: Any) -> Replay:
    return Replay("replay-1", of, "ann", "They lost it.", LATER_MS, **fields)


async def replayed(world: World, told: Endpoint, log: MemoryWebhooks, meant: Meant) -> Replayed:
    posting = Poster(told.url, 20.0, may_be_private=True)
    records = read_since(world.settings, TOLD_TOPICS, meant.since_ms)
    return await replay(
        told, posting, log, in_batches(records, asyncio.to_thread), meant.is_meant, lambda: LATER_MS
    )  # fmt: skip


def test_what_is_refused_for_good_is_given_up_and_can_be_replayed(world: World) -> None:
    """Asked six times; others go on; what was given up is written down, and told by a replay under the same id."""
    log, metrics, refuses = MemoryWebhooks(), StreamMetrics(CollectorRegistry()), True

    def reply(received: Received) -> Reply:
        return 400 if refuses and received.told["data"]["card_token"] == "card-1" else 204

    async def play() -> None:
        nonlocal refuses
        async with receiving(Receiver(reply)) as receiver:
            told = endpoint(receiver.url, "case.opened", "case.closed")
            tell(world)
            async with running(role(told, world.settings, log=log, metrics=metrics)):
                await eventually(lambda: len(told_of(log)) == 9, "all cases")
            untold = await log.untold("bank")
            assert [(line.kind, line.attempts, line.detail) for line in untold] == [
                ("case.opened", MOST_REFUSALS, "HTTP 400"),
                ("case.closed", MOST_REFUSALS, "HTTP 400"),
            ]
            assert counted(metrics) == {"delivered": 7, "refused": 2, "expired": 0, "unreadable": 0}
            refuses, asked = False, len(receiver.received)
            meant = await meant_by(order(ReplayOf.UNTOLD), "bank", log)
            done = await replayed(world, told, log, meant)
            assert (done.told, done.refused, done.stopped_by, meant.missing(done)) == (2, 0, "", 0)
            assert receiver.ids()[asked:] == [line.webhook_id for line in untold]
            assert await log.untold("bank") == []

    asyncio.run(play())


def test_a_replay_of_a_span_ends_where_the_endpoint_is_away(world: World) -> None:
    """What lies in the span, the ids that were told before; and no further than the first failure."""
    log, answers = MemoryWebhooks(), [204, 204, 503]

    async def play() -> None:
        async with receiving(Receiver(lambda _received: answers.pop(0))) as receiver:
            ids = tell(world)
            meant = await meant_by(order(ReplayOf.SPAN, before_ms=STORY[-1].time_ms), "bank", log)
            done = await replayed(world, endpoint(receiver.url), log, meant)
            assert (done.told, done.refused, done.stopped_by) == (2, 0, "HTTP 503")
            assert set(receiver.ids()) <= set(ids)
            assert len(receiver.received) == 3

    asyncio.run(play())


def test_what_is_too_old_is_not_told(world: World) -> None:
    """At a first start the years before are passed over, without a line for each of them."""
    log, metrics = MemoryWebhooks(), StreamMetrics(CollectorRegistry())

    async def play() -> int:
        async with receiving(Receiver()) as receiver:
            told = role(
                endpoint(receiver.url), world.settings, log=log, metrics=metrics,
                clock=lambda: NOW_MS + GIVE_UP_MS + 86_400_000,
            )  # fmt: skip
            tell(world)
            async with running(told):
                await eventually(lambda: counted(metrics)["expired"] == len(STORY), "all are passed over")
            return len(receiver.received)

    assert asyncio.run(play()) == 0
    assert told_of(log) == []


def test_a_log_that_does_not_answer_is_waited_for(world: World) -> None:
    """Nothing goes on without being written down, and nothing is lost."""

    class Away(MemoryWebhooks):
        failures = 2

        async def write(self, endpoint: str, line: Line) -> None:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError(endpoint)
            await super().write(endpoint, line)

    log = Away()

    async def play() -> None:
        async with receiving(Receiver()) as receiver:
            ids = tell(world, STORY[:4])
            async with running(role(endpoint(receiver.url), world.settings, log=log)):
                await eventually(lambda: len(told_of(log)) == len(ids), "everything")
            assert sorted(receiver.ids()) == sorted(ids)

    asyncio.run(play())
    assert log.failures == 0


def test_two_workers_share_an_endpoint(world: World) -> None:
    """What one leaves the other takes over while the endpoint is away; in the end it has everything."""
    is_back = False

    async def play() -> None:
        nonlocal is_back
        async with receiving(Receiver(lambda _received: 204 if is_back else 503)) as receiver:
            told = endpoint(receiver.url)
            ids = tell(world)
            async with running(role(told, world.settings)) as stop, running(role(told, world.settings)):
                await eventually(lambda: len(receiver.received) > 5, "it is asked")
                await stop()
                is_back = True
                await eventually(lambda: set(ids) <= delivered(receiver), "everything")

    def delivered(receiver: Receiver) -> set[str]:
        return set(receiver.ids()) if is_back else set()

    asyncio.run(play())


@pytest.mark.slow
def test_after_kill_nine_the_same_ids_come_again(world: World) -> None:
    """The process dies between its posts and the commit: who takes over tells the same events, with the same ids."""

    def start(url: str) -> subprocess.Popen[bytes]:
        text = json.dumps({"settings": world.as_json(), "url": url})
        return subprocess.Popen([sys.executable, "-m", "tests.streams.webhook_process", text], cwd=_ROOT)

    async def play() -> tuple[list[str], list[str], Callable[[], dict[str, Any]]]:
        hangs = True
        async with receiving(Receiver()) as receiver:
            ids = tell(world)
            # The last event hangs, so the batch is not committed.
            receiver.reply = lambda received: HANG if hangs and received.webhook_id == ids[-1] else 204
            first = start(receiver.url)
            try:
                await eventually(lambda: set(receiver.ids()) == set(ids), "all but the last are taken")
            finally:
                first.kill()
                first.wait()
            hangs, before = False, len(receiver.received)
            second = start(receiver.url)
            try:
                await eventually(lambda: set(receiver.ids()[before:]) == set(ids), "all of them again")
            finally:
                second.terminate()
                second.wait()
            return ids, receiver.ids(), lambda: by_card(receiver)

    ids, received, cards = asyncio.run(play())
    assert set(received) == set(ids)
    assert cards() == in_order()
