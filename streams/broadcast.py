"""What every worker must know: models, control directives and card states, read whole by each.

A plain consumer in a thread of its own reads all partitions from the beginning and goes on for ever. What it read is
taken at batch boundaries, so that a batch sees one state of the world.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from streams.errors import BroadcastError
from streams.plain_consumer import ends_of, read_record
from streams.reader_thread import ReaderThread
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.topics import MODELS

_POLL_S = 0.1
_FETCH_RECORDS = 1000
_METADATA_TIMEOUT_S = 10.0
# What may wait to be taken; beyond it the thread waits, and Kafka keeps the rest.
_WAITING_RECORDS = 100_000


class Broadcast(ReaderThread):
    """Reads some topics from their beginning, for ever."""

    def __init__(self, topics: tuple[str, ...], settings: StreamSettings) -> None:
        """Prepare to read `topics`; nothing connects before `start`."""
        super().__init__("broadcast", ", ".join(topics), settings)
        self._topics = topics
        self._waiting: deque[ReadRecord] = deque()
        self._caught_up = threading.Event()

    def wait_caught_up(self) -> None:
        """Return when everything is read that was there at the start; blocks.

        Raises:
            BroadcastError: it could not be read in `recovery_timeout_s`.
        """
        deadline_s = time.monotonic() + self._settings.recovery_timeout_s
        while not self._caught_up.wait(_POLL_S):
            self._raise_failure()
            if time.monotonic() > deadline_s:
                message = f"{self._subject} could not be read to their ends in time"
                raise BroadcastError(message)
        self._raise_failure()

    def take(self) -> list[ReadRecord]:
        """What was read since the last call, in order; of models only the last.

        Raises:
            BroadcastError: reading has failed.
        """
        self._raise_failure()
        taken: list[ReadRecord] = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        models = [record for record in taken if record.topic == MODELS]
        return [record for record in taken if record.topic != MODELS] + models[-1:]

    def _read(self, consumer: Consumer) -> None:
        """See `ReaderThread`."""
        ends = self._assign(consumer)
        while not self._closing.is_set():
            for message in consumer.consume(_FETCH_RECORDS, timeout=_POLL_S):
                self._waiting.append(read_record(message))
            if ends and not self._caught_up.is_set():
                places = consumer.position([KafkaPartition(*partition) for partition in ends])
                passed = {TopicPartition(place.topic, place.partition): place.offset for place in places}
                ends = {partition: end for partition, end in ends.items() if passed[partition] < end}
            if not ends:
                self._caught_up.set()
            while len(self._waiting) > _WAITING_RECORDS and not self._closing.wait(_POLL_S):
                pass

    def _assign(self, consumer: Consumer) -> dict[TopicPartition, int]:
        """Start at the beginning of every partition; returns where each non-empty one ends now."""
        starts: dict[TopicPartition, int] = {}
        for topic in self._topics:
            found = consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
            starts |= {TopicPartition(topic, partition): 0 for partition in found.partitions}
        spans = ends_of(consumer, starts, self._settings.recovery_timeout_s)
        consumer.assign([KafkaPartition(*partition, span.start) for partition, span in spans.items()])
        return {partition: span.stop for partition, span in spans.items() if span}
