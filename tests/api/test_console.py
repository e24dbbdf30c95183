"""The console without a browser: sign-in, sessions, forms, and what the pages say."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.console.memory_sessions import MemorySessions
from api.console.sessions import COOKIE_NAME, Sessions
from api.errors import AuthenticationError
from api.keys import ApiKey, ApiKeys
from api.roles import Role
from tests.api.support import CARD_NUMBER, NOW_MS, SECRETS, Client, World, alert, keys, world

HOUR_MS = 3_600_000
A_CASE = "case-0ab-" + "ab" * 12


def sign_in(world: World, role: Role = Role.AGENT, headers: dict[str, str] | None = None) -> httpx.Response:
    """Sign in with a role's key."""
    return world.client.post("/console/sign-in", data={"api_key": SECRETS[role]}, headers=headers or {})


def hidden(page: str, name: str) -> str:
    """Value of a hidden field."""
    match = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert match is not None
    return html.unescape(match.group(1))


def form_of(page: str, **fields: str) -> dict[str, str]:
    """The override form as an agent would fill it in."""
    return {
        "form_token": hidden(page, "form_token"),
        "idempotency_key": hidden(page, "idempotency_key"),
        "version": hidden(page, "version"),
        "disposition": "false_positive",
        "card_action": "unfreeze",
        "note": "Called back; travelling.",
    } | fields


def decide(world: World, case_id: str, page: str, **fields: str) -> httpx.Response:
    """Send the override form."""
    return world.client.post(f"/console/cases/{case_id}/override", data=form_of(page, **fields))


def test_without_a_session_everything_leads_to_sign_in(world: World) -> None:
    """Pages and forms alike; the sign-in page itself needs none."""
    case_id = world.open_case()
    back = f"?to=%2Fconsole%2Fcases%2F{case_id}"
    asked = (("GET", "", ""), ("GET", f"/cases/{case_id}", back), ("POST", f"/cases/{case_id}/override", ""))
    for method, path, query in asked:
        response = world.client.request(method, "/console" + path)
        assert (response.status_code, response.headers["location"]) == (303, "/console/sign-in" + query)
    assert world.client.get("/console/sign-in").status_code == 200


def test_cookie_is_out_of_reach(world: World) -> None:
    """The cookie is not for scripts nor for other sites, and never holds the key."""
    cookie = sign_in(world).headers["set-cookie"]
    assert cookie.startswith(COOKIE_NAME)
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert SECRETS[Role.AGENT] not in cookie
    secure = Client(world.client.app, scheme="https")
    response = secure.post("/console/sign-in", data={"api_key": SECRETS[Role.AGENT]})
    assert "Secure" in response.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("role", [Role.PAYMENT_SYSTEM, Role.SRE])
def test_machines_may_not_use_the_console(world: World, role: Role) -> None:
    """A known key without the permission is told so and gets no session."""
    response = sign_in(world, role)
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert response.headers["content-type"].startswith("text/html")


def test_wrong_key(world: World) -> None:
    """A wrong key gets the form again, and no session."""
    response = world.client.post("/console/sign-in", data={"api_key": "wrong-key-value"})
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert "wrong-key-value" not in response.text
    assert "set-cookie" not in response.headers


def test_sessions_end(world: World) -> None:
    """After their lifetime, and when somebody signs out."""
    sign_in(world)
    world.clock.now_ms = NOW_MS + 8 * HOUR_MS - 1
    page = world.client.get("/console")
    assert page.status_code == 200
    world.clock.now_ms += 1
    assert world.client.get("/console").status_code == 303
    world.clock.now_ms = NOW_MS
    response = world.client.post("/console/sign-out", data={"form_token": hidden(page.text, "form_token")})
    assert response.headers["location"] == "/console/sign-in"
    assert "Max-Age=0" in response.headers["set-cookie"]


