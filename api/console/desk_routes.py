"""/console beyond the queue and the case: opening a case by hand, and the desk's lists. No page needs scripts."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Response
from starlette.responses import RedirectResponse

from api.console.actions import read_details
from api.console.language import Language
from api.console.pages import lists_page, open_case_page
from api.console.rendering import CONSOLE_PATH
from api.console.routes import SEE_OTHER, LanguageOf, OwnForm, SignedIn, idempotency_key_of
from api.console.sessions import Session
from api.context import Context
from api.dependencies import ContextOf, checked_text, refuse_card_number
from api.errors import FormError, RequestError
from api.problems import Problem, problem_of
from api.roles import Permission
from api.routes.acting import refuse_card_numbers
from api.watching import Watch, WatchOf, listed_cards
from casework.access import AccessTo
from casework.cases import Contact
from casework.errors import CommandError
from casework.kinds import CaseKind
from casework.lists import Effect, ListKey, Subject
from casework.views import Opening

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)

Choice = TypeVar("Choice", bound=StrEnum)
_HOUR_MS = 3_600_000
_LONGEST_HOURS = 24 * 400


@router.get("/new")
async def show_new_case(session: SignedIn, language: LanguageOf, kind: str = CaseKind.DISPUTE) -> Response:
    """The form for a case of a kind."""
    return open_case_page(session, _kind(kind), language, secrets.token_urlsafe(16), {})


@router.post("/new")
async def new_case(
    session: SignedIn,
    context: ContextOf,
    watch: WatchOf,
    language: LanguageOf,
    form: OwnForm,
    kind: str = CaseKind.DISPUTE,
) -> Response:
    """Open it and go there; what cannot be done comes back with the form as it was."""
    try:
        details = read_details(form)
        note = form.get("note", "").strip()
        refuse_card_numbers([note, details], context)
        view = await context.desk.open_case(
            refuse_card_number(form.get("card_token", "").strip(), context),
            Opening(
                _kind(kind),
                _chosen(Contact, form, "channel"),
                details,
                note,
                vulnerable="vulnerable" in form,
                customer_waiting="customer_waiting" in form,
            ),
            session.person,
            now_ms=context.now_ms(),
            idempotency_key=idempotency_key_of(form),
        )
    except (RequestError, CommandError) as error:
        # A card number is not shown again, wherever it stood.
        safe = {} if isinstance(error, RequestError) else form
        key = secrets.token_urlsafe(16)
        return open_case_page(session, _kind(kind), language, key, safe, problem_of(error))
    await watch.tell_case(session.person, view)
    return RedirectResponse(f"{CONSOLE_PATH}/cases/{quote(view.case.case_id, safe='')}", status_code=SEE_OTHER)


@router.get("/lists")
async def show_lists(
    session: SignedIn, context: ContextOf, watch: WatchOf, language: LanguageOf, done: str = ""
) -> Response:
    """What is blocked, allowed or watched."""
    context.desk.authority.require(session.person, Permission.LISTS_READ)
    return await _lists(session, context, watch, language, done=done == "1")


@router.post("/lists")
async def change_lists(
    session: SignedIn, context: ContextOf, watch: WatchOf, language: LanguageOf, form: OwnForm
) -> Response:
    """Put something on a list, or take it off."""
    hours = form.get("hours", "")
    try:
        if not hours.isascii() or not hours.isdecimal() or len(hours) > 5 or int(hours) > _LONGEST_HOURS:
            raise FormError(field="hours")
        value = refuse_card_number(form.get("value", "").strip(), context)
        entry = await context.desk.put_on_list(
            ListKey(_chosen(Effect, form, "effect"), _chosen(Subject, form, "subject"), value),
            session.person,
            checked_text(form.get("reason", "").strip()),
            context.now_ms() + int(hours) * _HOUR_MS if int(hours) else 0,
            now_ms=context.now_ms(),
        )
    except (RequestError, CommandError) as error:
        return await _lists(session, context, watch, language, problem=problem_of(error))
    await watch.tell(session.person, AccessTo.LISTS, listed_cards([entry]))
    return RedirectResponse(f"{CONSOLE_PATH}/lists?done=1", status_code=SEE_OTHER)


async def _lists(
    session: Session,
    context: Context,
    watch: Watch,
    language: Language,
    *,
    problem: Problem | None = None,
    done: bool = False,
) -> Response:
    entries = await context.desk.list_entries(now_ms=context.now_ms())
    await watch.tell(session.person, AccessTo.LISTS, listed_cards(entries))
    return lists_page(session, entries, language, context.desk.authority, problem=problem, done=done)


def _kind(name: str) -> CaseKind:
    """The kind of that name; a dispute where there is none, for addresses are typed by people."""
    kinds = {kind.value: kind for kind in CaseKind if kind is not CaseKind.FRAUD_ALERT}
    return kinds.get(name, CaseKind.DISPUTE)


def _chosen(words: type[Choice], form: dict[str, str], field: str) -> Choice:
    """One of our words, from a form."""
    try:
        return words(form.get(field, ""))
    except ValueError:
        raise FormError(field) from None
