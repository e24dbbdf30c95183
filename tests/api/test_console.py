"""The console without a browser: sign-in, sessions, forms, and what the pages say."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from api.console.sessions import COOKIE_NAME, Sessions
from api.errors import AuthenticationError
from api.roles import Role
from tests.api.support import NOW_MS, SECRETS, Client, World, alert, keys, world

HOUR_MS = 3_600_000


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
    for method, path in (("GET", ""), ("GET", f"/cases/{case_id}"), ("POST", f"/cases/{case_id}/override")):
        response = world.client.request(method, "/console" + path)
        assert (response.status_code, response.headers["location"]) == (303, "/console/sign-in")
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


def test_cookies_cannot_be_made_or_moved() -> None:
    """Changing any part of a cookie ends the session; so does another secret, or a key that got another secret."""
    sessions = Sessions(b"a" * 32, HOUR_MS, keys(), lambda: "nonce")
    session = sessions.open(SECRETS[Role.AGENT], NOW_MS)
    assert sessions.resume(session.cookie, NOW_MS).key.name == "agent"
    parts = session.cookie.split("|")
    forged = [
        "", "|||", "x" * 600, session.form_token, session.cookie + "0", session.cookie[:-1],
        "|".join(["senior_agent", *parts[1:]]),
        "|".join([parts[0], str(NOW_MS * 2), *parts[2:]]),
        "|".join([*parts[:2], "other", parts[3]]),
        "|".join(["nobody", *parts[1:]]),
        "\xe9|1|n|\xe9",
    ]  # fmt: skip
    for cookie in forged:
        with pytest.raises(AuthenticationError):
            sessions.resume(cookie, NOW_MS)
    with pytest.raises(AuthenticationError):
        Sessions(b"b" * 32, HOUR_MS, keys(), lambda: "nonce").resume(session.cookie, NOW_MS)


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
