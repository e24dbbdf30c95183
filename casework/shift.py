"""The shift as a supervisor sees it: what is open, what is about to be missed, and who works on what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from casework import clocks
from casework.cases import OPEN_STATES, Case, CaseState

# What one person can look through.
MOST_PRESSING = 20


@dataclass(frozen=True, slots=True)
class Shift:
    """Open cases in numbers.

    Attributes:
        open: how many there are.
        counted: of how many of them, the most urgent, the rest speaks.
        oldest_ms: when the oldest of them was opened; None where none is open.
        missed, near: whose target is missed, and whose is about to be.
        waiting: whose customer waits now.
        nobody: on which nobody works.
        by_state: how many are in each state, those without left out.
        people: who works on which cases, who has the most first.
        pressing: missed or about to be, the first due first, at most `MOST_PRESSING`.
    """

    open: int
    counted: int
    oldest_ms: int | None
    missed: int
    near: int
    waiting: int
    nobody: int
    by_state: Mapping[CaseState, int]
    people: tuple[tuple[str, tuple[Case, ...]], ...]
    pressing: tuple[Case, ...]


def shift_of(cases: Iterable[Case], counts: Mapping[CaseState, int], now_ms: int) -> Shift:
    """Count the shift.

    Args:
        cases: open ones, the most urgent first; not all where there are very many.
        counts: all cases by state.
        now_ms: when locks and targets are looked at.
    """
    known = [case for case in cases if case.is_open]
    missed = [case for case in known if clocks.is_missed(case.clock, now_ms)]
    near = [case for case in known if clocks.is_near(case.clock, now_ms) and case not in missed]
    people: dict[str, list[Case]] = {}
    for case in known:
        if case.owner is not None and now_ms < case.locked_until_ms:
            people.setdefault(case.owner, []).append(case)
    by_state = {state: count for state, count in counts.items() if count and state in OPEN_STATES}
    return Shift(
        open=sum(by_state.values()),
        counted=len(known),
        oldest_ms=min((case.opened_ms for case in known), default=None),
        missed=len(missed),
        near=len(near),
        waiting=sum(case.customer_waiting for case in known),
        nobody=len(known) - sum(len(owned) for owned in people.values()),
        by_state=by_state,
        people=tuple(sorted(((name, tuple(owned)) for name, owned in people.items()), key=_load)),
        pressing=tuple(sorted((*missed, *near), key=_due_ms)[:MOST_PRESSING]),
    )


def _load(person: tuple[str, tuple[Case, ...]]) -> tuple[int, str]:
    return -len(person[1]), person[0]


def _due_ms(case: Case) -> tuple[int, str]:
    due_ms = None if case.clock is None else case.clock.due_ms
    return due_ms or 0, case.case_id
