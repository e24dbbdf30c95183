"""Cases: append-only events, and the case as what its events say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from casework.alerts import Evidence, Payment
from casework.cards import CardChange, OutcomeKind
from casework.errors import IllegalMoveError
from detector.vocabulary import Action

MAXIMUM_CASE_ALERTS = 100
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
