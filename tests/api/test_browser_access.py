"""Every page of the console by the checks of WCAG 2.2 AA, in both schemes, small, zoomed and in every language."""

from __future__ import annotations

import pytest

from api.console.rendering import LANGUAGE_NAMES
from api.roles import Role
from tests.api.accessibility import faults_of, unseen_focus
from tests.api.axe_pages import busy
from tests.api.chromium import Browser
from tests.api.conftest import sign_in
from tests.api.support import World

pytestmark = pytest.mark.browser
# 640 pixels are 1280 at 200 % zoom.
WIDTHS = (320, 640, 1280)
PAGES = ("", "?kind=dispute&due=near", "/new", "/lists", "/history", "/figures", "/shift", "/cases/none")


@pytest.mark.parametrize("dark", [False, True])
def test_every_page_passes(served: tuple[World, str], scripted: Browser, *, dark: bool) -> None:
    """At 320 pixels, at 200 % zoom and at full width; whatever is folded up is unfolded."""
    made, address = served
    cases = busy(made).values()
    scripted.view(1280, dark=dark).open(address)
    found = {"/sign-in": faults_of(scripted)}
    sign_in(scripted, address, Role.SUPERVISOR)
    for path in (*PAGES, *(f"/cases/{case_id}" for case_id in cases)):
        scripted.open(address + path)
        scripted.evaluate("void document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for width in WIDTHS:
            scripted.view(width, dark=dark)
            found[f"{path} at {width}"] = faults_of(scripted)
    assert {page: faults for page, faults in found.items() if faults} == {}


@pytest.mark.parametrize("locale", LANGUAGE_NAMES)
def test_every_language_passes(served: tuple[World, str], scripted: Browser, locale: str) -> None:
    """Longer words and other letters fit as well, and the language is named."""
    made, address = served
    case_id = busy(made)["several alerts"]
    scripted.view(1280).open(address)
    scripted.submit(f"footer [value={locale}]")
    assert scripted.evaluate("document.documentElement.lang") == locale
    sign_in(scripted, address, Role.SUPERVISOR)
    for path in ("", f"/cases/{case_id}", "/new", "/shift"):
        scripted.open(address + path)
        for width in (320, 1280):
            assert faults_of(scripted.view(width)) == [], path


def test_the_focus_is_always_seen(served: tuple[World, str], scripted: Browser) -> None:
    """At each stop of the tab key on the pages that are worked at, in the order of the page."""
    made, address = served
    case_id = busy(made)["several alerts"]
    sign_in(scripted.view(1280), address)
    for path in ("", f"/cases/{case_id}", "/new"):
        scripted.open(address + path)
        assert unseen_focus(scripted) == [], path


def test_the_dialog_of_keys_passes(served: tuple[World, str], scripted: Browser) -> None:
    """It is modal, named, and gives the focus back."""
    _, address = served
    sign_in(scripted.view(1280), address)
    scripted.evaluate("void document.getElementById('show-keys').focus()")
    scripted.press("Enter")
    assert scripted.evaluate("document.getElementById('keys').matches(':modal')")
    assert faults_of(scripted) == []
    scripted.press("Escape")
    assert scripted.evaluate("document.activeElement.id") == "show-keys"


BROKEN = {
    "1.1.1": "<img src='x'>", "1.3.1 a field": "<input name='a'>", "1.4.3": "<p style='color:#bbb'>pale</p>",
    "2.4.3": "<button tabindex='3'>x</button>", "2.4.4": "<button></button>", "2.5.8": "<button>x</button>",
    "4.1.1": "<p id='toast'>x</p>", "4.1.3 a notice": "<p class='notice'>x</p>", "1.3.1 headings": "<h5>deep</h5>",
    "1.4.10": "<p>wide</p>", "4.1.2": "<nav>x</nav>",
}  # fmt: skip


def test_the_checks_can_fail(served: tuple[World, str], scripted: Browser) -> None:
    """Each finds what it is for in a page that was broken on purpose."""
    _, address = served
    sign_in(scripted.view(1280), address)
    assert faults_of(scripted) == []
    for criterion, markup in BROKEN.items():
        scripted.open(address)
        scripted.evaluate(
            f"""void (() => {{
              const main = document.querySelector("main");
              main.insertAdjacentHTML("beforeend", {markup!r});
              // The page's policy forbids styles in markup; those of the object model are allowed.
              const last = main.lastElementChild;
              if (last.textContent === "pale") last.style.color = "#bbb";
              if (last.textContent === "wide") last.style.width = "3000px";
              if (last.textContent === "x" && last.tagName === "BUTTON") Object.assign(last.style,
                {{ padding: 0, minHeight: 0, height: "10px", width: "10px" }});
            }})()"""
        )
        assert any(fault.startswith(criterion) for fault in faults_of(scripted)), criterion
