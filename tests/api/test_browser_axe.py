"""axe-core on every page of the desk and of the cardholder, in both schemes, zoomed, and small as a phone."""

from __future__ import annotations

import json

import pytest

from tests.api.axe import look
from tests.api.axe_pages import JUDGED, PATH, examine, written
from tests.api.chromium import Browser
from tests.api.conftest import sign_in
from tests.api.support import World

pytestmark = pytest.mark.browser


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_page_passes_every_rule(scripted: Browser) -> None:
    """No violation, nothing left open that a person did not judge; docs/axe.json says what was looked at."""
    found = examine(scripted)
    assert found["violations"] == []
    assert set(found["left_to_a_person"]) <= JUDGED
    assert scripted.refusals() == []
    assert PATH.read_text("utf-8") == written(found), "write it anew: python -m tests.api.axe_pages"


def test_the_rules_of_wcag_2_2_are_among_them() -> None:
    """What was run has rules of each version: contrast, resizing text, the size of targets."""
    rules = json.loads(PATH.read_text("utf-8"))["rules"]
    assert {"color-contrast", "meta-viewport", "target-size", "landmark-unique"} <= set(rules)


@pytest.mark.parametrize(
    ("markup", "rule"),
    [
        ("<img src='x'>", "image-alt"), ("<input name='a'>", "label"), ("<button></button>", "button-name"),
        ("<div role='nothing'>x</div>", "aria-roles"), ("<main>x</main>", "landmark-no-duplicate-main"),
    ],
)  # fmt: skip
def test_axe_can_fail(served: tuple[World, str], scripted: Browser, markup: str, rule: str) -> None:
    """It sees what was broken on purpose, through the page's own strict policy."""
    sign_in(scripted.view(1280), served[1])
    assert look(scripted).violations == ()
    scripted.evaluate(f"void document.querySelector('main').insertAdjacentHTML('beforeend', {json.dumps(markup)})")
    assert any(line.startswith(f"{rule}:") for line in look(scripted).violations)
