"""Following the topic of rows of shared entities: chosen partitions, each from a chosen offset, for ever."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from streams.plain_consumer import read_record
from streams.reader_thread import ReaderThread
from streams.records import ReadRecord
from streams.settings import StreamSettings
from streams.topics import ENTITY_ROWS

_POLL_S = 0.05
_FETCH_RECORDS = 200
# How often it is noted where the partitions end; the last answers to fetches say it, so nothing is asked.
_ENDS_EVERY_S = 0.5
# What may wait to be taken; beyond it the thread waits, and Kafka keeps the rest.
_WAITING_BYTES = 64 << 20


class _Course(NamedTuple):
    """What is followed since some moment; records of an earlier course are not wanted any more."""

    number: int
    positions: Mapping[int, int]


class _Ends(NamedTuple):
    """Where partitions end, as far as is known in a course."""

    course: int
    offsets: Mapping[int, int]


class RowFollower(ReaderThread):
    """Reads in a thread of its own; what it read waits to be taken."""

    def __init__(self, settings: StreamSettings) -> None:
        """Prepare; nothing connects before `start`."""
        super().__init__("entity-rows", ENTITY_ROWS, settings)
        self._course = _Course(0, {})
        self._ends = _Ends(0, {})
        self._waiting: deque[tuple[int, ReadRecord]] = deque()
        # Each is changed by one thread only.
        self._read_bytes = 0
        self._taken_bytes = 0

    def follow(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, instead of what was followed; what waits is forgotten."""
        self._course = _Course(self._course.number + 1, dict(positions))

    def take(self) -> ReadRecord | None:
        """The next record that waits.

        Raises:
            BroadcastError: reading has failed.
        """
        self._raise_failure()
        while self._waiting:
            number, record = self._waiting.popleft()
            self._taken_bytes += len(record.value or b"")
            if number == self._course.number:
                return record
        return None

    def ends(self) -> Mapping[int, int]:
        """The next offset of each partition that is followed, by the last fetch; without those not fetched yet."""
        ends = self._ends
        return ends.offsets if ends.course == self._course.number else {}

    def _read(self, consumer: Consumer) -> None:
        """See `ReaderThread`."""
        assigned, noted_s = 0, 0.0
        while not self._closing.is_set():
            course = self._course
            if course.number != assigned:
                self._assign(consumer, course)
                assigned, noted_s = course.number, 0.0
            if time.monotonic() - noted_s > _ENDS_EVERY_S:
                self._ends, noted_s = _Ends(assigned, self._known_ends(consumer, course)), time.monotonic()
            if not course.positions or self._read_bytes - self._taken_bytes > _WAITING_BYTES:
                self._closing.wait(_POLL_S)
                continue
            for message in consumer.consume(_FETCH_RECORDS, timeout=_POLL_S):
                record = read_record(message)
                self._read_bytes += len(record.value or b"")
                self._waiting.append((assigned, record))

    @staticmethod
    def _assign(consumer: Consumer, course: _Course) -> None:
        """Go over to another course."""
        places = [KafkaPartition(ENTITY_ROWS, number, at) for number, at in course.positions.items()]
        if places:
            consumer.assign(places)
        else:
            consumer.unassign()

    @staticmethod
    def _known_ends(consumer: Consumer, course: _Course) -> dict[int, int]:
        """What the last answers to fetches said of the ends of partitions."""
        places = (KafkaPartition(ENTITY_ROWS, number) for number in course.positions)
        ends = {place.partition: consumer.get_watermark_offsets(place, cached=True)[1] for place in places}
        return {number: end for number, end in ends.items() if end >= 0}
