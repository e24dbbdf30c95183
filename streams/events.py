"""Records on their way out, and the CloudEvents headers they carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

# As librdkafka takes them.
HeaderList = list[tuple[str, str | bytes | None]]
SPECIFICATION = b"1.0"
ID_HEADER, TIME_HEADER = "ce_id", "ce_time"
# W3C Trace Context.
TRACE_HEADER = "traceparent"
# Kafka's timestamp of the payment that an alert is about.
RECORD_TIME_HEADER = "source_timestamp_ms"


class Outgoing(NamedTuple):
    """One record to be produced.

    Attributes:
        topic, partition: where it goes; without a partition, Kafka's own partitioner of keys chooses it.
        key, value: bytes.
        headers: in order.
    """

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: HeaderList = []  # noqa: RUF012 - never changed: headers are built, not appended to


def iso_time(now_ms: int) -> str:
    """UTC epoch milliseconds as RFC 3339."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(iso: str) -> int:
    """The inverse of `iso_time`.

    Raises:
        ValueError: it is no RFC 3339 time.
    """
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def cloud_event(
    event_id: str, event_type: str, source: str, now_ms: int, traceparent: bytes | None = None
) -> HeaderList:
    """CloudEvents 1.0 headers in Kafka's binary mode.

    Args:
        event_id: the same for every copy of the same event.
        event_type: what happened.
        source: who says so, as a URI reference.
        now_ms: when.
        traceparent: W3C trace context to pass on.
    """
    headers: HeaderList = [
        (ID_HEADER, event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        (TIME_HEADER, iso_time(now_ms).encode()),
        ("ce_specversion", SPECIFICATION),
    ]
    if traceparent is not None:
        headers.append((TRACE_HEADER, traceparent))
    return headers
