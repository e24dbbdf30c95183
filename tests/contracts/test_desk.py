"""What the desk promises, on every store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from casework.cards import OutcomeKind
from casework.cases import MAXIMUM_CASE_ALERTS, CaseEventType, CaseState, Disposition, fold
from casework.desk import Desk
from casework.errors import (
    CaseNotFoundError,
    IdempotencyConflictError,
    IllegalCardMoveError,
    IllegalCaseMoveError,
    InvalidCommandError,
    InvalidCursorError,
    VersionConflictError,
)
from casework.outbox import OutboxEntry
from casework.views import CardAction, CaseFilters, Override
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, NOW_MS, SENIOR, alert, verify
from tests.contracts.conftest import Bench

FALSE_POSITIVE = Override(Disposition.FALSE_POSITIVE, CardAction.UNFREEZE, "Cardholder confirmed by phone.", AGENT)
FRAUD = Override(Disposition.CONFIRMED_FRAUD, CardAction.BLOCK, "Not theirs.", SENIOR)


async def drain(desk: Desk) -> list[OutboxEntry]:
    """Every entry of every outbox, in order within each shard."""
    entries: list[OutboxEntry] = []
    for shard in range(desk.shards):
        after: str | None = None
        while read := await desk.read_outbox(shard, after, 7):
            entries.extend(read)
            after = read[-1].entry_id
    return entries


def bodies(entries: list[OutboxEntry], topic: str) -> list[dict[str, Any]]:
    """The records for a topic."""
    return [json.loads(entry.value) for entry in entries if entry.topic == topic]


def outbox(bench: Bench, desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """All records by topic."""
    entries = bench.run(drain(desk))
    return {topic: bodies(entries, topic) for topic in dict.fromkeys(entry.topic for entry in entries)}


def test_a_freeze_is_card_case_notice_and_outbox(bench: Bench) -> None:
    """FREEZE leaves a frozen card, an open case with the evidence, a notice, and a record of each for Kafka."""
    desk = bench.desk()
    (outcome,) = bench.run(desk.respond([alert("a")], NOW_MS))
    assert (outcome.kind, outcome.card_state, outcome.acted_ms) == (OutcomeKind.FROZEN, CardStatus.FROZEN, NOW_MS)
    card = bench.run(desk.card("card-1"))
    assert (card.state, card.sequence, card.open_case and card.open_case.case_id) == (
        CardStatus.FROZEN,
        1,
        outcome.case_id,
    )
    case = bench.run(desk.case(outcome.case_id or ""))
    assert [event.type for event in case.timeline] == [CaseEventType.OPENED, CaseEventType.CARD_CHANGED]
    assert case.alerts[0].evidence == alert("a").evidence
    assert case.payments == alert("a").last_payments
    records = outbox(bench, desk)
    assert {topic: len(found) for topic, found in records.items()} == {
        "fraud.cases.v1": 2,
        "cards.state.v1": 1,
        "fraud.notifications.v1": 1,
    }
    (state,) = records["cards.state.v1"]
    assert state == {
        "card_token": "card-1",
        "state": "frozen",
        "reason": "amount_unusual",
        "alert_id": "alert-a",
        "case_id": outcome.case_id,
        "actor": "cardwatch",
        "command_id": card.history[0].command_id,
        "command_time_ms": NOW_MS,
        "sequence": 1,
    }
    assert records["fraud.cases.v1"][0]["alert"]["action"] == "FREEZE"
    assert records["fraud.cases.v1"][1]["card_change"]["state"] == "frozen"
    assert records["fraud.notifications.v1"][0]["template"] == "card_frozen"


def test_an_alert_that_comes_again_changes_nothing(bench: Bench) -> None:
    """A replayed alert returns the outcome recorded first, in the same batch or a later one; nothing is told twice."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a"), alert("b"), alert("a")], NOW_MS))
    before = bench.run(desk.card("card-1")), outbox(bench, desk)
    again = bench.run(desk.respond([alert("b"), alert("a")], NOW_MS + 5_000))
    assert again == [first[1], first[0]]
    assert first[0] == first[2]
    assert (bench.run(desk.card("card-1")), outbox(bench, desk)) == before


