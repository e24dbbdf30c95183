"""Records as they come from Kafka, before anything is known of their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes | None]]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class RawRecord(Protocol):
    """What every client's record has; aiokafka's record has it without being copied."""

    @property
    def offset(self) -> int:
        """Place in its partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Kafka's timestamp, UTC epoch milliseconds; negative where the record has none."""
        ...

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The record's value."""
        ...

    @property
    def headers(self) -> Headers:
        """The record's headers, in order."""
        ...


def from_offset(records: Sequence[RawRecord], offset: int) -> Sequence[RawRecord]:
    """Those records, in offset order and not empty, that are not below an offset."""
    return records if records[0].offset >= offset else [record for record in records if record.offset >= offset]


class ReadRecord(NamedTuple):
    """A record that was read by one of our own plain consumers."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
