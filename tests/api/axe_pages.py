"""axe-core on every page of the desk and of the cardholder; what it found is kept as `docs/axe.json`.

`python -m tests.api.axe_pages` writes that file, and a test compares; `python -m cardwatch.case_pages` makes a page
of it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.roles import Role
from casework.links import Link, Links, Purpose
from tests.api.axe import AxeReport, look
from tests.api.chromium import Browser, browser_program, running_browser
from tests.api.conftest import serving_desk, sign_in
from tests.api.remembered import remembering
from tests.api.support import CODE_KEY, NOW_MS, World, alert

PATH = Path(__file__).parents[2] / "docs" / "axe.json"
SCHEMES = ("light", "dark")
# 640 pixels are 1280 at 200 % zoom; a cardholder's phone has 320.
DESK_WIDTHS, CARDHOLDER_WIDTHS = (1280, 640), (1280, 640, 320)
_UNFOLD = "void document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# What a person judged: bars beside the figures, marks that the words beside them repeat, and tables that scroll below
# their neighbour. What text has for contrast there, our own check computes (1.4.3 in tests/api/accessibility.py).
JUDGED = frozenset({"color-contrast"})


def busy(made: World) -> dict[str, str]:
    """Cases of all sorts by what they are."""
    first = made.open_case(1)
    made.respond(alert(2, amount_minor=55_000), alert(3, card_token="tok_3", action="REVIEW"))
    pending, closed = made.open_case(4, card_token="tok_4"), made.open_case(5, card_token="tok_5")
    dispute = made.open_dispute("tok_6")
    for case_id, actions in (
        (pending, [{"do": "macro", "name": "stolen_card", "note": "Not theirs."}]),
        (closed, [{"do": "decide", "disposition": "confirmed_fraud", "note": "x"},
                  {"do": "close", "outcome": "confirmed_fraud", "note": "x"}]),
        (first, [{"do": "verify_begin", "method": "knowledge"}]),
    ):  # fmt: skip
        answer = made.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json={"actions": actions})
        assert answer.status_code == 200, answer.text
    return {"several alerts": first, "a decision pending": pending, "closed": closed, "a dispute": dispute}


def _desk_pages(made: World, address: str, browser: Browser) -> Iterator[str]:
    """Open each of the desk's pages in turn."""
    cases = busy(made)
    made.remember()
    browser.open(f"{address}/sign-in")
    yield "desk: sign in"
    browser.fill("#api_key", "nobody's")
    browser.submit("button.main")
    yield "desk: sign in, refused"
    sign_in(browser, address, Role.SUPERVISOR)
    pages = {
        "queue": "", "queue, narrowed": "?kind=dispute&due=near", "new case": "/new", "lists": "/lists",
        "search": "/history", "search, found": "/history?q=tok_5", "figures": "/figures?days=90", "shift": "/shift",
        "no such page": "/cases/none",
    }  # fmt: skip
    for name, path in (pages | {f"case, {what}": f"/cases/{case_id}" for what, case_id in cases.items()}).items():
        browser.open(address + path)
        yield f"desk: {name}"
    browser.open(address)
    browser.evaluate("void document.getElementById('show-keys').click()")
    yield "desk: keys"
    browser.open(f"{address}/cases/{cases['a dispute']}")
    browser.evaluate("void document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    browser.fill("form:has([value=escalate]) textarea", "4111 1111 1111 1111")
    browser.submit("form:has([value=escalate]) button.main")
    yield "desk: case, refused"


def _cardholder_pages(made: World, address: str, browser: Browser) -> Iterator[str]:
    """Open each of the cardholder's pages in turn, the answers given."""
    pages, links, end_s = address.replace("/console", "/s/"), Links(CODE_KEY), NOW_MS // 1000 + 60

    def link(case_id: str, purpose: Purpose) -> str:
        return pages + links.sign(Link(case_id, purpose, end_s))

    case_ids = [made.open_case(number, card_token=f"tok_{number}") for number in (21, 22)]
    made.respond(alert(23, card_token="tok_21", action="REVIEW", amount_minor=3_200))
    browser.open(link(case_ids[0], Purpose.ANSWER))
    yield "cardholder: was this you?"
    for button, name in (("form[action*='/code'] button", "code sent"), ("button[value=no]", "answered NO")):
        browser.submit(button)
        yield f"cardholder: {name}"
    browser.open(link(case_ids[1], Purpose.ANSWER))
    for button, name in (("button[value=yes]", "answered YES"), ("form[action*='/lost'] button", "reported lost")):
        browser.submit(button)
        yield f"cardholder: {name}"
    browser.open(link(case_ids[0], Purpose.SETTINGS) + "/settings")
    yield "cardholder: settings"
    browser.open(pages + "none")
    yield "cardholder: dead link"


def examine(browser: Browser) -> dict[str, Any]:
    """Look at every page in both colour schemes and all its widths, with whatever is folded up unfolded."""
    rules, looks, found, judged = set[str](), Counter[str](), list[str](), set[str]()
    version = ""
    for scheme in SCHEMES:
        browser.forget()
        with (
            tempfile.TemporaryDirectory() as folder,
            remembering(Path(folder)) as memory,
            serving_desk(memory) as (made, at),
        ):
            for pages, widths in ((_desk_pages, DESK_WIDTHS), (_cardholder_pages, CARDHOLDER_WIDTHS)):
                browser.view(widths[0], dark=scheme == "dark")
                for page in pages(made, at, browser):
                    browser.evaluate(_UNFOLD)
                    for width in widths:
                        report: AxeReport = look(browser.view(width, dark=scheme == "dark"))
                        looks[page] += 1
                        rules |= report.rules
                        judged |= {line.partition(":")[0] for line in report.to_judge}
                        found += [f"{page}, {scheme}, {width}: {line}" for line in report.violations]
                        version = report.version
                    browser.view(widths[0], dark=scheme == "dark")
    return {
        "axe_core": version, "schemes": SCHEMES, "desk_widths": DESK_WIDTHS, "cardholder_widths": CARDHOLDER_WIDTHS,
        "pages": list(looks), "looks": looks.total(), "rules": sorted(rules), "violations": found,
        "left_to_a_person": sorted(judged),
    }  # fmt: skip


def written(report: dict[str, Any]) -> str:
    """The file's content."""
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        running_browser(browser_program() or "", Path(profile)) as chromium,
    ):
        PATH.write_text(written(examine(chromium)), encoding="utf-8")
