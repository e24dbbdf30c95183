"""Reading topics of ours from a moment on, up to where they end now."""

from __future__ import annotations

from collections.abc import Generator

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streams.errors import BroadcastError
from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.topics import CARD_STATES

_METADATA_TIMEOUT_S = 10.0


def read_since(settings: StreamSettings, topics: tuple[str, ...], since_ms: int) -> Generator[ReadRecord, None, None]:
    """Read every partition of some topics, each in its order; blocks while it reads.

    Args:
        settings: how to reach Kafka, and for how long to wait for a record.
        topics: which.
        since_ms: the Kafka timestamp from which on to read; 0 reads everything. The embedded broker knows no times:
            there everything is read.

    Raises:
        BroadcastError: they cannot be read to their ends.
    """
    consumer = plain_consumer(settings, "tail")
    try:
        places = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic].partitions
        ]
        starts = dict.fromkeys(places, 0)
        if since_ms > 0 and not settings.embedded:
            asked = [KafkaPartition(*place, since_ms) for place in places]
            found = consumer.offsets_for_times(asked, timeout=settings.recovery_timeout_s)
            # Where nothing is so young the answer is the end, or negative.
            starts = {
                TopicPartition(place.topic, place.partition): place.offset if place.offset >= 0 else 2**62
                for place in found
            }
        yield from read_to(
            consumer, ends_of(consumer, starts, settings.recovery_timeout_s), settings.recovery_timeout_s
        )
    except (KafkaException, TimeoutError) as error:
        message = f"{', '.join(topics)} cannot be read to their ends: {error}"
        raise BroadcastError(message) from error
    finally:
        consumer.close()


def knows_cards(settings: StreamSettings) -> bool:
    """Whether anything was ever told of a card's state; blocks.

    Raises:
        BroadcastError: Kafka does not say.
    """
    consumer = plain_consumer(settings, "tail")
    try:
        found = consumer.list_topics(CARD_STATES, timeout=_METADATA_TIMEOUT_S).topics[CARD_STATES]
        starts = {TopicPartition(CARD_STATES, partition): 0 for partition in found.partitions}
        return any(ends_of(consumer, starts, settings.recovery_timeout_s).values())
    except KafkaException as error:
        message = f"{CARD_STATES} cannot be looked at: {error}"
        raise BroadcastError(message) from error
    finally:
        consumer.close()