def test_one_open_case_a_card(bench: Bench) -> None:
    """Later alerts join the open case; alerts of other cards do not."""
    desk = bench.desk()
    alerts = [alert("a"), alert("b", Action.DECLINE), alert("c", Action.REVIEW), alert("d"), alert("e", card_token="x")]
    outcomes = bench.run(desk.respond(alerts, NOW_MS))
    kinds = [outcome.kind for outcome in outcomes]
    attached = OutcomeKind.ATTACHED
    assert kinds == [OutcomeKind.FROZEN, attached, attached, attached, OutcomeKind.FROZEN]
    assert len({outcome.case_id for outcome in outcomes}) == 2
    case = bench.run(desk.case(outcomes[0].case_id or "")).case
    assert case.transaction_ids == tuple(f"transaction-{name}" for name in "abcd")
    assert case.expected_loss_minor == 4 * 12_000


def test_each_action_by_the_playbook(bench: Bench) -> None:
    """REVIEW opens a case and leaves the card; STEP_UP asks the cardholder; DECLINE is kept with the card."""
    desk = bench.desk()
    alerts = [
        alert("a", Action.DECLINE),
        alert("b", Action.STEP_UP),
        alert("c", Action.REVIEW),
        alert("d", Action.FREEZE),
    ]
    outcomes = bench.run(desk.respond(alerts, NOW_MS))
    assert [outcome.kind for outcome in outcomes] == [
        OutcomeKind.RECORDED,
        OutcomeKind.ASKED,
        OutcomeKind.REVIEW_OPENED,
        OutcomeKind.FROZEN,
    ]
    assert [outcome.card_state.wire for outcome in outcomes] == ["active", "active", "active", "frozen"]
    assert outcomes[2].case_id == outcomes[3].case_id is not None
    assert outcomes[0].case_id is None
    card = bench.run(desk.card("card-1"))
    assert [summary.alert_id for summary in card.alerts] == ["alert-d", "alert-c", "alert-b", "alert-a"]
    assert [notice["template"] for notice in outbox(bench, desk)["fraud.notifications.v1"]] == [
        "confirm_payment",
        "card_frozen",
    ]


def test_an_override_is_one_step(bench: Bench) -> None:
    """It decides and closes the case, changes the card, labels every payment, damps the reasons and tells everybody."""
    desk = bench.desk()
    outcomes = bench.run(desk.respond([alert("a"), alert("b")], NOW_MS))
    case_id = outcomes[0].case_id or ""
    already = len(bench.run(drain(desk)))
    bench.run(verify(desk, case_id, NOW_MS + 60_000))
    view = bench.run(desk.override(case_id, FALSE_POSITIVE, now_ms=NOW_MS + 60_000))
    assert view == bench.run(desk.case(case_id))
    assert (view.case.state, view.case.disposition, view.card_state) == (
        CaseState.CLOSED,
        Disposition.FALSE_POSITIVE,
        CardStatus.ACTIVE,
    )
    assert (view.case.closed_by, view.case.note) == ("agent-1", FALSE_POSITIVE.note)
    card = bench.run(desk.card("card-1"))
    assert (card.state, card.open_case, card.case_ids) == (CardStatus.ACTIVE, None, (case_id,))
    entries = bench.run(drain(desk))[already:]
    assert {entry.time_ms for entry in entries} == {NOW_MS + 60_000}
    assert bodies(entries, "fraud.labels.v1") == [
        {
            "transaction_id": f"transaction-{name}",
            "card_token": "card-1",
            "label": "genuine",
            "source": "agent",
            "label_time_ms": NOW_MS + 60_000,
            "case_id": case_id,
            "labelled_by": "agent-1",
        }
        for name in "ab"
    ]
    assert bodies(entries, "cardwatch.control.v1") == [
        {
            "kind": "damp",
            "card_token": "card-1",
            "reasons": ["amount_unusual", "country_new"],
            "until_ms": NOW_MS + 60_000 + 7 * 86_400_000,
        }
    ]
    types = [record["type"] for record in bodies(entries, "fraud.cases.v1")]
    assert types == ["verified", "decided", "card_changed", "closed"]
    assert [record["state"] for record in bodies(entries, "cards.state.v1")] == ["active"]
    assert [record["template"] for record in bodies(entries, "fraud.notifications.v1")] == ["card_active"]


