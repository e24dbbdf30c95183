"""The shift in numbers, and the queue narrowed to what matters: on the memory store."""

from __future__ import annotations

import asyncio

import pytest

from casework import commands as do
from casework.adapters.memory_store import MemoryStore
from casework.cases import CaseState, Contact, Disposition
from casework.desk import Desk
from casework.kinds import CaseKind
from casework.shift import MOST_PRESSING, shift_of
from casework.views import CaseFilters, Due, Opening
from detector.vocabulary import Action
from tests.casework.examples import AGENT, NONCE, NOW_MS, SENIOR, alert, desk_on

MINUTE_MS = 60_000


@pytest.fixture(name="desk")
def fixture_desk() -> Desk:
    """Three frozen cards and one dispute."""
    desk = desk_on(MemoryStore(shards=4, outbox_limit=10_000))
    for place in range(3):
        frozen = alert(str(place), Action.FREEZE, card_token=f"card-{place}")
        asyncio.run(desk.respond([frozen], NOW_MS + place * MINUTE_MS))
    details = {"transaction_id": "t", "reason": "not_received", "amount_minor": 100, "currency": "EUR"}
    opening = Opening(CaseKind.DISPUTE, Contact.EMAIL, details, "Shoes never came.", customer_waiting=True)
    asyncio.run(desk.open_case("card-9", opening, AGENT, now_ms=NOW_MS))
    return desk


def found(desk: Desk, **filters: object) -> set[str]:
    """Cards of the cases that pass."""
    page = asyncio.run(desk.list_cases(CaseFilters(**filters)))  # type: ignore[arg-type]
    return {case.card_token for case in page.cases}


def test_a_shift_is_counted(desk: Desk) -> None:
    """What is missed, what is near, who has what, and what nobody has, at the time that is asked about."""
    taken = asyncio.run(desk.next_case(SENIOR, now_ms=NOW_MS + 5 * MINUTE_MS))
    assert taken is not None
    now_ms = NOW_MS + 15 * MINUTE_MS
    cases = asyncio.run(desk.list_cases()).cases
    early = shift_of(cases, asyncio.run(desk.count_cases()), now_ms - 5 * MINUTE_MS)
    assert (early.people, early.nobody) == (((SENIOR.name, (taken.case,)),), 3)
    shift = shift_of(cases, asyncio.run(desk.count_cases()), now_ms)
    assert (shift.open, shift.counted, shift.oldest_ms) == (4, 4, NOW_MS)
    assert (shift.missed, shift.near, shift.waiting) == (1, 2, 1)
    assert [case.card_token for case in shift.pressing] == ["card-0", "card-1", "card-2"]
    # The lock has expired meanwhile: an owner who went away works on nothing.
    assert (shift.people, shift.nobody) == ((), 4)
    assert shift.by_state == {CaseState.NEW: 4}


def test_an_empty_shift_is_no_error() -> None:
    """At night."""
    shift = shift_of([], {CaseState.CLOSED: 7}, NOW_MS)
    assert (shift.open, shift.oldest_ms, shift.people, shift.pressing) == (0, None, (), ())


def test_what_presses_is_bounded(desk: Desk) -> None:
    """A bad day's list is one that a person can look through."""
    cases = asyncio.run(desk.list_cases()).cases * MOST_PRESSING
    assert len(shift_of(cases, {}, NOW_MS + 15 * MINUTE_MS).pressing) == MOST_PRESSING


def test_the_queue_is_narrowed(desk: Desk) -> None:
    """By kind, by who works on it, and by its target; filters together must all hold."""
    taken = asyncio.run(desk.next_case(SENIOR, now_ms=NOW_MS + MINUTE_MS))
    assert taken is not None
    mine = taken.case.card_token
    now_ms = NOW_MS + 2 * MINUTE_MS
    frozen = {"card-0", "card-1", "card-2"}
    assert found(desk, kind=CaseKind.DISPUTE) == {"card-9"}
    assert found(desk, owner=SENIOR.name, now_ms=now_ms) == {mine}
    assert found(desk, owner=AGENT.name, now_ms=now_ms) == set()
    assert found(desk, owner="", now_ms=now_ms) == (frozen | {"card-9"}) - {mine}
    assert found(desk, owner="", now_ms=NOW_MS + 60 * MINUTE_MS) == frozen | {"card-9"}
    assert found(desk, due=Due.NEAR, now_ms=NOW_MS + 13 * MINUTE_MS) == {"card-0", "card-1"}
    assert found(desk, due=Due.MISSED, now_ms=NOW_MS + 15 * MINUTE_MS) == {"card-0"}
    assert found(desk, due=Due.MISSED, kind=CaseKind.DISPUTE, now_ms=NOW_MS + 15 * MINUTE_MS) == set()


def test_a_closed_case_is_never_due(desk: Desk) -> None:
    """However late it was."""
    case = next(case for case in asyncio.run(desk.list_cases()).cases if case.card_token == "card-0")
    commands = (do.Take(), do.Decide(Disposition.CONFIRMED_FRAUD, "x"), do.Close("confirmed_fraud", "x"))
    asyncio.run(desk.act(case.case_id, commands, SENIOR, now_ms=NOW_MS, nonce=NONCE))
    assert found(desk, state=CaseState.CLOSED) == {"card-0"}
    assert found(desk, state=CaseState.CLOSED, due=Due.NEAR, now_ms=NOW_MS + 60 * MINUTE_MS) == set()
