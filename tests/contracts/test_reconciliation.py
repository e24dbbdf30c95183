"""Losses of Redis: it takes no writes until it was compared with Kafka, and what Kafka knows comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
import pytest

from casework.adapters.redis_restore import RestorableRedisStore
from casework.alerts import Alert
from casework.breaker import BreakerLimits
from casework.cards import OutcomeKind
from casework.cases import Disposition
from casework.errors import StoreEmptyError, StoreFencedError
from casework.lists import Effect, ListKey, Subject
from casework.views import CardAction, Outcome, Override
from detector.vocabulary import Action, CardStatus
from streams.audit import AuditReport, audit
from streams.events import iso_time
from streams.reconciliation import EVERYTHING, Reconciler, Report
from streams.records import ReadRecord
from streams.topics import ALERTS
from tests.casework.examples import NOW_MS, SENIOR, SUPERVISOR, alert, desk_on, playbook, verify
from tests.casework.test_access import ACCESS
from tests.contracts.conftest import Bench

pytestmark = pytest.mark.redis
PLAYBOOK = replace(playbook(), breaker=BreakerLimits(freezes_per_minute=6, freezes_per_hour=50))
MEMORIES_MS = (PLAYBOOK.outcome_memory_ms, PLAYBOOK.closed_case_memory_ms)
DECISION = Override(Disposition.FALSE_POSITIVE, CardAction.UNFREEZE, "Hers.", SENIOR)
CLOCK = partial(int, NOW_MS + 60_000)


@dataclass
class Log:
    """What Kafka has: alerts, and what was relayed."""

    records: list[ReadRecord] = field(default_factory=list)

    def add(self, topic: str, key: str, value: bytes, headers: dict[str, str], time_ms: int) -> None:
        pairs = tuple((name, text.encode()) for name, text in headers.items())
        place = len(self.records)
        self.records.append(ReadRecord(topic, 0, place, time_ms, key.encode(), value, pairs))

    def add_alert(self, each: Alert) -> None:
        body = {name: value for name, value in msgspec.to_builtins(each).items() if value is not None}
        body |= {"action": each.action.wire}
        self.add(ALERTS, each.card_token, msgspec.json.encode(body), {"ce_time": iso_time(each.time_ms)}, NOW_MS)

    def read_since(self, topics: tuple[str, ...], since_ms: int) -> Iterator[ReadRecord]:
        return (record for record in self.records if record.topic in topics and record.timestamp >= since_ms)


class Site:
    """One Redis with its desk, a Kafka, and losses at will."""

    def __init__(self, bench: Bench, store: RestorableRedisStore) -> None:
        self.run = bench.run
        self.store = store
        self.desk = desk_on(store, PLAYBOOK)
        self.log = Log()
        self.reconciler = Reconciler(store, self.desk, self.log.read_since, MEMORIES_MS, CLOCK)
        self.run(self.desk.open())

    def respond(self, *alerts: Alert, now_ms: int = NOW_MS) -> list[Outcome]:
        """Alerts come through Kafka."""
        for each in alerts:
            self.log.add_alert(each)
        return self.run(self.desk.respond(alerts, now_ms))

    def relay(self, keep: int = 0) -> None:
        """Relay every outbox, but for its last few entries."""
        for shard in range(self.store.shards):
            entries = self.run(self.store.read_outbox(shard, None, 10_000))
            done = entries[: len(entries) - keep] if keep else entries
            for entry in done:
                self.log.add(entry.topic, entry.key, entry.value, entry.headers, entry.time_ms)
            if done:
                self.run(self.store.ack_outbox(shard, done[-1].entry_id))

    def dumped(self) -> dict[bytes, Any]:
        """Everything in Redis, as it was: what a replica has that is a little behind."""
        client: Any = self.store._redis.client

        async def dump() -> dict[bytes, Any]:
            pattern = f"{self.store._settings.prefix}:*"
            found = [key async for key in client.scan_iter(match=pattern, count=1_000)]
            return {key: await client.execute_command("DUMP", key) for key in found}

        return self.run(dump())

    def take_over(self, keys: dict[bytes, Any]) -> None:
        """Another server takes over, with these keys and none of what came after."""
        client: Any = self.store._redis.client

        async def load() -> None:
            pattern = f"{self.store._settings.prefix}:*"
            async for key in client.scan_iter(match=pattern, count=1_000):
                await client.execute_command("DEL", key)
            for key, dumped in keys.items():
                await client.execute_command("RESTORE", key, 0, dumped)
            for shard in range(self.store.shards):
                await client.execute_command("SET", self.store._fence_key(shard), "another-server")

        self.run(load())

    def decide(self, case_id: str | None, now_ms: int) -> None:
        """A person knows the cardholder, lets the card go, and closes the case."""
        self.run(verify(self.desk, case_id or "", now_ms, SENIOR))
        self.run(self.desk.override(case_id or "", DECISION, now_ms=now_ms))

    def thaw(self, card_token: str, now_ms: int) -> None:
        """A person knows the cardholder and lets the card go; the case stays open."""
        case = self.run(self.desk.card(card_token)).open_case
        self.run(verify(self.desk, case.case_id if case else "", now_ms, SENIOR))
        self.run(self.desk.set_card_state(card_token, CardStatus.ACTIVE, "Hers.", SENIOR, now_ms=now_ms))

    def audit(self) -> AuditReport:
        async def at_once(_seconds: float) -> None:
            """Nothing else runs: there is nothing to wait for."""

        return self.run(audit(self.store, self.log.read_since, MEMORIES_MS, CLOCK, at_once))

    def bring_up(self) -> Report:
        shards = self.run(self.store.fenced_shards())
        report = self.run(self.reconciler.bring_up(shards, EVERYTHING))
        report.alerts_again = self.run(self.reconciler.answer_again(self.run(self.store.noted_again())))
        return report


@pytest.fixture
def site(new_redis_bench: Callable[[asyncio.Runner], Bench], runner: asyncio.Runner) -> Iterator[Site]:
    bench = new_redis_bench(runner)
    store = bench.store()
    assert isinstance(store, RestorableRedisStore)
    yield Site(bench, store)
    bench.close()


def alerts_of(name: str) -> list[Alert]:
    """Alerts of every action on four cards."""
    actions = [Action.FREEZE, Action.FREEZE, Action.REVIEW, Action.STEP_UP, Action.DECLINE, Action.FREEZE]
    return [alert(f"{name}-{place}", action, card_token=f"card-{place % 4}") for place, action in enumerate(actions)]


def story(site: Site, name: str) -> dict[str, Outcome]:
    """Freezes, one past the breaker's limit, a question to the cardholder, decisions and commands."""
    outcomes = site.respond(*alerts_of(name))
    site.decide(outcomes[0].case_id, NOW_MS + 10)
    site.run(site.desk.set_card_state("card-7", CardStatus.FROZEN, "Lost.", SENIOR, now_ms=NOW_MS + 20))
    key = ListKey(Effect.BLOCK, Subject.MERCHANT, f"merchant-{name}")
    site.run(site.desk.put_on_list(key, SUPERVISOR, "Tested cards.", NOW_MS + 10**9, now_ms=NOW_MS + 20))
    return {outcome.alert_id: outcome for outcome in outcomes}