def sessions_of(
    memory: MemorySessions, secret: bytes = b"a" * 32, roles: dict[str, Role] | None = None, digest: str = ""
) -> Sessions:
    """Sessions on a memory; with `digest` the agent's key has another secret."""
    names = iter(f"cookie-{number}" for number in range(100))
    held = keys() if not digest else ApiKeys([ApiKey("agent", Role.AGENT, digest)])
    return Sessions(secret, HOUR_MS, held, memory, lambda: next(names), roles)


def test_cookies_cannot_be_made_or_moved() -> None:
    """No other text than the cookie resumes a session; nor does another secret, or a key that got another secret."""

    async def story() -> None:
        memory = MemorySessions(lambda: NOW_MS)
        sessions = sessions_of(memory)
        session = await sessions.open_with_key(sessions.key_of(SECRETS[Role.AGENT]), NOW_MS)
        assert (await sessions.resume(session.cookie, NOW_MS)).person.name == "agent"
        for cookie in ("", "x" * 600, session.form_token, session.cookie + "0", session.cookie[:-1], "\xe9"):
            with pytest.raises(AuthenticationError):
                await sessions.resume(cookie, NOW_MS)
        others = (
            sessions_of(memory, secret=b"b" * 32),
            sessions_of(memory, digest="0" * 64),
            sessions_of(memory, roles={"fraud": Role.AGENT}),
        )
        for other in others:
            with pytest.raises(AuthenticationError):
                await other.resume(session.cookie, NOW_MS)

    asyncio.run(story())


