"""What must be true of the cluster before a role starts: topics there are, partitions that fit, ids to remember."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.errors import TopicError
from streams.producer import Producer, client_options
from streams.settings import StreamSettings
from streams.topics import TOPICS_BY_NAME

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was found.

    Attributes:
        cluster_id: Kafka's id of the cluster.
        topic_ids: Kafka's ids of topics, by name; empty where the broker does not tell.
        partitions: number of partitions of topics keyed by card token.
    """

    cluster_id: str
    topic_ids: dict[str, str]
    partitions: int


def look_at(topics: tuple[str, ...], producer: Producer, settings: StreamSettings) -> ClusterFacts:
    """Check the topics of a role; blocks.

    Raises:
        TopicError: a topic is missing, or its number of partitions is not the configured one. The embedded broker
            makes topics as it likes, so there they only have to agree.
    """
    keyed = {topic: producer.partitions_of(topic) for topic in topics if TOPICS_BY_NAME[topic].partitions is None}
    for topic in topics:
        if topic not in keyed:
            producer.partitions_of(topic)
    partitions = settings.partitions if not settings.embedded else next(iter(keyed.values()), settings.partitions)
    for topic, found in keyed.items():
        if found != partitions:
            message = (
                f"topic {topic} has {found} partitions, the configuration says {partitions}; topics keyed by card "
                "must have the same number, and it must not change while state is kept"
            )
            raise TopicError(message)
    topic_ids = {} if settings.embedded else _topic_ids(topics, settings)
    return ClusterFacts(producer.cluster_id(), topic_ids, partitions)


def _topic_ids(topics: tuple[str, ...], settings: StreamSettings) -> dict[str, str]:
    """Kafka's ids of topics; older brokers do not tell."""
    admin = AdminClient(client_options(settings))
    try:
        described = admin.describe_topics(TopicCollection(list(topics)), request_timeout=_TIMEOUT_S)
        return {topic: str(future.result().topic_id) for topic, future in described.items()}
    except KafkaException:
        return {}
