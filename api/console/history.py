"""/console/history and /console/figures: what was, found and counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import APIRouter, Response

from api.console.pages import figures_page, history_page
from api.console.rendering import CONSOLE_PATH
from api.console.routes import LanguageOf, SignedIn
from api.dependencies import ContextOf, checked_text
from api.routes.history import history_of
from api.watching import WatchOf
from casework.access import AccessTo
from casework.cases import Disposition
from casework.history import DEFAULT_HISTORY_PAGE, MAXIMUM_QUERY, HistoryFilters

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)

_DAY_MS = 86_400_000
SPANS_DAYS = (1, 7, 30, 90)
_CLOSED = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class SearchForm:
    """What the form says; empty strings are "any"."""

    q: str = ""
    closed: str = ""
    disposition: str = ""

    def as_query(self, cursor: str = "") -> dict[str, str]:
        """As the address of a page says it."""
        fields = {"q": self.q, "closed": self.closed, "disposition": self.disposition, "cursor": cursor}
        return {name: value for name, value in fields.items() if value}


@router.get("/history")
async def show_history(
    session: SignedIn,
    context: ContextOf,
    watch: WatchOf,
    language: LanguageOf,
    q: str = "",
    closed: str = "",
    disposition: str = "",
    cursor: str = "",
) -> Response:
    """Search among all cases that ever were."""
    form = SearchForm(
        checked_text(q.strip()[:MAXIMUM_QUERY]),
        closed if closed in _CLOSED else "",
        disposition if disposition in set(Disposition) else "",
    )
    filters = HistoryFilters(
        text=form.q or None,
        is_closed=_CLOSED.get(form.closed),
        disposition=Disposition(form.disposition) if form.disposition else None,
    )
    page = await asyncio.to_thread(history_of(context).find, filters, cursor or None, DEFAULT_HISTORY_PAGE)
    await watch.tell(session.person, AccessTo.CLOSED_CASES, (case.card_token for case in page.cases))
    return history_page(session, page, form, language, first=not cursor)


@router.get("/figures")
async def show_figures(session: SignedIn, context: ContextOf, language: LanguageOf, days: str = "7") -> Response:
    """A span of time in numbers."""
    chosen = int(days) if days in {str(span) for span in SPANS_DAYS} else SPANS_DAYS[1]
    now_ms = context.now_ms()
    found = await asyncio.to_thread(history_of(context).statistics, now_ms - chosen * _DAY_MS, now_ms + 1)
    return figures_page(session, found, chosen, SPANS_DAYS, language)
