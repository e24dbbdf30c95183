"""/v1/cards."""

from __future__ import annotations

import pytest

from api.roles import Role
from tests.api.support import NOW_MS, World, alert

REASON = {"reason": "cardholder lost it"}


def test_unknown_card_is_an_active_one(world: World) -> None:
    """A card nobody ever spoke of is active, at version 0."""
    response = world.client.get("/v1/cards/tok_new", role=Role.AGENT)
    assert response.status_code == 200
    assert response.headers["etag"] == '"0"'
    assert (response.json()["state"], response.json()["version"]) == ("active", 0)
    assert response.json()["card_token"] == "tok_new"


def test_card_shows_how_it_came_about(world: World) -> None:
    """State with history, last payments and alerts, in the contract's words."""
    case_id = world.open_case(card_token="tok_1")
    card = world.client.get("/v1/cards/tok_1", role=Role.PAYMENT_SYSTEM).json()
    assert card["state"] == "frozen"
    assert [change["state"] for change in card["history"]] == ["frozen"]
    assert card["history"][0] | {"case_id": case_id, "actor": "cardwatch", "sequence": 1} == card["history"][0]
    assert [entry["action"] for entry in card["alerts"]] == ["FREEZE"]
    assert card["alerts"][0]["outcome"] == "frozen"
    assert card["payments"][-1]["amount_minor"] == 124_900
    assert card["open_case"]["case_id"] == case_id


def test_freeze_and_unfreeze(world: World) -> None:
    """A person's commands take effect, newest first in the history, at the clock's time."""
    assert world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON).json()["state"] == "frozen"
    world.clock.now_ms += 60_000
    world.verify(world.open_dispute("tok_1"))
    response = world.client.post("/v1/cards/tok_1/unfreeze", role=Role.AGENT, json={"reason": "found it"})
    assert response.headers["etag"] == '"2"'
    history = response.json()["history"]
    assert [(change["state"], change["reason"]) for change in history] == [
        ("active", "found it"),
        ("frozen", "cardholder lost it"),
    ]
    assert history[0]["command_time_ms"] == NOW_MS + 60_000


def test_a_person_wins_over_an_older_alert(world: World) -> None:
    """An alert decided before a person's unfreeze does not freeze the card again."""
    world.verify(world.open_case(1))
    world.client.post("/v1/cards/tok_3fa85f6457174562/unfreeze", role=Role.AGENT, json=REASON)
    world.respond(alert(2))
    assert world.client.get("/v1/cards/tok_3fa85f6457174562", role=Role.AGENT).json()["state"] == "active"


def test_idempotency_key_makes_one_write_of_two(world: World) -> None:
    """The same request again gets the same answer; another one under the same key is refused."""
    headers = {"Idempotency-Key": "3f1c-77"}
    first = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON, headers=headers)
    world.clock.now_ms += 1_000
    again = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON, headers=headers)
    assert again.json() == first.json()
    other = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json={"reason": "x"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["type"] == "urn:cardwatch:problem:idempotency-conflict"


def test_if_match_tells_what_changed(world: World) -> None:
    """A command on an old version is refused with what happened since; on the present one it is carried out."""
    world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON)
    stale = world.client.post("/v1/cards/tok_1/unfreeze", role=Role.AGENT, json=REASON, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    assert stale.json()["version"] == 1
    assert [(change["type"], change["actor"]) for change in stale.json()["changes"]] == [("frozen", "agent")]
    assert "lost" not in stale.text
    world.verify(world.open_dispute("tok_1"))
    fresh = world.client.post("/v1/cards/tok_1/unfreeze", role=Role.AGENT, json=REASON, headers={"If-Match": '"1"'})
    assert fresh.status_code == 200
    every = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON, headers={"If-Match": "*"})
    assert every.status_code == 200


@pytest.mark.parametrize("header", ["1", 'W/"1"', '"1", "2"', '"-1"', '""', '"1e3"', '"' + "9" * 16 + '"'])
def test_malformed_if_match_is_refused(world: World, header: str) -> None:
    """A header that cannot be honoured stops the write instead of being ignored."""
    response = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON, headers={"If-Match": header})
    assert (response.status_code, response.json()["type"]) == (400, "urn:cardwatch:problem:malformed-header")
    assert world.client.get("/v1/cards/tok_1", role=Role.AGENT).json()["version"] == 0


@pytest.mark.parametrize("header", ["", "with space", "ü", "x" * 129])
def test_malformed_idempotency_key_is_refused(world: World, header: str) -> None:
    """The same for an Idempotency-Key."""
    headers = {"Idempotency-Key": header.encode("latin-1")}
    response = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON, headers=headers)
    assert (response.status_code, response.json()["type"]) == (400, "urn:cardwatch:problem:malformed-header")


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 2_001}, {"reason": 7}, [], "text", None])
def test_a_command_needs_a_reason(world: World, body: object) -> None:
    """Nothing changes without a reason in words."""
    response = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=body)
    assert (response.status_code, response.json()["type"]) == (422, "urn:cardwatch:problem:invalid-request")
    assert world.client.get("/v1/cards/tok_1", role=Role.AGENT).json()["version"] == 0


def test_what_is_not_possible_is_a_409_with_what_is(world: World) -> None:
    """A blocked card cannot be unfrozen; the answer says what it can become."""
    case_id = world.open_case(card_token="tok_1")
    block = {"disposition": "confirmed_fraud", "card_action": "block", "note": "cloned"}
    assert world.client.post(f"/v1/cases/{case_id}/override", role=Role.SENIOR_AGENT, json=block).status_code == 200
    response = world.client.post("/v1/cards/tok_1/unfreeze", role=Role.SENIOR_AGENT, json=REASON)
    assert response.status_code == 409
    assert response.json() | {"subject": "card", "state": "blocked", "possible": ["reissued"]} == response.json()


def test_tokens_are_opaque(world: World) -> None:
    """A token may hold slashes, signs and words of our own paths."""
    for token, written in {"a/b+c==": "a%2Fb%2Bc%3D%3D", "x/freeze/y": "x/freeze/y", "ü": "%C3%BC"}.items():
        world.client.post(f"/v1/cards/{written}/freeze", role=Role.AGENT, json=REASON)
        card = world.client.get(f"/v1/cards/{written}", role=Role.AGENT).json()
        assert (card["card_token"], card["state"]) == (token, "frozen")
    for unusable in ("x" * 65, "a%0Ab", "a%0A", "%00"):
        assert world.client.get(f"/v1/cards/{unusable}", role=Role.AGENT).status_code == 422
        freeze = world.client.post(f"/v1/cards/{unusable}/freeze", role=Role.AGENT, json=REASON)
        assert freeze.status_code == 422
