"""Following the topic of rows of shared entities: chosen partitions, each from a chosen offset, for ever."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streams.errors import BroadcastError
from streams.plain_consumer import plain_consumer, read_record
from streams.records import ReadRecord
from streams.settings import StreamSettings
from streams.topics import ENTITY_ROWS

_POLL_S = 0.05
_FETCH_RECORDS = 200
# What may wait to be taken; beyond it the thread waits, and Kafka keeps the rest.
_WAITING_BYTES = 64 << 20

logger = logging.getLogger(__name__)


class _Course(NamedTuple):
    """What is followed since some moment; records of an earlier course are not wanted any more."""

    number: int
    positions: Mapping[int, int]


class RowFollower:
    """Reads in a thread of its own; what it read waits to be taken."""

    def __init__(self, settings: StreamSettings) -> None:
        """Prepare; nothing connects before `start`."""
        self._settings = settings
        self._course = _Course(0, {})
        self._waiting: deque[tuple[int, ReadRecord]] = deque()
        # Each is changed by one thread only.
        self._read_bytes = 0
        self._taken_bytes = 0
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="entity rows", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def follow(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, instead of what was followed; what waits is forgotten."""
        self._course = _Course(self._course.number + 1, dict(positions))

    def take(self) -> ReadRecord | None:
        """The next record that waits.

        Raises:
            BroadcastError: reading has failed.
        """
        if self._failure is not None:
            message = f"cannot read {ENTITY_ROWS}"
            raise BroadcastError(message) from self._failure
        while self._waiting:
            number, record = self._waiting.popleft()
            self._taken_bytes += len(record.value or b"")
            if number == self._course.number:
                return record
        return None

    def close(self) -> None:
        """Stop reading; blocks until the thread has ended."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        """Read until closed."""
        consumer = plain_consumer(self._settings, "entity-rows")
        assigned = 0
        try:
            while not self._closing.is_set():
                course = self._course
                if course.number != assigned:
                    self._assign(consumer, course)
                    assigned = course.number
                if not course.positions or self._read_bytes - self._taken_bytes > _WAITING_BYTES:
                    self._closing.wait(_POLL_S)
                    continue
                for message in consumer.consume(_FETCH_RECORDS, timeout=_POLL_S):
                    record = read_record(message)
                    self._read_bytes += len(record.value or b"")
                    self._waiting.append((assigned, record))
        except KafkaException as error:
            self._failure = error
            logger.exception("reading %s ended", ENTITY_ROWS)
        finally:
            consumer.close()

    @staticmethod
    def _assign(consumer: Consumer, course: _Course) -> None:
        """Go over to another course."""
        places = [KafkaPartition(ENTITY_ROWS, number, at) for number, at in course.positions.items()]
        if places:
            consumer.assign(places)
        else:
            consumer.unassign()