class Watched(MemorySessions):
    """Shows what was written."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self.written: list[tuple[str, bytes]] = []

    async def put_new(self, name: str, value: bytes, life_ms: int) -> bool:
        """See `SessionMemory`."""
        self.written.append((name, value))
        return await super().put_new(name, value, life_ms)


def test_what_is_remembered_opens_no_session() -> None:
    """A copy of the memory holds no cookie, no key, and no form token."""

    async def story() -> None:
        memory = Watched(lambda: NOW_MS)
        sessions = sessions_of(memory)
        session = await sessions.open_with_key(sessions.key_of(SECRETS[Role.AGENT]), NOW_MS)
        (name, value), *_ = memory.written
        for secret in (session.cookie, session.form_token, SECRETS[Role.AGENT]):
            assert secret not in name
            assert secret not in value.decode()

    asyncio.run(story())


def test_signing_out_ends_the_session_wherever_its_cookie_is(world: World) -> None:
    """A cookie that was copied before is worth nothing afterwards; and each sign-in has a cookie of its own."""
    sign_in(world)
    copied = dict(world.client.cookies)
    page = world.client.get("/console").text
    world.client.post("/console/sign-out", data={"form_token": hidden(page, "form_token")})
    world.client.cookies = dict(copied)
    assert world.client.get("/console").status_code == 303
    sign_in(world)
    assert world.client.cookies[COOKIE_NAME] != copied[COOKIE_NAME]


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("/console/history?q=tok_1", "/console/history?q=tok_1"),
        (f"/console/cases/{A_CASE}", f"/console/cases/{A_CASE}"),
        (f"/console/cases/{A_CASE}/../../../s", "/console"),
        (f"/console/cases/{CARD_NUMBER}", "/console"),
        ("/console/history?q=4111+1111%201111%2D1111", "/console"),
        ("https://evil.test/", "/console"),
        ("//evil.test", "/console"),
        ("/\\evil.test", "/console"),
        ("/console/../s/x", "/console"),
        ("/console/cases/x\n//evil.test", "/console"),
        ("/console@evil.test", "/console"),
        ("javascript:alert(1)", "/console"),
        ("/console/sign-out", "/console"),
    ],
)
def test_signing_in_leads_to_our_own_pages_alone(world: World, asked: str, leads_to: str) -> None:
    """Whatever an address asks for, nobody is sent to another site."""
    answer = world.client.post("/console/sign-in", data={"api_key": SECRETS[Role.AGENT], "to": asked})
    assert (answer.status_code, answer.headers["location"]) == (303, leads_to)


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://cardwatch.test"}, True),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_forms_come_from_our_own_pages(world: World, headers: dict[str, str], *, accepted: bool) -> None:
    """A form of another site is refused, sign-in included."""
    assert (sign_in(world, headers=headers).status_code == 303) is accepted


def test_forms_carry_the_sessions_token(world: World) -> None:
    """Without the token of this very session nothing is decided."""
    case_id = world.open_case()
    other = world_of_same_app(world)
    for each in (world, other):
        sign_in(each)
    page = world.client.get(f"/console/cases/{case_id}").text
    foreign = hidden(other.client.get(f"/console/cases/{case_id}").text, "form_token")
    for token in ("", "x", "\u00e9", foreign):
        response = decide(world, case_id, page, form_token=token)
        assert response.status_code == 403
    assert world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()["case"]["state"] == "new"


def world_of_same_app(world: World) -> World:
    """Another browser at the same application."""
    return World(Client(world.client.app), world.desk, world.clock, world.registry)


def test_queue_says_what_matters(world: World) -> None:
    """Action, reasons in words, money at risk with its currency, age; tokens shortened."""
    world.open_case(1)
    world.respond(alert(2, card_token="tok_b", action="REVIEW", reasons=["new_device"], currency="JPY"))
    sign_in(world)
    world.clock.now_ms += 2 * HOUR_MS
    page = world.client.get("/console").text
    assert page.index("FREEZE</span>") < page.index("REVIEW</span>")
    for text in (
        "Too fast to have travelled",
        "First payment from this device",
        "1,160.00 EUR",
        "116,000 JPY",
        ">2 h<",
    ):
        assert text in page
    assert "tok_3fa85f6457174562" not in page
    assert "tok_3f…174562" in page
    reviews = world.client.get("/console?action=REVIEW").text
    assert "FREEZE</span>" not in reviews
    assert "REVIEW</span>" in reviews
    assert "Nothing here" in world.client.get("/console?state=closed").text


def test_queue_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Next page and back to the first, filters kept."""
    monkeypatch.setattr("api.console.routes.PAGE_CASES", 2)
    for number in range(1, 4):
        world.open_case(number, card_token=f"tok_{number}")
    sign_in(world)
    page = world.client.get("/console?action=FREEZE").text
    (following,) = re.findall(r'href="(/console\?[^"]*cursor=[^"]*)"', page)
    second = world.client.get(html.unescape(following))
    assert second.text.count("FREEZE</span>") == 1
    assert "First page" in second.text
    assert "action=FREEZE" in following
    assert world.client.get("/console?cursor=made-up").status_code == 422


def test_case_page_says_what_matters(world: World) -> None:
    """Observed against usual in units, payments, timeline, and a form for what is possible."""
    case_id = world.open_case()
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    for text in ("11,240 km/h", "35 km/h", "88.12", "1,249.00 EUR", "Magstripe", "Card: Frozen", "this case", "93.0%"):
        assert text in page
    assert 'value="unfreeze"' in page
    assert 'value="freeze" required' not in page
    assert 'value="block" required' not in page
    sign_in(world, Role.SENIOR_AGENT)
    assert 'value="block" required' in world.client.get(f"/console/cases/{case_id}").text


def test_override_form(world: World) -> None:
    """The form does what the API does, once, and leads back to the case."""
    case_id = world.open_case()
    world.verify(case_id)
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    response = decide(world, case_id, page, note="First line\r\nSecond line")
    assert (response.status_code, response.headers["location"]) == (303, f"/console/cases/{case_id}?done=override")
    assert decide(world, case_id, page, note="First line\r\nSecond line").status_code == 303
    case = world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()
    assert (case["case"]["state"], case["card_state"]) == ("closed", "active")
    assert case["case"]["note"] == "First line\nSecond line"
    assert [event["actor"] for event in case["timeline"] if event["type"] == "decided"] == ["agent"]
    done = world.client.get(response.headers["location"]).text
    assert 'role="status"' in done
    assert f'action="/console/cases/{case_id}/override"' not in done


