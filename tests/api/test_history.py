"""Closed cases, search and statistics over HTTP and at the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.roles import Role
from casework.adapters.sql_history.store import SqlHistory
from casework.errors import HistoryUnavailableError
from tests.api.support import CARD_NUMBER, SECRETS, World, world
from tests.casework.examples import NOW_MS
from tests.contracts.conftest import ORIGIN
from tests.contracts.test_history import NOTES, story, told

DAY_MS = 86_400_000


@pytest.fixture(name="memory")
def fixture_memory(tmp_path: Path) -> Iterator[SqlHistory]:
    """Three closed cases and an open one."""
    made = SqlHistory(f"sqlite:///{tmp_path}/history.db")
    made.open()
    made.positions(ORIGIN)
    made.apply(told(story()))
    yield made
    made.close()


def cards(world_: World, query: str) -> list[str]:
    answer = world_.client.get(f"/v1/history?{query}", role=Role.AGENT)
    assert answer.status_code == 200
    return [case["card_token"] for case in answer.json()["cases"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["card-3", "card-2", "card-1", "card-0"]),
        ("q=transaction-1", ["card-1"]),
        ("q=laptop", ["card-0"]),
        ("closed=true&disposition=valuable_alert", ["card-2"]),
        ("closed=false", ["card-3"]),
        ("kind=dispute", []),
        (f"closed_from_ms={NOW_MS}&closed_before_ms={NOW_MS + 5 * 60_000}", ["card-0"]),
    ],
)
def test_search(memory: SqlHistory, query: str, found: list[str]) -> None:
    """Every filter of the memory has its parameter."""
    assert cards(world(history=memory), query) == found


def test_pages(memory: SqlHistory) -> None:
    """The cursor of a page leads to the next; one that nobody gave out is refused."""
    world_ = world(history=memory)
    first = world_.client.get("/v1/history?limit=3", role=Role.AGENT).json()
    assert cards(world_, f"limit=3&cursor={first['next_cursor']}") == ["card-0"]
    answer = world_.client.get("/v1/history?cursor=x", role=Role.AGENT)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.cursor")


def test_card_numbers_are_refused(memory: SqlHistory) -> None:
    """Somebody pastes one into the search: it is neither looked for nor repeated."""
    answer = world(history=memory).client.get(f"/v1/history?q={CARD_NUMBER}", role=Role.AGENT)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cardwatch:problem:card-number")
    assert CARD_NUMBER not in answer.text


def test_statistics(memory: SqlHistory) -> None:
    """A span in numbers, precision included."""
    answer = world(history=memory).client.get(
        f"/v1/history/statistics?from_ms={NOW_MS}&before_ms={NOW_MS + DAY_MS}", role=Role.AGENT
    )
    found = answer.json()
    assert (found["opened"], found["closed"], found["undone_freezes"]) == (4, 3, 1)
    assert found["reasons"][0]["precision"] == pytest.approx(1 / 3)


class Away:
    """A memory whose database is away."""

    def find(self, *_: object) -> None:
        raise HistoryUnavailableError

    statistics = find


@pytest.mark.parametrize("history", [None, Away()])
def test_the_desk_goes_on_without_a_memory(history: Away | None) -> None:
    """503 where it is asked for, and nowhere else."""
    world_ = world(history=history)  # type: ignore[arg-type]
    answer = world_.client.get("/v1/history", role=Role.AGENT)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:cardwatch:problem:history-unavailable")
    assert world_.client.get("/v1/cases", role=Role.AGENT).status_code == 200


def test_pages_of_the_console(memory: SqlHistory) -> None:
    """Search and figures are pages that work without scripts, and what is asked is written back escaped."""
    world_ = world(history=memory)
    world_.clock.now_ms = NOW_MS + DAY_MS
    world_.client.post("/console/sign-in", data={"api_key": SECRETS[Role.AGENT]})
    page = world_.client.get("/console/history?q=laptop")
    assert page.status_code == 200
    assert NOTES["fraud"] in page.text
    assert 'value="laptop"' in page.text
    escaped = world_.client.get('/console/history?q="><script>&closed=maybe')
    assert "<script>" not in escaped.text
    assert "Nothing found" in escaped.text
    assert CARD_NUMBER not in world_.client.get(f"/console/history?q={CARD_NUMBER}").text
    figures = world_.client.get("/console/figures?days=7")
    assert "Amount unusual" in figures.text
    assert world_.client.get("/console/figures?days=100000").status_code == 200
