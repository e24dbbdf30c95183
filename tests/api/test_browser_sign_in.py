"""Signing in at an OpenID provider in a real browser, and out again: cookies, redirects and policies as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from api.oidc.provider import Provider
from api.oidc.settings import ProviderSettings
from api.roles import Role
from tests.api.accessibility import faults_of
from tests.api.chromium import Browser
from tests.api.conftest import listening, serving
from tests.api.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.api.support import Clock, World, world

pytestmark = pytest.mark.browser


@dataclass
class Site:
    """A desk at localhost whose people sign in at 127.0.0.1, which is another site for a browser."""

    provider: IdentityProvider
    world: World
    console: str


@pytest.fixture(name="site")
def fixture_site() -> Iterator[Site]:
    """Both, each on a free port."""
    with listening() as (provider_listener, provider_port), listening() as (desk_listener, desk_port):
        clock = Clock()
        provider = IdentityProvider(
            issuer=f"http://127.0.0.1:{provider_port}/realms/staff", now_s=lambda: clock.now_ms / 1000
        )
        settings = ProviderSettings(
            issuer=provider.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET,
            desk_url=f"http://localhost:{desk_port}", scope="openid", name_claim="preferred_username",
            roles_claim="groups", roles={"fraud-senior": Role.SENIOR_AGENT}, ask="Lea, extension 4711",
        )  # fmt: skip
        made = world(clock=clock, provider=Provider(settings, httpx.AsyncClient, clock), desk_url=settings.desk_url)
        with serving(provider.app(), provider_listener), serving(made.client.app, desk_listener):
            yield Site(provider, made, f"{settings.desk_url}/console")


def arrive(browser: Browser, address: str) -> None:
    """Wait until pages that are only passed through have led to an address."""
    browser.wait_until(f"location.href.startsWith({address!r}) && document.readyState === 'complete'")


@pytest.mark.parametrize("scripts", [True, False])
def test_in_at_the_provider_and_out_again(scripted: Browser, site: Site, *, scripts: bool) -> None:
    """The page that was asked for, under one's own name, also without scripts; and out at both places."""
    browser = scripted if scripts else scripted.without_scripts()
    case_id = site.world.open_case()
    browser.open(f"{site.console}/cases/{case_id}")
    assert browser.evaluate("document.forms.length") == 1, "only the choice of languages"
    assert faults_of(browser) == []
    browser.submit("a.main")
    arrive(browser, f"{site.provider.issuer}/authorize")
    browser.submit("#ann")
    arrive(browser, f"{site.console}/cases/{case_id}")
    assert browser.evaluate("document.querySelector('.who b').textContent") == "ann@bank.test"
    browser.open(site.console)
    assert browser.evaluate("document.querySelector('.who b').textContent") == "ann@bank.test"
    browser.submit(".who button")
    arrive(browser, f"{site.console}/sign-in")
    assert [each["client_id"] for each in site.provider.signed_out] == [CLIENT_ID]
    browser.open(site.console)
    arrive(browser, f"{site.console}/sign-in")
    # Out at the provider as well: it asks who it is again.
    browser.submit("a.main")
    arrive(browser, f"{site.provider.issuer}/authorize")
    assert browser.refusals() == []


def test_who_has_no_role_sees_whom_to_ask(browser: Browser, site: Site) -> None:
    """The page says it, and can be used by everybody."""
    site.provider.claims["groups"] = ["staff"]
    browser.open(site.console)
    browser.submit("a.main")
    browser.submit("#ann")
    arrive(browser, f"{site.console}/sign-in/callback")
    assert "Lea, extension 4711" in browser.evaluate("document.body.textContent")
    assert faults_of(browser) == []
