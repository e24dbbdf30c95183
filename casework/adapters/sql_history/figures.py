"""Statistics of a span of time, from the read model's tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from casework.adapters.sql_history import schema
from casework.cases import Disposition
from casework.history import PersonStatistics, ReasonStatistics, Statistics

_MINUTE_MS = 60_000
_IN_TIME_MS = 30 * _MINUTE_MS
_FRAUD = Disposition.CONFIRMED_FRAUD.value


def statistics(connection: Connection, from_ms: int, before_ms: int) -> Statistics:
    """See `casework.history.History.statistics`."""
    table = schema.cases
    opened = connection.execute(
        select(func.count()).select_from(table).where(table.c.opened_ms >= from_ms, table.c.opened_ms < before_ms)
    ).scalar_one()
    span = (table.c.closed_ms >= from_ms, table.c.closed_ms < before_ms)
    closed = connection.execute(select(table).where(*span)).all()
    undone = [row for row in closed if row.unfrozen_ms is not None and row.disposition != _FRAUD]
    reasons = connection.execute(
        select(schema.reasons.c.reason, table.c.disposition, table.c.closed_ms - table.c.opened_ms)
        .join(table, table.c.number == schema.reasons.c.number)
        .where(*span)
    )
    return Statistics(
        opened=opened,
        closed=len(closed),
        dispositions=Counter(row.disposition for row in closed if row.disposition),
        kinds=Counter(row.kind for row in closed),
        median_first_action_minutes=_median_minutes(
            [row.first_action_ms - row.opened_ms for row in closed if row.first_action_ms is not None]
        ),
        median_minutes=_median_minutes([row.closed_ms - row.opened_ms for row in closed]),
        targets_missed=sum(row.missed_target for row in closed),
        undone_freezes=len(undone),
        undone_in_time=sum(row.unfrozen_ms - row.opened_ms <= _IN_TIME_MS for row in undone),
        reasons=_by_reason(reasons),
        people=_by_person(closed),
    )


def _median_minutes(spans_ms: Sequence[int]) -> float | None:
    return median(spans_ms) / _MINUTE_MS if spans_ms else None


def _by_reason(rows: Any) -> list[ReasonStatistics]:
    """The most frequent first."""
    spans: defaultdict[str, list[int]] = defaultdict(list)
    frauds: Counter[str] = Counter()
    for reason, disposition, span_ms in rows:
        spans[reason].append(span_ms)
        frauds[reason] += disposition == _FRAUD
    found = [
        ReasonStatistics(reason, len(each), frauds[reason], _median_minutes(each) or 0.0)
        for reason, each in spans.items()
    ]
    return sorted(found, key=lambda one: (-one.cases, one.reason))


def _by_person(rows: Sequence[Any]) -> list[PersonStatistics]:
    """Who closed the most first."""
    spans: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        spans[row.closed_by].append(row.closed_ms - row.opened_ms)
    found = [PersonStatistics(person, len(each), _median_minutes(each) or 0.0) for person, each in spans.items()]
    return sorted(found, key=lambda one: (-one.closed, one.person))
