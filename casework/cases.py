"""Cases: append-only events, and the case as what its events say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from casework.alerts import Evidence, Payment
from casework.cards import SYSTEM_ACTOR, CardChange, OutcomeKind
from casework.clocks import Clock
from casework.errors import IllegalCaseMoveError
from casework.kinds import CaseKind, Details
from casework.lifecycle import LIFECYCLE, OPEN_STATES, CaseState, can_become, possible_from
from casework.verification import Verification
from detector.vocabulary import Action

__all__ = ["LIFECYCLE", "OPEN_STATES", "CaseState", "can_become"]

MAXIMUM_CASE_ALERTS = 100
Told = dict[str, str | int | bool | list[str]]
_UNOPENED = "unopened"
_TIME_BITS = 48


class Disposition(StrEnum):
    """What a case turned out to be; the latter two are both genuine."""

    CONFIRMED_FRAUD = "confirmed_fraud"
    FALSE_POSITIVE = "false_positive"
    VALUABLE_ALERT = "valuable_alert"


class Severity(IntEnum):
    """How much a case matters. It rises by itself; only a person lets it fall."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Contact(StrEnum):
    """How the customer reaches the desk about a case."""

    NONE = "none"
    PHONE = "phone"
    CHAT = "chat"
    EMAIL = "email"
    SOCIAL = "social"
    SELF_SERVICE = "self_service"


class CaseEventType(StrEnum):
    """What can happen to a case."""

    OPENED = "opened"
    ALERT_ATTACHED = "alert_attached"
    CARD_CHANGED = "card_changed"
    DECIDED = "decided"
    CLOSED = "closed"
    MOVED = "moved"
    NOTED = "noted"
    TAKEN = "taken"
    RELEASED = "released"
    ASSIGNED = "assigned"
    DETAILED = "detailed"
    CUSTOMER_NOTED = "customer_noted"
    SEVERITY_SET = "severity_set"
    SNOOZED = "snoozed"
    RETURNED = "returned"
    ESCALATED = "escalated"
    REOPENED = "reopened"
    VERIFICATION_ASKED = "verification_asked"
    VERIFICATION_FAILED = "verification_failed"
    VERIFIED = "verified"
    CARDHOLDER_ANSWERED = "cardholder_answered"
    ORDERED = "ordered"
    DIRECTED = "directed"
    APPROVAL_ASKED = "approval_asked"
    APPROVED = "approved"
    APPROVAL_REFUSED = "approval_refused"
    TARGET_NEAR = "target_near"
    TARGET_MISSED = "target_missed"
    MACRO_BEGUN = "macro_begun"
    MACRO_UNDONE = "macro_undone"
    MACRO_DONE = "macro_done"
    MACRO_FAILED = "macro_failed"
    CALL_DUE = "call_due"


# After these the cardholder need not be called any more: they were heard, or asked to wait, or nothing is left to ask.
ENDS_CALL = frozenset(
    {
        CaseEventType.CARDHOLDER_ANSWERED,
        CaseEventType.VERIFIED,
        CaseEventType.SNOOZED,
        CaseEventType.DECIDED,
        CaseEventType.CLOSED,
    }
)


