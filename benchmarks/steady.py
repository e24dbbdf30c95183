"""Payments at a steady rate into Kafka, and when their answers could be read: each timed from when it was due.

The reader is a process of its own (`python -m benchmarks.steady BROKER TOPIC COUNT FILE`), so that it and the load do
not wait for one another's interpreter. Both read the machine's monotonic clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Producer, TopicPartition
from numpy.typing import NDArray

from benchmarks import broker
from cardwatch.kafka import client_options, reader
from cardwatch.settings import KafkaSettings
from cardwatch.simulator.kafka import headers

_TICK_S = 0.001
_READ_AT_ONCE = 1_000
_QUIET_S = 20.0
_WAIT_S = 30.0
_FLUSH_S = 30.0
_SCHEMA = pa.schema(
    [("transaction_id", pa.string()), ("card_token", pa.string()), ("action", pa.string()), ("read_ns", pa.int64())]
)


class _Answer(msgspec.Struct):
    transaction_id: str
    card_token: str = ""
    action: str = ""


def send(kafka: KafkaSettings, topic: str, payments: Sequence[dict[str, Any]], rate_per_s: int) -> NDArray[np.int64]:
    """Send payments, so many a second; when each was due, on the monotonic clock in nanoseconds.

    Raises:
        CountError: the broker did not take all of them.
    """
    producer = Producer(
        client_options(kafka) | {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 1}
    )
    made = [(payment["key"], payment["value"], headers(payment)) for payment in payments]
    start_ns = time.monotonic_ns() + 10**8
    due_ns = start_ns + np.arange(len(made), dtype=np.int64) * (10**9 // rate_per_s)
    sent = 0
    while sent < len(made):
        until = int(np.searchsorted(due_ns, time.monotonic_ns(), side="right"))
        for key, value, ce in made[sent:until]:
            producer.produce(topic, value, key, headers=ce)
        sent = until
        producer.poll(0)
        time.sleep(_TICK_S)
    if producer.flush(_FLUSH_S):
        message = "the broker did not take all payments"
        raise broker.CountError(message)
    return due_ns


def main(bootstrap_servers: str, topic: str, count: str, file: str) -> None:
    """Read a topic from its end on until so many records came, and write when each was read."""
    kafka = broker.kafka_settings(bootstrap_servers)
    consumer = reader(kafka)
    places = [TopicPartition(topic, partition) for partition in range(kafka.partitions)]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=_WAIT_S)[1]
    consumer.assign(places)
    consumer.consume(1, 0.1)
    ready(Path(file)).touch()
    values: list[tuple[bytes, int]] = []
    quiet_from_s = 0.0
    while len(values) < int(count):
        # `consume` alone would wait for so many records or to the end of its time.
        first = consumer.poll(0.05)
        found = [] if first is None else [first, *consumer.consume(_READ_AT_ONCE, 0)]
        now_ns = time.monotonic_ns()
        values += [(message.value() or b"", now_ns) for message in found if message.error() is None]
        if found or not values:
            quiet_from_s = time.monotonic()
        elif time.monotonic() - quiet_from_s > _QUIET_S:
            break
    consumer.close()
    decode = msgspec.json.Decoder(_Answer).decode
    answers = [(decode(value), read_ns) for value, read_ns in values]
    columns = [
        [answer.transaction_id for answer, _ in answers],
        [answer.card_token for answer, _ in answers],
        [answer.action for answer, _ in answers],
        [read_ns for _, read_ns in answers],
    ]
    unfinished = Path(file).with_suffix(".tmp")
    pq.write_table(pa.table(columns, schema=_SCHEMA), unfinished)
    unfinished.replace(file)


def ready(file: Path) -> Path:
    """What a reader that writes `file` makes when it reads."""
    return file.with_suffix(".ready")


if __name__ == "__main__":
    main(*sys.argv[1:])