def test_fraud_confirmed_lifts_damping(bench: Bench) -> None:
    """What an earlier override damped acts again once a case of the card turns out to be fraud."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    bench.run(verify(desk, first.case_id or "", NOW_MS + 1))
    bench.run(desk.override(first.case_id or "", FALSE_POSITIVE, now_ms=NOW_MS + 1))
    second = bench.run(desk.respond([alert("b", event_time_ms=NOW_MS + 9)], NOW_MS + 10))[0]
    bench.run(desk.override(second.case_id or "", FRAUD, now_ms=NOW_MS + 11))
    damping = outbox(bench, desk)["cardwatch.control.v1"]
    assert [directive["reasons"] for directive in damping] == [["amount_unusual", "country_new"], []]
    assert {entry.key for entry in bench.run(drain(desk)) if entry.topic == "cardwatch.control.v1"} == {"damp:card-1"}
    assert bench.run(desk.card("card-1")).damped_reasons == ()


def test_a_person_wins_over_alerts_that_are_not_later(bench: Bench) -> None:
    """After a person's command an alert from before it, or from the same moment, is superseded; a later one acts."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    bench.run(verify(desk, first.case_id or "", NOW_MS + 100))
    bench.run(desk.override(first.case_id or "", FALSE_POSITIVE, now_ms=NOW_MS + 100))
    late = [alert("b", event_time_ms=NOW_MS), alert("c", event_time_ms=NOW_MS, decided_ms=NOW_MS + 100)]
    outcomes = bench.run(desk.respond(late, NOW_MS + 200))
    assert [(outcome.kind, outcome.case_id) for outcome in outcomes] == [(OutcomeKind.SUPERSEDED, None)] * 2
    assert bench.run(desk.card("card-1")).state is CardStatus.ACTIVE
    later = alert("d", event_time_ms=NOW_MS, decided_ms=NOW_MS + 101)
    assert bench.run(desk.respond([later], NOW_MS + 300))[0].kind is OutcomeKind.FROZEN


def test_keeping_the_card_as_it_is_is_a_command_too(bench: Bench) -> None:
    """An override that keeps an active card protects it from alerts that are not later."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a", Action.REVIEW)], NOW_MS))[0]
    keep = Override(Disposition.VALUABLE_ALERT, CardAction.KEEP, "Fine.", AGENT)
    view = bench.run(desk.override(first.case_id or "", keep, now_ms=NOW_MS + 100))
    assert view.card_state is CardStatus.ACTIVE
    assert bench.run(desk.card("card-1")).sequence == 0
    assert bench.run(desk.respond([alert("b")], NOW_MS + 200))[0].kind is OutcomeKind.SUPERSEDED


def test_a_superseded_freeze_joins_the_open_case(bench: Bench) -> None:
    """It does not touch the card, but whoever works on the case sees it."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    bench.run(verify(desk, first.case_id or "", NOW_MS + 99))
    bench.run(desk.set_card_state("card-1", CardStatus.ACTIVE, "Known traveller", AGENT, now_ms=NOW_MS + 100))
    second = bench.run(desk.respond([alert("b")], NOW_MS + 200))[0]
    assert (second.kind, second.case_id, second.card_state) == (
        OutcomeKind.SUPERSEDED,
        first.case_id,
        CardStatus.ACTIVE,
    )
    case = bench.run(desk.case(first.case_id or ""))
    assert [each.outcome for each in case.alerts] == [OutcomeKind.FROZEN, OutcomeKind.SUPERSEDED]


