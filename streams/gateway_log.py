"""The gateway's Kafka: a producer that says where each record landed, and a reader of the newest decisions."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka import TopicPartition as KafkaPartition

from streams.errors import GatewayError
from streams.events import Outgoing
from streams.gateway import DecisionRecord, decode_decision
from streams.plain_consumer import ends_of, plain_consumer, read_record
from streams.producer import client_options
from streams.records import TopicPartition
from streams.settings import StreamSettings
from streams.topics import DECISIONS

logger = logging.getLogger(__name__)
_POLL_S = 0.05
_READ_AT_ONCE = 2000
_RETRY_S = 1.0
_METADATA_TIMEOUT_S = 5.0
# So many records wait in memory while Kafka is away; more are refused at once rather than answered late one by one.
_QUEUE_RECORDS = 20_000


class KafkaGatewayLog:
    """Sends payments and late decisions; hands decisions that somebody waits for to the event loop."""

    def __init__(
        self,
        settings: StreamSettings,
        wants: Callable[[bytes | None], bool],
        seen: Callable[[list[DecisionRecord]], None],
    ) -> None:
        """Connect in the background: Kafka may come later than we do.

        Args:
            settings: how to reach Kafka.
            wants: whether somebody waits for a record key; asked from the reader's thread.
            seen: called on the event loop with decisions, in the order of their logs.
        """
        self._settings = settings
        self._wants, self._seen = wants, seen
        self._loop = asyncio.get_running_loop()
        self._closing, self._following = threading.Event(), threading.Event()
        self._kafka = KafkaProducer(
            {
                **client_options(settings),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": settings.linger_ms,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": _QUEUE_RECORDS,
                "delivery.timeout.ms": int(settings.delivery_timeout_s * 1000),
            },
            logger=logger,
        )
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("gateway-producer", self._serve), ("gateway-reader", self._follow))
        ]
        for thread in self._threads:
            thread.start()

    def send(self, record: Outgoing, on_known: Callable[[int, int], None] | None = None) -> None:
        """See `streams.gateway.GatewayLog`."""
        if not self._following.is_set():
            message = "the decisions cannot be read yet"
            raise GatewayError(message)

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                logger.warning("gateway: %s: %s", record.topic, error.name())
            elif on_known is not None:
                self._on_loop(on_known, message.partition(), message.offset())

        partition = -1 if record.partition is None else record.partition
        try:
            self._kafka.produce(
                record.topic, record.value, record.key, partition, on_delivery=delivered, headers=record.headers
            )
        except BufferError:
            message = f"{_QUEUE_RECORDS} records wait for Kafka"
            raise GatewayError(message) from None
        except KafkaException as error:
            message = f"{record.topic}: {error.args[0].name()}"
            raise GatewayError(message) from error

    def close(self) -> None:
        """Send what is queued, as far as that is quick, and end the threads; blocks."""
        self._closing.set()
        self._kafka.flush(_METADATA_TIMEOUT_S)
        for thread in self._threads:
            thread.join()

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call on the event loop; one that has ended has nobody who waits."""
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _serve(self) -> None:
        """Serve delivery reports."""
        while not self._closing.is_set():
            self._kafka.poll(_POLL_S)

    def _follow(self) -> None:
        """Follow the decisions from where they end now; begin again while Kafka does not answer."""
        consumer = plain_consumer(self._settings, "gateway")
        try:
            while not self._closing.is_set():
                try:
                    self._assign(consumer)
                    self._following.set()
                    while not self._closing.is_set():
                        self._read(consumer)
                except (KafkaException, TimeoutError) as error:
                    # What somebody waits for meanwhile is answered late; the next start is at the new end.
                    self._following.clear()
                    logger.warning("gateway: the decisions cannot be read: %s", error)
                    self._closing.wait(_RETRY_S)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        """Begin where every partition of the decisions ends.

        Raises:
            KafkaException: no broker answers.
            TimeoutError: the topic does not exist yet.
        """
        topic = consumer.list_topics(DECISIONS, timeout=_METADATA_TIMEOUT_S).topics[DECISIONS]
        if topic.error is not None or not topic.partitions:
            message = f"topic {DECISIONS} does not exist"
            raise TimeoutError(message)
        starts = {TopicPartition(DECISIONS, partition): 0 for partition in topic.partitions}
        ends = ends_of(consumer, starts, _METADATA_TIMEOUT_S)
        consumer.assign([KafkaPartition(*partition, span.stop) for partition, span in ends.items()])

    def _read(self, consumer: Consumer) -> None:
        """Hand over what has come. Waiting for the first record alone: a batch would be waited for until it is full."""
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        found = []
        for message in (first, *consumer.consume(_READ_AT_ONCE, timeout=0)):
            record = read_record(message)
            if self._wants(record.key):
                try:
                    found.append(decode_decision(record.value or b""))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    logger.warning("gateway: a record of %s that is no decision", DECISIONS)
        if found:
            self._on_loop(self._seen, found)
