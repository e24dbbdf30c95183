"""Lists of cases, page by page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re

from casework.cases import OPEN_STATES, Case, CaseState, opened_order, queue_position
from casework.errors import InvalidCursorError
from casework.ids import CASE_ID_PATTERN
from casework.store import NO_STEP, Store
from casework.traits import admits
from casework.views import CaseFilters, Page, RelatedCase

START = ""
# A filter that few cases pass must not read the whole queue for one page: the page ends early, with a cursor.
_MAXIMUM_READS = 20
_READ_CASES = 200
# Related cases are to be looked at by a person.
_MAXIMUM_ENTITIES = 20
_RELATED_CASES = 20
_POSITION = re.compile(rf"[0-9a-f]{{16}}:{CASE_ID_PATTERN}")


def cursor_of(position: str) -> str:
    """The opaque text of a position."""
    return base64.urlsafe_b64encode(position.encode()).decode()


def position_of(cursor: str) -> str:
    """The position of a cursor.

    Raises:
        InvalidCursorError: no list gave it out.
    """
    try:
        position = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        position = ""
    if _POSITION.fullmatch(position) is None:
        message = "the cursor was not given out by this list"
        raise InvalidCursorError(message)
    return position


async def page(store: Store, filters: CaseFilters, after: str, limit: int) -> Page:
    """A page of the queue, or of the closed cases."""
    states = _states(filters)
    # Of closed cases the store knows no traits.
    reading = _READ_CASES if filters.is_narrow and filters.state is CaseState.CLOSED else limit + 1
    found: list[Case] = []
    for _ in range(_MAXIMUM_READS):
        listed = await store.list_cases(states, after, reading, filters)
        for place, entry in enumerate(listed):
            if entry.case is not None and _matches(entry.case, filters):
                found.append(entry.case)
            after = entry.position
            if len(found) == limit:
                at_end = place + 1 == len(listed) < reading
                return Page(tuple(found), None if at_end else cursor_of(after))
        if len(listed) < reading:
            return Page(tuple(found), None)
    return Page(tuple(found), cursor_of(after))


async def page_of_card(store: Store, card_token: str, filters: CaseFilters, after: str, limit: int) -> Page:
    """A page of the cases of one card, of which the card knows the latest."""
    (snapshot,) = await store.load([(card_token, NO_STEP)])
    stored = await asyncio.gather(*(store.load_case(case_id) for case_id in snapshot.card.case_ids))
    positions = {queue_position(each.case): each.case for each in stored if each is not None}
    matching = sorted(position for position, case in positions.items() if position > after and _matches(case, filters))
    cases = tuple(positions[position] for position in matching[:limit])
    return Page(cases, cursor_of(matching[limit - 1]) if len(matching) > limit else None)


def _states(filters: CaseFilters) -> list[CaseState]:
    """The states asked for."""
    return sorted(OPEN_STATES) if filters.state is None else [filters.state]


def _matches(case: Case, filters: CaseFilters) -> bool:
    """Whether a case passes the filters, as it is by now."""
    return case.state in _states(filters) and admits(filters, case)


async def related(store: Store, case: Case) -> list[RelatedCase]:
    """Cases of the same card, and the latest that have a merchant, terminal or device in common with this one."""
    (snapshot,) = await store.load([(case.card_token, NO_STEP)])
    of_card = await asyncio.gather(*(store.load_case(case_id) for case_id in snapshot.card.case_ids))
    common: dict[str, tuple[Case, list[str]]] = {}
    for stored in of_card:
        if stored is not None:
            common[stored.case.case_id] = (stored.case, ["card"])
    for entity, cases in (await store.related_cases(case.entities[:_MAXIMUM_ENTITIES], _RELATED_CASES)).items():
        for other in cases:
            by = common.setdefault(other.case_id, (other, []))[1]
            kind = entity.partition(":")[0]
            if kind not in by:
                by.append(kind)
    common.pop(case.case_id, None)
    latest = sorted(common.values(), key=lambda found: opened_order(found[0]), reverse=True)
    return [RelatedCase(other, tuple(by)) for other, by in latest]
