"""/v1/history: closed cases, search and statistics, from the memory that follows the events of cases."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.context import Context
from api.dependencies import ContextOf, Cursor, checked_text, permitted
from api.errors import HistoryMissingError
from api.history_schemas import StatisticsOut
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    CARD_NUMBER,
    HISTORY_UNAVAILABLE,
    INVALID_REQUEST,
    NOT_PERMITTED,
    UNAUTHENTICATED,
    documented,
)
from api.roles import Permission
from api.schemas import CasePageOut
from api.watching import WatchOf
from casework.access import AccessTo
from casework.cases import Disposition
from casework.history import DEFAULT_HISTORY_PAGE, MAXIMUM_HISTORY_PAGE, MAXIMUM_QUERY, History, HistoryFilters
from casework.kinds import CaseKind

router = APIRouter(prefix="/v1/history", tags=["history"])

_LATEST_MS = 4_102_444_800_000
_PROBLEMS = documented(
    BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, INVALID_REQUEST, CARD_NUMBER, HISTORY_UNAVAILABLE
)  # fmt: skip
TimeMs = Annotated[int, Query(ge=0, le=_LATEST_MS, description="UTC epoch milliseconds")]
Reader = Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))]


def history_of(context: Context) -> History:
    """The memory of closed cases.

    Raises:
        HistoryMissingError: this service has none.
    """
    if context.history is None:
        message = "no memory of closed cases"
        raise HistoryMissingError(message)
    return context.history


@router.get("", responses=_PROBLEMS)
async def find_cases(
    caller: Reader,
    context: ContextOf,
    watch: WatchOf,
    q: Annotated[
        str | None,
        Query(
            max_length=MAXIMUM_QUERY, description="A card token, transaction, merchant or case id, or words of notes"
        ),
    ] = None,
    closed: Annotated[bool | None, Query(description="Only closed cases, or only open ones")] = None,
    kind: CaseKind | None = None,
    disposition: Disposition | None = None,
    closed_by: Annotated[str | None, Query(max_length=64, description="Who closed it")] = None,
    closed_from_ms: TimeMs | None = None,
    closed_before_ms: TimeMs | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_HISTORY_PAGE, description="Cases a page")] = DEFAULT_HISTORY_PAGE,
) -> CasePageOut:
    """Find cases that ever were, the last opened first. What was just decided may take a moment to be here."""
    filters = HistoryFilters(
        text=None if q is None else checked_text(q),
        is_closed=closed,
        kind=kind,
        disposition=disposition,
        closed_by=closed_by,
        closed_from_ms=closed_from_ms,
        closed_before_ms=closed_before_ms,
    )
    page = await asyncio.to_thread(history_of(context).find, filters, cursor, limit)
    await watch.tell(caller.person, AccessTo.CLOSED_CASES, (case.card_token for case in page.cases))
    return CasePageOut.model_validate(page)


@router.get("/statistics", responses=_PROBLEMS)
async def read_statistics(_caller: Reader, context: ContextOf, from_ms: TimeMs, before_ms: TimeMs) -> StatisticsOut:
    """Count what was opened and closed in a span of time, `before_ms` excluded."""
    return StatisticsOut.model_validate(await asyncio.to_thread(history_of(context).statistics, from_ms, before_ms))
