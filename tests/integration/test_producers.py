"""Payment systems compress as they like: every codec of Kafka's clients is read."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from streams.score import score_role
from streams.topics import DECISIONS, TRANSACTIONS
from tests.services.kafka_broker import KafkaBroker
from tests.streams.kafka_world import PARTITIONS, World, eventually, running
from tests.streams.stand_in import StandInCore

CODECS = ("gzip", "snappy", "lz4", "zstd")
# As Kafka numbers them in the attributes of a batch of records.
_CODEC_NUMBERS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_PAYMENTS = 400
_BATCH_HEAD = struct.Struct(">qiibiH")

pytestmark = pytest.mark.kafka


def send_compressed(servers: str, codec: str) -> None:
    """Send payments in batches large enough to be worth compressing."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": codec,
            "partitioner": "murmur2_random",
            "linger.ms": 100,
        }
    )
    for number in range(_PAYMENTS):
        card = f"card-{number % 20}"
        payment = {
            "transaction_id": f"{codec}-{number}",
            "card_token": card,
            "event_time_ms": time.time_ns() // 1_000_000 - 1000,
            "amount_minor": 100,
            "currency": "EUR",
        }
        producer.produce(TRANSACTIONS, json.dumps(payment).encode(), card.encode())
    assert producer.flush(30) == 0
    producer.close()


def codecs_in_log(directory: Path) -> set[int]:
    """Codecs of the batches that the broker keeps of a partition."""
    log = (directory / "00000000000000000000.log").read_bytes()
    found, at = set(), 0
    while at + _BATCH_HEAD.size <= len(log):
        _, length, _, magic, _, attributes = _BATCH_HEAD.unpack_from(log, at)
        if magic != 2:
            break
        found.add(attributes & 7)
        at += 12 + length
    return found


def test_batches_of_every_codec_are_answered(world: World, kafka_broker: KafkaBroker) -> None:
    """Each payment has its decision, whichever codec its batch was compressed with."""

    async def story() -> None:
        for codec in CODECS:
            send_compressed(world.settings.bootstrap_servers, codec)
        async with running(score_role(StandInCore(), world.worker("w"), CollectorRegistry())):
            await eventually(lambda: len(world.read(DECISIONS)) >= _PAYMENTS * len(CODECS), "all decisions")

    asyncio.run(story())
    answered = Counter(str(decision["transaction_id"]).partition("-")[0] for decision in world.values(DECISIONS))
    assert answered == dict.fromkeys(CODECS, _PAYMENTS)
    logs = [kafka_broker._directory / "data" / f"{TRANSACTIONS}-{number}" for number in range(PARTITIONS)]
    # A batch that would not get smaller is sent as it is.
    found = {codec for log in logs for codec in codecs_in_log(log)} - {_CODEC_NUMBERS["none"]}
    assert found == {_CODEC_NUMBERS[codec] for codec in CODECS}
