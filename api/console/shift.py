"""/console/shift: the supervisor's page."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from api.console.pages import MOST_OF_ONE_PERSON, shift_page
from api.console.rendering import CONSOLE_PATH
from api.console.routes import LanguageOf, SignedIn
from api.dependencies import ContextOf
from api.roles import Permission
from api.watching import WatchOf
from casework.access import AccessTo
from casework.cases import Case
from casework.shift import shift_of

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)

_PAGE_CASES = 200
# Beyond so many the page says how many of the most urgent it speaks of: it must not read the whole of a bad day.
_MOST_PAGES = 10
_DAY_MS = 86_400_000


@router.get("/shift")
async def show_shift(session: SignedIn, context: ContextOf, watch: WatchOf, language: LanguageOf) -> Response:
    """Backlog, targets, and who works on what, for those who may give cases to others."""
    context.desk.authority.require(session.person, Permission.CASE_REASSIGN)
    now_ms = context.now_ms()
    cases: list[Case] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await context.desk.list_cases(None, cursor, _PAGE_CASES)
        cases += page.cases
        cursor = page.next_cursor
        if cursor is None:
            break
    shift = shift_of(cases, await context.desk.count_cases(), now_ms)
    shown = (*shift.pressing, *(case for _, cases in shift.people for case in cases[:MOST_OF_ONE_PERSON]))
    await watch.tell(session.person, AccessTo.SHIFT, (case.card_token for case in shown))
    history = context.history
    found = None if history is None else await asyncio.to_thread(history.statistics, now_ms - _DAY_MS, now_ms + 1)
    return shift_page(session, shift, found, language, now_ms)
