"""What lists of cases are narrowed by: whether a case passes a filter, and the few traits that a store needs for it.

A store that keeps the traits apart can leave cases out without reading them. One line of text holds them, in the order
of `Traits`, so that a script in the store can take it apart; `casework/adapters/lua/list.lua` is the twin of `admits`.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass

from casework.cases import Case
from casework.clocks import is_missed, is_near
from casework.views import CaseFilters, Due

SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Traits:
    """An open case, as far as filters look at it.

    Attributes:
        owner: who works on it, see `name_in_traits`.
        pending: not empty where something follows by itself unless it is undone.
        near_from_ms, missed_from_ms: from when it counts as near its target, and as beyond it; empty for never.
    """

    action: int
    kind: str
    owner: str
    locked_until_ms: int
    tier: int
    pending: str
    near_from_ms: str
    missed_from_ms: str

    @property
    def line(self) -> str:
        """As a store keeps it."""
        return SEPARATOR.join(map(str, astuple(self)))


def name_in_traits(name: str) -> str:
    """A person's name as traits have it: a JSON string without the separator."""
    return json.dumps(name).replace(SEPARATOR, "\\u007c")


def traits_of(case: Case) -> Traits:
    """The traits of an open case."""
    clock = case.clock
    near_from = missed_from = None
    if clock is not None:
        near_from = None if clock.stopped else 0 if clock.warned or clock.missed else clock.warn_ms
        missed_from = 0 if clock.missed else clock.due_ms
    return Traits(
        action=int(case.action),
        kind=case.kind.value,
        owner=name_in_traits(case.owner or ""),
        locked_until_ms=case.locked_until_ms,
        tier=case.tier,
        pending="" if case.pending is None else "1",
        near_from_ms="" if near_from is None else str(near_from),
        missed_from_ms="" if missed_from is None else str(missed_from),
    )


def admits(filters: CaseFilters, case: Case) -> bool:
    """Whether a case passes the filters, its state and card aside."""
    return (
        filters.action in {None, case.action}
        and filters.kind in {None, case.kind}
        and filters.owner in {None, _worker(case, filters.now_ms)}
        and _is_due(case, filters)
        and _is_free(case, filters)
    )


def _worker(case: Case, now_ms: int) -> str:
    """Who works on it now; empty for nobody."""
    return case.owner if case.owner is not None and now_ms < case.locked_until_ms else ""


def _is_due(case: Case, filters: CaseFilters) -> bool:
    if filters.due is None:
        return True
    look = is_missed if filters.due is Due.MISSED else is_near
    return case.is_open and look(case.clock, filters.now_ms)


def _is_free(case: Case, filters: CaseFilters) -> bool:
    """Whether the taker may have it. What was decided follows by itself: whoever decided it goes on to the next."""
    taker = filters.taker
    if taker is None:
        return True
    return case.tier <= taker.tier and case.pending is None and not case.locked_by_other(taker.name, filters.now_ms)
