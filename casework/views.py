"""What the desk shows: values for the API and the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from casework.alerts import Payment
from casework.authority import Person
from casework.cards import AlertSummary, CardChange, OutcomeKind
from casework.cases import Case, CaseAlert, CaseEvent, CaseState, Contact, Disposition
from casework.kinds import CaseKind
from detector.vocabulary import Action, CardStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an alert ended.

    Attributes:
        card_state: the card's state after it.
        case_id: the case it opened or joined.
        acted_ms: when it was handled first; earlier than now for an alert that was handled before.
    """

    alert_id: str
    action: Action
    kind: OutcomeKind
    card_state: CardStatus
    case_id: str | None
    acted_ms: int


@dataclass(frozen=True, slots=True)
class CardView:
    """A card for people.

    Attributes:
        sequence: number of state changes so far; the version for If-Match. 0 for a card nobody ever spoke of.
        history: changes of state, newest first.
        alerts: newest first, in order of arrival.
        payments: the card's last payments as the newest alert listed them.
        open_case: the one open case.
        case_ids: latest cases, newest first.
        damped_reasons, damped_until_ms: reason codes that do not act on this card until then.
    """

    card_token: str
    state: CardStatus
    sequence: int
    history: tuple[CardChange, ...]
    alerts: tuple[AlertSummary, ...]
    payments: tuple[Payment, ...]
    open_case: Case | None
    case_ids: tuple[str, ...]
    damped_reasons: tuple[str, ...]
    damped_until_ms: int


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case for people.

    Attributes:
        case: the case as its events say; `case.sequence` is the version for If-Match.
        card_state: the card's state.
        alerts: with their evidence, in order of arrival.
        payments: the card's last payments as the newest of the case's alerts listed them.
        timeline: every event, oldest first.
    """

    case: Case
    card_state: CardStatus
    alerts: tuple[CaseAlert, ...]
    payments: tuple[Payment, ...]
    timeline: tuple[CaseEvent, ...]


class CardAction(StrEnum):
    """What an override does with the card."""

    KEEP = "keep"
    UNFREEZE = "unfreeze"
    FREEZE = "freeze"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision on a case: it is decided, the card is commanded, and the case is closed, in one step.

    Attributes:
        note: why, in the person's words: 1 to 2,000 characters.
        by: who decides.
    """

    disposition: Disposition
    card_action: CardAction
    note: str
    by: Person


@dataclass(frozen=True, slots=True)
class CardOrder:
    """A person's command on a card.

    Attributes:
        reason: why, in the person's words: 1 to 2,000 characters.
        by: who commands.
    """

    card_token: str
    target: CardStatus
    reason: str
    by: Person


@dataclass(frozen=True, slots=True)
class Opening:
    """A case that a person opens.

    Attributes:
        details: the kind's own fields.
        note: the customer's matter in words.
    """

    kind: CaseKind
    channel: Contact
    details: Mapping[str, object]
    note: str
    vulnerable: bool = False
    customer_waiting: bool = False


@dataclass(frozen=True, slots=True)
class RelatedCase:
    """A case that has something in common with another.

    Attributes:
        by: what: `card`, `merchant`, `terminal`, `device`.
    """

    case: Case
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One record that a plan would send, for a preview."""

    topic: str
    type: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen.

    Attributes:
        case: afterwards.
        card_state: afterwards.
        events: of the case.
        told: what payment systems, the scorer, the models and the cardholder would be told.
    """

    case: Case
    card_state: CardStatus
    events: tuple[CaseEvent, ...]
    told: tuple[Told, ...]


class Due(StrEnum):
    """How a case stands to its target: near it or beyond, or beyond."""

    NEAR = "near"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class CaseFilters:
    """Which cases to list; None means any.

    Attributes:
        state: None means the open ones, whatever their state.
        action: cases whose severest alert says this.
        card_token: cases of this card.
        owner: cases that this person works on now; an empty name is nobody.
        taker: cases that this person may take now.
        now_ms: when owners and targets are looked at.
    """

    state: CaseState | None = None
    action: Action | None = None
    card_token: str | None = None
    kind: CaseKind | None = None
    owner: str | None = None
    due: Due | None = None
    taker: Person | None = None
    now_ms: int = 0

    @property
    def is_narrow(self) -> bool:
        """Whether the store lists cases that do not pass."""
        return any(each is not None for each in (self.action, self.kind, self.owner, self.due, self.taker))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of cases, most urgent first (closed ones: last closed first).

    Attributes:
        next_cursor: pass it back for what follows; None at the end.
    """

    cases: tuple[Case, ...]
    next_cursor: str | None
