"""JSON of /v1: what goes in and what comes out. Fields may be added, never renamed or removed.

Output models are read off casework's views by attribute, so a view and its JSON cannot drift apart unnoticed.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from casework.alerts import Payment
from casework.breaker import BreakerState
from casework.cards import OutcomeKind
from casework.cases import CaseEventType, CaseState, Contact, Disposition, Facts, Severity
from casework.desk import DEFAULT_PAGE_CASES, MAXIMUM_PAGE_CASES
from casework.kinds import CaseKind
from casework.lists import Effect, Subject
from casework.verification import Method
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
CaseActionName = Annotated[
    str,
    BeforeValidator(_wire),
    Field(
        description="The severest of its alerts; ALLOW where it has none",
        json_schema_extra={"enum": [Action.ALLOW.wire, *ACTION_NAMES]},
    ),
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


class OpeningIn(Command):
    """A case that a person opens."""

    card_token: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$", description="The card's token")
    kind: CaseKind
    channel: Contact = Field(default=Contact.NONE, description="How the customer reaches us; targets depend on it")
    details: dict[str, str | int | bool | list[str]] = Field(
        default_factory=dict, description="The kind's own fields, see docs/cases.md"
    )
    note: Reason
    vulnerable: bool = Field(default=False, description="Whether the customer needs particular care")
    customer_waiting: bool = Field(default=False, description="Whether the customer waits for us now")


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


class ClockOut(View):
    """By when a case must be answered."""

    calendar: str = Field(description="Whose opening hours count")
    target_ms: int = Field(description="Opening time that it may take, milliseconds")
    warn_ms: int | None = Field(description="When it warns; null while it stands still")
    due_ms: int | None = Field(description="When it is over; null while it stands still")
    warned: bool
    missed: bool
    stopped: bool


class OptionOut(View):
    """A payment that may be the cardholder's, or made up."""

    time_ms: TimeMs
    amount_minor: int
    currency: str


class ChallengeOut(View):
    """A question that waits for the cardholder's answer."""

    method: Method
    expires_ms: TimeMs
    attempts_left: int
    options: list[OptionOut] = Field(description="For `knowledge`: the payments to choose from, by place from 0")


class VerificationOut(View):
    """What is known of the cardholder's identity."""

    challenge: ChallengeOut | None
    failures: int = Field(description="Wrong answers since the last right one")
    locked_until_ms: int = Field(description="Before that nothing is asked or answered")
    verified_until_ms: int = Field(description="Until when identity is verified; 0: never was")
    method: Method | None
    by: str | None


class AskedOut(View):
    """What waits for a second person's consent, or follows in a moment unless it is undone."""

    name: str
    by: str
    time_ms: TimeMs
    due_ms: int = Field(description="When it follows; 0 where it waits for consent")


class CaseOut(View):
    """A case in short."""

    case_id: str
    card_token: str
    state: CaseState
    version: int = Field(validation_alias="sequence", description="Number of its last event; the ETag's content")
    action: CaseActionName
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
    kind: CaseKind
    details: dict[str, str | int | bool | list[str]] = Field(description="The kind's own fields")
    channel: Contact
    severity: Severity = Field(description="0 low, 1 normal, 2 high, 3 urgent; rises by itself, never falls by itself")
    tier: int = Field(description="The lowest tier that may work on it")
    customer_waiting: bool
    vulnerable: bool
    owner: str | None = Field(description="Who works on it")
    locked_until_ms: int = Field(description="Until when nobody else may")
    returns_ms: int | None = Field(description="When a waiting case comes back")
    clock: ClockOut | None
    verification: VerificationOut
    approval: AskedOut | None
    pending: AskedOut | None
    outcome: str | None = Field(description="How it ended")
    urgency_ms: int = Field(description="The queue's order, lowest first")
    amount_minor: int = Field(description="Sum of its alerts' payments")
    score: float = Field(description="Highest probability of fraud among them")
    reopened_count: int
    call_due: bool = Field(description="Whether somebody is to call the cardholder, who did not answer")


class RelatedCaseOut(View):
    """A case that has something in common with another."""

    case: CaseOut
    by: list[str] = Field(description="What: card, merchant, terminal, device")


class RelatedCasesOut(BaseModel):
    """Latest first."""

    cases: list[RelatedCaseOut]


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
    contribution: float = Field(description="Share of the score, in log-odds; below 0: it spoke against fraud")


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
    terminal_ref: str | None = Field(description="Opaque; equal for the same terminal")
    device_ref: str | None = Field(description="Opaque; equal for the same device")
    outcome: OutcomeKind


# What an event says of an open question is for the case's own view; here it would only repeat what is secret in it.
_HIDDEN_FACTS = frozenset({"verification"})


def _facts(value: Any) -> Any:
    """An event's facts as JSON, without what must not be shown."""
    if not isinstance(value, Facts):
        return value
    shown = msgspec.to_builtins(value)
    for name in ("approval", "pending"):
        if isinstance(shown.get(name), dict):
            shown[name] = {key: part for key, part in shown[name].items() if key in AskedOut.model_fields}
    return {name: fact for name, fact in shown.items() if name not in _HIDDEN_FACTS}


class CaseEventOut(View):
    """One thing that happened to a case. Which of the last six are given depends on the type."""

    sequence: int
    type: CaseEventType
    state: CaseState
    actor: str
    time_ms: TimeMs
    alert_id: str | None = Field(default=None, validation_alias=AliasPath("alert", "alert_id"))
    card_change: CardChangeOut | None
    disposition: Disposition | None
    note: str | None
    told: dict[str, Any] | None = Field(description="What payment systems or the scorer were told")
    facts: Annotated[dict[str, Any], BeforeValidator(_facts)] = Field(description="What it set of the case, by name")


class ListChangeIn(Command):
    """Put something on one of the desk's lists, or take it off."""

    effect: Effect = Field(description="block declines, allow lets pass whatever models say, watch has it reviewed")
    subject: Subject
    value: str = Field(min_length=1, max_length=64, description="A token, an id, or a country's code")
    reason: Reason
    until_ms: int = Field(ge=0, le=4_102_444_800_000, description="Until when, UTC epoch milliseconds; 0 takes it off")


class ListEntryOut(View):
    """One entry of the desk's lists."""

    effect: Effect
    subject: Subject
    value: str
    owner: str = Field(description="Who changed it last")
    reason: str
    set_ms: TimeMs
    until_ms: int = Field(description="Until when it holds; 0 where it was taken off")


class ListsOut(BaseModel):
    """What holds now."""

    entries: list[ListEntryOut]


class ToldOut(View):
    """One record that would be sent."""

    topic: str
    type: str
    body: dict[str, Any]


class PreviewOut(View):
    """What would happen."""

    case: CaseOut
    card_state: CardStateName
    events: list[CaseEventOut]
    told: list[ToldOut] = Field(description="What payment systems, the scorer, models and the cardholder would be told")


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
