"""Signing in at an OpenID provider: the flow, each attack, roles, rotation, and a provider that is away."""

from __future__ import annotations

import base64
import hmac
import html
import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.console.sessions import COOKIE_NAME
from api.oidc.provider import Provider
from api.oidc.refused import Refused
from api.oidc.settings import ProviderSettings
from api.oidc.sign_ins import BEGUN_COOKIE
from api.roles import Role
from tests.api.identity_provider import CLIENT_ID, CLIENT_SECRET, ISSUER, Claims, IdentityProvider, new_key, signed
from tests.api.support import NOW_MS, SECRETS, Client, Clock, World, world

DESK = "https://cardwatch.test"
ROLES = {"fraud-agents": Role.AGENT, "fraud-senior": Role.SENIOR_AGENT, "fraud-leads": Role.SUPERVISOR}
SETTINGS = ProviderSettings(
    issuer=ISSUER, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, desk_url=DESK, scope="openid profile",
    name_claim="preferred_username", roles_claim="groups", roles=ROLES, ask="Lea, extension 4711",
)  # fmt: skip


@dataclass
class Bank:
    """A provider, the desk behind it, and a browser."""

    provider: IdentityProvider
    world: World
    browser: Client

    def begin(self, to: str = "") -> str:
        """Go to the provider; the address there."""
        answer = self.browser.get("/console/sign-in/provider", params={"to": to})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def come_back(self, answer: dict[str, str]) -> httpx.Response:
        """Bring the provider's answer to the desk."""
        return self.browser.get("/console/sign-in/callback", params=answer)

    def sign_in(self, to: str = "") -> httpx.Response:
        """All of it."""
        return self.come_back(self.provider.authorized(self.begin(to)))

    def counted(self, outcome: str) -> float:
        """How often signing in ended so; the counter is there before it ever did."""
        found = self.world.registry.get_sample_value("cardwatch_sign_ins_total", {"outcome": outcome})
        assert found is not None, outcome
        return found

    def assert_refused(self, answer: httpx.Response, why: Refused) -> None:
        """A page that says so, a counter, and no session."""
        assert answer.status_code == 400, answer.text
        assert "Sign-in not accepted" in answer.text
        assert f"· {why}" in answer.text
        assert COOKIE_NAME not in self.browser.cookies
        assert self.counted(why) == 1


def bank(**settings: Any) -> Bank:
    """A desk whose people sign in at a provider."""
    clock = Clock()
    provider = IdentityProvider(now_s=lambda: clock.now_ms / 1000)
    app = provider.app()
    at_provider = Provider(
        replace(SETTINGS, **settings), lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app)), clock
    )
    made = world(clock=clock, provider=at_provider, desk_url=DESK)
    return Bank(provider, made, Client(made.client.app, scheme="https"))


def going_to(page: str) -> str:
    """Where a page sends the browser."""
    match = re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', page)
    assert match is not None
    return html.unescape(match[1])


