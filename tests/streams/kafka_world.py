"""Kafka for tests: librdkafka's mock cluster, a writer as payment systems write, and an eye on the outputs."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic

from streams.app import Role
from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.topics import LABELS, TOPICS, TOPICS_BY_NAME, TRANSACTIONS
from tests.streams.stand_in import KEY

PARTITIONS = 4
DEADLINE_S = 60.0


@dataclass(frozen=True)
class World:
    settings: StreamSettings
    writer: Producer

    def as_json(self) -> dict[str, Any]:
        """The settings as a process of its own is told them; it has the key already."""
        known = {field.name: getattr(self.settings, field.name) for field in fields(self.settings)}
        del known["fingerprint_key"]
        return known

    def worker(self, name: str) -> StreamSettings:
        return replace(self.settings, worker_name=name)

    def pay(self, transaction: str, card: str = "card-a", amount_minor: int = 100, **fields: Any) -> None:
        record = {
            "transaction_id": transaction,
            "card_token": card,
            "event_time_ms": int(time.time() * 1000) - 1000,
            "amount_minor": amount_minor,
            "currency": "EUR",
        } | fields
        self.write(TRANSACTIONS, card, json.dumps(record).encode())

    def label(self, transaction: str, card: str = "card-a", label: str = "fraud") -> None:
        record = {
            "transaction_id": transaction, "card_token": card, "label": label, "source": "agent",
            "label_time_ms": int(time.time() * 1000),
        }  # fmt: skip
        self.write(LABELS, card, json.dumps(record).encode())

    def write(
        self, topic: str, key: str, value: bytes, headers: list[tuple[str, str | bytes | None]] | None = None
    ) -> None:
        while True:
            try:
                self.writer.produce(topic, value, key.encode(), headers=headers or [])
            except BufferError:
                self.writer.poll(0.05)
            else:
                self.writer.poll(0)
                return

    def read(self, *topics: str) -> list[ReadRecord]:
        consumer = plain_consumer(self.settings, "test")
        try:
            counts = {topic: len(consumer.list_topics(topic, timeout=10).topics[topic].partitions) for topic in topics}
            starts = {TopicPartition(topic, p): 0 for topic in topics for p in range(counts[topic])}
            return list(read_to(consumer, ends_of(consumer, starts, 10.0), 10.0))
        finally:
            consumer.close()

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.read(topic)]


@contextmanager
def mock_world(checkpoint_url: str) -> Iterator[World]:
    """A cluster of its own, in this process, with four partitions a topic."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced", "log_level": 0})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    for spec in TOPICS:
        cluster.list_topics(spec.name, timeout=10)  # asking for a topic makes it
    settings = StreamSettings(
        servers, checkpoint_url, KEY, embedded=True, partitions=PARTITIONS, checkpoint_interval_s=0.5,
        session_timeout_s=4.0, recovery_timeout_s=20.0,
    )  # fmt: skip
    writer = Producer({"bootstrap.servers": servers, "linger.ms": 2, "partitioner": "murmur2_random"})
    try:
        yield World(settings, writer)
    finally:
        writer.flush(5)
        writer.close()
        cluster.close()


async def eventually(check: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Poll until something is true; the blocking look happens in a thread."""
    deadline = time.monotonic() + deadline_s
    while not await asyncio.to_thread(check):
        if time.monotonic() > deadline:
            message = f"not in {deadline_s:.0f} s: {what}"
            raise AssertionError(message)
        await asyncio.sleep(0.1)


@contextmanager
def real_world(servers: str, checkpoint_url: str, partitions: int = PARTITIONS) -> Iterator[World]:
    """Topics made anew on a real broker, and consumer groups of their own."""
    admin = AdminClient({"bootstrap.servers": servers})
    known = admin.list_topics(timeout=10).topics.keys() & TOPICS_BY_NAME.keys()
    if known:
        _wait_for(admin.delete_topics(list(known)))
    _poll(lambda: not admin.list_topics(timeout=10).topics.keys() & TOPICS_BY_NAME.keys())
    wanted = [NewTopic(spec.name, spec.partition_count(partitions), 1, config=spec.kafka_settings()) for spec in TOPICS]
    _wait_for(admin.create_topics(wanted))
    _poll(lambda: _have_leaders(admin.list_topics(timeout=10), partitions))
    settings = StreamSettings(
        servers, checkpoint_url, KEY, partitions=partitions, checkpoint_interval_s=0.5, session_timeout_s=4.0,
        recovery_timeout_s=20.0, group_prefix=f"test-{uuid.uuid4().hex[:8]}",
    )  # fmt: skip
    writer = Producer({"bootstrap.servers": servers, "linger.ms": 2, "partitioner": "murmur2_random"})
    try:
        yield World(settings, writer)
    finally:
        writer.flush(5)
        writer.close()


def _poll(check: Callable[[], bool], deadline_s: float = 30.0) -> None:
    """What the controller knows, the broker knows a moment later."""
    deadline = time.monotonic() + deadline_s
    while not check() and time.monotonic() < deadline:
        time.sleep(0.05)


def _have_leaders(found: ClusterMetadata, partitions: int) -> bool:
    by_topic = [found.topics[spec.name].partitions for spec in TOPICS if spec.name in found.topics]
    leaders = [partition.leader for by_number in by_topic for partition in by_number.values()]
    return len(leaders) == sum(spec.partition_count(partitions) for spec in TOPICS) and min(leaders) >= 0


def _wait_for(futures: Mapping[str, Future[None]]) -> None:
    for future in futures.values():
        future.result(30)


@asynccontextmanager
async def running(role: Role) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A role that is started, and stopped whatever happens; gives what stops it earlier. Its failure is the test's."""
    stopped = False

    async def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            await role.stop()

    await role.start()
    broken = asyncio.create_task(role.wait_broken())
    try:
        yield stop
        if broken.done():
            broken.result()
    finally:
        broken.cancel()
        await stop()
