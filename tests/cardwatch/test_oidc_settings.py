"""The identity provider in the settings, and what `cardwatch doctor` finds of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from api.roles import Role
from cardwatch.diagnosis import Finding, Grade, check_sign_in
from cardwatch.errors import SettingsError
from cardwatch.settings import Settings, load_settings
from tests.api.conftest import listening, serving
from tests.api.identity_provider import IdentityProvider

RIGHT: dict[str, Any] = {
    "issuer": "https://id.bank.example/realms/staff",
    "client_id": "fraud-desk",
    "client_secret": "a-secret-that-nobody-may-see",
    "desk_url": "https://desk.bank.example",
    "roles": {"fraud-agents": "agent", "fraud-leads": "supervisor"},
}


def settings_with(**changes: Any) -> Settings:
    """Settings with a provider."""
    return load_settings(flags={"oidc": RIGHT | changes})


def found(settings: Settings, *, is_demo: bool = False) -> list[Finding]:
    """What doctor says of signing in."""
    return list(check_sign_in(settings, lambda: time.time_ns() // 1_000_000, is_demo=is_demo))


def test_a_provider_and_its_addresses() -> None:
    """The provider must know two addresses; words become roles; without an issuer there is none."""
    provider = settings_with().oidc.provider()
    assert provider is not None
    assert provider.redirect_uri == "https://desk.bank.example/console/sign-in/callback"
    assert provider.signed_out_uri == "https://desk.bank.example/console/sign-in"
    assert provider.roles == {"fraud-agents": Role.AGENT, "fraud-leads": Role.SUPERVISOR}
    assert load_settings().oidc.provider() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_id": ""}, "oidc.client_id, oidc.desk_url and [oidc.roles]"),
        ({"roles": {}}, "oidc.client_id, oidc.desk_url and [oidc.roles]"),
        ({"desk_url": ""}, "oidc.client_id, oidc.desk_url and [oidc.roles]"),
        ({"issuer": "http://id.bank.example"}, "must be https://"),
        ({"desk_url": "http://desk.bank.example"}, "must be https://"),
        ({"desk_url": "https://desk.bank.example/"}, "https://host of the desk, without a path"),
        ({"roles": {"sre": "sre"}}, '"agent", "senior_agent" or "supervisor"'),
        ({"scope": "profile"}, "openid and others"),
        ({"clock_skew_s": 301}, "seconds, 0 to 300"),
    ],
)
def test_half_a_provider_is_refused(changes: dict[str, Any], said: str) -> None:
    """What is missing or could be listened to is named before anything starts, and no secret is repeated."""
    with pytest.raises(SettingsError) as caught:
        settings_with(**changes)
    assert said in str(caught.value)
    assert RIGHT["client_secret"] not in str(caught.value)


def test_doctor_says_where_a_production_start_lacks_it() -> None:
    """Keys at the desk are for trials: in a demo that is as it should be, elsewhere it is not."""
    (finding,) = found(load_settings())
    assert finding.grade is Grade.DOUBTFUL
    assert "agents sign in at the desk with API keys" in finding.what
    assert "docs/deployment.md" in finding.remedy
    assert [each.grade for each in found(load_settings(), is_demo=True)] == [Grade.GOOD]


def test_doctor_asks_the_provider() -> None:
    """One that answers is good, one without a place to sign out is looked at, one that is away or another is wrong."""
    with listening() as (listener, port):
        provider = IdentityProvider(issuer=f"http://127.0.0.1:{port}/realms/staff")
        settings = settings_with(issuer=provider.issuer, desk_url="http://localhost:8080")
        with serving(provider.app(), listener):
            assert [each.grade for each in found(settings)] == [Grade.GOOD]
            provider.states_sign_out = False
            assert [each.grade for each in found(settings)] == [Grade.GOOD, Grade.DOUBTFUL]
            provider.issuer = "https://another.example"
            (other,) = found(settings)
            assert (other.grade, "another issuer" in other.what) == (Grade.WRONG, True)
            provider.is_away = True
            (away,) = found(settings)
            assert (away.grade, "status 503" in away.what) == (Grade.WRONG, True)
    (gone,) = found(settings)
    assert gone.grade is Grade.WRONG
