"""Reading as one of a group, at a reader's own pace: what is not done yet may wait for days, and Kafka keeps it.

`streams.seam` ends a worker that does not move, which is right where payments wait. Here a standstill is nothing wrong:
the member says that it lives, and hears of rebalances, while it holds what it has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streams.plain_consumer import plain_options, read_record
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings

_POLL_S = 0.2
# Somebody else owns the partitions by now, and reads them from what was committed before.
_MOVED_ON = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._NO_OFFSET,  # noqa: SLF001 - librdkafka's own codes have no other name
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
    }
)

logger = logging.getLogger(__name__)


class GroupConsumer:
    """A member of a group; every call blocks, and all come from one thread at a time.

    Attributes:
        taken: the partitions that are its own now.
    """

    def __init__(self, settings: StreamSettings, role: str, topics: tuple[str, ...]) -> None:
        """Join the role's group with the first `read`; begin at committed offsets, or at the beginning."""
        self.taken: frozenset[TopicPartition] = frozenset()
        self._holds = False
        self._early: list[ReadRecord] = []
        self._lost: set[TopicPartition] = set()
        self._consumer = Consumer(
            {
                **plain_options(settings),
                "group.id": settings.group(role),
                "session.timeout.ms": round(settings.session_timeout_s * 1000),
                "heartbeat.interval.ms": round(settings.heartbeat_s * 1000),
                "partition.assignment.strategy": "range",
            },
            logger=logger,
        )
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )  # fmt: skip

    def read(self, count: int) -> list[ReadRecord]:
        """What has come, at most so many records; waits a moment for them.

        Raises:
            KafkaException: a record could not be read.
        """
        self._hold(holds=False)
        early, self._early = self._early, []
        return early or [read_record(message) for message in self._consumer.consume(count, _POLL_S)]

    def hold(self) -> None:
        """Stay in the group without reading on; call it again and again, at least every few seconds.

        Raises:
            KafkaException: the group is not to be had.
        """
        self._hold(holds=True)
        message = self._consumer.poll(0)
        if message is not None:
            # It was on its way when the partition was paused.
            self._early.append(read_record(message))

    def take_lost(self) -> set[TopicPartition]:
        """Partitions that were taken away since the last call, be it to be given back at once."""
        lost, self._lost = self._lost, set()
        return lost

    def commit(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Commit the next offsets to read; False where the group has moved on, and others will read from before.

        Raises:
            KafkaException: Kafka does not take it.
        """
        own = [KafkaPartition(*partition, end) for partition, end in ends.items() if partition in self.taken]
        if not own:
            return False
        try:
            self._consumer.commit(offsets=own, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _MOVED_ON:
                raise
            return False
        return len(own) == len(ends)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _hold(self, *, holds: bool) -> None:
        if self._holds != holds:
            self._holds = holds
            partitions = self._consumer.assignment()
            (self._consumer.pause if holds else self._consumer.resume)(partitions)

    def _assigned(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        consumer.assign(partitions)
        self.taken = frozenset(TopicPartition(each.topic, each.partition) for each in partitions)
        logger.info("partitions taken over: %d", len(partitions))
        if self._holds:
            consumer.pause(partitions)

    def _revoked(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        self._lost |= self.taken
        self.taken = frozenset()
        self._early = []
        consumer.unassign()
