"""The topics: names, what they are keyed by, how many partitions they have, and what Kafka shall keep of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TRANSACTIONS = "payments.transactions.v1"
DEAD_LETTERS = "payments.transactions.dlq.v1"
DECISIONS = "fraud.decisions.v1"
ALERTS = "fraud.alerts.v1"
LABELS = "fraud.labels.v1"
CARD_STATES = "cards.state.v1"
CARD_ORDERS = "cards.orders.v1"
CASES = "fraud.cases.v1"
NOTIFICATIONS = "fraud.notifications.v1"
EXAMPLES = "cardwatch.examples.v1"
MODELS = "cardwatch.models.v1"
CONTROL = "cardwatch.control.v1"
ENTITY_ROWS = "cardwatch.entity-rows.v1"
AUDIT = "cardwatch.audit.v1"
ACCESS = "cardwatch.access.v1"

_DAY_MS = 24 * 3600 * 1000
# A model version, or the examples of one batch, must fit into one record. The largest version of the shipped
# configuration has about 3 MB; librdkafka's mock cluster keeps 5 MiB a partition.
MAXIMUM_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What one topic must look like.

    Attributes:
        name: its name.
        partitions: fixed number of partitions; None for topics keyed by card token, which all have the configured
            number, so that partition p of one belongs to partition p of the other.
        compacted: Kafka keeps the last record of each key, for ever.
        retention_ms: how long records are kept where the topic is not compacted.
        large_records: records may have up to `MAXIMUM_RECORD_BYTES`.
    """

    name: str
    partitions: int | None = None
    compacted: bool = False
    retention_ms: int = 7 * _DAY_MS
    large_records: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    def partition_count(self, keyed_partitions: int) -> int:
        """Partitions this topic has where keyed topics have `keyed_partitions`."""
        return keyed_partitions if self.partitions is None else self.partitions

    def kafka_settings(self) -> dict[str, str]:
        """Topic settings in Kafka's own names."""
        settings = {"cleanup.policy": "compact"} if self.compacted else {"retention.ms": str(self.retention_ms)}
        if self.large_records:
            settings["max.message.bytes"] = str(MAXIMUM_RECORD_BYTES)
        return settings | dict(self.extra)


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(TRANSACTIONS),
    TopicSpec(DEAD_LETTERS, retention_ms=30 * _DAY_MS),
    TopicSpec(DECISIONS),
    # Shorter than casework remembers alerts by id (14 days): one that is read again is then never taken for a new one.
    TopicSpec(ALERTS),
    TopicSpec(LABELS, retention_ms=180 * _DAY_MS),
    TopicSpec(CARD_STATES, compacted=True),
    TopicSpec(CARD_ORDERS, retention_ms=30 * _DAY_MS),
    TopicSpec(CASES, retention_ms=-1),
    TopicSpec(NOTIFICATIONS, retention_ms=30 * _DAY_MS),
    # One partition, so one learner is active and learns in one order.
    TopicSpec(EXAMPLES, partitions=1, retention_ms=180 * _DAY_MS, large_records=True),
    TopicSpec(MODELS, partitions=1, compacted=True, large_records=True),
    TopicSpec(CONTROL, compacted=True),
    # What score workers tell each other of terminals, merchants and devices: of use until all have read it.
    TopicSpec(ENTITY_ROWS, retention_ms=2 * _DAY_MS),
    # What people did to the system itself: kept for ten years unless an operator decides otherwise.
    TopicSpec(AUDIT, partitions=1, retention_ms=3653 * _DAY_MS),
    # Who saw or changed what of cards: PCI DSS 4.0 (10.5.1) asks for twelve months.
    TopicSpec(ACCESS, partitions=1, retention_ms=400 * _DAY_MS),
)

TOPICS_BY_NAME: Mapping[str, TopicSpec] = {spec.name: spec for spec in TOPICS}
