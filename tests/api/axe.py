"""axe-core in a page: the rules of WCAG 2.0 to 2.2, A and AA, and its best practices, run by our own driver.

It comes out of a package that the tests lock, goes in through the DevTools protocol, and so needs nothing of the pages'
policy, which forbids them scripts that are not theirs.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from functools import lru_cache

from tests.api.chromium import Browser

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@dataclass(frozen=True, slots=True)
class AxeReport:
    """What axe-core found in a page.

    Attributes:
        rules: names of those that were run, whether or not the page had anything for them.
        violations: rule and place, one line each.
        to_judge: the same, for what axe-core leaves to a person.
    """

    version: str
    rules: frozenset[str]
    violations: tuple[str, ...]
    to_judge: tuple[str, ...]


@lru_cache(maxsize=1)
def _script() -> str:
    """axe-core as its package ships it; as text, for the package's own code wants a driver that we do without."""
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def look(browser: Browser) -> AxeReport:
    """Run every rule on the page as it stands."""
    browser.evaluate(f"if (!window.axe) {{ {_script()} }} void 0")
    options = json.dumps({"runOnly": {"type": "tag", "values": TAGS}, "elementRef": False})
    found = browser.evaluate(
        f"""axe.run(document, {options}).then((all) => {{
          const lines = (rules) => rules.flatMap((rule) => rule.nodes.map((node) =>
            `${{rule.id}}: ${{node.target.join(" ")}}: ${{node.failureSummary.replaceAll("\\n", " ")}}`));
          return {{
            version: all.testEngine.version,
            rules: [all.passes, all.violations, all.incomplete, all.inapplicable].flat().map((rule) => rule.id),
            violations: lines(all.violations), incomplete: lines(all.incomplete) }}; }})"""
    )
    return AxeReport(
        found["version"], frozenset(found["rules"]), tuple(found["violations"]), tuple(found["incomplete"])
    )
