"""Workers that die, and workers that take over: seen from outside, by reading the topics."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streams.score import score_role
from streams.tasks import end_tasks
from streams.topics import ALERTS, DECISIONS
from tests.streams.kafka_world import World, eventually, running
from tests.streams.processes import Worker
from tests.streams.stand_in import StandInCore

_ROOT = Path(__file__).parents[2]


def are_decided(world: World, transactions: int) -> bool:
    return len(world.read(DECISIONS)) >= transactions


def check_that_each_counted_once(world: World, sent: int) -> None:
    """Every transaction has one decision, and the engine's state saw it once."""
    decisions = world.values(DECISIONS)
    assert len({decision["transaction_id"] for decision in decisions}) == sent, "lost"
    places = Counter((decision["source"]["partition"], decision["source"]["offset"]) for decision in decisions)
    assert max(places.values()) == 1, "answered twice"
    # The stand-in's score counts the card's payments: a lost or doubled update of state shows here.
    by_card: dict[str, list[float]] = {}
    for decision in decisions:
        by_card.setdefault(decision["card_token"], []).append(decision["score"])
    for card, scores in by_card.items():
        assert sorted(scores) == [number / 1000 for number in range(1, len(scores) + 1)], card
    frozen = {decision["transaction_id"] for decision in decisions if decision["action"] == "FREEZE"}
    alerts = Counter(alert["transaction_id"] for alert in world.values(ALERTS))
    assert alerts.keys() == frozen
    assert max(alerts.values(), default=1) == 1, "alerted twice"


@pytest.mark.slow
def test_kill_9_loses_and_doubles_nothing(world: World) -> None:
    """Killed at random moments under load, then started again: nothing lost, nothing twice, state included."""
    rng = random.Random(20261122)
    sent = 0

    async def load(records: int) -> None:
        nonlocal sent
        for _ in range(records):
            amount_minor = 2_000_000 if sent % 97 == 0 else 100
            world.pay(f"t-{sent}", card=f"card-{rng.randrange(20)}", amount_minor=amount_minor)
            sent += 1
            if sent % 20 == 0:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(world.writer.flush)

    async def story(worker: Worker) -> None:
        for life in range(1, 4):
            await load(100)
            some = len(world.read(DECISIONS)) + 1
            await eventually(partial(are_decided, world, some), "it answers")
            loading = asyncio.create_task(load(1000))
            await asyncio.sleep(rng.uniform(0.1, 1.2))
            worker.kill()
            await loading
            worker.start(f"w{life}")
        await eventually(lambda: are_decided(world, sent), "all decisions")
        assert worker.end() == 0

    worker = Worker(world)
    try:
        asyncio.run(story(worker))
    finally:
        worker.kill()
    check_that_each_counted_once(world, sent)


@pytest.mark.slow
def test_a_second_worker_takes_over_and_leaves(world: World) -> None:
    """Partitions move with their state to a worker that joins, and back when it leaves."""

    async def story() -> None:
        cores = [StandInCore(), StandInCore()]
        roles = [score_role(core, world.worker(f"w{n}"), CollectorRegistry()) for n, core in enumerate(cores)]
        sent = 0

        async def pay(records: int) -> None:
            nonlocal sent
            for _ in range(records):
                world.pay(f"t-{sent}", card=f"card-{sent % 20}")
                sent += 1
            world.writer.flush()
            await eventually(lambda: len(world.read(DECISIONS)) >= sent, f"{sent} decisions")

        async with running(roles[0]):
            await pay(200)
            async with running(roles[1]):
                await eventually(lambda: len(roles[0].owned()) == len(roles[1].owned()) == 2, "each has half")
                await pay(200)
            await eventually(lambda: len(roles[0].owned()) == 4, "the first has all again")
            await pay(200)
        check_that_each_counted_once(world, sent)

    asyncio.run(story())


@pytest.mark.slow
def test_a_stop_at_any_moment_of_the_start_is_clean(world: World) -> None:
    """SIGTERM while imports, checks, Faust or the group are on their way: nothing hangs, a worker ends in order."""
    rng = random.Random(20261123)
    worker = Worker(world)
    try:
        for life in range(5):
            time.sleep(rng.uniform(1.0, 3.5))
            assert worker.end() in {0, -signal.SIGTERM}, "ended by its watchdog"
            worker.start(f"w{life}")
    finally:
        worker.kill()


def test_a_lost_cancellation_does_not_keep_a_task_alive() -> None:
    """Up to Python 3.11, `asyncio.wait_for` loses some: a task that goes on is cancelled again."""

    async def deaf_once() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def story() -> None:
        task = asyncio.create_task(deaf_once())
        await asyncio.sleep(0)
        await end_tasks([task])
        assert task.cancelled()

    asyncio.run(story())
