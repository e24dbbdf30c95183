"""/v1/cases."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from api.roles import Role
from tests.api.support import World, alert

SEEN = {"actions": [{"do": "verify_seen", "method": "call_back"}]}
DECISION = {"disposition": "false_positive", "card_action": "unfreeze", "note": "travelling, called back"}


def override(
    world: World, case_id: str, *, role: Role = Role.AGENT, headers: dict[str, str] | None = None, **changes: str
) -> httpx.Response:
    """Decide a case, once the cardholder is known."""
    if changes.get("card_action", "unfreeze") == "unfreeze" and not headers and "note" not in changes:
        world.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json=SEEN)
    return world.client.post(f"/v1/cases/{case_id}/override", role=role, json=DECISION | changes, headers=headers or {})


def outbox(world: World) -> list[tuple[str, Any]]:
    """Topics and values of everything the desk told the rest of the world."""
    entries = [
        entry for shard in range(world.desk.shards) for entry in asyncio.run(world.desk.read_outbox(shard, None, 1_000))
    ]
    return [(entry.topic, msgspec.json.decode(entry.value)) for entry in entries]


def test_case_shows_evidence_and_timeline(world: World) -> None:
    """One case holds what is needed to judge it: observed and usual values, payments, every event."""
    case_id = world.open_case()
    response = world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT)
    body = response.json()
    assert response.headers["etag"] == f'"{body["case"]["version"]}"'
    assert body["card_state"] == "frozen"
    evidence = body["alerts"][0]["evidence"][0]
    assert (evidence["code"], evidence["observed"], evidence["usual"]) == ("impossible_travel", 11_240.0, 35.0)
    assert body["payments"][-1]["country"] == "BR"
    assert [event["type"] for event in body["timeline"]] == ["opened", "card_changed"]
    assert body["timeline"][0]["alert_id"] == body["alerts"][0]["alert_id"]
    assert body["timeline"][1]["card_change"]["state"] == "frozen"


def test_override_does_everything_in_one_step(world: World) -> None:
    """The case closes, the card pays again, the label goes out, the reasons are damped."""
    case_id = world.open_case(card_token="tok_1")
    body = override(world, case_id).json()
    assert (body["case"]["state"], body["case"]["disposition"], body["card_state"]) == (
        "closed",
        "false_positive",
        "active",
    )
    assert body["case"]["closed_by"] == "agent"
    card = world.client.get("/v1/cards/tok_1", role=Role.AGENT).json()
    assert card["state"] == "active"
    assert "impossible_travel" in card["damped_reasons"]
    labels = [value for topic, value in outbox(world) if topic == "fraud.labels.v1"]
    assert [(label["transaction_id"], label["label"], label["source"]) for label in labels] == [
        ("tx-000001", "genuine", "agent")
    ]


def test_override_honours_if_match_and_idempotency_key(world: World) -> None:
    """Two agents collide: the second is told what the first did. The first may ask again and gets the same answer."""
    case_id = world.open_case()
    world.verify(case_id)
    tag = world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).headers["etag"]
    headers = {"If-Match": tag, "Idempotency-Key": "first"}
    first = override(world, case_id, headers=headers)
    second = override(world, case_id, role=Role.SENIOR_AGENT, headers={"If-Match": tag, "Idempotency-Key": "second"})
    assert first.status_code == 200
    assert second.status_code == 412
    assert {change["actor"] for change in second.json()["changes"]} == {"agent"}
    assert "closed" in {change["type"] for change in second.json()["changes"]}
    assert override(world, case_id, headers=headers).json() == first.json()
    assert override(world, case_id, note="another", headers=headers).status_code == 409


def test_a_closed_case_stays_closed(world: World) -> None:
    """Without If-Match, a second decision is not possible either."""
    case_id = world.open_case()
    override(world, case_id)
    response = override(world, case_id, disposition="confirmed_fraud")
    assert (response.status_code, response.json()["subject"]) == (409, "case")


@pytest.mark.parametrize(
    "changes",
    [{"disposition": "maybe"}, {"card_action": "melt"}, {"note": ""}, {"note": "x" * 2_001}, {"actor": "somebody"}],
)
def test_override_refuses_what_it_does_not_know(world: World, changes: dict[str, Any]) -> None:
    """A wrong member changes nothing."""
    case_id = world.open_case()
    response = override(world, case_id, **changes)
    assert response.status_code == 422
    assert world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()["case"]["state"] == "new"


def test_unknown_case_is_404(world: World) -> None:
    """For reading and for deciding."""
    assert world.client.get("/v1/cases/case-none", role=Role.AGENT).json()["type"] == "urn:cardwatch:problem:not-found"
    assert override(world, "case-none").status_code == 404


def test_pages_cover_the_queue_once(world: World) -> None:
    """Following the cursor shows each case once, most urgent first."""
    expected = {world.open_case(number, card_token=f"tok_{number}") for number in range(1, 8)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = world.client.get("/v1/cases", role=Role.AGENT, params={"limit": 3} | cursor).json()
        seen += [case["case_id"] for case in page["cases"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == 7
    assert set(seen) == expected


def test_filters(world: World) -> None:
    """By state, action, card, kind, owner and target."""
    world.respond(alert(1, card_token="tok_1"), alert(2, card_token="tok_2", action="REVIEW"))
    override(world, world.open_case(3, card_token="tok_3"))

    def listed(**filters: str) -> list[str]:
        page = world.client.get("/v1/cases", role=Role.AGENT, params=filters).json()
        return [case["card_token"] for case in page["cases"]]

    assert listed() == ["tok_1", "tok_2"]
    assert listed(state="new") == ["tok_1", "tok_2"]
    assert listed(state="closed") == ["tok_3"]
    assert listed(action="REVIEW") == ["tok_2"]
    assert listed(card_token="tok_1") == ["tok_1"]
    assert listed(card_token="tok_1", action="REVIEW") == []
    world.open_dispute("tok_4")
    world.client.post("/v1/cases/next", role=Role.AGENT)
    assert listed(kind="dispute") == ["tok_4"]
    assert (listed(owner="agent"), listed(owner=""), listed(owner="lee")) == (["tok_1"], ["tok_2", "tok_4"], [])
    assert (listed(due="near"), listed(card_token="tok_2", owner="agent")) == ([], [])
    world.clock.now_ms += 15 * 60_000
    assert (listed(due="near"), listed(due="missed"), listed(owner="agent")) == (["tok_1"], ["tok_1"], [])


@pytest.mark.parametrize(
    "query",
    [
        {"state": "lost"},
        {"action": "ALLOW"},
        {"kind": "loan"},
        {"due": "soon"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"cursor": "made up"},
    ],
)
def test_wrong_queries_are_named(world: World, query: dict[str, str]) -> None:
    """The answer names the parameter, never its value."""
    response = world.client.get("/v1/cases", role=Role.AGENT, params=query)
    assert response.status_code == 422
    (name,) = query
    assert [error["field"] for error in response.json()["errors"]] == [f"query.{name}"]
    assert "made up" not in response.text
