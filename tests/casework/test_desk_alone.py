"""What the desk does when others are faster, when a filter finds little, and when time passes: on the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from casework import listing
from casework.adapters.memory_store import MemoryStore
from casework.cases import CaseState, Disposition
from casework.desk import Desk
from casework.errors import CaseNotFoundError, IllegalCaseMoveError, StoreContentionError, StoreSetupError
from casework.store import EVERY_CASE, ListedCase, Step
from casework.views import CardAction, CaseFilters, Override
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, NOW_MS, alert, desk_on, verify

CLOSE = Override(Disposition.FALSE_POSITIVE, CardAction.UNFREEZE, "Hers.", AGENT)
DAY_MS = 86_400_000


class OvertakenStore:
    """A store on which somebody else is faster: `overtake` runs before each of the next commits."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.overtake: list[Callable[[], Awaitable[Any]]] = []
        self.always_refuses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        if self.always_refuses:
            return [False] * len(steps)
        if self.overtake:
            await self.overtake.pop()()
        return await self._store.commit(steps)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(shards=2, outbox_limit=10_000)


@pytest.fixture
def store(memory: MemoryStore) -> OvertakenStore:
    return OvertakenStore(memory)


@pytest.fixture
def desk(store: OvertakenStore) -> Desk:
    return desk_on(store)


@pytest.fixture
def other(memory: MemoryStore) -> Desk:
    return desk_on(memory)


def test_who_is_overtaken_plans_again(desk: Desk, other: Desk, store: OvertakenStore) -> None:
    """Each write sees what happened meanwhile: a freeze turns superseded, a decision meets a closed case."""

    async def thaw() -> None:
        await other.set_card_state("card-1", CardStatus.ACTIVE, "Hers.", AGENT, now_ms=NOW_MS)

    async def close() -> None:
        case = (await other.list_cases()).cases[0]
        await verify(other, case.case_id, NOW_MS + 2)
        await other.override(case.case_id, CLOSE, now_ms=NOW_MS + 2)

    async def attach() -> None:
        await other.respond([alert("b", Action.DECLINE)], NOW_MS + 2)

    async def scene() -> None:
        store.overtake = [thaw]
        assert (await desk.respond([alert("a")], NOW_MS))[0].kind == "superseded"
        (frozen,) = await desk.respond([alert("c", decided_ms=NOW_MS + 1)], NOW_MS + 1)
        store.overtake = [attach]
        ordered = await desk.set_card_state("card-1", CardStatus.FROZEN, "Lost.", AGENT, now_ms=NOW_MS + 3)
        assert [summary.alert_id for summary in ordered.alerts] == ["alert-b", "alert-c", "alert-a"]
        await verify(other, frozen.case_id or "", NOW_MS + 3)
        store.overtake = [close]
        with pytest.raises(IllegalCaseMoveError):
            await desk.override(frozen.case_id or "", CLOSE, now_ms=NOW_MS + 4)

    asyncio.run(scene())


def test_who_is_overtaken_for_ever_is_told(desk: Desk, other: Desk, store: OvertakenStore) -> None:
    """Attempts are bounded; nothing was done, and asking again is safe."""
    (frozen,) = asyncio.run(other.respond([alert("a")], NOW_MS))
    asyncio.run(verify(other, frozen.case_id or "", NOW_MS))
    store.always_refuses = True
    with pytest.raises(StoreContentionError):
        asyncio.run(desk.respond([alert("b")], NOW_MS))
    with pytest.raises(StoreContentionError):
        asyncio.run(desk.override(frozen.case_id or "", CLOSE, now_ms=NOW_MS))
    with pytest.raises(StoreContentionError):
        asyncio.run(desk.set_card_state("card-1", CardStatus.ACTIVE, "Hers.", AGENT, now_ms=NOW_MS))


class UnnarrowedStore(MemoryStore):
    """A store that leaves nothing out, as every store may with closed cases."""

    async def list_cases(
        self, states: Sequence[CaseState], after: str, count: int, filters: CaseFilters = EVERY_CASE
    ) -> list[ListedCase]:
        del filters
        return await super().list_cases(states, after, count)


def test_a_filter_that_finds_little_does_not_read_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after a bounded number of reads, with a cursor to go on; together the pages are complete."""
    monkeypatch.setattr(listing, "_READ_CASES", 3)
    monkeypatch.setattr(listing, "_MAXIMUM_READS", 2)
    desk = desk_on(UnnarrowedStore(shards=4, outbox_limit=1_000))
    kinds = [Action.FREEZE] * 20 + [Action.REVIEW] * 2

    async def pages() -> list[int]:
        alerts = [alert(f"{place}", kind, card_token=f"card-{place}") for place, kind in enumerate(kinds)]
        for place, outcome in enumerate(await desk.respond(alerts, NOW_MS)):
            await verify(desk, outcome.case_id or "", NOW_MS)
            await desk.override(outcome.case_id or "", CLOSE, now_ms=NOW_MS + 1 + len(kinds) - place)
        sizes: list[int] = []
        cursor: str | None = None
        while not sizes or cursor is not None:
            page = await desk.list_cases(CaseFilters(state=CaseState.CLOSED, action=Action.REVIEW), cursor, 5)
            sizes.append(len(page.cases))
            cursor = page.next_cursor
        return sizes

    sizes = asyncio.run(pages())
    assert sum(sizes) == 2
    assert len(sizes) == 4


def test_memory_forgets_what_the_playbook_lets_it(other: Desk) -> None:
    """Closed cases and answers are forgotten in time; cards and open cases are not."""

    async def scene() -> None:
        await other.open()
        (first,) = await other.respond([alert("a")], NOW_MS)
        await verify(other, first.case_id or "", NOW_MS + 1)
        await other.override(first.case_id or "", CLOSE, now_ms=NOW_MS + 1)
        later_ms = NOW_MS + 31 * DAY_MS
        await other.respond([alert("b", card_token="card-2")], later_ms)
        with pytest.raises(CaseNotFoundError):
            await other.case(first.case_id or "")
        assert (await other.card("card-1")).sequence == 2
        assert len((await other.list_cases(CaseFilters(card_token="card-1"))).cases) == 0
        await other.respond([alert("c", card_token="card-3")], later_ms + 31 * DAY_MS)
        assert len((await other.list_cases()).cases) == 2

    asyncio.run(scene())


def test_memory_is_set_up_like_any_store(other: Desk) -> None:
    """What is written for one store runs on the other."""
    with pytest.raises(StoreSetupError):
        asyncio.run(other.open(create=False))
    asyncio.run(other.open())
    asyncio.run(other.ping())