class Asked(msgspec.Struct, frozen=True):
    """Something that waits: for a second person's consent, or for the time in which it can be undone.

    Attributes:
        name: of the act or macro.
        by, role: who asked.
        time_ms: when.
        due_ms: when it is done if nobody undoes it; 0 where it waits for consent.
        commands: what is to be done, as `casework.commands` writes them.
    """

    name: str
    by: str
    role: str
    time_ms: int
    due_ms: int
    commands: str


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event sets of its case, each under the name that the case has for it; what is not given stays."""

    kind: CaseKind | UnsetType = UNSET
    channel: Contact | UnsetType = UNSET
    details: Details | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    tier: int | UnsetType = UNSET
    customer_waiting: bool | UnsetType = UNSET
    vulnerable: bool | UnsetType = UNSET
    owner: str | UnsetType | None = UNSET
    locked_until_ms: int | UnsetType = UNSET
    resumes: CaseState | UnsetType | None = UNSET
    returns_ms: int | UnsetType | None = UNSET
    clock: Clock | UnsetType | None = UNSET
    verification: Verification | UnsetType = UNSET
    approval: Asked | UnsetType | None = UNSET
    pending: Asked | UnsetType | None = UNSET
    outcome: str | UnsetType | None = UNSET
    urgency_ms: int | UnsetType = UNSET
    transaction_ids: tuple[str, ...] | UnsetType = UNSET
    call_due: bool | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class CaseAlert:
    """An alert as a case keeps it: what a person needs to judge it.

    Attributes:
        expected_loss_minor, amount_minor: minor units of `currency`.
        outcome: how the alert ended.
    """

    alert_id: str
    transaction_id: str
    action: Action
    event_time_ms: int
    time_ms: int
    score: float
    anomaly: float
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    flags: tuple[str, ...]
    expected_loss_minor: int
    model_version: str
    policy_version: str
    evidence: tuple[Evidence, ...]
    payments: tuple[Payment, ...]
    amount_minor: int | None
    currency: str | None
    merchant_id: str | None
    country: str | None
    outcome: OutcomeKind
    terminal_ref: str | None = None
    device_ref: str | None = None

    @property
    def entities(self) -> tuple[str, ...]:
        """What its payment has in common with those of other cards: merchant, terminal, device, by name."""
        named = (("merchant", self.merchant_id), ("terminal", self.terminal_ref), ("device", self.device_ref))
        return tuple(f"{kind}:{value}" for kind, value in named if value)


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One thing that happened to a case; never changed, never removed.

    Attributes:
        sequence: 1 for the first; rises by one.
        state: the case's state after it.
        actor: a person, or `cardwatch`.
        alert: with `alert_attached`, and with `opened` by an alert.
        card_change: with `card_changed`.
        disposition: with `decided`.
        note: the person's words, or what a refused attempt was refused for.
        told: with `ordered` and `directed`, what payment systems or the scorer were told; with `cardholder_answered`,
            of which payment, and whether it is theirs.
        facts: what else of the case it sets.
    """

    case_id: str
    card_token: str
    sequence: int
    type: CaseEventType
    state: CaseState
    actor: str
    time_ms: int
    alert: CaseAlert | None = None
    card_change: CardChange | None = None
    disposition: Disposition | None = None
    note: str | None = None
    told: Told | None = None
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class Case:
    """A case as its events say.

    Attributes:
        sequence: that of the last event; the case's version for If-Match.
        action: the severest of its alerts; ALLOW where it has none.
        expected_loss_minor: money at risk: the sum over its alerts, minor units (of the payments' currencies).
        currency: that of its alerts; None where it is unknown or they differ.
        transaction_ids, reasons: of all its alerts, in order of arrival, each once.
        amount_minor, score: the sum of its alerts' payments, and the highest probability of fraud among them.
        kind, details: what it is about, and the kind's own fields.
        channel: how the customer reaches us about it.
        tier: the lowest tier that may work on it.
        customer_waiting, vulnerable: whether the customer waits for us now, and whether they need particular care.
        owner, locked_until_ms: who works on it, and until when nobody else may.
        resumes, returns_ms: while waiting, the state it returns to, and when.
        clock: by when it must be answered.
        approval: what waits for a second person's consent.
        pending: what is done in a moment unless it is undone.
        outcome: how it ended.
        urgency_ms: the queue is in this order, lowest first: when it is due, brought forward by what makes it urgent.
        reopened_count: how often it was reopened.
        call_due: whether somebody is to call the cardholder, who was told something urgent and stayed silent.
        entities: merchants, terminals and devices of its alerts' payments, in order of arrival, each once.
    """

    case_id: str
    card_token: str
    state: CaseState
    sequence: int
    action: Action
    opened_ms: int
    updated_ms: int
    expected_loss_minor: int
    transaction_ids: tuple[str, ...]
    reasons: tuple[str, ...]
    alert_count: int
    currency: str | None = None
    closed_ms: int | None = None
    closed_by: str | None = None
    disposition: Disposition | None = None
    note: str | None = None
    amount_minor: int = 0
    score: float = 0.0
    kind: CaseKind = CaseKind.FRAUD_ALERT
    details: Details = field(default_factory=dict)
    channel: Contact = Contact.NONE
    severity: Severity = Severity.NORMAL
    tier: int = 1
    customer_waiting: bool = False
    vulnerable: bool = False
    owner: str | None = None
    locked_until_ms: int = 0
    resumes: CaseState | None = None
    returns_ms: int | None = None
    clock: Clock | None = None
    verification: Verification = field(default_factory=Verification)
    approval: Asked | None = None
    pending: Asked | None = None
    outcome: str | None = None
    urgency_ms: int = 0
    reopened_count: int = 0
    entities: tuple[str, ...] = ()
    call_due: bool = False

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to do something about it."""
        return self.state in OPEN_STATES

    @property
    def is_full(self) -> bool:
        """Whether it holds as many alerts as a case may; later ones are counted with the card only."""
        return self.alert_count >= MAXIMUM_CASE_ALERTS

    def locked_by_other(self, name: str, now_ms: int) -> bool:
        """Whether somebody else works on it at this time."""
        return self.owner is not None and self.owner != name and now_ms < self.locked_until_ms


_FACTS = tuple(Facts.__struct_fields__)


def fold(case: Case | None, event: CaseEvent) -> Case:
    """The case after one more event; `None` is the case before its first.

    Raises:
        IllegalCaseMoveError: the lifecycle forbids the move; a first event must open, a later one must not.
    """
    if case is None:
        case = _opened(event)
    else:
        _check_move(case, event)
    changed = replace(case, state=event.state, sequence=event.sequence, updated_ms=event.time_ms, **_set(case, event))
    if event.alert is not None:
        changed = _with_alert(changed, event.alert)
    if event.disposition is not None:
        changed = replace(changed, disposition=event.disposition, note=event.note)
    if event.type is CaseEventType.CLOSED:
        note = case.note if event.note is None else event.note
        changed = replace(changed, closed_ms=event.time_ms, closed_by=event.actor, note=note)
    if event.type is CaseEventType.REOPENED:
        changed = replace(changed, closed_ms=None, closed_by=None, reopened_count=case.reopened_count + 1)
    return changed


def _check_move(case: Case, event: CaseEvent) -> None:
    """Refuse what cannot happen to the case."""
    is_allowed = can_become(case.state, event.state) and event.type is not CaseEventType.OPENED
    if not is_allowed or (not case.is_open and event.type is not CaseEventType.REOPENED):
        raise IllegalCaseMoveError(case.state, possible_from(case.state))


def _set(case: Case, event: CaseEvent) -> dict[str, Any]:
    """What the event's facts set. Severity never falls by itself, whatever the event says."""
    given = {name: value for name in _FACTS if (value := getattr(event.facts, name)) is not UNSET}
    if event.actor == SYSTEM_ACTOR and "severity" in given:
        given["severity"] = max(case.severity, given["severity"])
    return given


