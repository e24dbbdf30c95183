"""Telling who sees or changes what of cards: every route that does either says so, before it answers.

Nothing of a card leaves without that: where the event cannot be kept, the request is answered as one that the store
refused. `tests/api/test_access.py` walks over all routes, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends, Request

from api.context import Context
from api.dependencies import ContextOf
from casework.access import Access, AccessTo
from casework.authority import Person
from casework.lists import ListEntry, Subject
from casework.views import CaseView
from telemetry.tracing import trace_id_of

_READING = frozenset({"GET", "HEAD"})


class Watch:
    """Tells what one request shows or changes."""

    def __init__(self, request: Request, context: Context) -> None:
        """Watch a request."""
        self._request = request
        self._context = context

    async def tell(
        self,
        by: Person,
        to: AccessTo,
        card_tokens: Iterable[str],
        case_id: str | None = None,
        *,
        is_read: bool = False,
    ) -> None:
        """Tell it; nothing where no card is concerned.

        Args:
            by: who sees or changes it.
            to: what it is.
            card_tokens: all of the cards, that which it is about first.
            case_id: the case, where it is one.
            is_read: it only shows something, although its method could change something.

        Raises:
            casework.errors.StoreError: it could not be kept, so nothing may be shown.
        """
        tokens = tuple(dict.fromkeys(card_tokens))
        if not tokens:
            return
        request = self._request
        await self._context.desk.tell_access(
            Access(
                by=by,
                to=to,
                is_write=not is_read and request.method not in _READING,
                card_tokens=tokens,
                case_id=case_id,
                route=f"{request.method} {request.scope['route'].path}",
                request_id=request.state.request_id,
                trace_id=trace_id_of(request.headers.get("traceparent")),
                time_ms=self._context.now_ms(),
            )
        )

    async def tell_case(self, by: Person, view: CaseView) -> None:
        """Tell that somebody sees or changes a case."""
        await self.tell(by, AccessTo.CASE, [view.case.card_token], view.case.case_id)


def listed_cards(entries: Iterable[ListEntry]) -> list[str]:
    """The cards among what stands on the desk's lists."""
    return [entry.value for entry in entries if entry.subject is Subject.CARD]


async def _watch(request: Request, context: ContextOf) -> Watch:
    return Watch(request, context)


WatchOf = Annotated[Watch, Depends(_watch)]
