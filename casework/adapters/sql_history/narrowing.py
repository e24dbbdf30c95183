"""Which cases can pass a search's filters at all, found before its text is looked for.

Databases walk what holds the words from the newest case on and look each one's row up. Where most notes hold the words
and few cases pass the filters, or old ones alone do, that reads millions of rows for one page. So the filters are asked
first, by their indexes and within bounds: where few cases pass, the text is looked for in these; where many do, the
walk begins at the last of them and ends at the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select

from casework.adapters.sql_history import schema
from casework.history import HistoryFilters

DAY_MS = 86_400_000
LARGEST_NUMBER = 2**62
# Counted in an index within a millisecond, and looked up within ten. Where more pass, of two million, a walk finds a
# page of them within some twenty thousand steps.
MOST_FEW = 5_000


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What filters leave.

    Attributes:
        few: numbers of all cases that pass; None where too many do.
        count: how many these are; 0 with None.
        first, last: no case of another number passes.
    """

    few: Select[tuple[int]] | None = None
    count: int = 0
    first: int = 0
    last: int = LARGEST_NUMBER

    def within(self, number: Any, below: int) -> list[ColumnElement[bool]]:
        """What is necessary of a case's number, as one bound on each side: FTS5 heeds no second one."""
        upper = number < min(below, self.last + 1)
        return [number >= self.first, upper] if self.first else [upper]


def narrowed(connection: Connection, filters: HistoryFilters) -> Narrowed:
    """What the filters but for the text leave."""
    drivers = [*_equal(filters), *_spans(filters)]
    if not drivers:
        return Narrowed()
    counts = [_count(connection, driver) for driver in drivers]
    if min(counts) <= MOST_FEW:
        few = _passing(drivers[counts.index(min(counts))], filters)
        found = few.subquery()
        count, first, last = connection.execute(
            select(func.count(), func.min(found.c.number), func.max(found.c.number))
        ).one()
        return Narrowed(few, count, first or 0, last or 0)
    bounds = [_ends(connection, each) for each in _equal(filters)]
    if _is_span(filters):
        bounds.append(_ends_of_days(connection, filters))
    # Only cases that are open may have no bounds here.
    return Narrowed(
        first=max((first for first, _ in bounds), default=0),
        last=min((last for _, last in bounds), default=LARGEST_NUMBER),
    )


def conditions(filters: HistoryFilters, of: Any = schema.cases.c) -> list[ColumnElement[bool]]:
    """What a case must be, without the text.

    Args:
        filters: what is looked for.
        of: columns named as those of `cases`.
    """
    found: list[ColumnElement[bool]] = [*_equal(filters, of), *_span(filters, of)]
    if filters.is_closed is not None:
        found.append(of.closed_ms.is_not(None) if filters.is_closed else of.closed_ms.is_(None))
    return found


def _equal(filters: HistoryFilters, of: Any = schema.cases.c) -> list[ColumnElement[bool]]:
    """Conditions whose indexes are by number as well."""
    asked = (
        (of.kind, None if filters.kind is None else filters.kind.value),
        (of.disposition, None if filters.disposition is None else filters.disposition.value),
        (of.closed_by, filters.closed_by),
    )
    return [column == value for column, value in asked if value is not None]


def _span(filters: HistoryFilters, of: Any = schema.cases.c) -> list[ColumnElement[bool]]:
    """When it was closed."""
    found: list[ColumnElement[bool]] = []
    if filters.closed_from_ms is not None:
        found.append(of.closed_ms >= filters.closed_from_ms)
    if filters.closed_before_ms is not None:
        found.append(of.closed_ms < filters.closed_before_ms)
    return found


def _is_span(filters: HistoryFilters) -> bool:
    return filters.closed_from_ms is not None or filters.closed_before_ms is not None


def _spans(filters: HistoryFilters) -> list[ColumnElement[bool]]:
    """Conditions that the index of closing times answers; that a case is closed says next to nothing."""
    found: list[ColumnElement[bool]] = []
    if filters.is_closed is False:
        found.append(schema.cases.c.closed_ms.is_(None))
    if _is_span(filters):
        found.append(and_(*_span(filters)))
    return found


def _count(connection: Connection, driver: ColumnElement[bool]) -> int:
    """How many cases there are by one condition, counted no further than one too many."""
    some = select(literal(1).label("one")).select_from(schema.cases).where(driver).limit(MOST_FEW + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _passing(driver: ColumnElement[bool], filters: HistoryFilters) -> Select[tuple[int]]:
    """Numbers of all that pass, found by the condition that few cases fulfil."""
    table = schema.cases.c
    if len([*_equal(filters), *_spans(filters)]) == 1 and (not filters.is_closed or _is_span(filters)):
        # It says everything, and stands in the index alone; what was closed within a span of time is closed.
        return select(table.number).where(driver)
    columns = (table.number, table.kind, table.disposition, table.closed_by, table.closed_ms)
    # A limit, which is none, keeps planners from finding them by another condition.
    some = select(*columns).where(driver).limit(LARGEST_NUMBER).subquery()
    return select(some.c.number).where(*conditions(filters, some.c))


def _ends(connection: Connection, equal: ColumnElement[bool]) -> tuple[int, int]:
    """The first and last case of one kind, disposition or person: the ends of its part of an index."""
    number = schema.cases.c.number
    found = select(number).where(equal).limit(1)
    first, last = (connection.execute(found.order_by(order)).scalar() for order in (number.asc(), number.desc()))
    return first or 0, last or 0


def _ends_of_days(connection: Connection, filters: HistoryFilters) -> tuple[int, int]:
    """The first and last number of cases that were closed on the days of the span."""
    days = schema.closed_days.c
    found = select(func.min(days.first_number), func.max(days.last_number))
    if filters.closed_from_ms is not None:
        found = found.where(days.day >= filters.closed_from_ms // DAY_MS)
    if filters.closed_before_ms is not None:
        found = found.where(days.day <= (filters.closed_before_ms - 1) // DAY_MS)
    first, last = connection.execute(found).one()
    return first or 0, last or 0
