"""The case page: what happened and why, the card, what is left to do, and what can be done. Values only, no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import HTMLResponse

from api.console import spending, words
from api.console.actions import ActionForm, Group, spans
from api.console.language import Language
from api.console.macro_choices import MacroChoice
from api.console.rendering import render
from api.console.sessions import Session
from api.problems import Problem
from api.roles import Authority, Permission
from casework import clocks
from casework.cards import OutcomeKind
from casework.cases import Case, CaseAlert, CaseEvent, CaseEventType, Disposition
from casework.deliveries import Delivery
from casework.kinds import KINDS, FieldType
from casework.steps import CaseStep, steps_of
from casework.views import CardAction, CaseView, Preview, RelatedCase
from detector.vocabulary import CardStatus

# In the order in which they are offered.
DISPOSITIONS = tuple(Disposition)
CARD_ACTIONS: tuple[tuple[CardAction, Permission | None], ...] = (
    (CardAction.KEEP, None),
    (CardAction.UNFREEZE, Permission.CARD_UNFREEZE),
    (CardAction.FREEZE, Permission.CARD_FREEZE),
    (CardAction.BLOCK, Permission.CARD_BLOCK),
)
_POSSIBLE: dict[CardStatus, frozenset[CardAction]] = {
    CardStatus.ACTIVE: frozenset({CardAction.KEEP, CardAction.FREEZE, CardAction.BLOCK}),
    CardStatus.FROZEN: frozenset({CardAction.KEEP, CardAction.UNFREEZE, CardAction.BLOCK}),
    CardStatus.BLOCKED: frozenset({CardAction.KEEP}),
    CardStatus.REISSUED: frozenset({CardAction.KEEP}),
}
_WHOLE = 100
# Of other cases: what a person looks at before they decide; the others are folded up.
_MOST_LISTED = 6
# Orders by the command that gives them, whose words they have.
_ORDERS = {"reissue": "reissue", "limit_change": "change_limit", "provisional_credit": "accept_dispute"}
# What these note is the way in which the cardholder was asked.
_OF_METHODS = (CaseEventType.VERIFICATION_ASKED, CaseEventType.VERIFICATION_FAILED, CaseEventType.VERIFIED)


@dataclass(frozen=True, slots=True)
class AlertBlock:
    """One alert of a case.

    Attributes:
        speaks_for, speaks_against: its evidence.
    """

    alert: CaseAlert
    action: str
    amount: str
    score: str
    loss: str
    speaks_for: list[words.EvidenceLine]
    speaks_against: list[words.EvidenceLine]


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One event of a case in words."""

    time_ms: int
    headline: str
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What the override form holds when it comes back: nothing at first, the agent's words after a conflict.

    Attributes:
        idempotency_key: makes a form sent twice one decision.
    """

    idempotency_key: str
    disposition: str = ""
    card_action: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class CasePageState:
    """What the case page shows besides the case.

    Attributes:
        draft: content of the override form.
        problem: why the form was not accepted.
        done: what was just done, to say that it is recorded; empty where nothing was.
        preview: what an action would do, where the agent asked.
        forms: what can be done.
        macros: decisions with many effects that can be made.
        related: cases that have something in common with this one.
        notices: what became of what the cardholder was told.
    """

    draft: Draft
    problem: Problem | None = None
    done: str = ""
    preview: Preview | None = None
    forms: tuple[ActionForm, ...] = ()
    macros: tuple[MacroChoice, ...] = ()
    related: tuple[RelatedCase, ...] = ()
    notices: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetLine:
    """What is left of the case's target.

    Attributes:
        left: in words.
        percent: share of the target that is left.
        is_near, is_missed: whether it has warned, and whether it is over.
    """

    due_ms: int
    left: str
    percent: int
    is_near: bool
    is_missed: bool


def case_page(
    session: Session,
    view: CaseView,
    language: Language,
    rates: Mapping[str, float],
    now_ms: int,
    state: CasePageState,
    authority: Authority,
) -> HTMLResponse:
    """One case on one screen."""
    case = view.case
    payments = spending.payments_of(view)
    # Macros have a form of their own, and undoing one stands where it is told that it follows.
    forms = [form for form in state.forms if form.do not in {"macro", "undo"}]
    outcomes = KINDS[case.kind].outcomes
    groups = {group: [form for form in forms if form.group is group] for group in Group}
    return render(
        "case.html",
        language,
        status_code=state.problem.status if state.problem else 200,
        session=session,
        case=case,
        action=case.action.wire,
        card_state=view.card_state.wire,
        age=language.age(now_ms, case.opened_ms),
        at_stake=words.money(max(case.amount_minor, case.expected_loss_minor), case.currency),
        target=target_of(case, language, now_ms),
        steps=_step_lines(view, language, now_ms),
        details=_detail_lines(case, language),
        blocks=[_alert_block(alert, language) for alert in _most_telling_first(view.alerts)],
        spending=spending.spending_of(payments, view.alerts, rates),
        drawing=spending,
        payments=words.payment_table(payments[-spending.MOST_PAYMENTS :], view.alerts, language.texts),
        timeline=[_timeline_line(event, language) for event in reversed(view.timeline)],
        dispositions=[each for each in DISPOSITIONS if each in outcomes],
        # What else ends a case is no question of fraud, and is chosen where it is closed.
        closes_plainly=not state.macros and any(each not in DISPOSITIONS for each in outcomes),
        groups={language.choice("groups", group): forms for group, forms in groups.items() if forms},
        spans=spans(language.desk_words),
        now_ms=now_ms,
        undo_left_ms=0 if case.pending is None else max(0, case.pending.due_ms - now_ms),
        verified=case.verification.holds(now_ms),
        card_actions=_offered_actions(session, view.card_state, authority),
        earlier=[other for other in state.related if "card" in other.by],
        most_listed=_MOST_LISTED,
        elsewhere=[other for other in state.related if "card" not in other.by],
        state=state,
    )


def target_of(case: Case, language: Language, now_ms: int) -> TargetLine | None:
    """What is left of a case's target; None where nothing is due."""
    clock = case.clock
    if clock is None or clock.due_ms is None or not case.is_open:
        return None
    # Of the time from opening: opening hours that the clock leaves out make no difference to a reader.
    whole_ms = max(1, clock.due_ms - case.opened_ms)
    percent = min(_WHOLE, max(0, _WHOLE * (clock.due_ms - now_ms) // whole_ms))
    return TargetLine(
        clock.due_ms,
        language.left(now_ms, clock.due_ms),
        percent,
        is_near=clocks.is_near(clock, now_ms),
        is_missed=clocks.is_missed(clock, now_ms),
    )


def _step_lines(view: CaseView, language: Language, now_ms: int) -> list[tuple[CaseStep, str]]:
    return [(step, language.say(f"steps.{step.name}")) for step in steps_of(view, now_ms)]


def _detail_lines(case: Case, language: Language) -> list[tuple[str, str]]:
    """What is known of the case's own fields, each with its name, in words."""
    currency = str(case.details.get("currency", ""))
    lines = []
    for field in KINDS[case.kind].fields:
        value = case.details.get(field.name)
        # An amount says its currency itself.
        if value is None or field.type is FieldType.CURRENCY:
            continue
        if field.type is FieldType.AMOUNT and isinstance(value, int):
            shown = words.money(value, currency or None)
        elif field.type is FieldType.TIME and isinstance(value, int):
            shown = language.moment(value)
        elif field.type is FieldType.CHOICE:
            shown = language.choice("detail_choices", str(value))
        else:
            shown = str(value) if isinstance(value, str | int) else ", ".join(map(str, value))
        # In a form an amount is asked for in minor units; here it is written as people write it.
        is_amount = field.type is FieldType.AMOUNT
        name = language.say("payments.amount_minor") if is_amount else language.desk_words.field(field.name)
        lines.append((name, shown))
    return lines


def _most_telling_first(alerts: Sequence[CaseAlert]) -> list[CaseAlert]:
    """The severest answer first, of these what froze the card, then the latest: what must be known before all else."""

    def order(alert: CaseAlert) -> tuple[int, bool, int]:
        return alert.action, alert.outcome is OutcomeKind.FROZEN, alert.event_time_ms

    return sorted(alerts, key=order, reverse=True)


def _offered_actions(session: Session, card_state: CardStatus, authority: Authority) -> list[CardAction]:
    """What this agent may do with a card in this state; the API refuses the rest anyway."""
    return [
        action
        for action, permission in CARD_ACTIONS
        if action in _POSSIBLE[card_state]
        and (permission is None or authority.permits(session.person.role, permission))
    ]


def _alert_block(alert: CaseAlert, language: Language) -> AlertBlock:
    lines = words.evidence_lines(alert.evidence, language.reason_texts, language.texts)
    return AlertBlock(
        alert=alert,
        action=alert.action.wire,
        amount=words.money(alert.amount_minor, alert.currency),
        score=f"{alert.score:.1%}",
        loss=words.money(alert.expected_loss_minor, alert.currency),
        speaks_for=[line for line in lines if not line.is_against],
        speaks_against=[line for line in lines if line.is_against],
    )


def _timeline_line(event: CaseEvent, language: Language) -> TimelineLine:
    headline, text = language.choice("events", event.type), event.note or ""
    if event.alert is not None:
        amount = words.money(event.alert.amount_minor, event.alert.currency)
        headline = f"{headline}: {language.choice('verdicts', event.alert.action.wire)}, {amount}"
        # What joined later is explained above; here it would only be long.
        is_first = event.type is CaseEventType.OPENED
        text = "; ".join(language.reason(code) for code in event.alert.reasons) if is_first else ""
    if event.card_change is not None:
        headline = language.say("case.card_became", state=language.choice("card_states", event.card_change.state.wire))
        reason = event.card_change.reason
        # The desk gives a code where no person spoke.
        text = reason if " " in reason else language.reason(reason)
    if event.type in _OF_METHODS and text:
        text = language.desk_words.choice(f"methods.{text}")
    told = event.told or {}
    if "mine" in told:
        text = language.desk_words.choice("answers.yes" if told["mine"] else "answers.no")
    if told.get("type") in _ORDERS:
        text = language.desk_words.action(_ORDERS[str(told["type"])])[0]
    if event.disposition is not None:
        headline = f"{headline}: {language.choice('outcomes', event.disposition)}"
    return TimelineLine(event.time_ms, headline, event.actor, text)
