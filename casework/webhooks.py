"""Webhooks: what issuers' systems are told of cases and cards, signed so that they can tell who says it.

Source: *Standard Webhooks*, version 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md):
the three headers, the signed content `{id}.{timestamp}.{body}`, secrets that begin with `whsec_`, the forms of payloads
and what an answer means. docs/webhooks.md says what a receiver must do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from casework.cases import CaseEvent, CaseEventType
from casework.errors import WebhookSecretError
from casework.outbox import CARDS_STATE_TOPIC, CASES_TOPIC
from casework.records import case_event_of
from detector.vocabulary import CardStatus

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
TEST_KIND = "webhook.test"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with, by the specification
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# The end of the year 9999.
_LATEST_MS = 253_402_300_799_999
TOLD_TOPICS = (CASES_TOPIC, CARDS_STATE_TOPIC)

CASE_KINDS = tuple(f"case.{event.value}" for event in CaseEventType)
CARD_KINDS = tuple(f"card.{status.wire}" for status in CardStatus)
KINDS = (*CASE_KINDS, *CARD_KINDS)

# A receiver that is deployed anew is away for seconds, one that is broken for hours: the first is asked soon, the other
# seldom, and five minutes after it is back it has everything.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0
_DOUBLINGS = 6
_GONE, _REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY_REQUESTS, _SERVER_ERRORS = 410, 408, 425, 429, 500


class Answer(StrEnum):
    """What a receiver's answer means.

    delivered: it has the event. refused: it does not want this event. unavailable: it is away or overloaded. gone: it
    wants nothing any more.
    """

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A system that is told.

    Attributes:
        name: in configuration, in metrics and of its consumer group.
        url: where it listens.
        secrets: it knows at least one of them; while they are changed there are two.
        kinds: of events that it wants.
        may_be_private: whether its address may be one of a private network.
    """

    name: str
    url: str
    secrets: tuple[bytes, ...] = field(repr=False)
    kinds: frozenset[str]
    may_be_private: bool = False


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What is told; the same for every copy of an event and for every endpoint.

    Attributes:
        webhook_id: the event's CloudEvents id; a receiver drops a second event of the same id.
        kind: such as `case.opened` or `card.frozen`.
        card_token: events of a card are told in their order.
        time_ms: when it happened.
        body: JSON.
    """

    webhook_id: str
    kind: str
    card_token: str
    time_ms: int
    body: bytes = field(repr=False)


class _CardState(msgspec.Struct):
    """A record of `cards.state.v1`, without the words that a person may have given as its reason."""

    card_token: str
    state: str
    sequence: int
    actor: str
    command_id: str
    command_time_ms: int
    alert_id: str | None = None
    case_id: str | None = None


_card_decoder = msgspec.json.Decoder(_CardState)
_encoder = msgspec.json.Encoder()


def kinds_of(patterns: Sequence[str]) -> frozenset[str]:
    """The kinds of events that are meant by `case.closed`, `case.*` and the like.

    Raises:
        ValueError: names a pattern that means none.
    """
    meant: set[str] = set()
    for pattern in patterns:
        stem = pattern.removesuffix("*")
        found = {kind for kind in KINDS if kind == pattern or (stem.endswith(".") and kind.startswith(stem))}
        if not found:
            message = f"{pattern[:64]!r} is no kind of event"
            raise ValueError(message)
        meant |= found
    return frozenset(meant)


def webhook_of(topic: str, event_id: str, value: bytes) -> WebhookEvent:
    """What a record of one of `TOLD_TOPICS` tells.

    Args:
        topic: where it stands.
        event_id: its CloudEvents id.
        value: its value.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is none of ours.
    """
    if not _EVENT_ID.fullmatch(event_id):
        # By the specification no dot, or what is signed could be read in two ways; and it goes into a header.
        message = "no id of an event of ours"
        raise msgspec.ValidationError(message)
    if topic == CASES_TOPIC:
        event = case_event_of(value)
        return _webhook(event_id, f"case.{event.type.value}", event.card_token, event.time_ms, case_data(event))
    state = _card_decoder.decode(value)
    data = {name: found for name, found in msgspec.to_builtins(state).items() if found is not None}
    return _webhook(event_id, f"card.{state.state}", state.card_token, state.command_time_ms, data)


def trial_webhook(event_id: str, time_ms: int) -> WebhookEvent:
    """An event that tells nothing, to try an endpoint out."""
    return _webhook(event_id, TEST_KIND, "", time_ms, {"message": "cardwatch can reach you"})


def case_data(event: CaseEvent) -> dict[str, Any]:
    """What is told of an event of a case.

    Left out is what people wrote, what the cardholder said, everything about verification, and the evidence: whoever
    needs it reads the case, and that is written down.
    """
    data: dict[str, Any] = {
        "case_id": event.case_id,
        "card_token": event.card_token,
        "sequence": event.sequence,
        "state": event.state.value,
        "actor": event.actor,
        "time_ms": event.time_ms,
        "disposition": None if event.disposition is None else event.disposition.value,
    }
    for name in ("kind", "channel", "severity", "tier", "owner", "returns_ms"):
        value = getattr(event.facts, name)
        if value is not msgspec.UNSET:
            data[name] = getattr(value, "value", value)
    alert = event.alert
    if alert is not None:
        data["alert"] = {
            "alert_id": alert.alert_id,
            "transaction_id": alert.transaction_id,
            "action": alert.action.wire,
            "outcome": alert.outcome.value,
            "event_time_ms": alert.event_time_ms,
            "amount_minor": alert.amount_minor,
            "currency": alert.currency,
            "reasons": list(alert.reasons),
        }
    if event.card_change is not None:
        data["card_state"] = event.card_change.state.wire
    return {name: value for name, value in data.items() if value is not None}


def _webhook(event_id: str, kind: str, card_token: str, time_ms: int, data: Mapping[str, Any]) -> WebhookEvent:
    if not 0 <= time_ms <= _LATEST_MS:
        message = "no time of an event of ours"
        raise msgspec.ValidationError(message)
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = _encoder.encode({"type": kind, "timestamp": moment, "data": data})
    return WebhookEvent(event_id, kind, card_token, time_ms, body)


def headers_of(event: WebhookEvent, secrets: Sequence[bytes], now_ms: int) -> dict[str, str]:
    """The headers of one attempt; each secret signs, so that a receiver may know either."""
    seconds = now_ms // 1000
    signed = f"{event.webhook_id}.{seconds}.".encode() + event.body
    codes = (base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets)
    return {
        "content-type": "application/json",
        ID_HEADER: event.webhook_id,
        TIMESTAMP_HEADER: str(seconds),
        SIGNATURE_HEADER: " ".join(f"v1,{code}" for code in codes),
    }


def secret_of(text: str) -> bytes:
    """The bytes of a secret as it is configured.

    Raises:
        WebhookSecretError: says what is right; what was given is never repeated.
    """
    message = f"it is not {SECRET_PREFIX} and the base64 of {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes"
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise WebhookSecretError(message) from None
    if not text.startswith(SECRET_PREFIX) or not LEAST_SECRET_BYTES <= len(secret) <= MOST_SECRET_BYTES:
        raise WebhookSecretError(message)
    return secret


def answer_of(status: int) -> Answer:
    """What an HTTP status means; a redirect is a refusal, for nobody follows it."""
    if 200 <= status < 300:
        return Answer.DELIVERED
    if status == _GONE:
        return Answer.GONE
    passing = status in {_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY_REQUESTS} or status >= _SERVER_ERRORS
    return Answer.UNAVAILABLE if passing else Answer.REFUSED


def pause_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row: twice as long each time, up to five minutes.

    Args:
        failures: 1 or more.
        chance: uniform in [0, 1): the pause is between half of its length and the whole of it, so that those who failed
            together do not come back together.
    """
    whole_s = min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, _DOUBLINGS), _LONGEST_PAUSE_S)
    return whole_s * (1 + chance) / 2
