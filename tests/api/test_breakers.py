"""Circuit breakers over HTTP: seen, and released with name and reason."""

from __future__ import annotations

from api.roles import Role
from tests.api.support import CARD_NUMBER, NOW_MS, alert, world


def test_an_open_breaker_is_seen_and_released() -> None:
    """The one that opened says why; released, it says by whom; the second release changes nothing."""
    made = world()
    made.respond(*(alert(number, card_token=f"tok_{number}") for number in range(301)))
    listed = made.client.get("/v1/breakers", role=Role.SRE).json()["breakers"]
    assert [(each["policy_version"], each["state"]) for each in listed] == [("policy-3", "open")]
    assert "300 freezes within one minute" in listed[0]["reason"]
    path, body = "/v1/breakers/policy-3/release", {"reason": "rule 7 is fixed"}
    released = made.client.post(path, role=Role.SENIOR_AGENT, json=body)
    assert released.json() == {
        "policy_version": "policy-3",
        "state": "closed",
        "changed_ms": NOW_MS,
        "actor": "senior_agent",
        "reason": "rule 7 is fixed",
    }
    assert made.client.post(path, role=Role.SRE, json={"reason": "again"}).json() == released.json()


def test_a_reason_holds_no_card_number() -> None:
    """What is told to the audit is kept for years."""
    response = world().client.post("/v1/breakers/p/release", role=Role.SRE, json={"reason": f"card {CARD_NUMBER}"})
    assert response.json()["type"] == "urn:cardwatch:problem:card-number"
