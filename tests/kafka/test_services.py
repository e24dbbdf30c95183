"""The real servers of the integration tests are what they claim to be."""

from __future__ import annotations

import uuid

import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services.kafka_broker import KafkaBroker
from tests.services.redis_server import RedisServer

pytestmark = pytest.mark.kafka
_SECONDS = 30.0


def _read_all(broker: KafkaBroker, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": str(uuid.uuid4()),
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, timeout=_SECONDS)
        return [message.value() or b"" for message in messages]
    finally:
        consumer.close()


def test_what_kafka_acknowledged_outlives_the_broker(kafka_broker: KafkaBroker) -> None:
    """A record acknowledged with acks=all is there after kill -9 and a new start on the same port."""
    topic = f"services.{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(_SECONDS)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap_servers, "enable.idempotence": True})
    producer.produce(topic, b"kept")
    assert producer.flush(_SECONDS) == 0
    kafka_broker.kill()
    kafka_broker.start()
    assert _read_all(kafka_broker, topic, 1) == [b"kept"]


def test_what_redis_answered_outlives_the_server(redis_server: RedisServer) -> None:
    """A write that was answered is there after kill -9: every write is on disk before its answer."""
    key = f"services:{uuid.uuid4()}"
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(key, "kept")
        redis_server.kill()
        redis_server.start()
        assert client.get(key) == b"kept"
