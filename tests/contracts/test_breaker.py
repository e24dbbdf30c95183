"""The circuit breaker on every store: several workers agree, replays change nothing, and a person lets go."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from casework.adapters.memory_store import MemoryStore
from casework.breaker import BreakerLimits, BreakerState
from casework.cards import OutcomeKind
from casework.cases import Disposition
from casework.desk import Desk
from casework.errors import InvalidCommandError, OutboxFullError
from casework.outbox import AUDIT_TOPIC
from casework.views import CardAction, Outcome, Override
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, NOW_MS, alert, desk_on, playbook
from tests.contracts.conftest import Bench
from tests.contracts.test_desk import bodies, drain

PLAYBOOK = replace(playbook(), breaker=BreakerLimits(freezes_per_minute=10, freezes_per_hour=50))


def desks(bench: Bench, count: int) -> list[Desk]:
    """Desks of different workers on the same data."""
    stores = [bench.store() for _ in range(count)]
    if isinstance(stores[0], MemoryStore):
        stores = stores[:1] * count
    made = [desk_on(store, PLAYBOOK) for store in stores]
    bench.run(made[0].open())
    return made


def test_past_the_limit_freezes_become_cases_that_wait(bench: Bench) -> None:
    """Ten freezes go through; the others open cases of their own, leave cards active, and say nothing to anybody."""
    (desk,) = desks(bench, 1)
    alerts = [alert(str(place), card_token=f"card-{place}") for place in range(25)]
    outcomes = bench.run(desk.respond(alerts, NOW_MS))
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds == [OutcomeKind.FROZEN] * 10 + [OutcomeKind.HELD] * 15
    assert bench.run(desk.respond(alerts, NOW_MS + 1)) == outcomes
    entries = bench.run(drain(desk))
    assert len(bodies(entries, "cards.state.v1")) == len(bodies(entries, "fraud.notifications.v1")) == 10
    assert len(bodies(entries, "fraud.cases.v1")) == 10 * 2 + 15
    assert [body["kind"] for body in bodies(entries, AUDIT_TOPIC)] == ["freeze_breaker_opened"]
    held = bench.run(desk.card("card-24"))
    assert (held.state, held.open_case is not None) == (CardStatus.ACTIVE, True)
    decision = Override(Disposition.CONFIRMED_FRAUD, CardAction.FREEZE, "Not hers.", AGENT)
    case_id = held.open_case.case_id if held.open_case else ""
    assert bench.run(desk.override(case_id, decision, now_ms=NOW_MS + 9)).card_state is CardStatus.FROZEN


def test_what_follows_on_a_held_card_waits_as_well(bench: Bench) -> None:
    """A second FREEZE of the same card in the same batch joins its case, held too: nothing slips past the breaker."""
    (desk,) = desks(bench, 1)
    alerts = [alert(str(place), card_token=f"card-{place}") for place in range(10)]
    actions = (Action.FREEZE, Action.REVIEW, Action.FREEZE)
    alerts += [alert(f"h-{place}", action, card_token="held") for place, action in enumerate(actions)]
    outcomes = bench.run(desk.respond(alerts, NOW_MS))[10:]
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.HELD, OutcomeKind.ATTACHED, OutcomeKind.HELD]
    assert len({outcome.case_id for outcome in outcomes}) == 1


def test_workers_agree_to_the_last_freeze(bench: Bench) -> None:
    """Four workers at once, two of them with the same alerts: exactly as many freezes as one would let through."""
    made = desks(bench, 4)
    shared = [alert(f"s-{place}", card_token=f"card-s-{place}") for place in range(6)]
    own = [[alert(f"{n}-{place}", card_token=f"card-{n}-{place}") for place in range(6)] for n in range(2)]

    async def respond() -> list[list[Outcome]]:
        batches = [*own, shared, shared]
        return await asyncio.gather(*(desk.respond(batch, NOW_MS) for desk, batch in zip(made, batches, strict=True)))

    outcomes = {outcome.alert_id: outcome for batch in bench.run(respond()) for outcome in batch}
    kinds = [outcome.kind for outcome in outcomes.values()]
    assert (kinds.count(OutcomeKind.FROZEN), kinds.count(OutcomeKind.HELD)) == (10, 8)
    entries = bench.run(drain(made[0]))
    assert [body["kind"] for body in bodies(entries, AUDIT_TOPIC)] == ["freeze_breaker_opened"]


def test_a_release_lets_freezes_through_and_is_told(bench: Bench) -> None:
    """One command with name and reason; what was held stays held; the second time it changes and tells nothing."""
    (desk,) = desks(bench, 1)
    alerts = [alert(str(place), card_token=f"card-{place}") for place in range(12)]
    bench.run(desk.respond(alerts, NOW_MS))
    assert [each.state for each in bench.run(desk.breakers())] == [BreakerState.OPEN]
    released = bench.run(desk.release_breaker("policy-1", "the rule is fixed", "ann", now_ms=NOW_MS + 5))
    assert bench.run(desk.release_breaker("policy-1", "once more", "bob", now_ms=NOW_MS + 6)) == released
    assert bench.run(desk.breakers()) == [released]
    assert bench.run(desk.respond(alerts[-1:], NOW_MS + 7))[0].kind is OutcomeKind.HELD
    new = bench.run(desk.respond([alert("new", card_token="card-new")], NOW_MS + 7))[0]
    assert new.kind is OutcomeKind.FROZEN
    told = [json.loads(entry.value) for entry in bench.run(drain(desk)) if entry.topic == AUDIT_TOPIC]
    assert [(body["kind"], body["actor"]) for body in told] == [
        ("freeze_breaker_opened", "cardwatch"),
        ("freeze_breaker_released", "ann"),
    ]
    with pytest.raises(InvalidCommandError):
        bench.run(desk.release_breaker("policy-1", " ", "ann", now_ms=NOW_MS))


def test_each_version_of_the_policy_has_its_own(bench: Bench) -> None:
    """Going back to the policy before does not need anybody to release the one that went wrong."""
    (desk,) = desks(bench, 1)
    storm = [alert(f"s-{place}", card_token=f"card-{place}", policy_version="bad") for place in range(11)]
    bench.run(desk.respond(storm, NOW_MS))
    good = bench.run(desk.respond([alert("g", card_token="card-g", policy_version="good")], NOW_MS))[0]
    assert good.kind is OutcomeKind.FROZEN
    assert {each.policy_version: each.is_open for each in bench.run(desk.breakers())} == {"bad": True, "good": False}


def test_a_full_outbox_does_not_open_it_in_silence(bench: Bench) -> None:
    """Where the opening cannot be told, it does not happen: the alerts come again."""
    store = bench.store(shards=1, outbox_limit=9)
    desk = desk_on(store, replace(PLAYBOOK, breaker=BreakerLimits(1, 10)))
    bench.run(desk.open())
    bench.run(desk.respond([alert("a", card_token="card-a")], NOW_MS))
    bench.run(desk.respond([alert(f"{n}", Action.REVIEW, card_token=f"card-{n}") for n in range(5)], NOW_MS))
    with pytest.raises(OutboxFullError):
        bench.run(desk.respond([alert("b", card_token="card-b")], NOW_MS))
    assert [each.is_open for each in bench.run(desk.breakers())] == [False]
    bench.run(desk.ack_outbox(0, bench.run(drain(desk))[-1].entry_id))
    assert bench.run(desk.respond([alert("b", card_token="card-b")], NOW_MS))[0].kind is OutcomeKind.HELD
