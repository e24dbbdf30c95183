"""What commands do with the topic of models: read the versions that are kept, and write one."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException, Producer, TopicPartition

from cardwatch import kafka
from cardwatch.errors import ServiceError
from cardwatch.settings import KafkaSettings
from detector.errors import ModelError
from detector.models import ModelVersion
from streams.model_log import KEPT_VERSIONS, model_key
from streams.topics import MAXIMUM_RECORD_BYTES, MODELS

_TIMEOUT_S = 10.0
_READ_WITHIN_S = 30.0
_SEND_WITHIN_S = 30.0


def versions_kept(settings: KafkaSettings) -> list[ModelVersion]:
    """The versions that the topic holds, oldest first, at most twenty; records that are no models are left out.

    Raises:
        ServiceError: Kafka does not answer.
    """
    consumer = kafka.reader(settings)
    found: list[ModelVersion] = []
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(MODELS, 0), timeout=_TIMEOUT_S)
        start = max(low, high - KEPT_VERSIONS)
        consumer.assign([TopicPartition(MODELS, 0, start)])
        deadline_s = time.monotonic() + _READ_WITHIN_S
        position = start
        while position < high and time.monotonic() < deadline_s:
            for message in consumer.consume(KEPT_VERSIONS, timeout=0.2):
                if message.error() is None and (message.offset() or 0) < high:
                    found += _version_of(bytes(message.value() or b""))
            # The end of a compacted log may hold no record: the position says that it was passed.
            position = max(start, consumer.position([TopicPartition(MODELS, 0)])[0].offset)
    except KafkaException as error:
        message_text = f"cannot read {MODELS}: {error.args[0]}"
        raise ServiceError(message_text) from None
    finally:
        consumer.close()
    return found


def _version_of(value: bytes) -> list[ModelVersion]:
    """The version in a record, if it is one."""
    try:
        return [ModelVersion.from_bytes(value)]
    except ModelError:
        return []


def write_version(settings: KafkaSettings, version: ModelVersion) -> None:
    """Write a version behind all others: scorers take it at once, the learner goes on from it.

    Raises:
        ServiceError: Kafka does not answer, or does not take it.
    """
    refused: list[str] = []
    options = kafka.client_options(settings)
    producer = Producer(options | {"enable.idempotence": True, "message.max.bytes": MAXIMUM_RECORD_BYTES})
    producer.produce(
        MODELS,
        version.to_bytes(),
        model_key(version.name),
        0,
        on_delivery=lambda error, _record: refused.append(error.name()) if error else None,
    )
    if producer.flush(_SEND_WITHIN_S) or refused:
        message = f"Kafka did not take model {version.name}: {', '.join(refused) or 'no answer'}"
        raise ServiceError(message)
