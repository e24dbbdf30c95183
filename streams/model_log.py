"""The topic of models: which version is the newest, which are still there, and under which key a version is written.

The newest record acts, whoever wrote it: the learner, or a person with `cardwatch models`. The topic is compacted, and
keys go round, so that the newest twenty versions stay to be gone back to.
"""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaException

from detector.errors import ModelError
from detector.models.version import ModelVersion
from streams.errors import RecoveryError
from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import TopicPartition
from streams.settings import StreamSettings
from streams.topics import MODELS

MODELS_PARTITION = TopicPartition(MODELS, 0)
KEPT_VERSIONS = 20

logger = logging.getLogger(__name__)


def number_of(name: str) -> int:
    """The number in a version's name."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def name_of(number: int) -> str:
    """The name of the version with a number."""
    return f"m-{number:06d}"


def model_key(name: str) -> bytes:
    """The key that a version is written under."""
    return f"model-{number_of(name) % KEPT_VERSIONS}".encode()


def models_end(settings: StreamSettings) -> int:
    """The offset that the next version will have; blocks.

    Raises:
        RecoveryError: the topic could not be read.
    """
    consumer = plain_consumer(settings, "models-end")
    try:
        return ends_of(consumer, {MODELS_PARTITION: 0}, settings.recovery_timeout_s)[MODELS_PARTITION].stop
    except KafkaException as error:
        message = f"cannot see where the models end: {error}"
        raise RecoveryError(message) from error
    finally:
        consumer.close()


def last_version(settings: StreamSettings) -> ModelVersion | None:
    """Read the newest usable model version from Kafka; blocks. None where there is none.

    Raises:
        RecoveryError: the topic could not be read.
    """
    consumer = plain_consumer(settings, "models")
    try:
        found = _kept(consumer, settings.recovery_timeout_s)
        return found[-1] if found else None
    except (KafkaException, TimeoutError) as error:
        message = f"cannot read back the last model: {error}"
        raise RecoveryError(message) from error
    finally:
        consumer.close()


def _kept(consumer: Consumer, timeout_s: float) -> list[ModelVersion]:
    """The last records of the topic that are models, oldest first."""
    span = ends_of(consumer, {MODELS_PARTITION: 0}, timeout_s)[MODELS_PARTITION]
    start = max(span.start, span.stop - KEPT_VERSIONS)
    found: list[ModelVersion] = []
    for record in read_to(consumer, {MODELS_PARTITION: range(start, span.stop)}, timeout_s):
        try:
            found.append(ModelVersion.from_bytes(record.value or b""))
        except ModelError as error:
            logger.warning("model at offset %d passed over: %s", record.offset, error)
    return found
