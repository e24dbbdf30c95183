"""JSON of /v1: what goes in and what comes out. Fields may be added, never renamed or removed.

Output models are read off casework's views by attribute, so a view and its JSON cannot drift apart unnoticed.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from casework.alerts import Payment
from casework.breaker import BreakerState
from casework.cards import OutcomeKind
from casework.cases import CaseEventType, CaseState, Disposition
from casework.desk import DEFAULT_PAGE_CASES, MAXIMUM_PAGE_CASES
from casework.views import CardAction
from detector.vocabulary import Action, CardStatus, WireEnum

MAXIMUM_TEXT = 2_000
ACTION_NAMES = tuple(action.wire for action in Action if action is not Action.ALLOW)
CARD_STATE_NAMES = tuple(state.wire for state in CardStatus)


def _wire(value: Any) -> Any:
    """The contract's name of a coded value."""
    return value.wire if isinstance(value, WireEnum) else value


ActionName = Annotated[
    str,
    BeforeValidator(_wire),
    Field(description="Answer to a transaction", json_schema_extra={"enum": [*ACTION_NAMES]}),
]
CardStateName = Annotated[
    str, BeforeValidator(_wire), Field(description="State of a card", json_schema_extra={"enum": [*CARD_STATE_NAMES]})
]
TimeMs = Annotated[int, Field(description="UTC epoch milliseconds")]
Reason = Annotated[str, Field(min_length=1, max_length=MAXIMUM_TEXT, description="Why, in words; no card numbers")]
Limit = Annotated[int, Field(ge=1, le=MAXIMUM_PAGE_CASES, description="Cases a page")]
DEFAULT_LIMIT = DEFAULT_PAGE_CASES


class Command(BaseModel):
    """What comes in: a misspelt member is refused, not ignored, for a person waits for what it asks."""

    model_config = ConfigDict(extra="forbid")


class CardCommandIn(Command):
    """Freeze or unfreeze a card."""

    reason: Reason


class OverrideIn(Command):
    """A person's decision on a case. Who decides is the API key's holder."""

    disposition: Disposition = Field(description="What the case turned out to be; the latter two are both genuine")
    card_action: CardAction = Field(description="What to do with the card; `block` takes a senior agent")
    note: Reason


class BreakerReleaseIn(Command):
    """Let a policy's freezes through again."""

    reason: Reason


class View(BaseModel):
    """What goes out, read off a view of casework."""

    model_config = ConfigDict(from_attributes=True)


class CardChangeOut(View):
    """One change of a card's state."""

    sequence: int
    state: CardStateName
    reason: str
    actor: str
    command_id: str
    command_time_ms: TimeMs
    alert_id: str | None
    case_id: str | None


class AlertSummaryOut(View):
    """An alert as listed with its card."""

    alert_id: str
    transaction_id: str
    action: ActionName
    event_time_ms: TimeMs
    score: float = Field(description="Calibrated probability of fraud")
    reasons: list[str]
    outcome: OutcomeKind
    case_id: str | None


class CaseOut(View):
    """A case in short."""

    case_id: str
    card_token: str
    state: CaseState
    version: int = Field(validation_alias="sequence", description="Number of its last event; the ETag's content")
    action: ActionName
    opened_ms: TimeMs
    updated_ms: TimeMs
    expected_loss_minor: int = Field(description="Money at risk over all its alerts, minor units")
    currency: str | None = Field(description="Of the money at risk; null where unknown, or where alerts differ")
    transaction_ids: list[str]
    reasons: list[str]
    alert_count: int
    closed_ms: int | None
    closed_by: str | None
    disposition: Disposition | None
    note: str | None


class CardOut(View):
    """A card: its state and how it came about."""

    card_token: str
    state: CardStateName
    version: int = Field(validation_alias="sequence", description="Number of changes so far; the ETag's content")
    history: list[CardChangeOut] = Field(description="Changes of state, newest first")
    alerts: list[AlertSummaryOut] = Field(description="Newest first")
    payments: list[Payment] = Field(description="Last payments, as the newest alert listed them")
    open_case: CaseOut | None
    case_ids: list[str] = Field(description="Newest first")
    damped_reasons: list[str] = Field(description="Reason codes that do not act on this card until damped_until_ms")
    damped_until_ms: TimeMs


class EvidenceOut(View):
    """One reason in numbers."""

    code: str
    text_key: str
    observed: str | int | float | bool | None = Field(description="What this payment showed")
    usual: str | int | float | bool | None = Field(description="What is usual")
    contribution: float = Field(description="Share of the score, in log-odds")


class CaseAlertOut(View):
    """An alert with its evidence."""

    alert_id: str
    transaction_id: str
    action: ActionName
    event_time_ms: TimeMs
    score: float
    anomaly: float
    reasons: list[str]
    rules: list[str]
    flags: list[str]
    expected_loss_minor: int
    model_version: str
    policy_version: str
    evidence: list[EvidenceOut]
    payments: list[Payment]
    amount_minor: int | None
    currency: str | None
    merchant_id: str | None
    country: str | None
    outcome: OutcomeKind


class CaseEventOut(View):
    """One thing that happened to a case. Which of the last four are given depends on the type."""

    sequence: int
    type: CaseEventType
    state: CaseState
    actor: str
    time_ms: TimeMs
    alert_id: str | None = Field(default=None, validation_alias=AliasPath("alert", "alert_id"))
    card_change: CardChangeOut | None
    disposition: Disposition | None
    note: str | None


class CaseDetailOut(View):
    """A case with everything needed to judge it."""

    case: CaseOut
    card_state: CardStateName
    alerts: list[CaseAlertOut] = Field(description="In order of arrival")
    payments: list[Payment] = Field(description="The card's last payments, as the newest alert listed them")
    timeline: list[CaseEventOut] = Field(description="Every event, oldest first")


class CasePageOut(View):
    """A page of cases, most urgent first; closed ones, last closed first."""

    cases: list[CaseOut]
    next_cursor: str | None = Field(description="Pass it back for what follows; null at the end")


class BreakerOut(View):
    """The circuit breaker of one version of the policy."""

    policy_version: str
    state: BreakerState = Field(description="open: its freezes become cases that wait for a person")
    changed_ms: TimeMs = Field(description="When it opened or was released last; 0 where it never opened")
    actor: str = Field(description="Who did that")
    reason: str = Field(description="The limit that was passed, or the person's words")


class BreakerListOut(BaseModel):
    """All of them."""

    breakers: list[BreakerOut]


class LiveOut(BaseModel):
    """The process answers."""

    status: str = "live"


class ReadyOut(BaseModel):
    """The service can work."""

    status: str = "ready"
    dependencies: list[str] = Field(description="What was asked, and answered")
