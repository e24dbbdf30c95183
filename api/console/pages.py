"""The console's pages: templates and what they show, without HTTP."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.console import words
from api.console.actions import ActionForm, Group, spans
from api.console.desk_words import DeskWords
from api.console.sessions import Session
from api.console.words import ReasonText
from api.problems import Problem
from api.roles import Authority, Permission
from casework.cases import Case, CaseAlert, CaseEvent, CaseState, Contact, Disposition
from casework.history import MAXIMUM_QUERY, HistoryPage, Statistics
from casework.kinds import KINDS, CaseKind
from casework.lists import Effect, ListEntry, Subject
from casework.views import CardAction, CaseView, Page, Preview, RelatedCase
from detector.vocabulary import Action, CardStatus

CONSOLE_PATH = "/console"
SIGN_IN_PATH = CONSOLE_PATH + "/sign-in"
SIGN_OUT_PATH = CONSOLE_PATH + "/sign-out"

ALERT_ACTIONS = tuple(action.wire for action in Action if action is not Action.ALLOW)
_SHOWN_REASONS = 3

DISPOSITIONS: tuple[tuple[Disposition, str, str], ...] = (
    (Disposition.CONFIRMED_FRAUD, "Confirmed fraud", "The cardholder did not make these payments."),
    (Disposition.FALSE_POSITIVE, "False positive", "It was the cardholder, and there was nothing to look at."),
    (Disposition.VALUABLE_ALERT, "Valuable alert", "It was the cardholder, but asking was right."),
)
CARD_ACTIONS: tuple[tuple[CardAction, str, str, Permission | None], ...] = (
    (CardAction.KEEP, "Keep as it is", "The card stays in its present state.", None),
    (CardAction.UNFREEZE, "Unfreeze", "The card pays again at once.", Permission.CARD_UNFREEZE),
    (CardAction.FREEZE, "Freeze", "Payments are declined until somebody unfreezes it.", Permission.CARD_FREEZE),
    (
        CardAction.BLOCK,
        "Block for good",
        "It never pays again; the cardholder needs a new card.",
        Permission.CARD_BLOCK,
    ),
)
_POSSIBLE: dict[CardStatus, frozenset[CardAction]] = {
    CardStatus.ACTIVE: frozenset({CardAction.KEEP, CardAction.FREEZE, CardAction.BLOCK}),
    CardStatus.FROZEN: frozenset({CardAction.KEEP, CardAction.UNFREEZE, CardAction.BLOCK}),
    CardStatus.BLOCKED: frozenset({CardAction.KEEP}),
    CardStatus.REISSUED: frozenset({CardAction.KEEP}),
}


@lru_cache(maxsize=4)
def static_file(name: str) -> bytes:
    """A file of `api/static`, found in the installed package."""
    return (importlib.resources.files("api") / "static" / name).read_bytes()


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, found in the installed package; everything they print is escaped."""
    templates = Environment(
        loader=PackageLoader("api", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "moment": words.moment,
        "machine_moment": words.machine_moment,
        "short_token": words.short_token,
        "words": words.words,
    }
    templates.globals |= {
        "console_path": CONSOLE_PATH,
        "sign_in_path": SIGN_IN_PATH,
        "sign_out_path": SIGN_OUT_PATH,
        "stylesheet_path": f"{CONSOLE_PATH}/console.css?v={_digest(static_file('console.css'))}",
    }
    return templates


def _digest(content: bytes) -> str:
    """What makes an address change with its content, so that the content may be cached for ever."""
    return hashlib.sha256(content).hexdigest()[:12]


def _render(template: str, *, status_code: int = 200, session: Session | None = None, **values: Any) -> HTMLResponse:
    body = environment().get_template(template).render(session=session, **values)
    return HTMLResponse(body, status_code=status_code)


def problem_page(problem: Problem) -> HTMLResponse:
    """A problem as a page; the same words as in problem+json."""
    response = _render("problem.html", status_code=problem.status, problem=problem)
    response.headers.update(problem.headers)
    return response


def sign_in_page(*, failed: bool = False) -> HTMLResponse:
    """The sign-in form. It never says which part of a key was wrong, for there is only one."""
    return _render("sign_in.html", status_code=401 if failed else 200, failed=failed)


@dataclass(frozen=True, slots=True)
class QueueFilters:
    """What the queue is narrowed to, as the form names it; empty strings are "any"."""

    state: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One case of the queue."""

    case: Case
    action: str
    reasons: list[str]
    more_reasons: int
    amount: str
    age: str


def queue_page(
    session: Session, page: Page, filters: QueueFilters, texts: Mapping[str, ReasonText], now_ms: int, *, first: bool
) -> HTMLResponse:
    """The queue of cases, most urgent first."""
    lines = [_queue_line(case, texts, now_ms) for case in page.cases]
    return _render(
        "queue.html",
        session=session,
        lines=lines,
        filters=filters,
        next_cursor=page.next_cursor,
        first=first,
        states=[state.value for state in CaseState],
        actions=ALERT_ACTIONS,
    )


def _queue_line(case: Case, texts: Mapping[str, ReasonText], now_ms: int) -> QueueLine:
    reasons = [words.sentence(texts, code) for code in case.reasons]
    return QueueLine(
        case=case,
        action=case.action.wire,
        reasons=reasons[:_SHOWN_REASONS],
        more_reasons=max(0, len(reasons) - _SHOWN_REASONS),
        amount=words.money(case.expected_loss_minor, case.currency),
        age=words.age(now_ms, case.opened_ms),
    )


def lists_page(
    session: Session,
    entries: Sequence[ListEntry],
    texts: DeskWords,
    authority: Authority,
    *,
    problem: Problem | None = None,
    done: bool = False,
) -> HTMLResponse:
    """What is blocked, allowed or watched, and for those who may, the forms to change it."""
    return _render(
        "lists.html",
        status_code=problem.status if problem else 200,
        session=session,
        entries=entries,
        may_edit=authority.permits(session.key.role, Permission.LISTS_EDIT),
        effects=[effect.value for effect in Effect],
        subjects=[subject.value for subject in Subject],
        spans=spans(texts),
        problem=problem,
        done=done,
    )


def open_case_page(
    session: Session,
    kind: CaseKind,
    texts: DeskWords,
    idempotency_key: str,
    draft: Mapping[str, str],
    problem: Problem | None = None,
) -> HTMLResponse:
    """The form that opens a case of a kind, with the kind's own fields."""
    fields = KINDS[kind].fields
    return _render(
        "open_case.html",
        status_code=problem.status if problem else 200,
        session=session,
        kind=kind.value,
        title=texts.choice(f"kinds.{kind}"),
        kinds=[(each.value, texts.choice(f"kinds.{each}")) for each in CaseKind if each is not CaseKind.FRAUD_ALERT],
        channels=[channel.value for channel in Contact],
        fields=fields,
        labels={field.name: texts.field(field.name) for field in fields},
        idempotency_key=idempotency_key,
        draft=draft,
        problem=problem,
    )


@dataclass(frozen=True, slots=True)
class AlertBlock:
    """One alert of a case."""

    alert: CaseAlert
    action: str
    amount: str
    score: str
    loss: str
    evidence: list[words.EvidenceLine]


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


class PageWords(Protocol):
    """The words that pages are made of."""

    @property
    def reason_texts(self) -> Mapping[str, ReasonText]:
        """How an alert's evidence is explained."""

    @property
    def desk_words(self) -> DeskWords:
        """What actions, fields and choices are called."""


@dataclass(frozen=True, slots=True)
class CasePageState:
    """What the case page shows besides the case.

    Attributes:
        draft: content of the override form.
        problem: why the form was not accepted.
        done: whether to say that what was asked is recorded.
        preview: what an action would do, where the agent asked.
        forms: what can be done.
        related: cases that have something in common with this one.
    """

    draft: Draft
    problem: Problem | None = None
    done: bool = False
    preview: Preview | None = None
    forms: tuple[ActionForm, ...] = ()
    related: tuple[RelatedCase, ...] = ()


def case_page(
    session: Session,
    view: CaseView,
    settings: PageWords,
    now_ms: int,
    state: CasePageState,
    authority: Authority,
) -> HTMLResponse:
    """One case: what happened, why we think so, what was done, and the forms to do something about it."""
    case, texts = view.case, settings.reason_texts
    groups = {group: [form for form in state.forms if form.group is group] for group in Group}
    blocks = [_alert_block(alert, texts) for alert in reversed(view.alerts)]
    return _render(
        "case.html",
        status_code=state.problem.status if state.problem else 200,
        session=session,
        case=case,
        action=case.action.wire,
        card_state=view.card_state.wire,
        age=words.age(now_ms, case.opened_ms),
        blocks=blocks,
        payments=words.payment_table(view.payments, view.alerts),
        timeline=[_timeline_line(event, texts) for event in reversed(view.timeline)],
        dispositions=DISPOSITIONS,
        groups={settings.desk_words.choice(f"groups.{group}"): forms for group, forms in groups.items() if forms},
        spans=spans(settings.desk_words),
        now_ms=now_ms,
        verified=case.verification.holds(now_ms),
        card_actions=_offered_actions(session, view.card_state, authority),
        state=state,
    )


def _offered_actions(
    session: Session, card_state: CardStatus, authority: Authority
) -> list[tuple[CardAction, str, str]]:
    """What this agent may do with a card in this state; the API refuses the rest anyway."""
    return [
        (action, label, meaning)
        for action, label, meaning, permission in CARD_ACTIONS
        if action in _POSSIBLE[card_state] and (permission is None or authority.permits(session.key.role, permission))
    ]


def _alert_block(alert: CaseAlert, texts: Mapping[str, ReasonText]) -> AlertBlock:
    return AlertBlock(
        alert=alert,
        action=alert.action.wire,
        amount=words.money(alert.amount_minor, alert.currency),
        score=f"{alert.score:.1%}",
        loss=words.money(alert.expected_loss_minor, alert.currency),
        evidence=words.evidence_lines(alert.evidence, texts),
    )


def _timeline_line(event: CaseEvent, texts: Mapping[str, ReasonText]) -> TimelineLine:
    headline, text = words.words(event.type.value), event.note or ""
    if event.alert is not None:
        headline = (
            f"{headline}: {event.alert.action.wire}, {words.money(event.alert.amount_minor, event.alert.currency)}"
        )
        text = "; ".join(words.sentence(texts, code) for code in event.alert.reasons)
    if event.card_change is not None:
        headline = f"Card {event.card_change.state.wire}"
        reason = event.card_change.reason
        # The desk gives a code where no person spoke.
        text = reason if " " in reason else words.sentence(texts, reason)
    if event.disposition is not None:
        headline = f"{headline}: {words.words(event.disposition.value).lower()}"
    return TimelineLine(event.time_ms, headline, event.actor, text)


class SearchQuery(Protocol):
    """What was searched for, as the form says it."""

    @property
    def q(self) -> str:
        """The text."""
        ...

    def as_query(self, cursor: str = "") -> dict[str, str]:
        """As the address of a page says it."""
        ...


def history_page(session: Session, page: HistoryPage, filters: SearchQuery, *, first: bool) -> HTMLResponse:
    """Cases that were found."""
    return _render(
        "history.html",
        session=session,
        cases=page.cases,
        next_cursor=page.next_cursor,
        filters=filters,
        first=first,
        dispositions=[disposition.value for disposition in Disposition],
        maximum_query=MAXIMUM_QUERY,
    )


def figures_page(session: Session, found: Statistics, days: int, spans: Sequence[int]) -> HTMLResponse:
    """A span of time in numbers."""
    return _render("figures.html", session=session, found=found, days=days, spans=spans)