def shown(site: Site) -> list[Any]:
    """What people see of the cards, but for what only alerts in no case say, of which Kafka is not told."""
    views = [site.run(site.desk.card(f"card-{place}")) for place in range(8)]
    cases = [site.run(site.desk.case(case_id)) for view in views for case_id in view.case_ids]
    told = [
        replace(
            view,
            alerts=tuple(each for each in view.alerts if each.case_id is not None),
            payments=view.payments if view.case_ids else (),
        )
        for view in views
    ]
    return [told, cases, sorted(site.run(site.store.list_entries()), key=lambda entry: entry.name)]


def test_a_whole_redis_agrees_with_its_topics(site: Site) -> None:
    """Nothing differs, whether the outbox was relayed, half of it, or nothing."""
    story(site, "a")
    assert site.audit().differences == []
    site.relay(keep=2)
    assert site.audit().differences == []
    site.relay()
    report = site.audit()
    assert (report.differences, report.cards) == ([], 5)
    assert report.records.total() > 10


def test_a_server_that_took_over_takes_no_writes_until_it_was_compared(site: Site) -> None:
    """What the old one did last, and had told Kafka, is put back; what only alerts tell is done again; all once."""
    before = story(site, "a")
    site.relay()
    keys = site.dumped()
    lost = site.respond(alert("b-1", card_token="card-5"), alert("b-2", card_token="card-1", decided_ms=NOW_MS + 99))
    site.decide(lost[0].case_id, NOW_MS + 30)
    site.relay()
    seen = shown(site)
    site.respond(alert("b-3", card_token="card-6"))
    site.take_over(keys)

    with pytest.raises(StoreFencedError):
        site.run(site.desk.respond([alert("c")], NOW_MS))
    with pytest.raises(StoreFencedError):
        site.run(site.desk.set_card_state("card-1", CardStatus.FROZEN, "Lost.", SENIOR, now_ms=NOW_MS + 40))
    # An entry would make the outbox look newer than what it may have lost; and what is shown may be out of date.
    with pytest.raises(StoreFencedError):
        site.run(site.desk.tell_access(ACCESS))
    assert site.audit().fenced_shards == [0, 1, 2, 3]

    report = site.bring_up()
    assert (report.put_back, report.alerts_again) == (2, 1)
    assert site.audit().differences == []
    found = shown(site)
    assert [view for view in found[0] if view.card_token != "card-6"] == [
        view for view in seen[0] if view.card_token != "card-6"
    ]
    assert site.run(site.desk.card("card-6")).state is CardStatus.FROZEN
    again = site.run(site.desk.respond([alerts_of("a")[0], alert("b-1", card_token="card-5")], NOW_MS + 500))
    assert [outcome.kind for outcome in again] == [before["alert-a-0"].kind, OutcomeKind.FROZEN]
    site.relay()
    assert site.audit().differences == []


