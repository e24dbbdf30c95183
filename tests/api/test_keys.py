"""API keys and the role matrix."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import AuthenticationError, KeyConfigurationError
from api.keys import KEY_ROLES, ApiKey, ApiKeys, hash_key
from api.roles import Permission, Role
from tests.api.support import NOW_MS, SECRETS, Scoring, World, keys, world

# The part of the matrix that routes ask for, in the words of those who may; the whole of it is in tests/casework.
PEOPLE = {Role.AGENT, Role.SENIOR_AGENT, Role.SUPERVISOR}
MAY = {
    Permission.CARD_READ: PEOPLE | {Role.PAYMENT_SYSTEM},
    Permission.CARD_FREEZE: PEOPLE | {Role.PAYMENT_SYSTEM},
    Permission.CARD_UNFREEZE: PEOPLE,
    Permission.CARD_BLOCK: {Role.SENIOR_AGENT, Role.SUPERVISOR},
    Permission.CASE_READ: PEOPLE,
    Permission.CASE_OPEN: PEOPLE,
    Permission.CASE_TAKE: PEOPLE,
    Permission.CASE_OVERRIDE: PEOPLE,
    Permission.METRICS_READ: {Role.SRE},
    Permission.LISTS_READ: PEOPLE,
    Permission.LISTS_EDIT: {Role.SUPERVISOR},
    Permission.BREAKER_READ: {Role.SENIOR_AGENT, Role.SUPERVISOR, Role.SRE},
    Permission.BREAKER_RELEASE: {Role.SENIOR_AGENT, Role.SUPERVISOR, Role.SRE},
    Permission.PAYMENT_DECIDE: {Role.PAYMENT_SYSTEM},
}
REASON = {"reason": "cardholder called"}
PAYMENT = {"transaction_id": "t", "card_token": "tok_1", "event_time_ms": 1, "amount_minor": 1, "currency": "EUR"}
DECISION = {"disposition": "confirmed_fraud", "card_action": "keep", "note": "not theirs"}
REQUESTS: dict[Permission, tuple[str, str, Any]] = {
    Permission.CARD_READ: ("GET", "/v1/cards/tok_1", None),
    Permission.CARD_FREEZE: ("POST", "/v1/cards/tok_1/freeze", REASON),
    Permission.CARD_UNFREEZE: ("POST", "/v1/cards/tok_2/unfreeze", REASON),
    Permission.CARD_BLOCK: ("POST", "/v1/cases/{case}/override", DECISION | {"card_action": "block"}),
    Permission.CASE_READ: ("GET", "/v1/cases/{case}", None),
    Permission.CASE_OPEN: (
        "POST",
        "/v1/cases",
        {"card_token": "tok_9", "kind": "account_access", "details": {"problem": "forgot"}, "note": "PIN forgotten."},
    ),
    Permission.LISTS_READ: ("GET", "/v1/lists", None),
    Permission.LISTS_EDIT: (
        "POST",
        "/v1/lists",
        {"effect": "block", "subject": "merchant", "value": "m-1", "reason": "Skimmer.", "until_ms": NOW_MS + 1_000},
    ),
    Permission.CASE_TAKE: ("POST", "/v1/cases/next", None),
    Permission.CASE_OVERRIDE: ("POST", "/v1/cases/{case}/override", DECISION),
    Permission.METRICS_READ: ("GET", "/metrics", None),
    Permission.BREAKER_READ: ("GET", "/v1/breakers", None),
    Permission.BREAKER_RELEASE: ("POST", "/v1/breakers/policy-3/release", REASON),
    Permission.PAYMENT_DECIDE: ("POST", "/v1/transactions", PAYMENT),
}


@pytest.mark.parametrize("role", KEY_ROLES)
@pytest.mark.parametrize("permission", REQUESTS)
def test_each_route_obeys_the_matrix(role: Role, permission: Permission) -> None:
    """A role gets an answer exactly from the routes it may use, and a 403 problem from the others."""
    world_ = world(metrics_need_key=True, scoring=Scoring())
    method, path, body = REQUESTS[permission]
    path = path.replace("{case}", world_.open_case())
    response = world_.client.request(method, path, role=role, json=body)
    assert response.status_code == (200 if role in MAY[permission] else 403)
    if response.status_code == 403:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "urn:cardwatch:problem:not-permitted"


@pytest.mark.parametrize(
    "header",
    [None, "Bearer ", "Bearer wrong", "Basic d3Jvbmc6d3Jvbmc=", f"Bearer {SECRETS[Role.AGENT]}x", "Bearer \xff"],
)
def test_no_valid_key_is_401(world: World, header: str | None) -> None:
    """Without a valid key nothing is answered but how to bring one."""
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path, body in REQUESTS.values():
        if path == "/metrics":
            continue
        response = world.client.request(method, path, headers=headers, json=body)
        assert response.status_code == 401
        assert response.json()["type"] == "urn:cardwatch:problem:unauthenticated"
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_actor_is_the_keys_name(world: World) -> None:
    """Who did it comes from the key; a request cannot name somebody else."""
    response = world.client.post("/v1/cards/tok_1/freeze", role=Role.PAYMENT_SYSTEM, json=REASON)
    assert response.json()["history"][0]["actor"] == "payment_system"
    forged = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON | {"actor": "boss"})
    assert forged.status_code == 422


def test_names_are_unique() -> None:
    """Two holders under one name would be one actor in the audit trail."""
    with pytest.raises(KeyConfigurationError, match="same name"):
        ApiKeys([ApiKey("ann", Role.AGENT, hash_key("one")), ApiKey("ann", Role.AGENT, hash_key("two"))])


def test_secrets_are_not_kept() -> None:
    """Configuration and memory hold digests only."""
    configured = ApiKeys.from_mapping({"ann": {"role": "agent", "sha256": hash_key("ann's secret")}})
    assert configured.authenticate("ann's secret").name == "ann"
    assert "ann's secret" not in repr(vars(configured))
    with pytest.raises(AuthenticationError):
        configured.authenticate(hash_key("ann's secret"))
    with pytest.raises(AuthenticationError):
        keys().named("nobody")


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({"ann": {"role": "king", "sha256": "0" * 64}}, "ann: role must be one of agent"),
        ({"ann": {"role": "agent"}}, "ann: sha256"),
        ({"ann": {"role": "agent", "sha256": "ann's secret in clear"}}, "ann: sha256"),
        ({"Ann Other": {"role": "agent", "sha256": "0" * 64}}, "name"),
        ({"ann": {"role": "agent", "sha256": "0" * 64}, "bob": {"role": "sre", "sha256": "0" * 64}}, "same sha256"),
    ],
)
def test_wrong_configuration_is_named(mapping: dict[str, dict[str, str]], named: str) -> None:
    """A key that cannot be used stops the start, says why, and never shows what may be a secret."""
    with pytest.raises(KeyConfigurationError) as caught:
        ApiKeys.from_mapping(mapping)
    assert named in str(caught.value)
    assert "in clear" not in str(caught.value)


def test_no_key_makes_a_cardholder() -> None:
    """Their acts are for one case, behind a link of its own; a key would do them for every card."""
    digest = hash_key("secret-of-nobody")
    with pytest.raises(KeyConfigurationError, match="role must be one of"):
        ApiKeys.from_mapping({"kim": {"role": "cardholder", "sha256": digest}})
    with pytest.raises(KeyConfigurationError, match="role must be one of"):
        ApiKeys([ApiKey("kim", Role.CARDHOLDER, digest)])
