"""The topic of examples, read back: what river's models must learn again when a learner starts, for nothing holds them.

It is bounded: they learn slowly, and a learner that starts must go on. Of more examples the latest are learned.
"""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException

from detector.errors import ModelError
from detector.examples import Examples
from streams.errors import RecoveryError
from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import TopicPartition
from streams.settings import StreamSettings
from streams.topics import EXAMPLES

EXAMPLES_PARTITION = TopicPartition(EXAMPLES, 0)
# A second or two of river's logistic regression, some minutes of its forests.
RELIVED_EXAMPLES = 100_000
_RELIVED_RECORDS = 10_000

logger = logging.getLogger(__name__)


def examples_before(settings: StreamSettings, stop: int, most: int = RELIVED_EXAMPLES) -> list[Examples]:
    """Read the latest examples below an offset, those without labels left out; blocks.

    Args:
        settings: how to reach Kafka, and for how long to try.
        stop: the offset below which they are.
        most: labelled examples; the earliest beyond them are left out.

    Returns:
        In the order of the log, as they stand in its records.

    Raises:
        RecoveryError: the topic could not be read.
    """
    consumer = plain_consumer(settings, "examples")
    found: list[Examples] = []
    held = 0
    try:
        span = ends_of(consumer, {EXAMPLES_PARTITION: 0}, settings.recovery_timeout_s)[EXAMPLES_PARTITION]
        wanted = range(max(span.start, stop - _RELIVED_RECORDS), min(span.stop, stop))
        for record in read_to(consumer, {EXAMPLES_PARTITION: wanted}, settings.recovery_timeout_s):
            try:
                examples = Examples.from_bytes(record.value or b"").labelled()
            except ModelError as error:
                logger.warning("examples at offset %d passed over: %s", record.offset, error)
                continue
            found.append(examples)
            held += len(examples)
            while held - len(found[0]) >= most:
                held -= len(found.pop(0))
    except (KafkaException, TimeoutError) as error:
        message = f"cannot read back examples: {error}"
        raise RecoveryError(message) from error
    finally:
        consumer.close()
    return found