def test_a_freeze_on_a_card_that_a_person_froze_opens_a_case(bench: Bench) -> None:
    """The card needs no second freeze, but somebody must look."""
    desk = bench.desk()
    bench.run(desk.set_card_state("card-1", CardStatus.FROZEN, "Lost", AGENT, now_ms=NOW_MS))
    outcome = bench.run(desk.respond([alert("a", event_time_ms=NOW_MS + 1)], NOW_MS + 2))[0]
    assert outcome.kind is OutcomeKind.ATTACHED
    card = bench.run(desk.card("card-1"))
    assert card.open_case is not None
    assert card.open_case.case_id == outcome.case_id
    assert card.sequence == 1


def test_the_same_key_with_the_same_request_has_the_same_answer(bench: Bench) -> None:
    """Even after the card went on; another request under the key is a conflict and changes nothing."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    case_id = first.case_id or ""
    bench.run(verify(desk, case_id, NOW_MS + 1))
    answer = bench.run(desk.override(case_id, FALSE_POSITIVE, now_ms=NOW_MS + 1, idempotency_key="k"))
    ordered = bench.run(
        desk.set_card_state("card-1", CardStatus.FROZEN, "Lost", AGENT, now_ms=NOW_MS + 2, idempotency_key="k")
    )
    bench.run(desk.set_card_state("card-1", CardStatus.BLOCKED, "Stolen", SENIOR, now_ms=NOW_MS + 3))
    before = bench.run(drain(desk))
    assert (
        bench.run(desk.override(case_id, FALSE_POSITIVE, now_ms=NOW_MS + 9, idempotency_key="k", if_match=0)) == answer
    )
    again = desk.set_card_state("card-1", CardStatus.FROZEN, "Lost", AGENT, now_ms=NOW_MS + 9, idempotency_key="k")
    assert bench.run(again) == ordered
    with pytest.raises(IdempotencyConflictError):
        bench.run(desk.override(case_id, FRAUD, now_ms=NOW_MS + 9, idempotency_key="k"))
    with pytest.raises(IdempotencyConflictError):
        bench.run(
            desk.set_card_state("card-1", CardStatus.ACTIVE, "Lost", AGENT, now_ms=NOW_MS + 9, idempotency_key="k")
        )
    assert bench.run(drain(desk)) == before


def test_if_match_tells_what_changed(bench: Bench) -> None:
    """A stale sequence is refused with the events or changes its holder has not seen."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    bench.run(desk.respond([alert("b", Action.DECLINE)], NOW_MS + 1))
    with pytest.raises(VersionConflictError) as case_conflict:
        bench.run(desk.override(first.case_id or "", FALSE_POSITIVE, now_ms=NOW_MS + 2, if_match=2))
    assert (case_conflict.value.expected, case_conflict.value.current) == (2, 3)
    assert [event.type for event in case_conflict.value.changes] == [CaseEventType.ALERT_ATTACHED]
    with pytest.raises(VersionConflictError) as card_conflict:
        bench.run(desk.set_card_state("card-1", CardStatus.ACTIVE, "Hers", AGENT, now_ms=NOW_MS + 2, if_match=0))
    assert [change.state for change in card_conflict.value.changes] == [CardStatus.FROZEN]
    bench.run(verify(desk, first.case_id or "", NOW_MS + 2))
    closed = bench.run(desk.override(first.case_id or "", FALSE_POSITIVE, now_ms=NOW_MS + 2, if_match=4))
    assert closed.case.sequence == 7


