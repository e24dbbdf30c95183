"""The console in a real browser, with scripts switched off: an agent's way from sign-in to a card that pays again."""

from __future__ import annotations

import time

import pytest

from api.roles import Role
from tests.api.chromium import Browser
from tests.api.conftest import sign_in
from tests.api.support import World, alert

pytestmark = pytest.mark.browser
# Contrast as WCAG 2.2 computes it, of every text against the nearest background behind it.
CONTRASTS = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return texts.map((element) => {
    const colours = [channels(getComputedStyle(element).color), behind(element)];
    const pair = colours.map(luminance).sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), element.tagName + "." + element.className];
  }).sort((a, b) => a[0] - b[0])[0];
})()"""
UNNAMED = """[...document.querySelectorAll("input:not([type=hidden]), select, textarea, button")]
  .filter((field) => !field.textContent.trim() && !(field.labels && field.labels.length)).length"""
WIDER_THAN_THE_WINDOW = "document.documentElement.scrollWidth - window.innerWidth"


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
    """At 320 pixels nothing is cut off; text contrasts by 4.5 to 1 in both schemes; every field has a label."""
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
        assert browser.evaluate(WIDER_THAN_THE_WINDOW) <= 0
        assert browser.evaluate(UNNAMED) == 0
        contrast, where = browser.evaluate(CONTRASTS)
        assert contrast >= 4.5, where


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
