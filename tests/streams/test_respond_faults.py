"""Respond, its relay and its Redis die under load: every freeze once, every command kept, all of it in the topics."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from casework.cards import SYSTEM_ACTOR, CardRecord
from casework.desk import Desk
from casework.errors import IdentityNotVerifiedError, StoreError
from casework.ids import alert_step_id, notification_id_of
from casework.store import NO_STEP
from casework.views import CardView
from detector.vocabulary import CardStatus
from streams.audit import AuditReport, audit
from streams.clock import epoch_ms
from streams.events import iso_time
from streams.records import ReadRecord
from streams.topic_tail import read_since
from streams.topics import ALERTS, CARD_STATES, CASES, NOTIFICATIONS
from tests.casework.examples import SENIOR, desk_on, verify
from tests.services.process import wait_until
from tests.services.redis_replicas import SERVICE, Replicated, replicated_redis
from tests.services.redis_server import RedisServer, redis_program, running_redis
from tests.streams.kafka_world import World
from tests.streams.respond_process import MEMORIES_MS, PLAYBOOK, open_store

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(redis_program() is None, reason="redis-server is not installed"),
]
_ROOT = Path(__file__).parents[2]
_DONE_WITHIN_S = 120.0
_CARDS = 12


class Responding:
    """A respond worker's process."""

    def __init__(self, world: World, redis: dict[str, Any], replicas: int = 0) -> None:
        self._text = json.dumps({"settings": world.as_json(), "redis": redis, "replicas": replicas})
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.streams.respond_process", self._text]
        self._process = subprocess.Popen(command, cwd=_ROOT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, and start it again where it ended by itself, as a supervisor would: Redis did not answer its start."""

        def holds() -> bool:
            if self._process.poll() is not None:
                self.start()
            return condition()

        wait_until(holds, seconds=_DONE_WITHIN_S, what=what)


@contextmanager
def responding(world: World, redis: dict[str, Any], replicas: int = 0) -> Iterator[Responding]:
    worker = Responding(world, redis, replicas)
    try:
        yield worker
    finally:
        worker.kill()


class Load:
    """Alerts on a few cards, and people who unfreeze them, all remembered."""

    def __init__(self, world: World, redis: dict[str, Any], replicas: int = 0) -> None:
        self._world = world
        self._redis = redis
        self._replicas = replicas
        self._random = random.Random(20261127)
        self.alerts: dict[str, str] = {}
        self.commands: list[tuple[str, int]] = []

    def send(self, count: int) -> None:
        """FREEZE alerts, as the score role writes them."""
        for _ in range(count):
            number = len(self.alerts)
            card = f"card-{self._random.randrange(_CARDS)}"
            now_ms = epoch_ms()
            body = {
                "alert_id": f"al-{number}", "transaction_id": f"t-{number}", "card_token": card,
                "event_time_ms": now_ms, "action": "FREEZE", "reasons": ["new_country"], "policy_version": "p-1",
            }  # fmt: skip
            self._world.write(ALERTS, card, json.dumps(body).encode(), [("ce_time", iso_time(now_ms).encode())])
            self.alerts[f"al-{number}"] = card
        self._world.writer.flush(10)

    def unfreeze(self, commands: int) -> None:
        """People who press the button, again until they are told "done"."""
        self.with_desk(partial(self._unfreeze, commands))

    async def _unfreeze(self, commands: int, desk: Desk) -> None:
        for _ in range(commands):
            card = f"card-{self._random.randrange(_CARDS)}"
            key, deadline_s = f"k-{len(self.commands)}", time.monotonic() + _DONE_WITHIN_S
            while True:
                try:
                    view = await _thaw(desk, card, key)
                except (StoreError, IdentityNotVerifiedError):
                    # Frozen anew, or its case opened, between the two.
                    assert time.monotonic() < deadline_s
                    await asyncio.sleep(0.1)
                else:
                    self.commands.append((card, view.history[0].sequence))
                    break

    def with_desk(self, work: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:
        """Do something with a desk of our own."""

        async def run() -> Any:
            store = open_store(self._redis, self._replicas)
            try:
                return await work(desk_on(store, PLAYBOOK))
            finally:
                await store.close()

        return asyncio.run(run())

    def audit(self) -> AuditReport:
        async def compare() -> AuditReport:
            store = open_store(self._redis)
            try:
                return await audit(store, partial(read_since, self._world.settings), MEMORIES_MS, epoch_ms)
            finally:
                await store.close()

        return asyncio.run(compare())

    def cards(self) -> list[CardRecord]:
        async def load(desk: Desk) -> list[CardRecord]:
            asks = [(f"card-{place}", NO_STEP) for place in range(_CARDS)]
            return [snapshot.card for snapshot in await desk._store.load(asks)]

        found: list[CardRecord] = self.with_desk(load)
        return found

    def is_set_up(self) -> bool:
        """Whether Redis is there for a desk."""

        async def ping(desk: Desk) -> None:
            await desk.ping()

        try:
            self.with_desk(ping)
        except StoreError:
            return False
        return True

    def is_done(self) -> bool:
        """Whether every alert has an outcome, and every outbox is empty."""

        async def look(desk: Desk) -> bool:
            asks = [(card, alert_step_id(alert_id)) for alert_id, card in self.alerts.items()]
            snapshots = await desk._store.load(asks)
            return all(each.recorded for each in snapshots) and await desk.outbox_oldest_ms() is None

        try:
            return bool(self.with_desk(look))
        except StoreError:
            return False

    def check(self) -> None:
        """Each freeze once, each notice once, what was told is what is, in order, and no command is lost."""
        report = self.audit()
        assert (report.differences, report.fenced_shards) == ([], [])
        states = _told(self._world, CARD_STATES)
        by_card: dict[str, list[dict[str, Any]]] = {}
        for state in states:
            by_card.setdefault(state["card_token"], []).append(state)
        for card in self.cards():
            told = by_card.get(card.card_token, [])
            assert [state["sequence"] for state in told] == list(range(1, card.sequence + 1)), card.card_token
        frozen = Counter(state["alert_id"] for state in states if state["actor"] == SYSTEM_ACTOR)
        assert max(frozen.values()) == 1, "frozen twice by one alert"
        notices = Counter(notice["notification_id"] for notice in _told(self._world, NOTIFICATIONS))
        assert max(notices.values()) == 1
        assert {notification_id_of(alert_step_id(alert_id)) for alert_id in frozen} <= notices.keys()
        in_cases = Counter(
            event["alert"]["alert_id"] for event in _told(self._world, CASES) if event.get("alert") is not None
        )
        assert max(in_cases.values()) == 1
        assert frozen.keys() <= in_cases.keys()
        kept = {(state["card_token"], state["sequence"]) for state in states if state["actor"] == SENIOR.name}
        assert set(self.commands) <= kept, "a command that was told done is lost"


async def _thaw(desk: Desk, card: str, key: str) -> CardView:
    """A person knows the cardholder and lets the card go."""
    case = (await desk.card(card)).open_case
    if case is not None:
        await verify(desk, case.case_id, epoch_ms(), SENIOR)
    return await desk.set_card_state(card, CardStatus.ACTIVE, "Hers.", SENIOR, now_ms=epoch_ms(), idempotency_key=key)


def _told(world: World, topic: str) -> list[dict[str, Any]]:
    """Records as a reader takes them: copies dropped by `ce_id`, those of a partition in its order."""
    once: dict[bytes, ReadRecord] = {}
    for record in world.read(topic):
        once.setdefault(dict(record.headers)["ce_id"] or b"", record)
    return [json.loads(record.value or b"") for record in once.values()]


def at(url: str) -> dict[str, Any]:
    return {"url": url, "sentinels": [], "service": ""}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


def test_kill_9_of_respond_and_relay_loses_and_doubles_nothing(world: World, own_redis: RedisServer) -> None:
    """Killed between Redis and Kafka again and again: readers that drop copies see each change once, in order."""
    redis = at(own_redis.url)
    load = Load(world, redis)
    with responding(world, redis) as worker:
        for _ in range(4):
            load.send(60)
            worker.wait_until(load.is_set_up, "Redis is set up")
            load.unfreeze(4)
            worker.kill()
            worker.start()
        worker.wait_until(load.is_done, "all is done")
    load.check()


def test_kill_9_of_redis_loses_and_doubles_nothing(world: World, own_redis: RedisServer) -> None:
    """Redis dies and comes back under load: alerts wait in Kafka, people are told to ask again, nothing is skipped."""
    redis = at(own_redis.url)
    load = Load(world, redis)
    with responding(world, redis) as worker:
        for _ in range(3):
            load.send(60)
            worker.wait_until(load.is_set_up, "Redis is set up")
            load.unfreeze(4)
            own_redis.kill()
            load.send(30)
            own_redis.start()
        worker.wait_until(load.is_done, "all is done")
    load.check()


def test_a_failover_by_sentinels_under_load_loses_nothing(world: World, tmp_path: Path) -> None:
    """The master dies, a replica takes over, is compared with Kafka, and goes on: commands told done are kept."""
    with replicated_redis(tmp_path / "replicas", replicas=2, with_sentinels=True) as servers:
        redis = {"url": servers.master.url, "sentinels": _addresses(servers), "service": SERVICE}
        load = Load(world, redis, replicas=1)
        with responding(world, redis, replicas=1) as worker:
            load.send(80)
            worker.wait_until(load.is_set_up, "Redis is set up")
            load.unfreeze(8)
            load.send(80)
            servers.master.kill()
            load.send(40)
            load.unfreeze(8)
            worker.wait_until(load.is_done, "all is done")
        load.check()


def _addresses(servers: Replicated) -> list[tuple[str, int]]:
    pairs = (address.rpartition(":") for address in servers.sentinels.split(","))
    return [(host, int(port)) for host, _, port in pairs]
