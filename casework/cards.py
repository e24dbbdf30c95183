"""Cards: the state payment systems obey, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from casework.alerts import Payment
from casework.errors import IllegalCardMoveError
from detector.vocabulary import Action, CardStatus

SYSTEM_ACTOR = "cardwatch"
# Whoever answers on the cardholder's page.
CARDHOLDER_ACTOR = "cardholder"
MAXIMUM_HISTORY = 50
MAXIMUM_RECENT_ALERTS = 20
MAXIMUM_KNOWN_CASES = 20

CARD_LIFECYCLE: dict[CardStatus, frozenset[CardStatus]] = {
    CardStatus.ACTIVE: frozenset({CardStatus.FROZEN, CardStatus.BLOCKED, CardStatus.REISSUED}),
    CardStatus.FROZEN: frozenset({CardStatus.ACTIVE, CardStatus.BLOCKED, CardStatus.REISSUED}),
    CardStatus.BLOCKED: frozenset({CardStatus.REISSUED}),
    CardStatus.REISSUED: frozenset(),
}


class OutcomeKind(StrEnum):
    """How an alert ended. A FREEZE ends in exactly one of frozen, attached, held and superseded.

    frozen: this alert froze the card. attached: the card was not active any more, or (REVIEW, DECLINE) a case was open;
    the alert joined a case. held: the circuit breaker was open; the alert is in a case, the card untouched, a person
    decides. superseded: a person commanded the card later than the alert. review_opened: a case was
    opened, the card untouched. asked: the cardholder was asked. recorded: kept with the card, nothing else to do.
    """

    FROZEN = "frozen"
    ATTACHED = "attached"
    HELD = "held"
    SUPERSEDED = "superseded"
    REVIEW_OPENED = "review_opened"
    ASKED = "asked"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class CardChange:
    """One command that set a card's state; a command that confirms the state is one as well.

    Attributes:
        sequence: 1 for the card's first change; rises by one.
        state: the state after it.
        reason: reason code, or the person's words.
        actor: who commanded it; `cardwatch` for a freeze by an alert.
        command_id: the same for every copy of this command.
        command_time_ms: strictly rising along a card's changes, so the latest one wins for every reader.
    """

    sequence: int
    state: CardStatus
    reason: str
    actor: str
    command_id: str
    command_time_ms: int
    alert_id: str | None = None
    case_id: str | None = None


@dataclass(frozen=True, slots=True)
class AlertSummary:
    """An alert as listed with its card; `time_ms` is `Alert.time_ms`."""

    alert_id: str
    transaction_id: str
    action: Action
    event_time_ms: int
    time_ms: int
    score: float
    reasons: tuple[str, ...]
    outcome: OutcomeKind
    case_id: str | None


@dataclass(frozen=True, slots=True)
class CardRecord:
    """What is kept of a card. A card nobody ever spoke of is an active one with empty lists.

    Attributes:
        history: newest last, at most 50 of its `sequence` changes.
        person_command_time_ms: time of the last command by a person; None: there was none. No alert at or before it
            changes the card.
        alerts: newest last, at most 20.
        payments, payments_time_ms: the last payments as the newest alert listed them, and that alert's time.
        open_case_id: the one open case.
        case_ids: newest last, at most 20.
        damped_reasons, damped_until_ms: reason codes that shall not act on this card until then.
    """

    card_token: str
    state: CardStatus = CardStatus.ACTIVE
    sequence: int = 0
    command_time_ms: int = 0
    person_command_time_ms: int | None = None
    history: tuple[CardChange, ...] = ()
    alerts: tuple[AlertSummary, ...] = ()
    payments: tuple[Payment, ...] = ()
    payments_time_ms: int = 0
    open_case_id: str | None = None
    case_ids: tuple[str, ...] = ()
    damped_reasons: tuple[str, ...] = ()
    damped_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class CardCommand:
    """An order to put a card into a state.

    Attributes:
        by_person: whether a person gave it; such a command wins over alerts that are not later.
    """

    target: CardStatus
    reason: str
    actor: str
    command_id: str
    by_person: bool
    alert_id: str | None = None
    case_id: str | None = None


def can_become(current: CardStatus, target: CardStatus) -> bool:
    """Whether a card may go from one state to the other; staying is a confirmation and always allowed."""
    return current is target or target in CARD_LIFECYCLE[current]


def change_card(card: CardRecord, command: CardCommand, now_ms: int) -> tuple[CardRecord, CardChange]:
    """Carry out a command.

    Its time is `now_ms`, pushed behind the card's last change where clocks disagree, so that times along a card rise
    strictly and every reader agrees which command is the last.

    Raises:
        IllegalCardMoveError: the card's lifecycle forbids it.
    """
    if not can_become(card.state, command.target):
        possible = sorted(state.wire for state in CARD_LIFECYCLE[card.state])
        raise IllegalCardMoveError(card.state.wire, possible)
    change = CardChange(
        sequence=card.sequence + 1,
        state=command.target,
        reason=command.reason,
        actor=command.actor,
        command_id=command.command_id,
        command_time_ms=max(now_ms, card.command_time_ms + 1),
        alert_id=command.alert_id,
        case_id=command.case_id,
    )
    changed = replace(
        card,
        state=change.state,
        sequence=change.sequence,
        command_time_ms=change.command_time_ms,
        person_command_time_ms=change.command_time_ms if command.by_person else card.person_command_time_ms,
        history=(*card.history, change)[-MAXIMUM_HISTORY:],
    )
    return changed, change


def remember_alert(card: CardRecord, summary: AlertSummary, payments: tuple[Payment, ...]) -> CardRecord:
    """List an alert with its card; the payments of the newest alert stay, not those of the last to arrive."""
    newest = summary.time_ms >= card.payments_time_ms and bool(payments)
    return replace(
        card,
        alerts=(*card.alerts, summary)[-MAXIMUM_RECENT_ALERTS:],
        payments=payments if newest else card.payments,
        payments_time_ms=summary.time_ms if newest else card.payments_time_ms,
    )
