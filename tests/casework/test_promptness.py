"""How soon people act: what counts as a touch, and when a freeze counts as undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casework.cards import CARDHOLDER_ACTOR, SYSTEM_ACTOR, CardChange
from casework.cases import Case, CaseEvent, CaseEventType, CaseState, Disposition, Facts, Severity, fold
from casework.promptness import Deed, Done, Promptness
from detector.vocabulary import CardStatus

OPENED = CaseEvent(
    "case-1", "card-1", 1, CaseEventType.OPENED, CaseState.NEW, SYSTEM_ACTOR, 0, facts=Facts(severity=Severity.URGENT)
)


def event(kind: CaseEventType, time_ms: int, actor: str = "ann", **changes: object) -> CaseEvent:
    made = replace(OPENED, type=kind, time_ms=time_ms, actor=actor, facts=Facts())
    return replace(made, **changes)  # type: ignore[arg-type]


def changed(state: CardStatus, time_ms: int, actor: str = "ann") -> CaseEvent:
    change = CardChange(1, state, "", actor, f"command-{time_ms}", time_ms)
    return event(CaseEventType.CARD_CHANGED, time_ms, actor, card_change=change)


def played(*events: CaseEvent) -> tuple[list[Done], Promptness]:
    """What the events end, one after the other."""
    case: Case | None = None
    known, done = Promptness(), list[Done]()
    for number, each in enumerate(events, 1):
        before, case = case, fold(case, replace(each, sequence=number))
        done += known.take(before, case, each)
    return done, known


def test_an_urgent_case_is_touched_by_the_first_of_the_desk() -> None:
    """Once, whatever follows."""
    noted = event(CaseEventType.NOTED, 700)
    done, known = played(OPENED, noted, replace(noted, time_ms=900))
    assert done == [Done(Deed.URGENT_TOUCH, 700, 700)]
    assert known.untouched_since_ms is None


@pytest.mark.parametrize("actor", [SYSTEM_ACTOR, CARDHOLDER_ACTOR])
def test_neither_a_clock_nor_the_cardholder_touches_a_case(actor: str) -> None:
    """It still waits; where it ends without the desk it waits no longer, and nobody touched it."""
    said = event(CaseEventType.CARDHOLDER_ANSWERED, 500, actor)
    assert played(OPENED, said) == ([], Promptness(untouched_since_ms=0))
    closed = event(CaseEventType.CLOSED, 600, actor, state=CaseState.CLOSED)
    assert played(OPENED, said, closed) == ([], Promptness())


def test_a_case_waits_from_when_it_became_urgent() -> None:
    """A clock that ran out makes it urgent, although somebody saw it before; who makes it urgent has touched it."""
    calm = replace(OPENED, facts=Facts(severity=Severity.NORMAL))
    noted = event(CaseEventType.NOTED, 100)
    risen = event(CaseEventType.TARGET_MISSED, 400, SYSTEM_ACTOR, facts=Facts(severity=Severity.URGENT))
    assert played(calm, noted, risen, replace(noted, time_ms=1000))[0] == [Done(Deed.URGENT_TOUCH, 600, 1000)]
    by_hand = event(CaseEventType.SEVERITY_SET, 400, facts=Facts(severity=Severity.URGENT))
    assert played(calm, by_hand, replace(noted, time_ms=1000)) == ([], Promptness())


@pytest.mark.parametrize("disposition", [Disposition.FALSE_POSITIVE, Disposition.VALUABLE_ALERT])
@pytest.mark.parametrize("frees_first", [True, False])
def test_a_freeze_is_undone_when_it_is_known_to_be_wrong_and_over(
    disposition: Disposition, *, frees_first: bool
) -> None:
    """Whichever comes first; the wait is from the first freeze to the first release, told once."""
    freed = changed(CardStatus.ACTIVE, 800)
    decided = event(CaseEventType.DECIDED, 600, disposition=disposition)
    last = [freed, replace(decided, time_ms=900)] if frees_first else [decided, freed]
    again = [changed(CardStatus.FROZEN, 1000), changed(CardStatus.ACTIVE, 2000)]
    done, _ = played(OPENED, changed(CardStatus.FROZEN, 50, SYSTEM_ACTOR), *last, *again)
    assert done[1:] == [Done(Deed.FREEZE_UNDO, 750, last[-1].time_ms)]


def test_a_freeze_that_was_right_is_not_undone() -> None:
    """Nor is a card freed that was never frozen here, nor one that stays frozen."""
    frozen, freed = changed(CardStatus.FROZEN, 50, SYSTEM_ACTOR), changed(CardStatus.ACTIVE, 800)
    fraud = event(CaseEventType.DECIDED, 600, disposition=Disposition.CONFIRMED_FRAUD)
    genuine = event(CaseEventType.DECIDED, 600, disposition=Disposition.FALSE_POSITIVE)
    for events in ((frozen, fraud, freed), (genuine, freed), (frozen, genuine)):
        assert [each.deed for each in played(OPENED, *events)[0]] == [Deed.URGENT_TOUCH]