def test_a_redis_that_lost_everything_is_built_anew(site: Site) -> None:
    """From Kafka alone: cards, cases, outcomes and an open breaker; alerts whose steps were not relayed act again."""
    before = story(site, "a")
    site.respond(*(alert(f"s-{place}", card_token=f"card-s-{place}") for place in range(8)))
    site.relay()
    seen = shown(site)
    site.respond(alert("late", card_token="card-late", policy_version="policy-2"))
    site.take_over({})
    assert not site.run(site.store.is_set_up())
    with pytest.raises(StoreEmptyError):
        site.run(site.desk.open(create=False))

    site.run(site.store.set_up_fenced())
    report = site.bring_up()
    # The DECLINE joined a case, the STEP_UP asked: both have a trace; the freeze that was not relayed has none.
    assert report.alerts_again == 1
    assert shown(site) == seen
    assert [each.is_open for each in site.run(site.desk.breakers()) if each.policy_version == "policy-1"] == [True]
    outcomes = site.run(site.desk.respond(alerts_of("a"), NOW_MS + 900))
    assert [outcome.kind for outcome in outcomes] == [outcome.kind for outcome in before.values()]
    assert site.run(site.desk.card("card-late")).state is CardStatus.FROZEN
    site.relay()
    assert site.audit().differences == []


def test_an_interrupted_reconciliation_is_begun_anew(site: Site) -> None:
    """A crash after the fence was lifted leaves a note; the alerts are handled again by whoever comes next."""
    site.respond(alert("a"))
    site.take_over({})
    site.run(site.store.set_up_fenced())
    site.run(site.reconciler.bring_up(range(4), EVERYTHING))
    assert site.run(site.desk.card("card-1")).state is CardStatus.ACTIVE
    noted = site.run(site.store.noted_again())
    assert noted == dict.fromkeys(range(4), EVERYTHING)
    assert site.run(site.reconciler.answer_again(noted)) == 1
    assert site.run(site.desk.card("card-1")).state is CardStatus.FROZEN
    assert site.run(site.store.noted_again()) == {}


def test_who_comes_after_the_lifting_changes_nothing(site: Site) -> None:
    """Of two workers that reconcile at once the slower one must not overwrite what was written since."""
    site.respond(alert("a"))
    site.relay()
    (held,) = site.run(site.store.held(["card-1"]))
    site.thaw("card-1", NOW_MS + 40)
    assert not site.run(site.store.put_back(held, {}, [], MEMORIES_MS))
    assert site.run(site.desk.card("card-1")).state is CardStatus.ACTIVE


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("card", "card_state"),
        ("case", "case"),
        ("cases", "list"),
        ("step", "outcome"),
    ],
)
def test_a_partial_redis_is_detected(site: Site, damage: str, kind: str) -> None:
    """Keys of one sort that are missing are found, and named by card."""
    site.respond(alert("a"))
    site.relay()
    client: Any = site.store._redis.client
    for key in site.dumped():
        if key.split(b":")[2:3] == [damage.encode()]:
            site.run(client.execute_command("DEL", key))
    report = site.audit()
    assert kind in {difference.kind for difference in report.differences}
    assert {difference.card_token for difference in report.differences} == {"card-1"}


def test_topics_that_lost_something_are_detected(site: Site) -> None:
    """A card that Redis knows frozen, and the topics do not, is a difference as well; so is an order that is wrong."""
    site.respond(alert("a"))
    site.thaw("card-1", NOW_MS + 40)
    site.relay()
    states = [record for record in site.log.records if record.topic == "cards.state.v1"]
    site.log.records.append(states[0])
    assert [difference.kind for difference in site.audit().differences] == ["topic_order"]
    site.log.records = [record for record in site.log.records if record.topic != "cards.state.v1"]
    assert "card_state" in {difference.kind for difference in site.audit().differences}


def test_several_servers_are_told_apart_by_shard(site: Site) -> None:
    """Only the shards of the server that changed are fenced; the others go on."""
    client: Any = site.store._redis.client
    site.run(client.execute_command("SET", site.store._fence_key(2), "another-server"))
    assert site.run(site.store.fenced_shards()) == [2]
    kinds: list[OutcomeKind | None] = []
    for place in itertools.islice(itertools.count(), 12):
        try:
            kinds.append(site.respond(alert(f"{place}", card_token=f"card-{place}"))[0].kind)
        except StoreFencedError:
            kinds.append(None)
    assert None in kinds
    assert OutcomeKind.FROZEN in kinds