def test_signing_in_and_out() -> None:
    """Code, PKCE, state and nonce there; name, role and page back; out here and there, and the session is over."""
    made = bank()
    case_id = made.world.open_case()
    asked = made.browser.get(f"/console/cases/{case_id}")
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        f"/console/sign-in?to=%2Fconsole%2Fcases%2F{case_id}",
    )
    page = made.browser.get(asked.headers["location"]).text
    assert '<form method="post" action="/console/sign-in"' not in page
    link = html.unescape(re.findall(r'class="main" href="([^"]*)"', page)[0])
    address = made.browser.get(link).headers["location"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{ISSUER}/authorize?")
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert query["redirect_uri"] == f"{DESK}/console/sign-in/callback"
    assert {"openid", "profile"} == set(query["scope"].split())
    back = made.come_back(made.provider.authorized(address))
    assert (back.status_code, going_to(back.text)) == (200, f"/console/cases/{case_id}")
    assert made.counted("signed_in") == 1
    shown = made.browser.get(f"/console/cases/{case_id}").text
    assert "<b>ann@bank.test</b>" in shown
    assert 'value="unfreeze"' in shown
    copied = dict(made.browser.cookies)
    token = re.findall(r'name="form_token" value="([^"]*)"', shown)[0]
    out = made.browser.post("/console/sign-out", data={"form_token": token})
    leaving = {name: values[0] for name, values in parse_qs(urlsplit(going_to(out.text)).query).items()}
    assert leaving["post_logout_redirect_uri"] == f"{DESK}/console/sign-in"
    assert leaving["client_id"] == CLIENT_ID
    assert leaving["id_token_hint"].count(".") == 2
    made.browser.cookies = copied
    assert made.browser.get("/console").status_code == 303


def test_cookies_are_out_of_reach() -> None:
    """HttpOnly and Secure; strict for the session, lax for the sign-in that comes back from another site."""
    made = bank()
    begun = made.browser.get("/console/sign-in/provider")
    cookie = set(begun.headers["set-cookie"].split("; "))
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/console/sign-in/callback"} <= cookie
    back = made.come_back(made.provider.authorized(begun.headers["location"]))
    (session,) = (each for each in back.headers.get_list("set-cookie") if each.startswith(COOKIE_NAME))
    assert {"HttpOnly", "Secure", "SameSite=strict"} <= set(session.split("; "))
    plain = Client(made.world.client.app, scheme="http")
    assert "Secure" in plain.get("/console/sign-in/provider").headers["set-cookie"].split("; ")


def test_each_sign_in_has_a_session_of_its_own() -> None:
    """A session that somebody put into the browser before is not the one that is signed in."""
    made = bank()
    made.browser.cookies[COOKIE_NAME] = "put-here-by-somebody-else"
    made.sign_in()
    first = made.browser.cookies[COOKIE_NAME]
    made.sign_in()
    assert len({first, made.browser.cookies[COOKIE_NAME], "put-here-by-somebody-else"}) == 3
    fixed = Client(made.browser.app, scheme="https", cookies={COOKIE_NAME: "put-here-by-somebody-else"})
    assert fixed.get("/console").status_code == 303


def test_sessions_end() -> None:
    """After their lifetime, whatever the provider thinks."""
    made = bank()
    made.sign_in()
    assert made.browser.get("/console").status_code == 200
    made.world.clock.now_ms += 8 * 3_600_000
    assert made.browser.get("/console").status_code == 303


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"nonce": "another"}, Refused.NONCE),
        ({"nonce": None}, Refused.NONCE),
        ({"iss": "https://evil.test"}, Refused.ISSUER),
        ({"aud": "another-client"}, Refused.AUDIENCE),
        ({"aud": ["another-client"]}, Refused.AUDIENCE),
        ({"aud": [CLIENT_ID, "another-client"]}, Refused.AUDIENCE),
        ({"aud": [CLIENT_ID, "another-client"], "azp": "another-client"}, Refused.AUDIENCE),
        ({"azp": "another-client"}, Refused.AUDIENCE),
        ({"exp": NOW_MS // 1000 - 60}, Refused.TIME),
        ({"iat": NOW_MS // 1000 + 61}, Refused.TIME),
        ({"nbf": NOW_MS // 1000 + 61}, Refused.TIME),
        ({"iat": NOW_MS // 1000 - 661}, Refused.TIME),
        ({"exp": None}, Refused.MALFORMED),
        ({"exp": "tomorrow"}, Refused.MALFORMED),
        ({"exp": True}, Refused.MALFORMED),
        ({"iat": float("nan")}, Refused.MALFORMED),
        ({"sub": ""}, Refused.MALFORMED),
        ({"preferred_username": None}, Refused.NAME),
        ({"preferred_username": "cardwatch"}, Refused.NAME),
        ({"preferred_username": "Senior_Agent"}, Refused.NAME),
        ({"preferred_username": "4111111111111111"}, Refused.NAME),
        ({"preferred_username": "ann\n[admin]"}, Refused.NAME),
    ],
)
def test_tokens_that_do_not_say_what_they_must(changed: Claims, why: Refused) -> None:
    """Each claim is looked at; nobody acts under the name of the system, of an API key, or of nobody."""
    made = bank()
    made.provider.alter = lambda claims: claims | changed
    made.assert_refused(made.sign_in(), why)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW_MS // 1000 - 59},
        {"iat": NOW_MS // 1000 + 60},
        {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID},
        {"aud": [CLIENT_ID]},
    ],
)
def test_clocks_may_differ_a_little(changed: Claims) -> None:
    """Within the configured skew, and with every form of audience that names us, the token is taken."""
    made = bank()
    made.provider.alter = lambda claims: claims | changed
    assert made.sign_in().status_code == 200


def encoded(part: dict[str, Any]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_signatures_that_prove_nothing() -> None:
    """`none`, a public key passed off as a shared secret, another key under the right name, a broken signature."""
    made = bank()
    key = made.provider.keys[-1]

    def unsigned(claims: Claims) -> str:
        return f"{encoded({'alg': 'none', 'kid': key.kid})}.{encoded(claims)}."

    def confused(claims: Claims) -> str:
        said = f"{encoded({'alg': 'HS256', 'kid': key.kid})}.{encoded(claims)}"
        mac = hmac.digest(key.as_pem(private=False), said.encode(), "sha256")
        return f"{said}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def another_key(claims: Claims) -> str:
        return signed(claims, new_key(str(key.kid)))

    def moved(claims: Claims) -> str:
        head, _, tail = signed(claims, key).split(".")
        return f"{head}.{encoded(claims | {'groups': ['fraud-leads']})}.{tail}"

    told = [
        (unsigned, Refused.ALGORITHM), (confused, Refused.ALGORITHM), (another_key, Refused.SIGNATURE),
        (lambda _claims: "a.b.c", Refused.MALFORMED), (lambda _claims: "", Refused.MALFORMED),
        (lambda _claims: "x" * 40_000, Refused.MALFORMED),
    ]  # fmt: skip
    for forge, why in told:
        made.provider.sign = forge
        before = made.counted(why)
        answer = made.sign_in()
        assert (answer.status_code, made.counted(why)) == (400, before + 1)
    made.provider.sign = moved
    assert (made.sign_in().status_code, made.counted(Refused.SIGNATURE)) == (400, 2)
    assert COOKIE_NAME not in made.browser.cookies


def test_keys_that_rotate() -> None:
    """A new key is found by asking once more; one that is not published is refused after asking once more."""
    made = bank()
    assert made.sign_in().status_code == 200
    made.provider.rotate()
    assert made.sign_in().status_code == 200
    assert made.provider.asked.count("keys") == 2
    made.provider.sign = lambda claims: signed(claims, new_key("nobodys"))
    made.browser.cookies.clear()
    made.assert_refused(made.sign_in(), Refused.KEY)
    assert made.provider.asked.count("keys") == 3


def test_an_answer_counts_once() -> None:
    """Neither the code nor the state works a second time, in whatever browser."""
    made = bank()
    answer = made.provider.authorized(made.begin())
    begun = made.browser.cookies[BEGUN_COOKIE]
    assert made.come_back(answer).status_code == 200
    again = Bank(made.provider, made.world, Client(made.browser.app, scheme="https", cookies={BEGUN_COOKIE: begun}))
    again.assert_refused(again.come_back(answer), Refused.STATE)
    # As if the first had not come to its end here: then it is the provider that knows the code no more.
    other = bank()
    answer = other.provider.authorized(other.begin())
    other.provider.sign = lambda _claims: ""
    other.come_back(answer)
    other.provider.sign = None
    other.assert_refused(other.come_back(answer), Refused.CODE)


def test_an_answer_belongs_to_its_browser() -> None:
    """Without the browser's own beginning, with another one's, a changed or an old one, nothing is accepted."""
    made = bank()
    answer = made.provider.authorized(made.begin())
    begun = made.browser.cookies[BEGUN_COOKIE]
    body, _, signature = begun.partition(".")
    other = Client(made.browser.app, scheme="https")
    other.get("/console/sign-in/provider")
    forged = ["", "x", begun + "0", f"{body[:-2]}.{signature}", "x.y.z", "x" * 3_000]
    for cookie in [*forged, other.cookies[BEGUN_COOKIE]]:
        made.browser.cookies = {BEGUN_COOKIE: cookie}
        assert made.come_back(answer).status_code == 400
    made.browser.cookies = {BEGUN_COOKIE: begun}
    assert made.come_back(answer | {"state": "another"}).status_code == 400
    assert made.come_back(answer | {"iss": "https://evil.test"}).status_code == 400
    assert made.counted(Refused.STATE) == len(forged) + 3
    made.world.clock.now_ms += 600_000
    assert made.come_back(answer).status_code == 400
    assert COOKIE_NAME not in made.browser.cookies


def test_a_person_who_says_no() -> None:
    """An error of the provider is a page of ours; its words are not repeated."""
    made = bank()
    state = made.provider.authorized(made.begin())["state"]
    answer = made.come_back({"state": state, "error": "access_denied", "error_description": "<b>evil words</b>"})
    made.assert_refused(answer, Refused.DENIED)
    assert "evil words" not in answer.text


@pytest.mark.parametrize(
    ("claims", "path", "role"),
    [
        ({"groups": ["staff", "fraud-agents"]}, "groups", "Agent"),
        ({"groups": "fraud-leads"}, "groups", "Supervisor"),
        ({"groups": ["fraud-agents", "fraud-leads", "fraud-senior"]}, "groups", "Supervisor"),
        ({"realm_access": {"roles": ["fraud-senior"]}}, "realm_access.roles", "Senior agent"),
        ({"https://bank.test/roles": ["fraud-agents"]}, "https://bank.test/roles", "Agent"),
    ],
)
def test_roles_are_mapped(claims: Claims, path: str, role: str) -> None:
    """The provider's words mean what configuration says; of several the highest."""
    made = bank(roles_claim=path)
    made.provider.claims = {"preferred_username": "ann"} | claims
    made.sign_in()
    assert f'<span class="muted">{role}</span>' in made.browser.get("/console").text


@pytest.mark.parametrize("groups", [[], ["staff"], None, 7, {"fraud-agents": True}, [["fraud-agents"]]])
def test_who_has_no_role_is_told_whom_to_ask(groups: Any) -> None:
    """A page with a name on it, a counter, and no session."""
    made = bank()
    made.provider.claims = {"preferred_username": "ann", "groups": groups}
    answer = made.sign_in()
    assert answer.status_code == 403
    assert "No role at the desk" in answer.text
    assert "Lea, extension 4711" in answer.text
    assert made.counted("role_missing") == 1
    assert COOKIE_NAME not in made.browser.cookies


def test_another_language_on_the_page_of_a_refusal() -> None:
    """The answer counted once, so the page to go back to is that of signing in."""
    made = bank()
    headers = {"referer": f"{DESK}/console/sign-in/callback?code=x&state=y"}
    answer = made.browser.post("/console/language", data={"to": "fil"}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
    assert "Mag-sign in sa inyong organisasyon" in made.browser.get("/console/sign-in").text


def test_a_provider_that_is_away() -> None:
    """Before, between and after: a page that says what to do, a counter, never a 500; who is signed in works on."""
    made = bank()
    made.provider.is_away = True
    answer = made.browser.get("/console/sign-in/provider")
    assert answer.status_code == 503
    assert "Try again in a minute" in answer.text
    made.provider.is_away = False
    back = made.provider.authorized(made.begin())
    made.provider.is_away = True
    assert made.come_back(back).status_code == 503
    assert made.counted("provider_unavailable") == 2
    made.provider.is_away = False
    made.sign_in()
    made.provider.is_away = True
    made.world.clock.now_ms += 2 * 3_600_000
    page = made.browser.get("/console")
    assert page.status_code == 200
    token = re.findall(r'name="form_token" value="([^"]*)"', page.text)[0]
    out = made.browser.post("/console/sign-out", data={"form_token": token})
    assert (out.status_code, out.headers["location"]) == (303, "/console/sign-in")


def test_signing_out_where_the_provider_has_no_place_for_it() -> None:
    """The session here is over all the same."""
    made = bank()
    made.provider.states_sign_out = False
    made.sign_in()
    token = re.findall(r'name="form_token" value="([^"]*)"', made.browser.get("/console").text)[0]
    out = made.browser.post("/console/sign-out", data={"form_token": token})
    assert (out.status_code, out.headers["location"]) == (303, "/console/sign-in")
    assert made.browser.get("/console").status_code == 303


def test_with_a_provider_no_key_opens_the_desk() -> None:
    """Neither by the form that is not shown, nor by a session that was opened before; machines keep theirs."""
    made = bank()
    answer = made.browser.post("/console/sign-in", data={"api_key": SECRETS[Role.SUPERVISOR]})
    assert answer.status_code == 401
    assert 'name="api_key"' not in answer.text
    assert COOKIE_NAME not in made.browser.cookies
    assert made.world.client.get("/v1/cases", role=Role.AGENT).status_code == 200


def test_without_a_provider_its_addresses_lead_to_the_form(world: World) -> None:
    """As shipped: sign-in by key, and nothing to call back."""
    for path in ("/console/sign-in/provider", "/console/sign-in/callback?code=x&state=y"):
        answer = world.client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
