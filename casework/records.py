"""Records: cards, case events and notices as they are written to Kafka, by the contract."""

from __future__ import annotations

from typing import Any

import msgspec

from casework.alerts import Alert
from casework.cards import CardChange, OutcomeKind
from casework.cases import CaseAlert, CaseEvent
from casework.notices import Notice
from casework.outbox import CARDS_STATE_TOPIC, CASES_TOPIC, NOTIFICATIONS_TOPIC, Draft
from detector.vocabulary import Action, CardStatus

_ACTIONS, _CARD_STATES = Action.by_wire(), CardStatus.by_wire()


def case_alert(alert: Alert, outcome: OutcomeKind) -> CaseAlert:
    """An alert as its case keeps it."""
    return CaseAlert(
        alert_id=alert.alert_id,
        transaction_id=alert.transaction_id,
        action=alert.action,
        event_time_ms=alert.event_time_ms,
        time_ms=alert.time_ms,
        score=alert.score,
        anomaly=alert.anomaly,
        reasons=alert.reasons,
        rules=alert.rules,
        flags=alert.flags,
        expected_loss_minor=alert.expected_loss_minor,
        model_version=alert.model_version,
        policy_version=alert.policy_version,
        evidence=alert.evidence,
        payments=alert.last_payments,
        amount_minor=alert.amount_minor,
        currency=alert.currency,
        merchant_id=alert.merchant_id,
        country=alert.country,
        outcome=outcome,
        terminal_ref=alert.terminal_ref,
        device_ref=alert.device_ref,
    )


def payment_parameters(alert: Alert) -> dict[str, str | int]:
    """What a notice may say of the alert's payment: no score, no reason."""
    parameters: dict[str, str | int] = {"event_time_ms": alert.event_time_ms}
    if alert.amount_minor is not None and alert.currency is not None:
        parameters |= {"amount_minor": alert.amount_minor, "currency": alert.currency}
    return parameters


def card_state_draft(card_token: str, change: CardChange) -> Draft:
    """A record of `cards.state.v1`."""
    body = {
        "card_token": card_token,
        "state": change.state.wire,
        "sequence": change.sequence,
        "reason": change.reason,
        "alert_id": change.alert_id,
        "case_id": change.case_id,
        "actor": change.actor,
        "command_id": change.command_id,
        "command_time_ms": change.command_time_ms,
    }
    return Draft(CARDS_STATE_TOPIC, card_token, "cardwatch.card.state", body)


def case_event_draft(event: CaseEvent) -> Draft:
    """A record of `fraud.cases.v1`: everything the event says, so that cases can be rebuilt from the topic."""
    body: dict[str, Any] = msgspec.to_builtins(event)
    if event.alert is not None:
        body["alert"]["action"] = event.alert.action.wire
    if event.card_change is not None:
        body["card_change"]["state"] = event.card_change.state.wire
    return Draft(CASES_TOPIC, event.card_token, f"cardwatch.case.{event.type}", body)


def case_event_of(value: bytes) -> CaseEvent:
    """The event that a record of `fraud.cases.v1` tells.

    Raises:
        msgspec.DecodeError: it is none of ours.
    """
    try:
        return case_event_in(msgspec.json.decode(value, type=dict[str, Any]))
    except (KeyError, TypeError) as error:
        message = "no event of a case"
        raise msgspec.ValidationError(message) from error


def case_event_in(body: dict[str, Any]) -> CaseEvent:
    """The event in the body of such a record; the inverse of `case_event_draft`. The body is used up.

    Raises:
        msgspec.ValidationError, KeyError, TypeError: it is none of ours.
    """
    for name, field, codes in (("alert", "action", _ACTIONS), ("card_change", "state", _CARD_STATES)):
        if body.get(name) is not None:
            body[name][field] = codes[body[name][field]]
    return msgspec.convert(body, CaseEvent)


def notice_draft(notice: Notice) -> Draft:
    """A record of `fraud.notifications.v1`."""
    body: dict[str, Any] = msgspec.to_builtins(notice)
    return Draft(NOTIFICATIONS_TOPIC, notice.card_token, "cardwatch.notice.requested", body)
