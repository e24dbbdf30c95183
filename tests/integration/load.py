"""Payments of a simulated world, sent by a thread of its own until they end or are told to."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

from cardwatch.simulator.kafka import Sender
from streams.plain_consumer import ends_of, plain_consumer
from streams.records import TopicPartition
from streams.topics import DECISIONS
from tests.streams.kafka_world import PARTITIONS, World


class SimulatedLoad(threading.Thread, ABC):
    """Sends what `_play` plays.

    Attributes:
        failure: what went wrong in the thread.
    """

    def __init__(self, servers: str, options: Mapping[str, str] | None = None) -> None:
        """Nothing is sent yet.

        Args:
            servers: of Kafka.
            options: more settings for librdkafka.
        """
        super().__init__(name="load")
        self._end = threading.Event()
        self._sender = Sender(servers, options=options)
        self.failure: BaseException | None = None

    @property
    def acknowledged(self) -> int:
        """Payments that Kafka has."""
        return self._sender.delivery.acknowledged

    def run(self) -> None:
        """Send; what goes wrong is raised by `finish`."""
        try:
            self._play()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            self.failure = error

    def finish(self) -> None:
        """End when Kafka has everything."""
        self._end.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    @abstractmethod
    def _play(self) -> None:
        """Send through `_sender`, until `_end` is set."""


def decisions(world: World) -> int:
    """How many there are, copies included."""
    consumer = plain_consumer(world.settings, "count")
    try:
        spans = ends_of(consumer, {TopicPartition(DECISIONS, number): 0 for number in range(PARTITIONS)}, 30.0)
        return sum(len(span) for span in spans.values())
    finally:
        consumer.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
