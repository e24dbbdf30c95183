"""What every store promises the desk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casework.cases import CaseState, queue_position
from casework.errors import OutboxFullError, StoreSetupError
from casework.ids import alert_step_id
from casework.plans import after, plan_alert
from casework.store import NO_STEP, UNWRITTEN, Snapshot, Step, Store
from detector.vocabulary import Action
from tests.casework.examples import NOW_MS, alert, playbook
from tests.contracts.conftest import Bench

PLAYBOOK = playbook()


def opened(bench: Bench, **settings: int) -> Store:
    store = bench.store(**settings)
    bench.run(store.open(create=True))
    return store


def loaded(bench: Bench, store: Store, card_token: str = "card-1", step_id: str = NO_STEP) -> Snapshot:
    (snapshot,) = bench.run(store.load([(card_token, step_id)]))
    return snapshot


def planned(snapshot: Snapshot, name: str, action: Action = Action.FREEZE) -> Step:
    return plan_alert(snapshot, alert(name, action, card_token=snapshot.card.card_token), PLAYBOOK, NOW_MS)[0]


def test_a_step_is_carried_out_whole(bench: Bench) -> None:
    """Card, case, record and outbox are there afterwards, exactly as planned."""
    store = opened(bench)
    before = loaded(bench, store)
    assert (before.version, before.case, before.recorded) == (UNWRITTEN, None, None)
    step = planned(before, "a")
    assert bench.run(store.commit([step])) == [True]
    found = loaded(bench, store, step_id=step.step_id)
    assert (found.version, found.card, found.case) == (step.version_after, step.card, step.case)
    assert found.recorded == step.recorded
    stored = bench.run(store.load_case(step.case.case_id if step.case else ""))
    assert stored is not None
    assert (stored.case, stored.events) == (step.case, step.events)
    entries = [entry for shard in range(store.shards) for entry in bench.run(store.read_outbox(shard, None, 100))]
    assert [(entry.topic, entry.key, entry.value, entry.headers) for entry in entries] == [
        (message.topic, message.key, message.value, message.headers) for message in step.messages
    ]


def test_a_step_is_carried_out_once(bench: Bench) -> None:
    """Committed again, in the same call or a later one, it does nothing."""
    store = opened(bench)
    step = planned(loaded(bench, store), "a")
    assert bench.run(store.commit([step, step])) == [True, False]
    assert bench.run(store.commit([replace(step, version_before=step.version_after)])) == [False]
    assert loaded(bench, store).version == step.version_after


def test_a_step_planned_on_an_old_snapshot_is_refused(bench: Bench) -> None:
    """Of two planned on the same snapshot one is carried out, and so is nothing that builds on the other."""
    store = opened(bench)
    snapshot = loaded(bench, store)
    ours, theirs = planned(snapshot, "ours"), planned(snapshot, "theirs")
    built_on_ours = planned(after(ours, snapshot), "built-on-ours", Action.REVIEW)
    assert bench.run(store.commit([theirs, ours, built_on_ours])) == [True, False, False]
    assert loaded(bench, store).card == theirs.card
    assert loaded(bench, store, step_id=ours.step_id).recorded is None


def test_steps_of_different_cards_are_independent(bench: Bench) -> None:
    """One refused step does not hold back another card's."""
    store = opened(bench)
    first = planned(loaded(bench, store, "card-1"), "a")
    second = planned(loaded(bench, store, "card-2"), "b")
    assert bench.run(store.commit([first, first, second])) == [True, False, True]


def test_a_step_without_room_in_the_outbox_is_refused_whole(bench: Bench) -> None:
    """No card is frozen that nobody could be told of; a step that tells nobody anything needs no room."""
    store = opened(bench, shards=1, outbox_limit=1)
    assert bench.run(store.commit([planned(loaded(bench, store), "a")])) == [True]
    other = loaded(bench, store, "card-2")
    with pytest.raises(OutboxFullError):
        bench.run(store.commit([planned(other, "b")]))
    assert loaded(bench, store, "card-2") == other
    assert bench.run(store.commit([planned(other, "c", Action.DECLINE)])) == [True]


def test_a_case_moves_with_its_urgency(bench: Bench) -> None:
    """A case is listed once, where it stands now."""
    store = opened(bench)
    first = planned(loaded(bench, store), "a", Action.REVIEW)
    bench.run(store.commit([first]))
    second = planned(loaded(bench, store), "b", Action.FREEZE)
    bench.run(store.commit([second]))
    listed = bench.run(store.list_cases([CaseState.NEW], "", 10))
    assert [(entry.position, entry.case) for entry in listed] == [
        (queue_position(second.case), second.case) if second.case else ("", None)
    ]
    assert bench.run(store.list_cases([CaseState.NEW], listed[0].position, 10)) == []
    assert bench.run(store.list_cases([CaseState.CLOSED], "", 10)) == []


def test_a_store_is_set_up_once(bench: Bench) -> None:
    """An empty store is set up only where that is asked for; afterwards it opens without."""
    store = bench.store()
    with pytest.raises(StoreSetupError):
        bench.run(store.open(create=False))
    bench.run(store.open(create=True))
    bench.run(store.open(create=False))
    bench.run(store.ping())


def test_reading_asks_in_order(bench: Bench) -> None:
    """Many asks, some about the same card, are answered one by one in their order."""
    store = opened(bench)
    step = planned(loaded(bench, store, "card-2"), "a")
    bench.run(store.commit([step]))
    asks = [("card-1", step.step_id), ("card-2", NO_STEP), ("card-2", step.step_id), ("card-2", alert_step_id("b"))]
    answers = bench.run(store.load(asks))
    assert [answer.card.card_token for answer in answers] == ["card-1", "card-2", "card-2", "card-2"]
    assert [answer.version for answer in answers[1:]] == [step.version_after] * 3
    assert [answer.recorded for answer in answers[1:]] == [None, step.recorded, None]
    assert bench.run(store.load([])) == []
    assert bench.run(store.commit([])) == []


def test_what_is_planned_on_anothers_result_is_refused(bench: Bench) -> None:
    """Two workers do the same alert at two moments: what one planned on its own result does not fit the other's."""
    store = opened(bench)
    before = loaded(bench, store)
    mine = planned(before, "a")
    theirs, _ = plan_alert(before, alert("a"), PLAYBOOK, NOW_MS + 5)
    mine_too = planned(after(mine, before), "b")
    assert bench.run(store.commit([theirs])) == [True]
    assert bench.run(store.commit([mine, mine_too])) == [False, False]
    again = planned(loaded(bench, store), "b")
    assert bench.run(store.commit([again])) == [True]
    assert again.case is not None
    assert again.case.opened_ms == NOW_MS + 5
