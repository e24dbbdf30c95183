"""Sending simulated payments to Kafka, keyed and partitioned as payment systems do (murmur2, DESIGN decision 11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from cardwatch.simulator.errors import DeliveryError
from cardwatch.simulator.wire import Record

TOPIC = "payments.transactions.v1"
_SOURCE = b"/cardwatch/simulator"
_TYPE = b"payments.transaction.v1"
_FLUSH_S = 10.0
_QUEUE_FULL_WAIT_S = 0.1


@dataclass(slots=True)
class Delivery:
    """What became of the records: how many the broker has acknowledged, how many it refused, and the last reason."""

    acknowledged: int = 0
    failed: int = 0
    reason: str = ""

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Count one record; librdkafka calls this."""
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1
            self.reason = error.name()


def headers(record: Record) -> list[tuple[str, str | bytes | None]]:
    """CloudEvents headers of a record; its time is the payment's."""
    time = datetime.fromtimestamp(record["event_time_ms"] / 1000, tz=UTC)
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", record["transaction_id"].encode()),
        ("ce_type", _TYPE),
        ("ce_source", _SOURCE),
        ("ce_time", time.isoformat(timespec="milliseconds").encode()),
    ]


class Sender:
    """A producer of payment records; use it in a `with` block, which ends when all is acknowledged."""

    def __init__(self, bootstrap_servers: str, *, topic: str = TOPIC, options: Mapping[str, str] | None = None) -> None:
        """Open a producer.

        Args:
            bootstrap_servers: host:port, separated by commas.
            topic: where to send.
            options: more settings for librdkafka (security, compression).
        """
        self.delivery = Delivery()
        self._topic = topic
        self._encoder = msgspec.json.Encoder()
        self._producer = Producer(
            {
                "linger.ms": 2,
                **(options or {}),
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
            }
        )

    def __enter__(self) -> Self:
        """Enter the block."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Wait for what is under way.

        Raises:
            DeliveryError: the broker did not acknowledge every record.
        """
        left = self._producer.flush(_FLUSH_S)
        if left or self.delivery.failed:
            reason = self.delivery.reason or "no answer from the broker"
            message = f"{left + self.delivery.failed} records were not acknowledged: {reason}"
            raise DeliveryError(message)

    def send(self, records: Iterable[Record]) -> None:
        """Send records; waits while librdkafka's queue is full."""
        for record in records:
            value, key, ce = self._encoder.encode(record), record["card_token"].encode(), headers(record)
            while True:
                try:
                    self._producer.produce(self._topic, value, key, headers=ce, on_delivery=self.delivery.report)
                    break
                except BufferError:
                    self._producer.poll(_QUEUE_FULL_WAIT_S)
        self._producer.poll(0)
