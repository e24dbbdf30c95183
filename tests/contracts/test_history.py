"""The memory of closed cases: one suite for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casework.adapters.memory_store import MemoryStore
from casework.adapters.sql_history.store import SqlHistory
from casework.cases import Case, CaseEvent, Disposition
from casework.errors import (
    HistoryConflictError,
    HistoryError,
    HistoryOriginError,
    HistoryUnavailableError,
    InvalidCursorError,
)
from casework.history import HistoryFilters, Taken, Told
from casework.outbox import CASES_TOPIC
from casework.promptness import Deed
from casework.records import case_event_of
from casework.views import CardAction, Override
from tests.casework.examples import AGENT, NOW_MS, SENIOR, alert, desk_on, verify
from tests.contracts.conftest import ORIGIN

MINUTE_MS = 60_000
NOTES = {
    "fraud": "Cardholder was at home; the laptop was never hers.",
    "genuine": "Ang may-ari ang bumili, tumawag siya.",
    "valuable": "持卡人确认在上海购物",
}


def story(count: int = 3, start_ms: int = NOW_MS) -> list[CaseEvent]:
    """Cases of the desk: opened, decided one way or the other, closed; told as the outbox tells them.

    Case 0 is fraud, 1 genuine and unfrozen, 2 a valuable alert, and so on; the last stays open.
    """

    async def play() -> list[CaseEvent]:
        desk = desk_on(MemoryStore(shards=1, outbox_limit=100_000))
        await desk.open()
        for number in range(count + 1):
            now_ms = start_ms + number * 10 * MINUTE_MS
            raised = alert(f"{number}", card_token=f"card-{number}", merchant_id=f"merchant-{number % 2}")
            (outcome,) = await desk.respond([raised], now_ms)
            assert outcome.case_id is not None
            if number == count:
                break
            kind = list(NOTES)[number % 3]
            action = CardAction.UNFREEZE if kind == "genuine" else CardAction.KEEP
            disposition = {
                "fraud": Disposition.CONFIRMED_FRAUD,
                "genuine": Disposition.FALSE_POSITIVE,
                "valuable": Disposition.VALUABLE_ALERT,
            }[kind]
            await verify(desk, outcome.case_id, now_ms + MINUTE_MS)
            order = Override(disposition, action, NOTES[kind], SENIOR if number % 2 else AGENT)
            await desk.override(outcome.case_id, order, now_ms=now_ms + (2 + number) * MINUTE_MS)
        entries = await desk.read_outbox(0, None, 10_000)
        return [case_event_of(entry.value) for entry in entries if entry.topic == CASES_TOPIC]

    return asyncio.run(play())


def told(events: Sequence[CaseEvent], start: int = 0, partition: int = 0) -> list[Told]:
    return [Told(partition, start + place, event) for place, event in enumerate(events)]


def cards(found: Sequence[Case]) -> list[str]:
    return [case.card_token for case in found]


def all_of(history: SqlHistory, **filters: object) -> list[str]:
    return cards(history.find(HistoryFilters(**filters), None, 100).cases)  # type: ignore[arg-type]


def test_cases_are_what_their_events_say(history: SqlHistory) -> None:
    """Closed and open ones, the last opened first, whole; what casework's own fold says."""
    history.apply(told(story()))
    assert all_of(history) == ["card-3", "card-2", "card-1", "card-0"]
    assert all_of(history, is_closed=True) == ["card-2", "card-1", "card-0"]
    assert all_of(history, is_closed=False) == ["card-3"]
    assert all_of(history, disposition=Disposition.FALSE_POSITIVE) == ["card-1"]
    assert all_of(history, closed_by=AGENT.name) == ["card-2", "card-0"]
    assert all_of(history, closed_from_ms=NOW_MS + 13 * MINUTE_MS, closed_before_ms=NOW_MS + 24 * MINUTE_MS) == [
        "card-1"
    ]
    (case,) = history.find(HistoryFilters(text="card-1"), None, 10).cases
    assert (case.note, case.closed_by, case.alert_count) == (NOTES["genuine"], SENIOR.name, 1)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("card-1", ["card-1"]),
        ("transaction-2", ["card-2"]),
        ("merchant-0", ["card-2", "card-0"]),
        ("LAPTOP", ["card-0"]),
        ("laptop hers", ["card-0"]),
        ("laptop bumili", []),
        ("may-ari", ["card-1"]),
        ("上海", ["card-2"]),
        ("海上", []),
        ("购物 确认", ["card-2"]),
        ('") OR 1=1 --', []),
        ("* AND NOT (", []),
        ("&|!:()", []),
        ("", []),
    ],
)
def test_search(history: SqlHistory, asked: str, found: list[str]) -> None:
    """By token, transaction and merchant as they are, by words in any order, by Chinese words; never as a language."""
    history.apply(told(story()))
    assert all_of(history, text=asked) == found


