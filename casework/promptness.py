"""How soon people act: an urgent case is touched, a wrongful freeze is undone. Of each case, as its events say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from casework.cards import CARDHOLDER_ACTOR, SYSTEM_ACTOR
from casework.cases import Case, CaseEvent, Disposition, Severity
from detector.vocabulary import CardStatus

_GENUINE = frozenset({Disposition.FALSE_POSITIVE, Disposition.VALUABLE_ALERT})


class Deed(StrEnum):
    """What was waited for.

    urgent_touch: somebody of the desk did anything about a case that had become urgent. freeze_undo: a card that was
    frozen for nothing was freed.
    """

    URGENT_TOUCH = "urgent_touch"
    FREEZE_UNDO = "freeze_undo"


@dataclass(frozen=True, slots=True)
class Done:
    """What was waited for has happened.

    Attributes:
        deed: what.
        waited_ms: how long it took.
        time_ms: when it was known.
    """

    deed: Deed
    waited_ms: int
    time_ms: int


@dataclass(slots=True)
class Promptness:
    """What is waited for in a case.

    Attributes:
        untouched_since_ms: when it became urgent, as long as nobody of the desk has done anything about it since.
        frozen_ms, unfrozen_ms: when its card was first frozen, and first freed.
    """

    untouched_since_ms: int | None = None
    frozen_ms: int | None = None
    unfrozen_ms: int | None = None

    def take(self, before: Case | None, after: Case, told: CaseEvent) -> Iterator[Done]:
        """Note one more event, and tell what it ends.

        Args:
            before: the case before the event; None where the event opened it.
            after: the case after it.
            told: the event.
        """
        yield from self._touched(before, after, told)
        was_undone = before is not None and self._is_undone(before)
        change = told.card_change
        if change is not None and change.state is CardStatus.FROZEN and self.frozen_ms is None:
            self.frozen_ms = told.time_ms
        if change is not None and change.state is CardStatus.ACTIVE and self.unfrozen_ms is None:
            self.unfrozen_ms = told.time_ms
        if self._is_undone(after) and not was_undone:
            waited_ms = (self.unfrozen_ms or 0) - (self.frozen_ms or 0)
            yield Done(Deed.FREEZE_UNDO, waited_ms, told.time_ms)

    def _touched(self, before: Case | None, after: Case, told: CaseEvent) -> Iterator[Done]:
        """A case that ends without the desk (its cardholder, a clock) waits for nobody, and was touched by nobody."""
        is_by_desk = told.actor not in {SYSTEM_ACTOR, CARDHOLDER_ACTOR}
        if self.untouched_since_ms is not None:
            if is_by_desk:
                yield Done(Deed.URGENT_TOUCH, told.time_ms - self.untouched_since_ms, told.time_ms)
            if is_by_desk or not after.is_open:
                self.untouched_since_ms = None
        elif _is_urgent(after) and not (before is not None and _is_urgent(before)) and not is_by_desk:
            self.untouched_since_ms = told.time_ms

    def _is_undone(self, case: Case) -> bool:
        """Whether its card was frozen, freed, and both are known to be right."""
        has_been_both = self.frozen_ms is not None and self.unfrozen_ms is not None
        return has_been_both and case.disposition in _GENUINE


def _is_urgent(case: Case) -> bool:
    return case.is_open and case.severity is Severity.URGENT
