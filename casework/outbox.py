"""The outbox: what must still be told to Kafka, written in the same atomic step as what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from casework.ids import message_id_of

CARDS_STATE_TOPIC = "cards.state.v1"
CASES_TOPIC = "fraud.cases.v1"
NOTIFICATIONS_TOPIC = "fraud.notifications.v1"
LABELS_TOPIC = "fraud.labels.v1"
CONTROL_TOPIC = "cardwatch.control.v1"
AUDIT_TOPIC = "cardwatch.audit.v1"
ACCESS_TOPIC = "cardwatch.access.v1"

_SOURCE = "/cardwatch/casework"
_encoder = msgspec.json.Encoder()


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


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before its step gives it an id; fields of `body` that are None are left out.

    Attributes:
        ce_type: CloudEvents type.
    """

    topic: str
    key: str
    ce_type: str
    body: Mapping[str, object]


def messages_of(step_id: str, now_ms: int, drafts: list[Draft], traceparent: str | None) -> tuple[OutboxMessage, ...]:
    """Write out a step's messages, in order; their ids follow from the step's id and their place."""
    ce_time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    trace = {} if traceparent is None else {"traceparent": traceparent}
    return tuple(
        OutboxMessage(
            topic=draft.topic,
            key=draft.key,
            value=_encoder.encode({name: field for name, field in draft.body.items() if field is not None}),
            headers={
                "ce_id": message_id_of(step_id, position),
                "ce_type": draft.ce_type,
                "ce_source": _SOURCE,
                "ce_time": ce_time,
                "ce_specversion": "1.0",
                **trace,
            },
        )
        for position, draft in enumerate(drafts)
    )
