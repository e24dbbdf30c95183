"""Reading without a group: chosen partitions, from chosen offsets, by a plain librdkafka consumer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from streams.producer import client_options
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.topics import MAXIMUM_RECORD_BYTES

logger = logging.getLogger(__name__)
_FETCH_RECORDS = 2000
_POLL_S = 0.2
# A poll ends early only with as many records as it may bring: what ends within it waits for its end.
_TAIL_POLL_S = 0.02
_ASK_TIMEOUT_S = 5.0
_EMBEDDED_FETCH_WAIT_MS, _FETCH_WAIT_MS = 10, 500


def plain_options(settings: StreamSettings) -> dict[str, Any]:
    """How every consumer of ours is set up: from the beginning, and nothing is committed behind our back."""
    return {
        **client_options(settings),
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": False,
        "fetch.message.max.bytes": MAXIMUM_RECORD_BYTES,
        "fetch.wait.max.ms": _EMBEDDED_FETCH_WAIT_MS if settings.embedded else _FETCH_WAIT_MS,
    }


def plain_consumer(settings: StreamSettings, purpose: str) -> Consumer:
    """A consumer that joins no group and commits nothing."""
    # librdkafka wants a name, although nothing is ever committed under it.
    group = {"group.id": f"{settings.group_prefix}-{purpose}-unused"}
    return Consumer(plain_options(settings) | group, logger=logger)


def read_record(message: Message) -> ReadRecord:
    """Take a record out of its message.

    Raises:
        KafkaException: the message is an error.
    """
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return ReadRecord(
        str(message.topic()),
        int(message.partition() or 0),
        int(message.offset() or 0),
        int(message.timestamp()[1]),
        message.key(),
        message.value(),
        tuple((name, data.encode() if isinstance(data, str) else data) for name, data in pairs),
    )


def ends_of(consumer: Consumer, starts: Mapping[TopicPartition, int], timeout_s: float) -> dict[TopicPartition, range]:
    """Offsets from each start (or the first that is kept) to the end that each partition has now.

    Raises:
        KafkaException: a broker does not answer in time.
    """
    deadline_s = time.monotonic() + timeout_s
    spans: dict[TopicPartition, range] = {}
    for partition, start in starts.items():
        low, high = _watermarks(consumer, partition, deadline_s)
        spans[partition] = range(min(max(start, low), high), high)
    return spans


def _watermarks(consumer: Consumer, partition: TopicPartition, deadline_s: float) -> tuple[int, int]:
    """Ask the broker for the first and the next offset of a partition; while its leader moves, ask again."""
    while True:
        try:
            return consumer.get_watermark_offsets(KafkaPartition(*partition), timeout=_ASK_TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)


def read_to(consumer: Consumer, spans: Mapping[TopicPartition, range], timeout_s: float) -> Iterator[ReadRecord]:
    """Read every partition from its start to its end, in the order in which records come.

    Raises:
        KafkaException: a record could not be read.
        TimeoutError: nothing came for `timeout_s`.
    """
    waiting = {partition: span for partition, span in spans.items() if span}
    if not waiting:
        return
    consumer.assign([KafkaPartition(*partition, span.start) for partition, span in waiting.items()])
    deadline_s = time.monotonic() + timeout_s
    while waiting:
        for message in consumer.consume(_FETCH_RECORDS, timeout=_TAIL_POLL_S):
            deadline_s = time.monotonic() + timeout_s
            record = read_record(message)
            partition = TopicPartition(record.topic, record.partition)
            span = spans[partition]
            if record.offset in span:
                yield record
            if record.offset >= span.stop - 1:
                waiting.pop(partition, None)
        # The end of a compacted or transactional log may hold no record: the position says that it was passed.
        for place in consumer.position([KafkaPartition(*partition) for partition in waiting]):
            partition = TopicPartition(place.topic, place.partition)
            if place.offset >= spans[partition].stop:
                waiting.pop(partition, None)
        if time.monotonic() > deadline_s:
            message_text = f"nothing came for {timeout_s:.0f} s from {len(waiting)} partitions"
            raise TimeoutError(message_text)
