"""The outbox: what must still be told to Kafka, written in the same atomic step as what it tells."""

from __future__ import annotations

from dataclasses import dataclass

CARDS_STATE_TOPIC = "cards.state.v1"
CASES_TOPIC = "fraud.cases.v1"
NOTIFICATIONS_TOPIC = "fraud.notifications.v1"
LABELS_TOPIC = "fraud.labels.v1"
CONTROL_TOPIC = "cardwatch.control.v1"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A record for Kafka.

    Attributes:
        key: the record's key: the card token, or a control record's own key.
        value: JSON to the contract.
        headers: the CloudEvents headers; `ce_id` is the same for every copy of a message.
    """

    topic: str
    key: str
    value: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message waiting in a shard's outbox; `topic`, `key`, `value` and `headers` as in `OutboxMessage`.

    Attributes:
        entry_id: place in the outbox; opaque.
        time_ms: when the step that wrote it was taken.
    """

    entry_id: str
    time_ms: int
    topic: str
    key: str
    value: bytes
    headers: dict[str, str]
