"""The topics: names, what they are keyed by, how many partitions they have, and what Kafka shall keep of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
HISTORIES = "cardwatch.histories.v1"
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
        holds: what its records are, in a few words.
        when_lost: what it means for payers, cardholders or people at the desk when records are gone too early.
        partitions: fixed number of partitions; None for topics keyed by card token, which all have the configured
            number, so that partition p of one belongs to partition p of the other.
        compacted: Kafka keeps the last record of each key, for ever.
        retention_ms: how long records are kept at least where the topic is not compacted; -1: for ever.
        not_longer: keeping records for longer than that is wrong as well.
        large_records: records may have up to `MAXIMUM_RECORD_BYTES`.
    """

    name: str
    holds: str
    when_lost: str
    partitions: int | None = None
    compacted: bool = False
    retention_ms: int = 7 * _DAY_MS
    not_longer: bool = False
    large_records: bool = False

    def partition_count(self, keyed_partitions: int) -> int:
        """Partitions this topic has where keyed topics have `keyed_partitions`."""
        return keyed_partitions if self.partitions is None else self.partitions

    def kafka_settings(self) -> dict[str, str]:
        """Topic settings in Kafka's own names."""
        settings = {"cleanup.policy": "compact" if self.compacted else "delete"}
        if not self.compacted:
            settings["retention.ms"] = str(self.retention_ms)
        if self.large_records:
            settings["max.message.bytes"] = str(MAXIMUM_RECORD_BYTES)
        return settings


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(
        TRANSACTIONS, "payments as payment systems send them", "payments that wait longer than this are never answered"
    ),
    TopicSpec(
        DEAD_LETTERS,
        "payments and alerts that could not be read",
        "refused payments are gone before anybody has looked at them",
        retention_ms=30 * _DAY_MS,
    ),
    TopicSpec(DECISIONS, "what was decided", "who was down for longer answers payments a second time"),
    # Shorter than casework remembers alerts by id (14 days): one that is read again is then never taken for a new one.
    TopicSpec(
        ALERTS,
        "decisions that ask for action",
        "freezes that wait longer than this never happen; much longer than this, old ones happen twice",
        not_longer=True,
    ),
    TopicSpec(
        LABELS,
        "what payments turned out to be",
        "frauds that are known are forgotten where state is rebuilt",
        retention_ms=180 * _DAY_MS,
    ),
    TopicSpec(
        CARD_STATES,
        "the state of every card",
        "a scorer that starts takes a frozen card for an active one, and allows its payments",
        compacted=True,
    ),
    TopicSpec(
        CARD_ORDERS,
        "new cards, limits and credits that were ordered",
        "a cardholder waits for a card that nobody makes",
        retention_ms=30 * _DAY_MS,
    ),
    TopicSpec(
        CASES,
        "every event of every case",
        "cases cannot be brought back after a loss of Redis or of the read model",
        retention_ms=-1,
    ),
    TopicSpec(
        NOTIFICATIONS,
        "notices to cardholders",
        "cardholders are not told of a freeze that waited for longer",
        retention_ms=30 * _DAY_MS,
    ),
    # One partition, so one learner is active and learns in one order.
    TopicSpec(
        EXAMPLES,
        "payments with their labels, for the models",
        "a learner that was away for longer misses frauds, and scorers go on with less",
        partitions=1,
        retention_ms=180 * _DAY_MS,
        large_records=True,
    ),
    TopicSpec(
        MODELS,
        "versions of the models",
        "scorers start without a model: payments are decided by rules alone",
        partitions=1,
        compacted=True,
        large_records=True,
    ),
    TopicSpec(
        CONTROL,
        "lists, travel notes and breakers that people set",
        "a scorer that starts stops travellers and lets go what is on a list",
        compacted=True,
    ),
    # Of use until every score worker has read it.
    TopicSpec(
        ENTITY_ROWS,
        "what score workers tell each other of terminals, merchants and devices",
        "a worker that was away for longer misses what happened there meanwhile, and scores without it",
        retention_ms=2 * _DAY_MS,
    ),
    # Windows of cards reach back 30 days, and events may be late.
    TopicSpec(
        HISTORIES,
        "what a card that was replaced leaves to the new one",
        "a new card begins without what is usual for its holder, whose first payments look unusual",
        partitions=1,
        retention_ms=40 * _DAY_MS,
    ),
    # What people did to the system itself: kept for ten years unless an operator decides otherwise.
    TopicSpec(
        AUDIT,
        "what people did to the system itself",
        "who released a breaker or changed a list cannot be shown",
        partitions=1,
        retention_ms=3653 * _DAY_MS,
    ),
    # Who saw or changed what of cards: PCI DSS 4.0 (10.5.1) asks for twelve months.
    TopicSpec(
        ACCESS,
        "who saw or changed what of cards",
        "who has seen a cardholder's data cannot be shown, as PCI DSS asks for twelve months",
        partitions=1,
        retention_ms=400 * _DAY_MS,
    ),
)

TOPICS_BY_NAME: Mapping[str, TopicSpec] = {spec.name: spec for spec in TOPICS}
