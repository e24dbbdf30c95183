"""Crashes and lost answers: whoever asks again until answered has done everything once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from casework.adapters.memory_store import MemoryStore
from casework.cards import OutcomeKind
from casework.cases import Disposition
from casework.desk import Desk
from casework.errors import StoreUnavailableError
from casework.outbox import OutboxEntry
from casework.store import Snapshot, Step, Store
from casework.views import CardAction, CardView, Outcome, Override
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, NOW_MS, alert, desk_on, verify
from tests.contracts.conftest import Bench
from tests.contracts.test_desk import drain


class FailingStore:
    """A store whose answers get lost: before anything, after the first few steps, or after all of them."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def load(self, asks: Sequence[tuple[str, str]]) -> list[Snapshot]:
        self._fail_sometimes()
        return await self._store.load(asks)

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        done = self._random.randrange(2 * len(steps) + 2)
        answers = await self._store.commit(steps[:done])
        if done <= len(steps):
            self._lose()
        return answers

    def _fail_sometimes(self) -> None:
        if self._random.random() < 0.2:
            self._lose()

    def _lose(self) -> None:
        self.failures += 1
        message = "the answer was lost"
        raise StoreUnavailableError(message)


async def persistently(ask: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
    """Ask again until answered."""
    while True:
        try:
            return await ask(*args, **named)
        except StoreUnavailableError:
            continue


async def story(desk: Desk) -> tuple[list[Outcome], list[CardView], list[OutboxEntry]]:
    """Alerts on a few cards, decisions and commands, more alerts, all of them twice; and what is left of it."""
    actions = [Action.FREEZE, Action.REVIEW, Action.DECLINE, Action.FREEZE, Action.STEP_UP]
    alerts = [
        alert(
            f"{place}",
            actions[place % 5],
            card_token=f"card-{place % 3}",
            event_time_ms=NOW_MS + 10 * place - 200 * (place % 5 == 3),
        )
        for place in range(24)
    ]
    decision = Override(Disposition.FALSE_POSITIVE, CardAction.UNFREEZE, "Hers.", AGENT)
    outcomes: list[Outcome] = []
    for start in range(0, 24, 6):
        now_ms = NOW_MS + 10 * start + 20
        outcomes += await persistently(desk.respond, alerts[start : start + 6], now_ms)
        case_id = next(outcome.case_id for outcome in outcomes[-6:] if outcome.case_id is not None)
        await persistently(verify, desk, case_id, now_ms)
        await persistently(desk.override, case_id, decision, now_ms=now_ms)
        open_case = (await persistently(desk.card, "card-1")).open_case
        if open_case is not None:
            await persistently(verify, desk, open_case.case_id, now_ms)
        await persistently(desk.set_card_state, "card-1", CardStatus.ACTIVE, "Hers.", AGENT, now_ms=now_ms)
    again = await persistently(desk.respond, alerts, NOW_MS + 9_999)
    assert again == outcomes
    cards = [await persistently(desk.card, f"card-{place}") for place in range(3)]
    return outcomes, cards, [replace(entry, entry_id="") for entry in await drain(desk)]


def test_lost_answers_change_nothing(bench: Bench) -> None:
    """With answers lost at random, the same outcomes, cards and records come out as when every answer arrives."""
    calm = MemoryStore(shards=2, outbox_limit=10_000)
    expected = asyncio.run(story(desk_on(calm)))
    assert {outcome.kind for outcome in expected[0]} == set(OutcomeKind) - {OutcomeKind.HELD}
    # Seeds share the store's keys, so each store is fresh only once; in memory many seeds are affordable.
    store = bench.store(shards=2)
    bench.run(desk_on(store).open())
    failing = FailingStore(store, seed=7)
    found = bench.run(story(desk_on(failing)))
    assert found == expected
    assert failing.failures > 10


def test_lost_answers_change_nothing_whatever_the_seed() -> None:
    """As above, in memory, for many random runs."""
    expected = asyncio.run(story(desk_on(MemoryStore(shards=2, outbox_limit=10_000))))
    for seed in range(100):
        failing = FailingStore(MemoryStore(shards=2, outbox_limit=10_000), seed)
        assert asyncio.run(story(desk_on(failing))) == expected, f"seed {seed}"


def test_two_workers_with_the_same_alerts_act_once(bench: Bench) -> None:
    """While a partition changes hands both owners may respond to the same alerts; each alert acts once."""
    first, second = bench.store(), bench.store()
    if isinstance(first, MemoryStore):
        second = first
    desks = [desk_on(store) for store in (first, second)]
    bench.run(desks[0].open())
    alerts = [alert(f"{place}", card_token=f"card-{place % 5}") for place in range(40)]

    async def respond_together() -> list[list[Outcome]]:
        return await asyncio.gather(*(desk.respond(alerts, NOW_MS) for desk in desks))

    ours, theirs = bench.run(respond_together())
    assert ours == theirs
    assert [outcome.kind for outcome in ours].count(OutcomeKind.FROZEN) == 5
    entries = bench.run(drain(desks[0]))
    assert len({entry.headers["ce_id"] for entry in entries}) == len(entries) == 40 + 5 + 5 + 5
