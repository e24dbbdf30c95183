"""JSON of webhooks: what systems are told of cases and cards. Fields may be added, never renamed or removed."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas import ActionName, CardStateName, TimeMs, View
from casework.cards import OutcomeKind
from casework.cases import CaseState, Contact, Disposition, Severity
from casework.kinds import CaseKind
from casework.webhooks import CARD_KINDS, CASE_KINDS

CASE_EXAMPLE: dict[str, Any] = {
    "type": "case.opened",
    "timestamp": "2025-10-09T08:53:20.000Z",
    "data": {
        "case_id": "case-7d1f",
        "card_token": "tok-1234",
        "sequence": 1,
        "state": "new",
        "actor": "cardwatch",
        "time_ms": 1_760_000_000_000,
        "kind": "fraud_alert",
        "channel": "none",
        "severity": 3,
        "alert": {
            "alert_id": "alert-5c2a",
            "transaction_id": "tx-1",
            "action": "FREEZE",
            "outcome": "frozen",
            "event_time_ms": 1_759_999_999_000,
            "amount_minor": 124_900,
            "currency": "PHP",
            "reasons": ["place_impossible"],
        },
    },
}
CARD_EXAMPLE: dict[str, Any] = {
    "type": "card.frozen",
    "timestamp": "2025-10-09T08:53:20.000Z",
    "data": {
        "card_token": "tok-1234",
        "state": "frozen",
        "sequence": 1,
        "actor": "cardwatch",
        "command_id": "freeze-9e07",
        "command_time_ms": 1_760_000_000_000,
        "alert_id": "alert-5c2a",
        "case_id": "case-7d1f",
    },
}


class WebhookAlert(View):
    """The alert that opened the case or joined it, without score and evidence."""

    alert_id: str
    transaction_id: str
    action: ActionName
    outcome: OutcomeKind
    event_time_ms: TimeMs
    amount_minor: int | None = Field(default=None, description="Minor units of currency")
    currency: str | None = None
    reasons: list[str]


class WebhookCase(View):
    """An event of a case. What it does not change is left out."""

    case_id: str
    card_token: str
    sequence: int = Field(description="Rises by one with each event of the case")
    state: CaseState = Field(description="After the event")
    actor: str = Field(description="A person, or cardwatch")
    time_ms: TimeMs
    disposition: Disposition | None = None
    kind: CaseKind | None = None
    channel: Contact | None = None
    severity: Severity | None = None
    tier: int | None = None
    owner: str | None = None
    returns_ms: TimeMs | None = None
    alert: WebhookAlert | None = None
    card_state: CardStateName | None = Field(default=None, description="With case.card_changed: of the card, after it")


class WebhookCard(View):
    """A command that set a card's state."""

    card_token: str
    state: CardStateName
    sequence: int = Field(description="Rises by one with each command")
    actor: str = Field(description="A person, or cardwatch")
    command_id: str
    command_time_ms: TimeMs
    alert_id: str | None = None
    case_id: str | None = None


class CaseWebhook(View):
    """Something happened to a case."""

    type: str = Field(json_schema_extra={"enum": [*CASE_KINDS]})
    timestamp: str = Field(description="When it happened, RFC 3339", json_schema_extra={"format": "date-time"})
    data: WebhookCase


class CardWebhook(View):
    """A card's state was set."""

    type: str = Field(json_schema_extra={"enum": [*CARD_KINDS]})
    timestamp: str = Field(description="When it happened, RFC 3339", json_schema_extra={"format": "date-time"})
    data: WebhookCard
