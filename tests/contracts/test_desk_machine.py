"""Random interleavings: whatever alerts, replays and people do, in whatever order, the promises hold on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from casework import commands
from casework.adapters.redis_restore import RestorableRedisStore
from casework.alerts import Alert
from casework.authority import Person
from casework.cards import CardRecord, OutcomeKind
from casework.cases import Case, CaseEvent, CaseState, Disposition, Severity, fold
from casework.commands import Command
from casework.desk import Desk
from casework.errors import CommandError
from casework.outbox import OutboxEntry
from casework.picture import TOLD_TOPICS, Held, Told, bring_up, differences
from casework.ticking import alarm_ms
from casework.verification import Method
from casework.views import CardAction, CaseFilters, Outcome, Override
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, NONCE, NOW_MS, SENIOR, SUPERVISOR, alert
from tests.contracts.conftest import REDIS_KINDS, Bench, Servers, memory_bench, redis_bench
from tests.contracts.test_desk import bodies, drain

CARDS = ("card-1", "card-2", "card-3")
ACTIONS = st.sampled_from([Action.FREEZE, Action.FREEZE, Action.REVIEW, Action.DECLINE, Action.STEP_UP])
KEYS = st.sampled_from([None, "key-1", "key-2"])
FREEZE_OUTCOMES = {OutcomeKind.FROZEN, OutcomeKind.ATTACHED, OutcomeKind.SUPERSEDED}
SHARDS = 2
MINUTE_MS = 60_000
PEOPLE = st.sampled_from([AGENT, SENIOR, SUPERVISOR])
COMMANDS = st.sampled_from(
    [
        commands.Move(CaseState.CONTACTING), commands.Move(CaseState.RESOLVING), commands.Move(CaseState.FOLLOWING_UP),
        commands.Note("Noted."), commands.Take(), commands.Release(), commands.Assign("agent-2"),
        commands.Customer(waiting=True), commands.Customer(vulnerable=True), commands.SetSeverity(Severity.LOW, "No."),
        commands.Snooze(NOW_MS + 30 * MINUTE_MS, "Later."), commands.Return(), commands.Escalate("Too much."),
        commands.VerifyBegin(Method.CODE), commands.VerifyAnswer("000000"), commands.VerifySeen(Method.DOCUMENT),
        commands.Freeze("Asked."), commands.Unfreeze("Asked."), commands.Watch(3), commands.Reopen("Again."),
        commands.ChangeLimit(5_000, "EUR"), commands.Approve(), commands.Refuse("No."), commands.Undo(),
        commands.Macro("it_was_them", "Theirs."), commands.Macro("right_to_ask", "Theirs."),
    ]
)  # fmt: skip


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """One of a few hundred alerts, so that replays come by themselves; all fields follow from the name."""
    card, place = draw(st.sampled_from(CARDS)), draw(st.integers(0, 20))
    action = list(Action)[1:][(place + len(card)) % 4] if place % 3 else Action.FREEZE
    return alert(
        f"{card}-{place}",
        action,
        card_token=card,
        event_time_ms=NOW_MS + 40 * place,
        decided_ms=None if place % 2 else NOW_MS + 40 * place + 30,
        expected_loss_minor=10**place % 100_007,
        reasons=(f"reason-{place % 3}",),
    )


class DeskMachine(RuleBasedStateMachine):
    """Does the same on a store in memory and on the store under test, and compares everything that can be seen."""

    new_bench: Callable[[asyncio.Runner], Bench]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.benches = [memory_bench(self.runner), type(self).new_bench(self.runner)]
        self.desks = [bench.desk(shards=SHARDS) for bench in self.benches]
        self.now_ms = NOW_MS
        self.outcomes: dict[str, Outcome] = {}
        self.freezes: set[str] = set()
        self.person_commands: dict[str, int] = {}
        self.entries: list[OutboxEntry] = []

    def teardown(self) -> None:
        for bench in self.benches:
            bench.close()
        self.runner.close()

    def both(self, act: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """Do it on both desks; they must answer alike, errors included."""
        answers = [self.runner.run(self._answer(act(desk, *args, **named))) for desk in self.desks]
        assert answers[0] == answers[1]
        return answers[0]

    @staticmethod
    async def _answer(acting: Awaitable[Any]) -> Any:
        try:
            return await acting
        except CommandError as error:
            return type(error), str(error), getattr(error, "changes", None)

    @initialize()
    def begin(self) -> None:
        """A card in each shard, so that every merge has something to merge."""
        self.respond([alert("first", card_token="card-1"), alert("second", Action.REVIEW, card_token="card-2")], 0)

    @rule(batch=st.lists(alerts(), min_size=1, max_size=6), passing_ms=st.integers(0, 60))
    def respond(self, batch: list[Alert], passing_ms: int) -> None:
        """Alerts come, some for the second time."""
        self.now_ms += passing_ms
        before = {card: self.both(Desk.card, card) for card in CARDS}
        found: list[Outcome] = self.both(Desk.respond, batch, self.now_ms)
        for each, outcome in zip(batch, found, strict=True):
            assert self.outcomes.setdefault(each.alert_id, outcome) == outcome
            if each.action is Action.FREEZE:
                self.freezes.add(each.alert_id)
                assert outcome.kind in FREEZE_OUTCOMES
            if each.action is Action.FREEZE and outcome.acted_ms == self.now_ms:
                older = each.time_ms <= self.person_commands.get(each.card_token, 0)
                assert (outcome.kind is OutcomeKind.SUPERSEDED) == older
        for card in CARDS:
            if all(each.card_token != card for each in batch):
                assert self.both(Desk.card, card) == before[card]

    @rule(
        place=st.integers(0, 5),
        disposition=st.sampled_from(list(Disposition)),
        action=st.sampled_from([CardAction.KEEP, CardAction.UNFREEZE, CardAction.UNFREEZE, CardAction.FREEZE]),
        key=KEYS,
        matching=st.sampled_from([None, None, 0, 1]),
    )
    def override(
        self, place: int, disposition: Disposition, action: CardAction, key: str | None, matching: int | None
    ) -> None:
        """A person decides on a case, open or closed, with or without key and If-Match."""
        self.now_ms += 1
        cases = self.listed(CaseFilters()) + self.listed(CaseFilters(state=CaseState.CLOSED))
        if not cases:
            return
        case = cases[place % len(cases)]
        if_match = None if matching is None else case.sequence - matching
        command = Override(disposition, action, "As told by phone.", AGENT)
        answer = self.both(
            Desk.override, case.case_id, command, now_ms=self.now_ms, idempotency_key=key, if_match=if_match
        )
        if not isinstance(answer, tuple) and answer.case.closed_ms == self.now_ms:
            self.person_commands[case.card_token] = self.now_ms

    @rule(
        card=st.sampled_from(CARDS),
        status=st.sampled_from([CardStatus.ACTIVE, CardStatus.ACTIVE, CardStatus.FROZEN, CardStatus.BLOCKED]),
        key=KEYS,
    )
    def command(self, card: str, status: CardStatus, key: str | None) -> None:
        """A person commands a card."""
        self.now_ms += 1
        answer = self.both(
            Desk.set_card_state, card, status, "As asked.", SENIOR, now_ms=self.now_ms, idempotency_key=key
        )
        if not isinstance(answer, tuple) and answer.history[0].command_time_ms >= self.now_ms:
            self.person_commands[card] = answer.history[0].command_time_ms

    @rule(place=st.integers(0, 5), command=COMMANDS, by=PEOPLE, key=KEYS)
    def act(self, place: int, command: Command, by: Person, key: str | None) -> None:
        """A person does something about a case, which may well be refused."""
        self.now_ms += 1
        cases = self.listed(CaseFilters()) + self.listed(CaseFilters(state=CaseState.CLOSED))
        if not cases:
            return
        case_id = cases[place % len(cases)].case_id
        before = self.both(Desk.case, case_id)
        answer = self.both(
            Desk.act, case_id, (command,), by, now_ms=self.now_ms, nonce=f"{NONCE}-{self.now_ms}", idempotency_key=key
        )
        if isinstance(answer, tuple):
            assert self.both(Desk.case, case_id) == before
            return
        self._note_commands(answer.case)

    def _note_commands(self, case: Case) -> None:
        """What people last said of the card: a command, or a decision on the case that is as good as one."""
        times_ms = [self.person_commands.get(case.card_token, 0)]
        history = self.runner.run(self.desks[0].card(case.card_token)).history
        if history and history[0].actor != "cardwatch":
            times_ms.append(history[0].command_time_ms)
        if case.closed_ms == self.now_ms:
            times_ms.append(self.now_ms)
        self.person_commands[case.card_token] = max(times_ms)

    @rule(by=PEOPLE)
    def take_next(self, by: Person) -> None:
        """Somebody asks for work; nobody gets a case that somebody else holds."""
        self.now_ms += 1
        held = {
            case.case_id: case.owner
            for case in self.listed(CaseFilters())
            if case.owner is not None and self.now_ms < case.locked_until_ms
        }
        view = self.both(Desk.next_case, by, now_ms=self.now_ms)
        if view is not None:
            assert held.get(view.case.case_id, by.name) == by.name
            assert (view.case.owner, view.case.tier <= by.tier) == (by.name, True)

    @rule(passing_ms=st.sampled_from([1, 1_000, 20 * MINUTE_MS, 9 * 60 * MINUTE_MS]))
    def tick(self, passing_ms: int) -> None:
        """Time passes; afterwards nothing is left that it should have done, and doing it again changes nothing."""
        self.now_ms += passing_ms
        before = {case.case_id: case for case in self.listed(CaseFilters())}
        while self.both(Desk.tick, self.now_ms):
            pass
        # A macro that can no longer be undone is carried out, as if its author did it now.
        for case_id in before:
            self._note_commands(self.both(Desk.case, case_id).case)
        for case in self.listed(CaseFilters()):
            due_ms = alarm_ms(case)
            assert due_ms is None or due_ms > self.now_ms
            if case.case_id in before:
                assert case.severity >= before[case.case_id].severity

    @rule(count=st.integers(1, 9))
    def relay(self, count: int) -> None:
        """The relay reads a few entries of each shard and acknowledges them."""
        for shard in range(SHARDS):
            read = [self.runner.run(desk.read_outbox(shard, None, count)) for desk in self.desks]
            assert [_content(entry) for entry in read[0]] == [_content(entry) for entry in read[1]]
            self.entries.extend(read[0])
            for desk, entries in zip(self.desks, read, strict=True):
                if entries:
                    self.runner.run(desk.ack_outbox(shard, entries[-1].entry_id))

    def listed(self, filters: CaseFilters) -> list[Case]:
        """All pages of a list."""
        cases: list[Case] = []
        cursor: str | None = None
        while True:
            page = self.both(Desk.list_cases, filters, cursor, 2)
            cases.extend(page.cases)
            cursor = page.next_cursor
            if cursor is None:
                return cases

    @invariant()
    def every_view_is_the_same(self) -> None:
        """Cards, cases, lists, counts and outboxes cannot be told apart, and agree with one another."""
        opened = self.listed(CaseFilters())
        closed = self.listed(CaseFilters(state=CaseState.CLOSED))
        counts = self.both(Desk.count_cases)
        assert counts[CaseState.CLOSED] == len(closed)
        assert sum(counts.values()) == len(opened) + len(closed)
        assert len({case.card_token for case in opened}) == len(opened)
        for card in CARDS:
            view = self.both(Desk.card, card)
            assert [case for case in opened if case.card_token == card] == (
                [] if view.open_case is None else [view.open_case]
            )
        for case in opened + closed:
            timeline = self.both(Desk.case, case.case_id).timeline
            assert _folded(timeline) == case
        self.both(Desk.outbox_oldest_ms)
        contents = [[_content(entry) for entry in self.runner.run(drain(desk))] for desk in self.desks]
        assert contents[0] == contents[1]

    @invariant()
    def what_was_told_rebuilds_what_is(self) -> None:
        """From the records for Kafka alone every card and case comes out as it is, and nothing differs."""
        told = Told()
        for entry in self.entries + self.runner.run(drain(self.desks[0])):
            if entry.topic in TOLD_TOPICS:
                told.add(entry.topic, entry.value, entry.time_ms)
        assert told.counts["unreadable"] == 0
        store = self.desks[1]._store
        assert isinstance(store, RestorableRedisStore)
        for held in self.runner.run(store.held(CARDS)):
            of_card = told.cards[held.card.card_token]
            assert differences(held, of_card, 0) == []
            rebuilt = bring_up(Held(CardRecord(held.card.card_token)), of_card, 0)
            assert rebuilt.cases == held.cases
            assert _without_alerts(rebuilt.card) == _without_alerts(held.card)
            assert bring_up(held, of_card, 0) == held

    @invariant()
    def what_was_told_is_what_is(self) -> None:
        """The records for Kafka say, each once, everything that happened."""
        entries = self.entries + self.runner.run(drain(self.desks[0]))
        ids = [entry.headers["ce_id"] for entry in entries]
        assert len(set(ids)) == len(ids)
        states = bodies(entries, "cards.state.v1")
        for card in CARDS:
            view = self.runner.run(self.desks[0].card(card))
            told = [record for record in states if record["card_token"] == card]
            assert len(told) == view.sequence
            assert [record["command_id"] for record in told] == [change.command_id for change in view.history[::-1]]
            times = [record["command_time_ms"] for record in told]
            assert times == sorted(set(times))
            assert (told[-1]["state"] if told else "active") == view.state.wire
        froze = {record["alert_id"] for record in states if record["actor"] == "cardwatch"}
        assert froze == {alert_id for alert_id, outcome in self.outcomes.items() if outcome.kind is OutcomeKind.FROZEN}
        events = bodies(entries, "fraud.cases.v1")
        assert len({(event["case_id"], event["sequence"]) for event in events}) == len(events)
        attached = [event["alert"]["alert_id"] for event in events if "alert" in event]
        assert sorted(attached) == sorted(
            alert_id for alert_id, outcome in self.outcomes.items() if outcome.case_id is not None
        )
        decided = [event for event in events if event["type"] == "decided"]
        alerted = [
            (event["case_id"], event["sequence"], event["alert"]["transaction_id"])
            for event in events
            if "alert" in event
        ]
        expected = [
            (decision["case_id"], transaction_id)
            for decision in decided
            for case_id, sequence, transaction_id in alerted
            if case_id == decision["case_id"] and sequence < decision["sequence"]
        ]
        labelled = [(label["case_id"], label["transaction_id"]) for label in bodies(entries, "fraud.labels.v1")]
        assert sorted(labelled) == sorted(expected)


def _content(entry: OutboxEntry) -> OutboxEntry:
    """An entry without its place, which is the store's own matter."""
    return replace(entry, entry_id="")


def _without_alerts(card: CardRecord) -> CardRecord:
    """A card without its lists of alerts and payments: alerts in no case are not told to Kafka."""
    return replace(card, alerts=(), payments=(), payments_time_ms=0)


def _folded(events: tuple[CaseEvent, ...]) -> Case | None:
    """What events say."""
    case: Case | None = None
    for event in events:
        case = fold(case, event)
    return case


# The same machine for every kind of server; most examples on the one that answers fastest.
EXAMPLES = {"bundled": 8, "guarded": 3, "cluster": 3}


@pytest.mark.redis
@pytest.mark.parametrize("kind", REDIS_KINDS)
def test_random_interleavings_keep_every_promise(kind: str, servers: Servers) -> None:
    """Alerts, replays, commands and the relay in random order: same views on both stores, one outcome an alert."""

    class Machine(DeskMachine):
        new_bench = partial(redis_bench, kind=kind, url=servers.url(kind))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[kind],
            stateful_step_count=20,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
