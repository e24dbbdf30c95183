"""A year of a desk, simulated: cases come, agents work their hours, time escalates what they do not reach."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from casework import commands as do
from casework.adapters.memory_store import MemoryStore
from casework.authority import Person, Role
from casework.cases import Case, CaseEvent, CaseEventType, CaseState, Contact, Disposition, fold
from casework.clocks import next_alarm_ms
from casework.desk import Desk
from casework.errors import CommandError
from casework.kinds import KINDS, CaseKind
from casework.lifecycle import can_become
from casework.ticking import alarm_ms
from casework.verification import Method
from casework.views import CaseFilters, CaseView, Opening
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import NONCE, NOW_MS, alert, desk_on

pytestmark = pytest.mark.slow
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
STAFF = [Person(f"agent-{n}", Role.AGENT) for n in range(3)] + [Person("senior-1", Role.SENIOR_AGENT)]
DETAILS: dict[CaseKind, dict[str, object]] = {
    CaseKind.LOST_OR_STOLEN: {"circumstance": "lost"},
    CaseKind.DISPUTE: {"transaction_id": "t", "reason": "not_received", "amount_minor": 900, "currency": "EUR"},
    CaseKind.LIMIT_CHANGE: {"limit_minor": 5_000, "currency": "EUR"},
    CaseKind.ACCOUNT_ACCESS: {"problem": "forgot"},
    CaseKind.REFERRAL: {"destination": "sales", "handover": "Wants a loan."},
}


class Year:
    """The desk, its day, and what has come about."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.desk: Desk = desk_on(MemoryStore(shards=4, outbox_limit=10**9))
        self.now_ms = NOW_MS
        self.number = 0
        self.done = Counter[str]()

    async def run(self, days: int) -> None:
        """Live through so many days, a quarter of an hour at a time."""
        await self.desk.open()
        for _ in range(days * 96):
            self.now_ms += 15 * 60_000
            while await self.desk.tick(self.now_ms):
                self.done["ticks"] += 1
            if self.chance.random() < 0.03:
                await self.somebody_comes()
            if 7 <= (self.now_ms // HOUR_MS) % 24 < 19:
                for person in STAFF:
                    if self.chance.random() < 0.12:
                        await self.work(person)

    async def somebody_comes(self) -> None:
        """An alert, or a customer."""
        self.number += 1
        card_token = f"card-{self.chance.randrange(400)}"
        if self.chance.random() < 0.6:
            action = self.chance.choice([Action.FREEZE, Action.REVIEW, Action.REVIEW])
            await self.desk.respond(
                [alert(str(self.number), action, card_token=card_token, event_time_ms=self.now_ms)], self.now_ms
            )
            return
        kind = self.chance.choice(list(DETAILS))
        opening = Opening(kind, self.chance.choice(list(Contact)), DETAILS[kind], "Their words.")
        try:
            await self.desk.open_case(card_token, opening, STAFF[0], now_ms=self.now_ms)
        except CommandError as error:
            self.done[type(error).__name__] += 1

    async def work(self, person: Person) -> None:
        """Take the next case and do what is likely; what is refused is left."""
        view = await self.desk.next_case(person, now_ms=self.now_ms)
        if view is None:
            return
        self.done["taken"] += 1
        if self.chance.random() < 0.15:
            snooze = do.Snooze(self.now_ms + self.chance.randrange(HOUR_MS, 3 * DAY_MS), "No answer.")
            await self.desk.act(view.case.case_id, (snooze,), person, now_ms=self.now_ms, nonce=NONCE)
            return
        await self.desk.act(view.case.case_id, self.ending(view), person, now_ms=self.now_ms, nonce=NONCE)
        self.done["closed"] += 1

    def ending(self, view: CaseView) -> tuple[do.Command, ...]:
        """What closes a case of its kind."""
        outcome = KINDS[view.case.kind].outcomes[0]
        commands: list[do.Command] = []
        if view.case.transaction_ids:
            commands.append(do.Decide(Disposition.FALSE_POSITIVE, "Theirs."))
            outcome = "false_positive" if "false_positive" in KINDS[view.case.kind].outcomes else outcome
        if view.card_state is CardStatus.FROZEN and view.case.score < 0.99:
            commands += [do.VerifySeen(Method.CALL_BACK), do.Unfreeze("Theirs.")]
        return (*commands, do.Close(outcome, "Done."))


async def all_cases(desk: Desk) -> list[CaseView]:
    """Every case there is, with its timeline."""
    views: list[CaseView] = []
    for filters in (CaseFilters(), CaseFilters(state=CaseState.CLOSED)):
        cursor: str | None = None
        while True:
            page = await desk.list_cases(filters, cursor, 200)
            views += [await desk.case(case.case_id) for case in page.cases]
            cursor = page.next_cursor
            if cursor is None:
                break
    return views


def check_timeline(view: CaseView) -> None:
    """A case is what its events say, moved only where it may, and never lost severity by itself."""
    case: Case | None = None
    for event in view.timeline:
        if case is not None:
            assert can_become(case.state, event.state)
        after = fold(case, event)
        if case is not None and event.actor == "cardwatch":
            assert after.severity >= case.severity
        case = after
    assert case == view.case


def check_targets(events: tuple[CaseEvent, ...], grain_ms: int) -> None:
    """A warning before each miss; both come when they are due, as precisely as the clock ticks; never while waiting."""
    clock_due: int | None = None
    for event in events:
        if event.type is CaseEventType.TARGET_MISSED:
            assert clock_due is not None
            assert 0 <= event.time_ms - clock_due < grain_ms
        due = getattr(event.facts.clock, "due_ms", None)
        if due is not None:
            clock_due = due


def test_a_year_at_the_desk() -> None:
    """Nothing is stuck, nothing is late to escalate, everything can be told from the events."""
    year = Year(seed=11)
    asyncio.run(year.run(days=365))
    views = asyncio.run(all_cases(year.desk))
    assert year.done["closed"] > 500
    events = Counter(event.type for view in views for event in view.timeline)
    open_views = [view for view in views if view.case.is_open]
    for view in views:
        check_timeline(view)
        check_targets(view.timeline, 15 * 60_000)
    for view in open_views:
        alarm = alarm_ms(view.case)
        assert alarm is None or alarm > year.now_ms
        if view.case.state is CaseState.WAITING:
            assert (view.case.returns_ms or 0) > year.now_ms
        elif view.case.clock is not None and not view.case.clock.stopped:
            assert view.case.clock.missed or next_alarm_ms(view.case.clock) is not None
    assert len({view.case.card_token for view in open_views}) == len(open_views)
    assert len(open_views) < 60
    assert events[CaseEventType.TARGET_MISSED] + events[CaseEventType.SNOOZED] > 0