def test_pages_follow_each_other(history: SqlHistory) -> None:
    """Each case once, whatever the size of pages, with filters and with a text."""
    history.apply(told(story(count=7)))
    for filters in (HistoryFilters(), HistoryFilters(text="merchant-0"), HistoryFilters(is_closed=True)):
        whole = cards(history.find(filters, None, 100).cases)
        for limit in (1, 2, 3):
            found, cursor = [], None
            while True:
                page = history.find(filters, cursor, limit)
                found += cards(page.cases)
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert found == whole
    for wrong in ("", "x", "-1", "9" * 40, "\uff11"):
        with pytest.raises(InvalidCursorError):
            history.find(HistoryFilters(), wrong, 10)


def test_events_that_come_again_change_nothing(history: SqlHistory) -> None:
    """At least once: copies, and a role that begins at an older offset, are the same as once."""
    events = story()
    assert history.apply(told(events)).new == len(events)
    before = history.find(HistoryFilters(), None, 100)
    again = told([*events, *events], start=len(events))
    assert history.apply(again) == Taken(0)
    assert history.find(HistoryFilters(), None, 100) == before
    assert history.positions(ORIGIN) == {0: 3 * len(events)}


def test_how_soon_people_acted_is_told_once(history: SqlHistory) -> None:
    """Urgent cases as they are touched, the freeze that was undone, and who still waits, the earliest first."""
    events = story()
    done = history.apply(told(events)).done
    assert [(each.deed, each.waited_ms) for each in done] == [
        (Deed.URGENT_TOUCH, MINUTE_MS),
        (Deed.URGENT_TOUCH, MINUTE_MS),
        (Deed.FREEZE_UNDO, 3 * MINUTE_MS),
        (Deed.URGENT_TOUCH, MINUTE_MS),
    ]
    waits_since_ms = NOW_MS + 30 * MINUTE_MS
    assert history.untouched_since_ms() == [waits_since_ms]
    earlier = replace(events[0], case_id="case-earlier", card_token="card-9")
    history.apply(told([earlier], start=len(events)))
    assert history.untouched_since_ms() == [NOW_MS, waits_since_ms]


def test_two_who_read_the_same_disturb_nobody(history: SqlHistory) -> None:
    """The second is told so and takes nothing in."""
    events = story()
    history.apply(told(events[:4]))
    with pytest.raises(HistoryConflictError):
        history.apply(told(events[:4]))
    assert history.positions(ORIGIN) == {0: 4}
    history.apply(told(events[4:], start=4))
    assert all_of(history) == ["card-3", "card-2", "card-1", "card-0"]


def test_what_is_no_event_moves_the_position(history: SqlHistory) -> None:
    """A record of somebody else, and an event without its beginning, are passed over once and for all."""
    events = story()
    orphan = replace(events[-1], case_id="case-of-nobody", sequence=7)
    history.apply([Told(0, 0, None), Told(0, 1, orphan), Told(2, 9, None)])
    assert history.positions(ORIGIN) == {0: 2, 2: 10}
    assert all_of(history) == []


