"""Dead letters: records put aside, with the reason and their origin in headers and card numbers taken out."""

from __future__ import annotations

from collections.abc import Mapping

from streams.card_numbers import redact_bytes, redact_headers, redact_text
from streams.events import HeaderList, Outgoing, cloud_event
from streams.metrics import StreamMetrics
from streams.producer import Producer
from streams.records import TopicPartition
from streams.rejections import Rejected
from streams.topics import DEAD_LETTERS

REASON_HEADER, DETAIL_HEADER = "reason", "detail"
# "1" where something was taken out, so that this is not the record that came; "0" where it is.
ALTERED_HEADER = "altered"
_TYPE = "cardwatch.dead_letter.v1"
_SOURCE = "/cardwatch/streams"
_TOPIC_HEADER, _PARTITION_HEADER, _OFFSET_HEADER = "source_topic", "source_partition", "source_offset"
ORIGINAL = "original_"


def dead_letter(rejected: Rejected, source: TopicPartition, now_ms: int) -> Outgoing:
    """Make the record for `payments.transactions.dlq.v1`, in the partition of the source."""
    record = rejected.record
    key, value, kept = redact_bytes(record.key), redact_bytes(record.value), redact_headers(record.headers)
    altered = (key, value, kept) != (record.key, record.value, list(record.headers))
    event_id = f"{source.topic}/{source.partition}/{record.offset}"
    headers: HeaderList = [
        (REASON_HEADER, rejected.reason.value.encode()),
        (DETAIL_HEADER, redact_text(rejected.detail).encode()),
        (_TOPIC_HEADER, source.topic.encode()),
        (_PARTITION_HEADER, str(source.partition).encode()),
        (_OFFSET_HEADER, str(record.offset).encode()),
        ("source_timestamp_ms", str(record.timestamp).encode()),
        *cloud_event(event_id, _TYPE, _SOURCE, now_ms),
        (ALTERED_HEADER, b"1" if altered else b"0"),
        *((ORIGINAL + name, content) for name, content in kept),
    ]
    return Outgoing(DEAD_LETTERS, source.partition, key, value, headers)


def origin_of(headers: Mapping[str, bytes | None]) -> tuple[TopicPartition, int] | None:
    """Where a dead letter's record stood; None where the headers are not ours."""
    topic, partition, offset = (headers.get(name) for name in (_TOPIC_HEADER, _PARTITION_HEADER, _OFFSET_HEADER))
    if not (topic and partition and offset and partition.isdigit() and offset.isdigit()):
        return None
    return TopicPartition(topic.decode(), int(partition)), int(offset)


async def put_aside(
    rejected: list[Rejected],
    source: TopicPartition,
    known: set[tuple[str, int]],
    producer: Producer,
    metrics: StreamMetrics,
    now_ms: int,
) -> None:
    """Send dead letters, but for those that are `known` to be there already."""
    for item in rejected:
        metrics.dead_letters.labels(item.reason.value).inc()
        if (source.topic, item.record.offset) not in known:
            await producer.send(dead_letter(item, source, now_ms))
