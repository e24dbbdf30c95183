"""Searches that filters narrow: whichever way the database is asked, what a look at every case would find."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import text

from casework.adapters.memory_store import MemoryStore
from casework.adapters.sql_history import narrowing, words
from casework.adapters.sql_history.narrowing import DAY_MS
from casework.adapters.sql_history.store import SqlHistory
from casework.cases import Case, CaseEvent, Disposition
from casework.commands import Reopen
from casework.history import HistoryFilters, searchable, terms_of, words_of
from casework.kinds import CaseKind
from casework.outbox import CASES_TOPIC
from casework.records import case_event_of
from casework.views import CardAction, Override
from tests.casework.examples import AGENT, NOW_MS, SENIOR, SUPERVISOR, alert, desk_on
from tests.contracts.test_history import told

HOUR_MS = 3_600_000
CASES = 24
# A word of all notes, one of most, one of few, and a Chinese one.
NOTES = ("Cardholder called, payment known.", "Cardholder called.", "Cardholder away.", "Cardholder 持卡人确认 called.")
TEXTS = (None, "cardholder", "called cardholder", "payment", "确认", "merchant-1", "card-5", "nowhere")
FILTERS: tuple[Mapping[str, Any], ...] = (
    {},
    {"is_closed": True},
    {"is_closed": False},
    {"kind": CaseKind.DISPUTE},
    {"kind": CaseKind.FRAUD_ALERT, "closed_by": AGENT.name},
    {"disposition": Disposition.VALUABLE_ALERT},
    {"closed_by": SENIOR.name, "is_closed": True},
    {"closed_by": "nobody"},
    {"closed_before_ms": NOW_MS + 30 * HOUR_MS},
    {"closed_from_ms": NOW_MS + 40 * HOUR_MS, "closed_before_ms": NOW_MS + 90 * HOUR_MS},
    {"closed_from_ms": NOW_MS + 40 * HOUR_MS, "closed_before_ms": NOW_MS + 90 * HOUR_MS, "closed_by": AGENT.name},
    {"closed_from_ms": NOW_MS + DAY_MS, "disposition": Disposition.CONFIRMED_FRAUD, "is_closed": True},
    {"closed_before_ms": NOW_MS},
)


async def _played() -> list[CaseEvent]:
    desk = desk_on(MemoryStore(shards=1, outbox_limit=100_000))
    await desk.open()
    for number in range(CASES):
        now_ms = NOW_MS + number * 6 * HOUR_MS
        raised = alert(f"{number}", card_token=f"card-{number}", merchant_id=f"merchant-{number % 3}")
        (outcome,) = await desk.respond([raised], now_ms)
        assert outcome.case_id is not None
        if number % 8 == 7:
            continue
        disposition = (Disposition.CONFIRMED_FRAUD, Disposition.FALSE_POSITIVE, Disposition.VALUABLE_ALERT)[number % 3]
        by = (AGENT, AGENT, SENIOR, SUPERVISOR)[number % 4]
        # Some are closed long after those that came later.
        closed_ms = now_ms + (1 + 37 * (number % 5)) * HOUR_MS
        order = Override(disposition, CardAction.KEEP, NOTES[number % len(NOTES)], by)
        await desk.override(outcome.case_id, order, now_ms=closed_ms)
        if number % 10 == 4:
            again = (Reopen("It was another payment."),)
            await desk.act(outcome.case_id, again, SUPERVISOR, now_ms=closed_ms + HOUR_MS, nonce="n" * 16)
    entries = await desk.read_outbox(0, None, 100_000)
    return [case_event_of(entry.value) for entry in entries if entry.topic == CASES_TOPIC]


@pytest.fixture(scope="module")
def played() -> list[CaseEvent]:
    return asyncio.run(_played())


def naive(cases: list[Case], events: list[CaseEvent], filters: HistoryFilters) -> list[str]:
    """Every case looked at."""
    return [case.case_id for case in cases if _passes(case, filters) and _holds(case, events, filters.text)]


def _passes(case: Case, filters: HistoryFilters) -> bool:
    closed_ms = case.closed_ms
    lower, upper = filters.closed_from_ms, filters.closed_before_ms
    return (
        (filters.is_closed is None or filters.is_closed is (closed_ms is not None))
        and filters.kind in {None, case.kind}
        and filters.disposition in {None, case.disposition}
        and filters.closed_by in {None, case.closed_by}
        and (lower is None or (closed_ms is not None and closed_ms >= lower))
        and (upper is None or (closed_ms is not None and closed_ms < upper))
    )


def _holds(case: Case, events: list[CaseEvent], asked: str | None) -> bool:
    if asked is None:
        return True
    mine = [event for event in events if event.case_id == case.case_id]
    if any(asked in terms_of(case, event) for event in mine):
        return True
    note = f" {' '.join(words_of(event) for event in mine)} "
    return all(f" {searchable(part)} " in note for part in asked.split())


def paged(history: SqlHistory, filters: HistoryFilters) -> Iterator[Case]:
    """Everything that is found, page by page."""
    cursor = None
    while True:
        page = history.find(filters, cursor, 4)
        yield from page.cases
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize(("most_few", "steps"), [(0, 200), (3, 0), (3, 10**9), (1_000, 0), (1_000, 10**9), (1_000, 1)])
def test_a_narrowed_search_finds_what_a_look_at_every_case_finds(
    history: SqlHistory, played: list[CaseEvent], monkeypatch: pytest.MonkeyPatch, most_few: int, steps: int
) -> None:
    """For every text and filter, page by page: by way of the few that pass, each looked up or not, and without."""
    monkeypatch.setattr(narrowing, "MOST_FEW", most_few)
    monkeypatch.setattr(words, "_STEPS_A_LOOK_UP", steps)
    for start in range(0, len(played), 10):
        history.apply(told(played[start : start + 10], start))
    cases = list(paged(history, HistoryFilters()))
    assert len(cases) == CASES
    moments = [case.closed_ms for case in cases if case.closed_ms is not None]
    exact: list[dict[str, Any]] = [{"closed_from_ms": each, "closed_before_ms": each + 1} for each in moments]
    found = 0
    for asked, fields in [*itertools.product(TEXTS, FILTERS), *itertools.product(TEXTS[:2], exact)]:
        filters = HistoryFilters(text=asked, **fields)
        wanted = naive(cases, played, filters)
        assert [case.case_id for case in paged(history, filters)] == wanted, (asked, fields)
        found += len(wanted)
    assert found > 3 * CASES


def test_tables_of_a_later_version_are_gone_on_with(
    history: SqlHistory, played: list[CaseEvent], caplog: pytest.LogCaptureFixture
) -> None:
    """Who puts the version before back finds cases, and takes in more; nothing of the later version is undone."""
    half = len(played) // 2
    history.apply(told(played[:half]))
    with history._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    history.open()
    assert "of a later version (9999)" in caplog.text
    history.apply(told(played[half:], half))
    assert len(list(paged(history, HistoryFilters()))) == CASES
    with history._engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        # What follows cleans up with migrations that it knows.
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))


def test_old_cases_are_found_after_an_upgrade(history: SqlHistory, played: list[CaseEvent]) -> None:
    """The days of cases that an earlier version took in are known from the upgrade on."""
    history.apply(told(played))
    filters = HistoryFilters(text="cardholder", closed_before_ms=NOW_MS + 60 * HOUR_MS)
    wanted = history.find(filters, None, 50)
    with history._engine.begin() as connection:
        connection.execute(text("DROP TABLE closed_days"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    history.open()
    assert history.find(filters, None, 50) == wanted
