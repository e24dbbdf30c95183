"""Endpoints of webhooks over HTTP: how it goes with them, what they were told, enabling them, telling them again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from api.endpoint_schemas import REPLAY_EXAMPLES
from api.roles import Role
from casework.outbox import AUDIT_TOPIC
from casework.replays import Replay, ReplayProgress
from casework.webhook_log import Disabled, Line, Outcome, Standing
from tests.api.support import CARD_NUMBER, NOW_MS, World
from tests.contracts.test_desk import bodies, drain

BANK = "/v1/webhooks/bank"
SINCE = {"of": "span", "since_ms": NOW_MS - 3_600_000, "reason": "They lost an hour."}
(PICKED_ID,) = REPLAY_EXAMPLES["some events"]["value"]["event_ids"]


def line(number: int, outcome: Outcome = Outcome.DELIVERED, webhook_id: str | None = None) -> Line:
    """What became of an event; later ones happened earlier."""
    happened_ms = NOW_MS - 60_000 - number
    return Line(
        webhook_id or f"event-{number}", "case.closed", happened_ms, NOW_MS + number, 6, outcome, "HTTP 400",
        "fraud.cases.v1", 2, number,
    )  # fmt: skip


def write(world: World, *lines: Line) -> None:
    for each in lines:
        asyncio.run(world.told.write("bank", each))


def audited(world: World) -> list[dict[str, Any]]:
    """What the audit was told of webhooks: what, of which endpoint, by whom and why."""
    told = bodies(asyncio.run(drain(world.desk)), AUDIT_TOPIC)
    return [each for each in told if each["kind"].startswith("webhook_")]


def test_endpoints_say_how_it_goes(world: World) -> None:
    """Told, disabled or left alone; what waits, what was given up, what it answered; of its address the host alone."""
    bank, ledger = world.client.get("/v1/webhooks", role=Role.SRE).json()["endpoints"]
    assert (bank["state"], bank["untold"], bank["oldest_waiting_ms"]) == ("unattended", 0, None)
    assert (ledger["state"], ledger["host"]) == ("not_active", "ledger.example:8443")
    write(world, line(1, Outcome.REFUSED), line(2, Outcome.EXPIRED), line(3))
    said = (Standing(NOW_MS - 2_000, NOW_MS - 9_000, NOW_MS - 70, "HTTP 503"), Standing(NOW_MS, None, NOW_MS - 90, "x"))
    for number, standing in enumerate(said):
        asyncio.run(world.told.say("bank", f"worker-{number}", standing))
    assert world.client.get("/v1/webhooks", role=Role.SUPERVISOR).json()["endpoints"][0] == {
        "name": "bank",
        "host": "hooks.bank.example",
        "events": ["card.*", "case.closed"],
        "state": "told",
        "disabled": None,
        "oldest_waiting_ms": NOW_MS - 9_000,
        "untold": 2,
        "oldest_untold_ms": NOW_MS - 60_002,
        "failed_ms": NOW_MS - 70,
        "failure": "HTTP 503",
    }
    world.clock.now_ms += 61_000
    assert world.client.get("/v1/webhooks", role=Role.SRE).json()["endpoints"][0]["state"] == "unattended"


def test_a_disabled_endpoint_is_enabled_with_name_and_reason(world: World) -> None:
    """The audit is told once; the same again changes nothing and is not told."""
    asyncio.run(world.told.disable("bank", Disabled(NOW_MS - 5, "it answered 410 Gone")))
    listed = world.client.get("/v1/webhooks", role=Role.SRE).json()["endpoints"][0]
    assert (listed["state"], listed["disabled"]["why"]) == ("disabled", "it answered 410 Gone")
    for _ in range(2):
        answer = world.client.post(f"{BANK}/enable", role=Role.SRE, json={"reason": "It is back."})
        assert (answer.status_code, answer.json()["disabled"]) == (200, None)
    assert asyncio.run(world.told.disabled("bank")) is None
    (told,) = audited(world)
    assert told == {
        "kind": "webhook_endpoint_enabled", "subject": "webhook:bank", "actor": "sre", "reason": "It is back.",
        "time_ms": NOW_MS,
    }  # fmt: skip


@pytest.mark.parametrize("untold", [False, True])
def test_what_it_was_told_is_paged(world: World, *, untold: bool) -> None:
    """Every line once, in order, whatever comes while somebody turns pages; nothing of what events said."""
    outcome = Outcome.REFUSED if untold else Outcome.DELIVERED
    write(world, *(line(number, outcome) for number in range(7)))
    found: list[str] = []
    cursor: str | None = None
    for page in range(3):
        params = {"limit": 3, "untold": untold} | ({"cursor": cursor} if cursor else {})
        answer = world.client.get(f"{BANK}/events", role=Role.SRE, params=params).json()
        found += [event["webhook_id"] for event in answer["events"]]
        cursor = answer["next_cursor"]
        assert (cursor is None) is (page == 2)
        if not untold:
            write(world, line(100 + page))
    assert found == [f"event-{number}" for number in range(6, -1, -1)]
    assert answer["events"][0].keys() == {
        "webhook_id", "kind", "event_time_ms", "time_ms", "attempts", "outcome", "detail", "topic", "partition",
        "offset",
    }  # fmt: skip


def test_a_replay_is_ordered_followed_and_over(world: World) -> None:
    """The process that tells the endpoint finds the order; whoever asks sees how far it has come."""
    assert world.client.get(f"{BANK}/replay", role=Role.SRE).status_code == 404
    answer = world.client.post(f"{BANK}/replay", role=Role.SUPERVISOR, json=SINCE)
    assert (answer.status_code, answer.json()["state"], answer.json()["asked_ms"]) == (202, "waiting", NOW_MS)
    ordered = asyncio.run(world.replays.take("bank", "worker-1", 1_000))
    assert isinstance(ordered, Replay)
    assert (ordered.since_ms, ordered.before_ms, ordered.actor) == (SINCE["since_ms"], 0, "supervisor")
    progress = ReplayProgress(ordered, told=4)
    asyncio.run(world.replays.note("bank", "worker-1", progress, 1_000))
    running = world.client.get(f"{BANK}/replay", role=Role.SRE).json()
    assert (running["state"], running["told"], running["reason"]) == ("running", 4, "They lost an hour.")
    second = world.client.post(f"{BANK}/replay", role=Role.SRE, json={"of": "test", "reason": "Is it back?"})
    assert (second.status_code, second.json()["type"]) == (409, "urn:cardwatch:problem:replay-under-way")
    for ended, state in (
        (msgspec.structs.replace(progress, told=9, ended_ms=NOW_MS), "done"),
        (msgspec.structs.replace(progress, stopped_by="HTTP 503", ended_ms=NOW_MS), "stopped"),
    ):
        asyncio.run(world.replays.end("bank", ended))
        assert world.client.get(f"{BANK}/replay", role=Role.SRE).json()["state"] == state
        asyncio.run(world.replays.order("bank", ordered))
    (told,) = audited(world)
    assert (told["kind"], told["actor"], told["of"]) == ("webhook_endpoint_replayed", "supervisor", "span")


def test_the_same_order_under_one_key_is_one(world: World) -> None:
    """After an answer that got lost, also when it is over already; another order under that key is refused."""
    headers = {"Idempotency-Key": "once"}
    first = world.client.post(f"{BANK}/replay", role=Role.SRE, json=SINCE, headers=headers).json()
    assert world.client.post(f"{BANK}/replay", role=Role.SRE, json=SINCE, headers=headers).json() == first
    ordered = asyncio.run(world.replays.ordered("bank"))
    assert ordered is not None
    asyncio.run(world.replays.end("bank", ReplayProgress(ordered, told=3, ended_ms=NOW_MS)))
    again = world.client.post(f"{BANK}/replay", role=Role.SRE, json=SINCE, headers=headers).json()
    assert (again["replay_id"], again["state"], again["told"]) == (first["replay_id"], "done", 3)
    other = SINCE | {"reason": "Another."}
    refused = world.client.post(f"{BANK}/replay", role=Role.SRE, json=other, headers=headers)
    assert refused.json()["type"] == "urn:cardwatch:problem:idempotency-conflict"
    assert len(audited(world)) == 1


def test_an_order_that_is_not_over_is_cancelled(world: World) -> None:
    """Whether it was begun or not; what is over cannot be."""
    why = {"reason": "Wrong day."}
    nothing = world.client.post(f"{BANK}/replay/cancel", role=Role.SRE, json=why)
    assert nothing.json()["type"] == "urn:cardwatch:problem:nothing-waits"
    world.client.post(f"{BANK}/replay", role=Role.SRE, json=SINCE)
    answer = world.client.post(f"{BANK}/replay/cancel", role=Role.SUPERVISOR, json=why).json()
    assert (answer["state"], answer["cancelled_by"], answer["ended_ms"]) == ("cancelled", "supervisor", NOW_MS)
    assert world.client.get(f"{BANK}/replay", role=Role.SRE).json() == answer
    assert world.client.post(f"{BANK}/replay/cancel", role=Role.SRE, json=why).status_code == 409
    assert [each["kind"] for each in audited(world)] == [
        "webhook_endpoint_replayed", "webhook_endpoint_replay_cancelled",
    ]  # fmt: skip


def test_picked_events_are_found_in_the_log(world: World) -> None:
    """By their ids, where they stand in Kafka; one that is not in the log is refused, and not repeated."""
    write(world, line(1, Outcome.REFUSED), line(2))
    order = {"of": "picked", "event_ids": ["event-2", "event-1", "event-2"], "reason": "These."}
    assert world.client.post(f"{BANK}/replay", role=Role.SRE, json=order).json()["event_ids"] == ["event-2", "event-1"]
    ordered = asyncio.run(world.replays.ordered("bank"))
    assert ordered is not None
    assert [(each.topic, each.partition, each.offset) for each in ordered.picked] == [
        ("fraud.cases.v1", 2, 2), ("fraud.cases.v1", 2, 1),
    ]  # fmt: skip
    world.client.post(f"{BANK}/replay/cancel", role=Role.SRE, json={"reason": "Done."})
    unknown = world.client.post(f"{BANK}/replay", role=Role.SRE, json=order | {"event_ids": ["event-9"]})
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["field"] == "body.event_ids"
    assert "event-9" not in unknown.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"of": "span", "since_ms": NOW_MS, "before_ms": NOW_MS, "reason": "r"}, "body.before_ms"),
        ({"of": "everything", "reason": "r"}, "body"),
        ({"of": "untold"}, "body.untold.reason"),
        ({"of": "picked", "event_ids": [], "reason": "r"}, "body.picked.event_ids"),
    ],
)
def test_what_cannot_be_meant_is_refused(world: World, body: dict[str, Any], field: str) -> None:
    """With the field at fault, and without a word of what was sent."""
    answer = world.client.post(f"{BANK}/replay", role=Role.SRE, json=body)
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])
    assert "everything" not in answer.text


@pytest.mark.parametrize("role", [Role.AGENT, Role.SENIOR_AGENT, Role.PAYMENT_SYSTEM])
def test_others_neither_look_nor_act(world: World, role: Role) -> None:
    """Supervisors and those who run the service alone."""
    for path in ("", "/bank/events", "/bank/replay"):
        assert world.client.get(f"/v1/webhooks{path}", role=role).status_code == 403
    for path in ("enable", "replay/cancel"):
        assert world.client.post(f"{BANK}/{path}", role=role, json={"reason": "r"}).status_code == 403
    assert world.client.post(f"{BANK}/replay", role=role, json=SINCE).status_code == 403


def test_unknown_endpoints_and_wrong_cursors(world: World) -> None:
    """Nothing is at an unknown name; an endpoint that is not active is shown and not told again."""
    for path in ("events", "replay"):
        assert world.client.get(f"/v1/webhooks/nobody/{path}", role=Role.SRE).status_code == 404
    assert world.client.post("/v1/webhooks/nobody/enable", role=Role.SRE, json={"reason": "r"}).status_code == 404
    assert world.client.post("/v1/webhooks/ledger/replay", role=Role.SRE, json=SINCE).status_code == 404
    assert world.client.get("/v1/webhooks/ledger/events", role=Role.SRE).json() == {"events": [], "next_cursor": None}
    wrong = world.client.get(f"{BANK}/events", role=Role.SRE, params={"cursor": "x"})
    assert wrong.json()["errors"][0]["field"] == "query.cursor"


def test_a_reason_holds_no_card_number(world: World) -> None:
    """What is told to the audit is kept for years."""
    for path, body in (("enable", {}), ("replay", SINCE), ("replay/cancel", {})):
        answer = world.client.post(f"{BANK}/{path}", role=Role.SRE, json=body | {"reason": f"card {CARD_NUMBER}"})
        assert answer.json()["type"] == "urn:cardwatch:problem:card-number"


def test_every_example_of_the_document_is_carried_out(world: World) -> None:
    """As it stands there, by somebody who may."""
    write(world, line(1, webhook_id=PICKED_ID))
    document = world.client.get("/openapi.json").json()
    done = 0
    for path in ("enable", "replay"):
        operation = document["paths"][f"/v1/webhooks/{{endpoint}}/{path}"]["post"]
        cancel = document["paths"]["/v1/webhooks/{endpoint}/replay/cancel"]["post"]
        (cancelling,) = cancel["requestBody"]["content"]["application/json"]["examples"].values()
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = world.client.post(f"{BANK}/{path}", role=Role.SRE, json=example["value"])
            assert answer.is_success, answer.text
            assert json.dumps(answer.json())
            if path == "replay":
                over = world.client.post(f"{BANK}/replay/cancel", role=Role.SRE, json=cancelling["value"])
                assert over.is_success, over.text
            done += 1
    assert done == 5
