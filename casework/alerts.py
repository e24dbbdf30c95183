"""Alerts: records of `fraud.alerts.v1` as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from casework.errors import AlertError
from detector.vocabulary import Action

MAXIMUM_REASONS = 4
# Reasons, and what spoke against.
MAXIMUM_EVIDENCE = 6
MAXIMUM_RULES = 62
MAXIMUM_PAYMENTS = 20
MAXIMUM_PAYMENT_FIELDS = 32

Scalar = str | int | float | bool | None
Payment = dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason in numbers.

    Attributes:
        code: the reason code.
        text_key: which sentence explains it to an agent.
        observed: what this payment showed; None where it has no value.
        usual: what is usual for this card or entity; None where nothing is known.
        contribution: share of the score in log-odds, below 0 where it spoke against fraud.
    """

    code: str
    text_key: str
    observed: Scalar
    usual: Scalar
    contribution: float


@dataclass(frozen=True, slots=True)
class Alert:
    """A decision other than ALLOW, with what a person needs to judge it.

    Attributes:
        alert_id: derived from the transaction's identity by the detector; one alert, one id, whatever is replayed.
        decided_ms: when the decision was taken (`ce_time` of the decision); None where unknown.
        expected_loss_minor: money at risk, minor units of the payment's currency.
        amount_minor, currency, merchant_id, country: of the payment, where the record says.
        terminal_ref, device_ref: opaque names of its terminal and device, equal for equal ones.
        last_payments: the card's last payments as the engine listed them, at most 20.
        traceparent: W3C trace context to pass on.
    """

    alert_id: str
    transaction_id: str
    card_token: str
    event_time_ms: int
    action: Action
    score: float
    anomaly: float
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    flags: tuple[str, ...]
    expected_loss_minor: int
    model_version: str
    policy_version: str
    evidence: tuple[Evidence, ...] = ()
    last_payments: tuple[Payment, ...] = ()
    amount_minor: int | None = None
    currency: str | None = None
    merchant_id: str | None = None
    country: str | None = None
    terminal_ref: str | None = None
    device_ref: str | None = None
    decided_ms: int | None = None
    traceparent: str | None = None

    @property
    def time_ms(self) -> int:
        """The alert's place in time against people's commands: when it was decided, else when it was paid.

        A payment may reach us long after it was made. A person who acted after the *decision* knew, or could know, of
        it; a person who acted before it could not. So the time of the decision counts, and the event's own time stands
        in only where a record does not carry it.
        """
        return self.event_time_ms if self.decided_ms is None else self.decided_ms


_Token = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Name = Annotated[str, msgspec.Meta(max_length=128)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
# Up to the year 2100: a time behind it is no time, and calendars would refuse it later.
_TimeMs = Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000)]


class _EvidenceRecord(msgspec.Struct):
    """An entry of `evidence[]` on the wire."""

    code: _Name
    text_key: _Name = ""
    observed: Scalar = None
    usual: Scalar = None
    contribution: float = 0.0


class _AlertRecord(msgspec.Struct):
    """A record of `fraud.alerts.v1` on the wire; unknown fields are ignored."""

    alert_id: _Token
    transaction_id: _Token
    card_token: _Token
    event_time_ms: _TimeMs
    action: _Name
    score: float = 0.0
    anomaly: float = 0.0
    reasons: list[_Name] = []
    rules: list[_Name] = []
    flags: list[_Name] = []
    expected_loss_minor: _Count = 0
    model_version: _Name = ""
    policy_version: _Name = ""
    evidence: list[_EvidenceRecord] = []
    last_payments: list[dict[str, object]] = []
    amount_minor: _Count | None = None
    currency: _Name | None = None
    merchant_id: _Name | None = None
    country: _Name | None = None
    terminal_ref: _Token | None = None
    device_ref: _Token | None = None
    decided_ms: _TimeMs | None = None


_ACTIONS = {action.wire: action for action in Action if action is not Action.ALLOW}
_decoder = msgspec.json.Decoder(_AlertRecord)


def decode_alert(value: bytes, *, decided_ms: int | None = None, traceparent: str | None = None) -> Alert:
    """Read one record's value.

    Args:
        value: UTF-8 JSON.
        decided_ms: when the decision was taken, from the record's `ce_time`; it must be the decision's own time, not
            the time at which a lost copy was sent again.
        traceparent: the record's header of that name.

    Raises:
        AlertError: it is not JSON, or not an alert of the contract.
    """
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not an alert: {error}"
        raise AlertError(message) from None
    return _alert(record, decided_ms, traceparent)


def parse_alert(
    record: Mapping[str, object], *, decided_ms: int | None = None, traceparent: str | None = None
) -> Alert:
    """Read one record that is already decoded from JSON; otherwise as `decode_alert`.

    Raises:
        AlertError: it is not an alert of the contract.
    """
    try:
        converted = msgspec.convert(dict(record), _AlertRecord)
    except msgspec.ValidationError as error:
        message = f"not an alert: {error}"
        raise AlertError(message) from None
    return _alert(converted, decided_ms, traceparent)


def _alert(record: _AlertRecord, decided_ms: int | None, traceparent: str | None) -> Alert:
    """Turn the wire's record into the domain's value, bounding what has no bound on the wire."""
    action = _ACTIONS.get(record.action)
    if action is None:
        message = f"not an alert: `action` must be one of {', '.join(_ACTIONS)}"
        raise AlertError(message)
    return Alert(
        alert_id=record.alert_id,
        transaction_id=record.transaction_id,
        card_token=record.card_token,
        event_time_ms=record.event_time_ms,
        action=action,
        score=record.score,
        anomaly=record.anomaly,
        reasons=tuple(record.reasons[:MAXIMUM_REASONS]),
        rules=tuple(record.rules[:MAXIMUM_RULES]),
        flags=tuple(record.flags),
        expected_loss_minor=record.expected_loss_minor,
        model_version=record.model_version,
        policy_version=record.policy_version,
        evidence=tuple(
            Evidence(item.code, item.text_key, item.observed, item.usual, item.contribution)
            for item in record.evidence[:MAXIMUM_EVIDENCE]
        ),
        last_payments=tuple(_payment(payment) for payment in record.last_payments[-MAXIMUM_PAYMENTS:]),
        amount_minor=record.amount_minor,
        currency=record.currency,
        merchant_id=record.merchant_id,
        country=record.country,
        terminal_ref=record.terminal_ref,
        device_ref=record.device_ref,
        decided_ms=record.decided_ms if decided_ms is None else decided_ms,
        traceparent=traceparent,
    )


def _payment(fields: Mapping[str, object]) -> Payment:
    """Keep a payment's plain values; nested ones have no place in a list for people."""
    plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float | bool | None)}
    return dict(list(plain.items())[:MAXIMUM_PAYMENT_FIELDS])
