"""The console in a real browser, with scripts switched off: an agent's way from sign-in to a card that pays again."""

from __future__ import annotations

import time

import pytest

from api.roles import Role
from casework.links import Link, Links, Purpose
from tests.api.accessibility import faults_of
from tests.api.chromium import Browser
from tests.api.conftest import sign_in
from tests.api.support import CODE_KEY, NOW_MS, World, alert

pytestmark = pytest.mark.browser


def test_the_way_of_an_agent(served: tuple[World, str], browser: Browser) -> None:
    """Sign in, open the most urgent case, decide; the card pays again; sign out."""
    made, address = served
    case_id = made.open_case(card_token="tok_1")
    sign_in(browser.view(1280), address)
    assert browser.evaluate("location.pathname") == "/console"
    assert browser.evaluate("document.cookie") == ""
    browser.submit(".case a")
    assert browser.evaluate("location.pathname") == f"/console/cases/{case_id}"
    browser.evaluate("void (document.querySelector('#verify_seen-method').value = 'call_back')")
    browser.submit("form:has([value=verify_seen]) button.main")
    assert "Verified until" in browser.evaluate("document.querySelector('.heading').innerText")
    browser.check("input[value=false_positive]")
    browser.check("input[value=unfreeze]")
    browser.fill("#note", "Called back; travelling.")
    browser.submit("#override button.main")
    assert browser.evaluate("document.querySelector('[role=status]').innerText").startswith("Decision recorded")
    assert made.client.get("/v1/cards/tok_1", role=Role.AGENT).json()["state"] == "active"
    browser.submit(".who button")
    browser.open(address)
    assert browser.evaluate("location.pathname") == "/console/sign-in"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_can_be_read(served: tuple[World, str], browser: Browser, *, width: int, dark: bool) -> None:
    """At 320 pixels and at full width, in both schemes, whatever WCAG asks of a page holds without scripts as well."""
    made, address = served
    case_id = made.open_case(1)
    made.respond(
        *(alert(number, card_token=f"tok_{number}", action=action) for number, action in ((2, "REVIEW"), (3, "FREEZE")))
    )
    browser.view(width, dark=dark).open(address)
    pages = [address, f"{address}/cases/{case_id}", f"{address}/cases/none"]
    for step in range(4):
        if step == 1:
            sign_in(browser, address)
        elif step > 1:
            browser.open(pages[step - 1])
        assert faults_of(browser) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_cardholders_page(served: tuple[World, str], browser: Browser, *, width: int, dark: bool) -> None:
    """A code asked for, NO said, the settings and a dead link: what WCAG asks holds, and nothing is scripted."""
    made, console = served
    case_id, _ = made.respond(alert(1), alert(2, action="REVIEW", amount_minor=3_200))
    address, links = console.replace("/console", "/s/"), Links(CODE_KEY)

    def look() -> None:
        # There is no header that one could want to get past, nor a place for what a script would say.
        of_console = ("1.3.6", "2.4.1", "4.1.3 no place")
        assert [fault for fault in faults_of(browser) if not fault.startswith(of_console)] == []
        assert browser.evaluate("document.scripts.length") == 0

    browser.view(width, dark=dark)
    end_s = NOW_MS // 1000 + 60
    browser.open(address + links.sign(Link(case_id or "", Purpose.ANSWER, end_s)))
    look()
    for button in ("form[action*='/code'] button", "button[value=no]"):
        browser.submit(button)
        assert browser.evaluate("document.querySelector('[role=status]').innerText")
        look()
    browser.open(address + links.sign(Link(case_id or "", Purpose.SETTINGS, end_s)) + "/settings")
    look()
    browser.open(address + "none")
    look()
    assert made.client.get("/v1/cards/tok_3fa85f6457174562", role=Role.AGENT).json()["state"] == "blocked"


def test_the_keyboard_finds_its_way(served: tuple[World, str], browser: Browser) -> None:
    """The first stop is the way past the header, the stop is seen, and one link leads to each case."""
    made, address = served
    made.open_case()
    sign_in(browser.view(1280), address)
    assert browser.evaluate("document.querySelector('a').getAttribute('href')") == "#main"
    assert browser.evaluate("document.querySelectorAll('tbody a').length") == 1
    browser.press_tab()
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") > 0
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_policy_blocks_what_pages_do_not_need(served: tuple[World, str], browser: Browser) -> None:
    """The style sheet is applied, and the browser reports no violation of the content security policy."""
    made, address = served
    case_id = made.open_case()
    sign_in(browser.view(1280), address)
    browser.open(f"{address}/cases/{case_id}")
    assert browser.evaluate("getComputedStyle(document.querySelector('.three')).display") == "grid"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not browser.evaluate("document.querySelector('.brand img').naturalWidth"):
        time.sleep(0.05)
    assert browser.evaluate("document.querySelector('.brand img').naturalWidth") > 0
    assert browser.refusals() == []