def test_refused_commands_change_nothing(bench: Bench) -> None:
    """Unknown and closed cases, impossible moves and texts out of bounds are named as what they are."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    case_id = first.case_id or ""
    bench.run(desk.override(case_id, FRAUD, now_ms=NOW_MS + 1))
    before = bench.run(drain(desk))
    with pytest.raises(IllegalCaseMoveError, match="closed"):
        bench.run(desk.override(case_id, FALSE_POSITIVE, now_ms=NOW_MS + 2))
    with pytest.raises(IllegalCardMoveError) as refused:
        bench.run(desk.set_card_state("card-1", CardStatus.ACTIVE, "Hers", AGENT, now_ms=NOW_MS + 2))
    assert (refused.value.current, refused.value.possible) == ("blocked", ("reissued",))
    for unknown in ("case-fff-" + "0" * 24, "nonsense", ""):
        with pytest.raises(CaseNotFoundError):
            bench.run(desk.case(unknown))
        with pytest.raises(CaseNotFoundError):
            bench.run(desk.override(unknown, FRAUD, now_ms=NOW_MS + 2))
    silent = Override(Disposition.CONFIRMED_FRAUD, CardAction.KEEP, " ", AGENT)
    with pytest.raises(InvalidCommandError, match="note"):
        bench.run(desk.override(case_id, silent, now_ms=NOW_MS + 2))
    with pytest.raises(InvalidCommandError, match="card_token"):
        bench.run(desk.card("x" * 65))
    assert bench.run(drain(desk)) == before


def test_a_refused_card_change_leaves_the_case_open(bench: Bench) -> None:
    """An override whose card change is impossible does nothing at all."""
    desk = bench.desk()
    first = bench.run(desk.respond([alert("a")], NOW_MS))[0]
    bench.run(desk.set_card_state("card-1", CardStatus.BLOCKED, "Stolen", SENIOR, now_ms=NOW_MS + 1))
    with pytest.raises(IllegalCardMoveError):
        bench.run(desk.override(first.case_id or "", FALSE_POSITIVE, now_ms=NOW_MS + 2))
    assert bench.run(desk.case(first.case_id or "")).case.state is CaseState.NEW


def test_a_card_nobody_spoke_of_is_active(bench: Bench) -> None:
    """Cards need no registration."""
    card = bench.run(bench.desk().card("never-seen"))
    assert (card.state, card.sequence, card.history, card.open_case) == (CardStatus.ACTIVE, 0, (), None)


def test_the_queue_is_ordered_by_urgency_over_all_shards(bench: Bench) -> None:
    """A frozen cardholder first, then more money at risk, then the oldest; pages join without a gap."""
    desk = bench.desk(shards=8)
    wanted: list[str | None] = []
    plan = [(Action.FREEZE, 50_000), (Action.FREEZE, 9_000), (Action.REVIEW, 70_000), (Action.REVIEW, 100)]
    for action, loss_minor in reversed(plan):
        group = [
            alert(f"{action.wire}-{loss_minor}-{place}", action, card_token=f"card-{loss_minor}-{place}",
                  expected_loss_minor=loss_minor + place)
            for place in range(5)
        ]  # fmt: skip
        outcomes = [bench.run(desk.respond([each], NOW_MS + place))[0] for place, each in enumerate(group)]
        wanted = [outcome.case_id for outcome in outcomes] + wanted
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = bench.run(desk.list_cases(cursor=cursor, limit=3))
        seen.extend(case.case_id for case in page.cases)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == wanted
    assert bench.run(desk.count_cases()) == dict.fromkeys(CaseState, 0) | {CaseState.NEW: 20}


def test_the_list_has_filters(bench: Bench) -> None:
    """By state, severest action and card, alone and together."""
    desk = bench.desk()
    alerts = [alert(str(place), action, card_token=f"card-{place % 4}") for place, action in
              enumerate([Action.FREEZE, Action.REVIEW, Action.REVIEW, Action.FREEZE])]  # fmt: skip
    outcomes = bench.run(desk.respond(alerts, NOW_MS))
    ids = [outcome.case_id or "" for outcome in outcomes]
    bench.run(verify(desk, ids[3], NOW_MS + 1))
    bench.run(desk.override(ids[3], FALSE_POSITIVE, now_ms=NOW_MS + 1))
    bench.run(verify(desk, ids[2], NOW_MS + 2))
    bench.run(desk.override(ids[2], FALSE_POSITIVE, now_ms=NOW_MS + 2))

    def listed(**filters: Any) -> list[str]:
        return [case.case_id for case in bench.run(desk.list_cases(CaseFilters(**filters))).cases]

    assert listed() == [ids[0], ids[1]]
    assert listed(action=Action.REVIEW) == [ids[1]]
    assert listed(state=CaseState.CLOSED) == [ids[2], ids[3]]
    assert listed(state=CaseState.CLOSED, action=Action.FREEZE) == [ids[3]]
    assert listed(card_token="card-3") == []
    assert listed(card_token="card-3", state=CaseState.CLOSED) == [ids[3]]
    assert listed(card_token="card-0", action=Action.FREEZE) == [ids[0]]
    counts = {CaseState.NEW: 2, CaseState.CLOSED: 2}
    assert bench.run(desk.count_cases()) == dict.fromkeys(CaseState, 0) | counts


def test_wrong_cursors_and_limits_are_refused(bench: Bench) -> None:
    """A cursor is what a page gave out, and nothing else."""
    desk = bench.desk()
    for cursor in ("", "é", "AAAA", "not base64!", "MDAwMDAwMDAwMDAwMDAwMDo="):
        with pytest.raises(InvalidCursorError):
            bench.run(desk.list_cases(cursor=cursor))
    for limit in (0, 201):
        with pytest.raises(InvalidCommandError):
            bench.run(desk.list_cases(limit=limit))


def test_messages_carry_cloud_events_headers_and_the_trace(bench: Bench) -> None:
    """Ids of a step's messages follow from the step, so copies can be told; the trace of the alert goes on."""
    desk = bench.desk()
    bench.run(desk.respond([alert("a", traceparent="00-trace-01")], NOW_MS))
    entries = bench.run(drain(desk))
    assert len({entry.headers["ce_id"] for entry in entries}) == len(entries)
    assert {entry.key for entry in entries} == {"card-1"}
    for entry in entries:
        assert set(entry.headers) == {"ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "traceparent"}
        assert entry.headers["ce_time"] == "2025-10-09T08:53:20.000Z"
        assert entry.headers["traceparent"] == "00-trace-01"


def test_a_case_is_bounded(bench: Bench) -> None:
    """Alerts beyond what a case holds still end in a recorded outcome, but the case stays as it is."""
    desk = bench.desk()
    alerts = [alert(str(place)) for place in range(MAXIMUM_CASE_ALERTS + 7)]
    outcomes = bench.run(desk.respond(alerts, NOW_MS))
    assert {outcome.kind for outcome in outcomes[1:]} == {OutcomeKind.ATTACHED}
    case = bench.run(desk.case(outcomes[0].case_id or ""))
    assert (case.case.alert_count, len(case.timeline)) == (MAXIMUM_CASE_ALERTS, MAXIMUM_CASE_ALERTS + 1)
    card = bench.run(desk.card("card-1"))
    assert card.alerts[0].alert_id == alerts[-1].alert_id


def test_many_at_once_on_one_card(bench: Bench) -> None:
    """Workers and people who act on a card at the same time all get an answer, and what they did adds up."""
    desk = bench.desk()

    async def everybody() -> list[Any]:
        responding = [desk.respond([alert(f"{place}"), alert(f"{place}-2")], NOW_MS + place) for place in range(4)]
        ordering = [
            desk.set_card_state("card-1", CardStatus.FROZEN, f"reason {place}", AGENT, now_ms=NOW_MS + place)
            for place in range(4)
        ]
        return await asyncio.gather(*responding, *ordering)

    bench.run(everybody())
    card = bench.run(desk.card("card-1"))
    times = [change.command_time_ms for change in card.history]
    assert times == sorted(set(times), reverse=True)
    assert len(card.alerts) == 8
    records = outbox(bench, desk)
    assert [record["command_id"] for record in records["cards.state.v1"]] == [
        change.command_id for change in card.history[::-1]
    ]
    for case_id in card.case_ids:
        view = bench.run(desk.case(case_id))
        assert [event.sequence for event in view.timeline] == list(range(1, view.case.sequence + 1))
        folded = None
        for event in view.timeline:
            folded = fold(folded, event)
        assert folded == view.case
