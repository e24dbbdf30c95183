"""The console's pages but for the case: what they show, without HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import HTMLResponse

from api.console import words
from api.console.actions import spans
from api.console.case_page import TargetLine, target_of
from api.console.language import Language
from api.console.queue_filters import ALERT_ACTIONS, LONGEST_NAME, OWNERS, QueueFilters, SavedView
from api.console.rendering import render
from api.console.sessions import Session
from api.problems import SIGN_IN_PROBLEMS, Problem
from api.roles import Authority, Permission
from casework.cases import Case, CaseState, Contact, Disposition
from casework.history import MAXIMUM_QUERY, HistoryPage, Statistics
from casework.kinds import KINDS, CaseKind
from casework.lists import Effect, ListEntry, Subject
from casework.shift import Shift
from casework.views import Due, Page

_SHOWN_REASONS = 3
# Views that everybody has.
_OWN_VIEWS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("everything", {}), ("mine", {"owner": "mine"}), ("free", {"owner": "nobody"}), ("due", {"due": "near"}),
)  # fmt: skip
# Cases that the supervisor's page names of each person.
MOST_OF_ONE_PERSON = 6


def problem_page(problem: Problem, language: Language) -> HTMLResponse:
    """A problem as a page; the same words as in problem+json."""
    is_sign_in = problem.code in SIGN_IN_PROBLEMS
    response = render("problem.html", language, status_code=problem.status, problem=problem, is_sign_in=is_sign_in)
    response.headers.update(problem.headers)
    return response


def sign_in_page(language: Language, to: str, *, at_provider: bool, failed: bool = False) -> HTMLResponse:
    """Where one signs in: the way to the provider, or the form for a key.

    It never says which part of a key was wrong, for there is only one.

    Args:
        language: of the page.
        to: the page to go to afterwards.
        at_provider: whether people sign in at an identity provider; no form is shown then.
        failed: whether a key was not known.
    """
    status = 401 if failed else 200
    return render("sign_in.html", language, status_code=status, to=to, at_provider=at_provider, failed=failed)


def passing_page(language: Language, address: str, said: str, link: str) -> HTMLResponse:
    """A page that the browser leaves at once for another address.

    Args:
        language: of the page.
        address: where it goes.
        said: the sentence on it.
        link: what the link for browsers that stay is called.
    """
    return render("passing.html", language, address=address, said=said, link=link)


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One case of the queue.

    Attributes:
        owner: who works on it now; empty for nobody.
    """

    case: Case
    action: str
    reasons: list[str]
    more_reasons: int
    amount: str
    age: str
    target: TargetLine | None
    owner: str


def queue_page(
    session: Session,
    page: Page,
    filters: QueueFilters,
    views: Sequence[SavedView],
    language: Language,
    now_ms: int,
    *,
    first: bool,
) -> HTMLResponse:
    """The queue of cases, most urgent first."""
    lines = [_queue_line(case, language, now_ms) for case in page.cases]
    return render(
        "queue.html",
        language,
        session=session,
        lines=lines,
        filters=filters,
        views=views,
        own_views=[(language.say(f"views.{name}"), QueueFilters(**chosen)) for name, chosen in _OWN_VIEWS],
        kinds=[kind.value for kind in CaseKind],
        owners=OWNERS,
        dues=[due.value for due in Due],
        most_name=LONGEST_NAME,
        next_cursor=page.next_cursor,
        first=first,
        states=[state.value for state in CaseState],
        actions=ALERT_ACTIONS,
    )


def _queue_line(case: Case, language: Language, now_ms: int) -> QueueLine:
    reasons = [language.reason(code) for code in case.reasons]
    return QueueLine(
        case=case,
        action=case.action.wire,
        reasons=reasons[:_SHOWN_REASONS],
        more_reasons=max(0, len(reasons) - _SHOWN_REASONS),
        amount=words.money(case.expected_loss_minor, case.currency) if case.alert_count else "–",
        age=language.age(now_ms, case.opened_ms),
        target=target_of(case, language, now_ms),
        owner=(case.owner or "") if case.is_open and case.locked_until_ms > now_ms else "",
    )


def lists_page(
    session: Session,
    entries: Sequence[ListEntry],
    language: Language,
    authority: Authority,
    *,
    problem: Problem | None = None,
    done: bool = False,
) -> HTMLResponse:
    """What is blocked, allowed or watched, and for those who may, the forms to change it."""
    return render(
        "lists.html",
        language,
        status_code=problem.status if problem else 200,
        session=session,
        entries=entries,
        may_edit=authority.permits(session.person.role, Permission.LISTS_EDIT),
        effects=[effect.value for effect in Effect],
        subjects=[subject.value for subject in Subject],
        spans=spans(language.desk_words),
        problem=problem,
        done=done,
    )


def open_case_page(
    session: Session,
    kind: CaseKind,
    language: Language,
    idempotency_key: str,
    draft: Mapping[str, str],
    problem: Problem | None = None,
) -> HTMLResponse:
    """The form that opens a case of a kind, with the kind's own fields."""
    fields = KINDS[kind].fields
    return render(
        "open_case.html",
        language,
        status_code=problem.status if problem else 200,
        session=session,
        kind=kind.value,
        title=language.choice("kinds", kind),
        kinds=[(each.value, language.choice("kinds", each)) for each in CaseKind if each is not CaseKind.FRAUD_ALERT],
        channels=[channel.value for channel in Contact],
        fields=fields,
        labels={field.name: language.desk_words.field(field.name) for field in fields},
        idempotency_key=idempotency_key,
        draft=draft,
        problem=problem,
    )


class SearchQuery(Protocol):
    """What was searched for, as the form says it."""

    @property
    def q(self) -> str:
        """The text."""
        ...

    def as_query(self, cursor: str = "") -> dict[str, str]:
        """As the address of a page says it."""
        ...


def history_page(
    session: Session, page: HistoryPage, filters: SearchQuery, language: Language, *, first: bool
) -> HTMLResponse:
    """Cases that were found."""
    return render(
        "history.html",
        language,
        session=session,
        cases=page.cases,
        next_cursor=page.next_cursor,
        filters=filters,
        first=first,
        dispositions=[disposition.value for disposition in Disposition],
        maximum_query=MAXIMUM_QUERY,
    )


def figures_page(
    session: Session, found: Statistics, days: int, choices: Sequence[int], language: Language
) -> HTMLResponse:
    """A span of time in numbers."""
    return render("figures.html", language, session=session, found=found, days=days, spans=choices)


def shift_page(
    session: Session, shift: Shift, found: Statistics | None, language: Language, now_ms: int
) -> HTMLResponse:
    """The shift as it is now, and what was closed in the last day."""
    met = None if found is None or not found.closed else 1.0 - found.targets_missed / found.closed
    return render(
        "shift.html",
        language,
        session=session,
        shift=shift,
        oldest=None if shift.oldest_ms is None else language.age(now_ms, shift.oldest_ms),
        pressing=[_queue_line(case, language, now_ms) for case in shift.pressing],
        people=[(name, cases[:MOST_OF_ONE_PERSON], len(cases)) for name, cases in shift.people],
        found=found,
        met=None if met is None else f"{met:.0%}",
    )
