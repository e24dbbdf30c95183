"""Cases: append-only events, and the case as what its events say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from casework.alerts import Evidence, Payment
from casework.cards import CardChange, OutcomeKind
from casework.errors import IllegalCaseMoveError
from detector.vocabulary import Action

MAXIMUM_CASE_ALERTS = 100
_UNOPENED = "unopened"
_TIME_BITS = 48
_MONEY_BITS = 8
_KEY_BITS = 64


class CaseState(StrEnum):
    """Where a case stands."""

    NEW = "new"
    CLOSED = "closed"


LIFECYCLE: dict[CaseState, frozenset[CaseState]] = {
    CaseState.NEW: frozenset({CaseState.CLOSED}),
    CaseState.CLOSED: frozenset(),
}
OPEN_STATES: frozenset[CaseState] = frozenset(state for state in CaseState if state is not CaseState.CLOSED)


class Disposition(StrEnum):
    """What a case turned out to be; the latter two are both genuine."""

    CONFIRMED_FRAUD = "confirmed_fraud"
    FALSE_POSITIVE = "false_positive"
    VALUABLE_ALERT = "valuable_alert"


class CaseEventType(StrEnum):
    """What can happen to a case."""

    OPENED = "opened"
    ALERT_ATTACHED = "alert_attached"
    CARD_CHANGED = "card_changed"
    DECIDED = "decided"
    CLOSED = "closed"


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


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One thing that happened to a case; never changed, never removed.

    Attributes:
        sequence: 1 for the first; rises by one.
        state: the case's state after it.
        actor: a person, or `cardwatch`.
        alert: with `opened` and `alert_attached`.
        card_change: with `card_changed`.
        disposition: with `decided`.
        note: with `decided`, the person's words.
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


@dataclass(frozen=True, slots=True)
class Case:
    """A case as its events say.

    Attributes:
        sequence: that of the last event; the case's version for If-Match.
        action: the severest of its alerts.
        expected_loss_minor: money at risk: the sum over its alerts, minor units (of the payments' currencies).
        currency: that of its alerts; None where it is unknown or they differ.
        transaction_ids, reasons: of all its alerts, in order of arrival, each once.
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

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to do something about it."""
        return self.state in OPEN_STATES

    @property
    def is_full(self) -> bool:
        """Whether it holds as many alerts as a case may; later ones are counted with the card only."""
        return self.alert_count >= MAXIMUM_CASE_ALERTS


def can_become(current: CaseState, target: CaseState) -> bool:
    """Whether a case may go from one state to the other; a step that keeps the state is no move."""
    return current is target or target in LIFECYCLE[current]


def fold(case: Case | None, event: CaseEvent) -> Case:
    """The case after one more event; `None` is the case before its first.

    Raises:
        IllegalCaseMoveError: the lifecycle forbids the move; a first event must open, a later one must not.
    """
    if case is None:
        return _opened(event)
    if event.type is CaseEventType.OPENED or not can_become(case.state, event.state) or not case.is_open:
        raise IllegalCaseMoveError(case.state, sorted(LIFECYCLE[case.state]))
    changed = replace(case, state=event.state, sequence=event.sequence, updated_ms=event.time_ms)
    if event.alert is not None:
        changed = _with_alert(changed, event.alert)
    if event.disposition is not None:
        changed = replace(changed, disposition=event.disposition, note=event.note)
    if event.state is CaseState.CLOSED:
        changed = replace(changed, closed_ms=event.time_ms, closed_by=event.actor)
    return changed


def _opened(event: CaseEvent) -> Case:
    """The case that an `opened` event begins."""
    if event.type is not CaseEventType.OPENED or event.alert is None:
        raise IllegalCaseMoveError(_UNOPENED, [CaseState.NEW])
    empty = Case(
        case_id=event.case_id,
        card_token=event.card_token,
        state=event.state,
        sequence=event.sequence,
        action=event.alert.action,
        opened_ms=event.time_ms,
        updated_ms=event.time_ms,
        expected_loss_minor=0,
        transaction_ids=(),
        reasons=(),
        alert_count=0,
    )
    return _with_alert(empty, event.alert)


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
    )


def queue_position(case: Case) -> str:
    """Where a case stands in the list of its state: a text that sorts in the list's order, unique to the case.

    Open cases: severest action first (a frozen cardholder is waiting), then the power of two of the money at risk, then
    the oldest. Powers of two, because a case a little dearer than another shall not overtake it for ever, and because
    amounts of different currencies stand side by side. Closed cases: the last closed first.
    """
    if case.closed_ms is not None:
        key = _reversed_time(case.closed_ms)
    else:
        money = min(case.expected_loss_minor.bit_length(), 2**_MONEY_BITS - 1)
        severity = (int(case.action) << _MONEY_BITS) | money
        most_severe = 2 ** (_KEY_BITS - _TIME_BITS) - 1
        key = ((most_severe - severity) << _TIME_BITS) | case.opened_ms
    return f"{key:016x}:{case.case_id}"


def closed_positions_before(time_ms: int) -> str:
    """The text behind which all cases stand that were closed before this time."""
    return f"{_reversed_time(time_ms):016x};"


def _reversed_time(time_ms: int) -> int:
    """A number that falls as time rises."""
    return (1 << _TIME_BITS) - 1 - time_ms