def _opened(event: CaseEvent) -> Case:
    """The case that an `opened` event begins."""
    if event.type is not CaseEventType.OPENED:
        raise IllegalCaseMoveError(_UNOPENED, [CaseState.NEW])
    return Case(
        case_id=event.case_id,
        card_token=event.card_token,
        state=event.state,
        sequence=event.sequence,
        action=Action.ALLOW,
        opened_ms=event.time_ms,
        updated_ms=event.time_ms,
        expected_loss_minor=0,
        transaction_ids=(),
        reasons=(),
        alert_count=0,
        severity=Severity.LOW,
    )


def _with_alert(case: Case, alert: CaseAlert) -> Case:
    """Count an alert in."""
    same_currency = case.alert_count == 0 or case.currency == alert.currency
    return replace(
        case,
        action=max(case.action, alert.action),
        expected_loss_minor=case.expected_loss_minor + alert.expected_loss_minor,
        transaction_ids=tuple(dict.fromkeys((*case.transaction_ids, alert.transaction_id))),
        reasons=tuple(dict.fromkeys((*case.reasons, *alert.reasons))),
        alert_count=case.alert_count + 1,
        currency=alert.currency if same_currency else None,
        amount_minor=case.amount_minor + (alert.amount_minor or 0),
        score=max(case.score, alert.score),
        entities=tuple(dict.fromkeys((*case.entities, *alert.entities))),
    )


def queue_position(case: Case) -> str:
    """Where a case stands in the list of its state: a text that sorts in the list's order, unique to the case.

    Open cases: by urgency (see `casework.urgency`), then by id. Closed cases: the last closed first.
    """
    key = case.urgency_ms if case.closed_ms is None else _reversed_time(case.closed_ms)
    return f"{max(0, key):016x}:{case.case_id}"


def opened_order(case: Case) -> tuple[int, str]:
    """What sorts cases by when they were opened."""
    return case.opened_ms, case.case_id


def closed_positions_before(time_ms: int) -> str:
    """The text behind which all cases stand that were closed before this time."""
    return f"{_reversed_time(time_ms):016x};"


def _reversed_time(time_ms: int) -> int:
    """A number that falls as time rises."""
    return (1 << _TIME_BITS) - 1 - time_ms
