"""Reading records of a topic as an outsider would: from where it ends now, one partition or all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from cardwatch import kafka
from cardwatch.settings import KafkaSettings

_TIMEOUT_S = 10.0
_POLL_S = 0.05
_RECORDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was read."""

    partition: int
    offset: int
    value: bytes

    def fields(self) -> dict[str, Any]:
        """The members of its JSON object; none where it is something else."""
        try:
            content = json.loads(self.value)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


class TopicReader:
    """Follows a topic from its present end; belongs to no group and commits nothing."""

    def __init__(self, settings: KafkaSettings, topic: str, back: int = 0) -> None:
        """Note where every partition ends now.

        Args:
            settings: the broker.
            topic: name of the topic.
            back: begin so many records before the ends.

        Raises:
            confluent_kafka.KafkaException: the broker does not answer.
        """
        self._consumer = kafka.reader(settings)
        partitions = kafka.look_at(settings).partitions.get(topic, 0)
        places = []
        for partition in range(partitions):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            places.append(TopicPartition(topic, partition, max(low, high - back)))
        self._consumer.assign(places)

    def read(self) -> Iterator[Seen]:
        """What has come since the last call."""
        for message in self._consumer.consume(_RECORDS_AT_ONCE, timeout=_POLL_S):
            if message.error() is None:
                yield Seen(message.partition() or 0, message.offset() or 0, bytes(message.value() or b""))

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()
