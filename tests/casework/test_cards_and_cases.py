"""Lifecycles are data, histories only grow, and a case is what its events say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casework.cards import (
    CARD_LIFECYCLE,
    MAXIMUM_HISTORY,
    AlertSummary,
    CardCommand,
    CardRecord,
    OutcomeKind,
    change_card,
    remember_alert,
)
from casework.cards import can_become as card_can_become
from casework.cases import (
    LIFECYCLE,
    CaseEvent,
    CaseEventType,
    CaseState,
    can_become,
    closed_positions_before,
    fold,
    queue_position,
)
from casework.errors import IllegalCardMoveError, IllegalCaseMoveError
from casework.records import case_alert
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import NOW_MS, alert

OPENED = CaseEvent(
    case_id="case-000-" + "0" * 24,
    card_token="card-1",
    sequence=1,
    type=CaseEventType.OPENED,
    state=CaseState.NEW,
    actor="cardwatch",
    time_ms=NOW_MS,
    alert=case_alert(alert("a"), OutcomeKind.FROZEN),
)
CLOSED = replace(OPENED, sequence=2, type=CaseEventType.CLOSED, state=CaseState.CLOSED, alert=None, actor="agent-1")


def command(target: CardStatus, *, by_person: bool = True) -> CardCommand:
    return CardCommand(target, "as asked", "agent-1", f"command-{target.wire}", by_person=by_person)


def test_every_state_has_its_row() -> None:
    """Lifecycles name every state, lead to known ones, and never back from a final one."""
    assert set(LIFECYCLE) == set(CaseState)
    assert set(CARD_LIFECYCLE) == set(CardStatus)
    for state in CaseState:
        assert all(can_become(state, target) == (target in LIFECYCLE[state] | {state}) for target in CaseState)


@given(targets=st.lists(st.sampled_from(list(CardStatus)), max_size=80), steps=st.data())
def test_times_of_a_cards_changes_rise_strictly(targets: list[CardStatus], steps: st.DataObject) -> None:
    """Whatever the clocks say, so every reader knows which command is the last; the history is bounded."""
    card = CardRecord("card-1")
    for target in targets:
        now_ms = steps.draw(st.integers(0, 20))
        if card_can_become(card.state, target):
            changed, change = change_card(card, command(target, by_person=now_ms % 2 == 0), now_ms)
            assert (changed.state, change.state, changed.sequence) == (target, target, card.sequence + 1)
            assert change.command_time_ms >= now_ms
            card = changed
        else:
            with pytest.raises(IllegalCardMoveError):
                change_card(card, command(target), now_ms)
    assert len(card.history) <= MAXIMUM_HISTORY
    assert all(first.command_time_ms < second.command_time_ms for first, second in pairwise(card.history))


def test_only_people_take_a_cards_command_time() -> None:
    """A freeze by an alert does not make later alerts look old."""
    frozen, _ = change_card(CardRecord("card-1"), command(CardStatus.FROZEN, by_person=False), 100)
    assert frozen.person_command_time_ms is None
    thawed, _ = change_card(frozen, command(CardStatus.ACTIVE), 100)
    assert thawed.person_command_time_ms == thawed.command_time_ms == 101


def test_the_newest_alerts_payments_stay() -> None:
    """An alert that arrives late does not bring back older payments; one without payments leaves them."""
    card = CardRecord("card-1")
    summary = AlertSummary("a", "t", Action.FREEZE, 50, 50, 0.9, (), OutcomeKind.FROZEN, None)
    card = remember_alert(card, summary, ({"amount_minor": 1},))
    card = remember_alert(card, replace(summary, alert_id="b", time_ms=40), ({"amount_minor": 2},))
    card = remember_alert(card, replace(summary, alert_id="c", time_ms=60), ())
    assert card.payments == ({"amount_minor": 1},)
    assert [each.alert_id for each in card.alerts] == ["a", "b", "c"]


def test_a_case_begins_with_opened_and_ends_with_closed() -> None:
    """Events that cannot happen are refused with what is possible."""
    case = fold(None, OPENED)
    assert (case.state, case.alert_count, case.is_open) == (CaseState.NEW, 1, True)
    closed = fold(case, CLOSED)
    assert (closed.state, closed.closed_by, closed.is_open) == (CaseState.CLOSED, "agent-1", False)
    with pytest.raises(IllegalCaseMoveError) as refused:
        fold(closed, replace(CLOSED, sequence=3, type=CaseEventType.DECIDED))
    assert refused.value.possible == (CaseState.REOPENED,)
    with pytest.raises(IllegalCaseMoveError):
        fold(case, replace(OPENED, sequence=2))
    with pytest.raises(IllegalCaseMoveError):
        fold(None, CLOSED)


@given(st.lists(st.integers(0, 10**13), min_size=2, max_size=9))
def test_positions_sort_by_urgency(urgencies: list[int]) -> None:
    """As texts: lowest first, then by id."""
    opened = fold(None, OPENED)
    cases = [replace(opened, case_id=f"case-{place}", urgency_ms=urgency) for place, urgency in enumerate(urgencies)]
    assert sorted(cases, key=queue_position) == sorted(cases, key=lambda case: (case.urgency_ms, case.case_id))


@given(st.lists(st.integers(0, 10**13), unique=True, max_size=9), st.integers(0, 10**13))
def test_closed_cases_sort_by_closing(times: list[int], boundary_ms: int) -> None:
    """Last closed first; behind the boundary stand exactly those that were closed before it."""
    closed = fold(fold(None, OPENED), CLOSED)
    cases = [replace(closed, closed_ms=time_ms) for time_ms in times]
    assert [case.closed_ms for case in sorted(cases, key=queue_position)] == sorted(times, reverse=True)
    boundary = closed_positions_before(boundary_ms)
    assert all((queue_position(case) > boundary) == ((case.closed_ms or 0) < boundary_ms) for case in cases)
