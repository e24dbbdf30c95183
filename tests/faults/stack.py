"""Everything a fault may touch: broker, Redis, proxy, processes, load, and an eye on how far behind they are."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import ReadRecord, TopicPartition
from streams.topics import DECISIONS, TRANSACTIONS
from tests.faults.fleet import ROOT, Fleet, Place
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.services.kafka_broker import KafkaBroker
from tests.services.process import LOOPBACK, wait_until
from tests.services.redis_server import RedisServer
from tests.streams.kafka_world import PARTITIONS, World

SESSION_S = 2.0
_RATE_PER_S = 60.0
# Answered within so many records of the end of the log: what is under way at this rate.
_BEHIND_RECORDS = 40
_CAUGHT_UP_WITHIN_S = 240.0


class Follower:
    """Reads payments and decisions as they come, and says how many payments wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._next = {TopicPartition(topic, n): 0 for topic in (TRANSACTIONS, DECISIONS) for n in range(PARTITIONS)}
        self._sent: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}

    def behind(self) -> int:
        """Payments behind the last one that was answered, over all partitions; many where the broker is silent."""
        consumer = plain_consumer(self._world.settings, "behind")
        try:
            spans = ends_of(consumer, self._next, 10.0)
            for record in read_to(consumer, spans, 10.0):
                self._take(record)
            self._next = {place: span.stop for place, span in spans.items()}
        except (KafkaException, TimeoutError):
            return 1 << 30
        finally:
            consumer.close()
        return sum(len(waiting) for waiting in self._sent.values())

    def _take(self, record: ReadRecord) -> None:
        if record.topic == TRANSACTIONS:
            if not (record.key or b"").startswith(b"broken"):
                self._sent[record.partition].append(record.offset)
        else:
            answered = int(json.loads(record.value or b"")["source"]["offset"])
            self._sent[record.partition] = [at for at in self._sent[record.partition] if at > answered]


@dataclass
class Stack:
    """The installation under test."""

    world: World
    broker: KafkaBroker
    redis: RedisServer
    proxy: Proxy
    fleet: Fleet
    load: Load
    rng: random.Random
    points: Path
    checkpoints: Path
    follower: Follower

    def arm(self, place: str, within_s: float = 90.0) -> None:
        """Let whoever reaches a failpoint next die there."""
        armed = self.points / place
        armed.touch()
        wait_until(lambda: not armed.exists(), seconds=within_s, what=f"{place} is reached")

    def wait_caught_up(self) -> None:
        """Return when answers keep up with payments again, and the outboxes are empty."""
        wait_until(
            lambda: self.follower.behind() <= _BEHIND_RECORDS and self.outbox() == 0,
            seconds=_CAUGHT_UP_WITHIN_S, what="answers keep up",
        )  # fmt: skip

    def outbox(self) -> int:
        """Entries in all outboxes; many where Redis does not answer."""
        try:
            with redis.Redis.from_url(self.redis.url) as client:
                return sum(client.xlen(key) for key in client.scan_iter("cardwatch:{*}:outbox"))
        except redis.RedisError:
            return 1 << 30

    def topic_setting(self, topic: str, name: str, value: str | None) -> None:
        """Change a setting of a topic; None puts the default back."""
        operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entry = ConfigEntry(name, value or "", incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap_servers})
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)


@contextmanager
def running_stack(
    world: World, broker: KafkaBroker, server: RedisServer, folder: Path, seed: int, code: Path = ROOT
) -> Iterator[Stack]:
    """Two score workers and one that responds, of the code in a folder, under load."""
    points, checkpoints = folder / "points", folder / "checkpoints"
    points.mkdir()
    proxy = Proxy(urlsplit(server.url).port or 0)
    settings = replace(
        world.settings, checkpoint_url=f"file://{checkpoints}", session_timeout_s=SESSION_S, delivery_timeout_s=20.0,
        recovery_timeout_s=30.0, stall_timeout_s=60.0, checkpoint_interval_s=1.0,
    )  # fmt: skip
    world = replace(world, settings=settings)
    fleet = Fleet(settings, f"redis://{LOOPBACK}:{proxy.port}/0", points, folder / "fleet.log")
    load = Load(broker.bootstrap_servers, _RATE_PER_S, seed)
    with fleet.running():
        for name, role in (("s0", "score"), ("s1", "score"), ("r0", "respond")):
            fleet.want(name, Place(role, code=code))
        load.start()
        try:
            yield Stack(
                world, broker, server, proxy, fleet, load, random.Random(seed), points, checkpoints, Follower(world)
            )
        finally:
            if load.is_alive():
                load.finish()
            proxy.close()
