"""Where a source partition goes on, against what its log still holds: nothing is skipped without being told.

Kafka answers a wrong offset by its reset policy and says nothing. A topic that was made anew counts from zero, so what
comes below our position would pass for known; records that Kafka has removed before they were read are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from streams.checkpoint_format import Position
from streams.cluster import ClusterFacts
from streams.errors import ClusterError, TopicError
from streams.records import TopicPartition
from streams.topics import LABELS, TRANSACTIONS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to go on reading.

    Attributes:
        starts: the first offset to read of each source.
        lost: by topic, how many offsets lie between where we were and what Kafka still holds.
    """

    starts: Mapping[TopicPartition, int]
    lost: Mapping[str, int]

    def position(self, partition: int) -> Position:
        """Of a source partition."""
        return Position(
            self.starts[TopicPartition(TRANSACTIONS, partition)], self.starts[TopicPartition(LABELS, partition)]
        )


def place_sources(wanted: Mapping[TopicPartition, int], spans: Mapping[TopicPartition, range]) -> Sources:
    """Compare positions with the logs.

    Args:
        wanted: positions of the checkpoints; 0 without one.
        spans: of each source, what Kafka holds from there on.

    Raises:
        TopicError: a log ends before our position.
    """
    lost: dict[str, int] = {}
    for source, position in wanted.items():
        span = spans[source]
        if span.stop < position:
            message = (
                f"{source.topic} partition {source.partition} ends at offset {span.stop}, its checkpoint is at "
                f"{position}: the topic was made anew or lost its end; name another checkpoint folder to start with "
                "the topic as it is now"
            )
            raise TopicError(message)
        if position and span.start > position:
            logger.error(
                "%s partition %d: offsets %d to %d were removed by Kafka before they were read",
                source.topic, source.partition, position, span.start - 1,
            )  # fmt: skip
            lost[source.topic] = lost.get(source.topic, 0) + span.start - position
    return Sources({source: spans[source].start for source in wanted}, lost)


def require_unchanged(before: ClusterFacts, now: ClusterFacts) -> None:
    """Refuse to go on where the cluster or a topic is another one than at the start.

    Raises:
        ClusterError: the servers belong to another cluster now.
        TopicError: a topic was made anew, or has another number of partitions.
    """
    if now.cluster_id != before.cluster_id:
        message = f"the Kafka servers belong to cluster {now.cluster_id} now, at the start it was {before.cluster_id}"
        raise ClusterError(message)
    for topic, topic_id in before.topic_ids.items():
        if now.topic_ids.get(topic, topic_id) != topic_id:
            message = f"topic {topic} was made anew while this worker ran: its offsets count from zero again"
            raise TopicError(message)
    if now.partitions != before.partitions:
        message = f"topics keyed by card have {now.partitions} partitions now, and had {before.partitions} at the start"
        raise TopicError(message)