def test_another_topic_is_refused_until_it_is_rebuilt(history: SqlHistory) -> None:
    """Offsets of another topic mean other events."""
    history.apply(told(story()))
    with pytest.raises(HistoryOriginError, match="cardwatch rebuild history"):
        history.positions("another")
    history.clear()
    assert history.positions("another") == {}
    assert all_of(history) == []


def test_reopened_cases_are_open_again(history: SqlHistory) -> None:
    """Opening again and closing with another disposition corrects what is counted."""
    events = story(count=1)
    history.apply(told(events))
    assert all_of(history, disposition=Disposition.CONFIRMED_FRAUD) == ["card-0"]


def test_statistics(history: SqlHistory) -> None:
    """Counted over the span in which cases were opened and closed; the end is not part of it."""
    history.apply(told(story(count=6)))
    whole = history.statistics(NOW_MS, NOW_MS + 24 * 60 * MINUTE_MS)
    assert (whole.opened, whole.closed) == (7, 6)
    assert whole.dispositions == {"confirmed_fraud": 2, "false_positive": 2, "valuable_alert": 2}
    assert whole.median_first_action_minutes == 1.0
    assert whole.median_minutes == 4.5
    assert (whole.undone_freezes, whole.undone_in_time) == (2, 2)
    reason = whole.reasons[0]
    assert (reason.reason, reason.cases, reason.frauds) == ("amount_unusual", 6, 2)
    assert reason.precision == pytest.approx(1 / 3)
    assert [(person.person, person.closed) for person in whole.people] == [(AGENT.name, 3), (SENIOR.name, 3)]
    first = history.statistics(NOW_MS, NOW_MS + 10 * MINUTE_MS)
    assert (first.opened, first.closed) == (1, 1)
    nothing = history.statistics(0, NOW_MS)
    assert (nothing.closed, nothing.median_minutes, nothing.reasons) == (0, None, [])


def test_a_database_that_is_away_is_said(tmp_path: Path) -> None:
    """No driver's words, which may hold the password."""
    away = SqlHistory("postgresql+psycopg://me:hunter2@127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(HistoryUnavailableError) as raised:
        away.ping()
    assert "hunter2" not in str(raised.value)
    for wrong in ("mysql://x", "", "sqlite", f"{tmp_path}/x.db"):
        with pytest.raises(HistoryError):
            SqlHistory(wrong)


@given(cuts=st.lists(st.integers(0, 40), max_size=6), copies=st.lists(st.integers(0, 40), max_size=3))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_cuts_and_copies_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], copies: list[int]
) -> None:
    """However the log is cut into batches, and whatever stands in it twice, the same cases are there."""
    events = story(count=4)
    log = [*events]
    for place in copies:
        log.insert(min(place + 1, len(log)), log[min(place, len(log) - 1)])
    whole = SqlHistory(f"sqlite:///{tmp_path_factory.mktemp('whole')}/h.db")
    cut = SqlHistory(f"sqlite:///{tmp_path_factory.mktemp('cut')}/h.db")
    for made in (whole, cut):
        made.open()
        made.positions(ORIGIN)
    done = whole.apply(told(events)).done
    edges = sorted({0, len(log), *(min(edge, len(log)) for edge in cuts)})
    parts = [cut.apply(told(log[start:stop], start=start)).done for start, stop in itertools.pairwise(edges)]
    assert tuple(itertools.chain(*parts)) == done
    assert cut.untouched_since_ms() == whole.untouched_since_ms() == [events[-1].time_ms]
    assert cut.find(HistoryFilters(), None, 100) == whole.find(HistoryFilters(), None, 100)
    span = (NOW_MS, NOW_MS + 24 * 60 * MINUTE_MS)
    assert cut.statistics(*span) == whole.statistics(*span)
    for made in (whole, cut):
        made.close()