def test_override_form_conflict_keeps_the_agents_words(world: World) -> None:
    """When the case changed meanwhile the agent sees what happened and loses nothing."""
    case_id = world.open_case(1)
    world.verify(case_id)
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    world.respond(alert(2))
    response = decide(world, case_id, page, note="I <b>called</b> them")
    assert response.status_code == 412
    assert "Changed meanwhile" in response.text
    assert "Alert attached by cardwatch" in response.text
    assert "I &lt;b&gt;called&lt;/b&gt; them" in response.text
    assert 'value="false_positive" required checked' in response.text
    assert decide(world, case_id, response.text, note="I <b>called</b> them").status_code == 303


@pytest.mark.parametrize(
    "fields",
    [
        {"note": " "}, {"note": "x" * 2_001}, {"disposition": ""}, {"card_action": "melt"}, {"version": "-1"},
        {"version": "9" * 20}, {"idempotency_key": ""}, {"idempotency_key": "a b"},
    ],
)  # fmt: skip
def test_override_form_refuses_what_it_does_not_know(world: World, fields: dict[str, str]) -> None:
    """A wrong field is named on the page and nothing is decided."""
    case_id = world.open_case()
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    response = decide(world, case_id, page, **fields)
    assert response.status_code == 422
    assert "Invalid request" in response.text
    assert world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()["case"]["state"] == "new"


def test_an_agent_cannot_block_by_form(world: World) -> None:
    """The form's radio buttons are no permission."""
    case_id = world.open_case()
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    assert decide(world, case_id, page, card_action="block").status_code == 403


@pytest.mark.parametrize("content", [b"\xff\xfe", b"&".join(b"a=%d" % number for number in range(50))])
def test_unreadable_forms(world: World, content: bytes) -> None:
    """Neither bytes that are no text nor floods of fields do harm."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert world.client.post("/console/sign-in", content=content, headers=headers).status_code == 422


def test_unknown_case_is_a_page(world: World) -> None:
    """Errors are pages here, with a way back."""
    sign_in(world)
    response = world.client.get("/console/cases/case-none")
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert 'href="/console"' in response.text


def test_everything_shown_is_escaped() -> None:
    """Text from outside is text, whatever it looks like."""
    markup = "<script>alert(1)</script>"
    made = world(languages={})
    fields: dict[str, Any] = {
        "reasons": [markup], "merchant_id": markup, "country": markup, "currency": markup,
        "evidence": [{"code": markup, "observed": markup, "usual": markup}],
        "last_payments": [{"merchant_id": markup, "kind": markup, "currency": markup, "amount_minor": 1}],
    }  # fmt: skip
    case_id = made.open_case(card_token="<script>", **fields)
    sign_in(made)
    for path in ("/console", f"/console/cases/{case_id}"):
        assert "<script>" not in made.client.get(path).text.lower()


def test_style_sheet_is_cached_by_content(world: World) -> None:
    """Pages link the sheet under an address that changes with it."""
    page = world.client.get("/console/sign-in").text
    (path,) = re.findall(r'href="(/console/console\.css\?v=[0-9a-f]{12})"', page)
    response = world.client.get(path)
    assert response.headers["content-type"].startswith("text/css")
    assert "immutable" in response.headers["cache-control"]
    assert world.client.get("/console/icon.svg").headers["content-type"] == "image/svg+xml"


def test_pages_hold_no_inline_script_or_style(world: World) -> None:
    """The content security policy forbids both, so a page that needs one would be broken."""
    case_id = world.open_case()
    sign_in(world)
    for path in ("/console", "/console/sign-in", f"/console/cases/{case_id}"):
        page = world.client.get(path).text
        (script,) = re.findall(r"<script[^>]*>[^<]*</script>", page)
        assert re.fullmatch(r'<script type="module" src="/console/console\.js\?v=[0-9a-f]{12}"></script>', script)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://(?!www\.w3\.org)", page)
