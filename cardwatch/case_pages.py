"""Pages of the docs about roles, cases and what was checked of the desk, made from the code and its configuration.

`python -m cardwatch.case_pages` writes them, a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cardwatch.settings import shipped_toml
from casework import commands
from casework.acting import DEEDS
from casework.authority import Act, Authority, Beyond, Cell, Role
from casework.contacts import LOCALES
from casework.kinds import KINDS, rule_of
from casework.lifecycle import mermaid
from casework.playbook import Playbook

DOCS = Path(__file__).parents[1] / "docs"
_ACTS_ALONE: Mapping[type, Act] = {
    commands.Approve: Act.APPROVE,
    commands.Refuse: Act.APPROVE,
    commands.Undo: Act.CASE_WORK,
}


def roles_page(authority: Authority) -> str:
    """docs/roles.md: the matrix, a row an act, a column a role."""
    rows = ["| may | " + " | ".join(f"`{role}`" for role in Role) + " |", "| --- |" + " :-: |" * len(Role)]
    for act in Act:
        cells = (_cell(authority.cells.get((role, act))) for role in Role)
        rows.append(f"| `{act}` | " + " | ".join(cells) + " |")
    return "\n".join(
        (
            "# Who may do what",
            "",
            f"Made from `configs/roles.toml` ({authority.version}) by `python -m cardwatch.case_pages`.",
            "Tiers: `agent` 1, `senior_agent` 2, `supervisor` 3; an escalated case needs at least its own tier.",
            "`4 eyes`: somebody else who may `approve` must agree first.",
            "",
            *rows,
            "",
        )
    )


def _cell(cell: Cell | None) -> str:
    """One cell in words."""
    if cell is None:
        return ""
    if cell.always_four_eyes:
        return "4 eyes"
    bounds = [f"{currency} {amount / 100:,.2f}" for currency, amount in list(cell.up_to_minor.items())[:1]]
    if cell.up_to_score < 1:
        bounds.append(f"p {cell.up_to_score:g}")
    if not bounds:
        return "✓"
    beyond = ", beyond 4 eyes" if cell.beyond is Beyond.FOUR_EYES else ""
    return f"up to {' and '.join(bounds)}{beyond}"


def cases_page(playbook: Playbook) -> str:
    """docs/cases.md: the lifecycle, the kinds with their fields, the actions, the macros."""
    return "\n".join(
        (
            "# Cases",
            "",
            "Made from the code and `configs/playbook.toml` by `python -m cardwatch.case_pages`; a test keeps it so.",
            "",
            "## Lifecycle",
            "",
            "Every change is an event with actor, reason and time on `fraud.cases.v1`; a case is what its events say.",
            "What the graph does not show is refused with what is possible.",
            "",
            "```mermaid",
            mermaid().rstrip(),
            "```",
            "",
            "## Kinds",
            "",
            *_kinds(),
            "",
            "## Actions",
            "",
            'In `POST /v1/cases/{case_id}/actions`, `{"actions": [{"do": "…", …}]}`. Which role may is in',
            "[roles.md](roles.md); **identity** marks what needs the cardholder's verified identity.",
            "",
            *_actions(),
            "",
            "## Macros",
            "",
            *(f"- `{spec.name}`: {spec.title}" for spec in playbook.macros.values()),
            "",
        )
    )


def _kinds() -> list[str]:
    rows = ["| kind | field | holds | ends as |", "| --- | --- | --- | --- |"]
    for kind, spec in KINDS.items():
        outcomes = ", ".join(f"`{outcome}`" for outcome in spec.outcomes)
        if not spec.fields:
            rows.append(f"| `{kind}` | | | {outcomes} |")
        for place, field in enumerate(spec.fields):
            first = (f"`{kind}`", outcomes) if place == 0 else ("", "")
            required = ", required" if field.required else ""
            rows.append(f"| {first[0]} | `{field.name}` | {rule_of(field)}{required} | {first[1]} |")
    return rows


def _actions() -> list[str]:
    rows = ["| `do` | fields | act | |", "| --- | --- | --- | --- |"]
    for kind in commands.Command.__args__:
        deed = DEEDS.get(kind)
        act = _ACTS_ALONE.get(kind) if deed is None else deed.act
        fields = ", ".join(f"`{name}`" for name in kind.__struct_encode_fields__)
        marks = "**identity**" if deed is not None and deed.needs_identity else ""
        meaning = " ".join(str(kind.__doc__).split())
        said = f"{marks} {meaning}".strip()
        rows.append(f"| `{kind.__struct_config__.tag}` | {fields} | {f'`{act}`' if act else ''} | {said} |")
    return rows


def checks_page(authority: Authority, axe: Mapping[str, Any]) -> str:
    """docs/desk-checks.md: who may do which action, what axe-core found, and whether every language says everything."""
    return "\n".join(
        (
            "# The desk, checked",
            "",
            "Made by `python -m cardwatch.case_pages`; tests keep it so.",
            "",
            "## Roles and actions",
            "",
            f"By `configs/roles.toml` ({authority.version}): each action of [cases.md](cases.md) as the matrix of",
            "[roles.md](roles.md) bounds it. **id**: not without the cardholder's verified identity. `4 eyes`: another",
            "person who may `approve` must agree first. A cardholder's page offers an answer, a code, and what",
            "`[cardholder]` of the playbook says; of the rest of that column it offers nothing.",
            "",
            *_role_rows(authority),
            "",
            "## axe-core on every page",
            "",
            *_axe(axe),
            "",
            "## Languages",
            "",
            "Texts by catalogue (`configs/messages/`) and language; missing is what English has and another has not.",
            "",
            *_languages(),
            "",
        )
    )


def _role_rows(authority: Authority) -> list[str]:
    rows = ["| action | " + " | ".join(f"`{role}`" for role in Role) + " |", "| --- |" + " :-: |" * len(Role)]
    for kind in commands.Command.__args__:
        deed = DEEDS.get(kind)
        act = _ACTS_ALONE.get(kind) if deed is None else deed.act
        if act is None:
            continue
        name = f"`{kind.__struct_config__.tag}`" + (" **id**" if deed is not None and deed.needs_identity else "")
        rows.append(f"| {name} | " + " | ".join(_cell(authority.cells.get((role, act))) for role in Role) + " |")
    return rows


def _axe(axe: Mapping[str, Any]) -> list[str]:
    """What `docs/axe.json` says; `python -m tests.api.axe_pages` writes it by looking."""
    widths = {"desk": axe["desk_widths"], "cardholder": axe["cardholder_widths"]}
    places = ", ".join(f"the {who}'s pages at {_listed(map(str, wide))} pixels" for who, wide in widths.items())
    facts = (
        ("axe-core", axe["axe_core"]),
        ("pages", len(axe["pages"])),
        ("looks", axe["looks"]),
        ("rules run", len(axe["rules"])),
        ("violations", len(axe["violations"])),
    )
    return [
        f"In Chromium, in {_listed(axe['schemes'])} mode, {places} (640 are 1280 at 200 % zoom), whatever is folded up",
        "unfolded; the rules of WCAG 2.0 to 2.2, A and AA, and axe-core's best practices.",
        "",
        "| | |",
        "| --- | ---: |",
        *(f"| {name} | {value} |" for name, value in facts),
        "",
        f"Left to a person by axe-core, and judged: {_listed(axe['left_to_a_person']) or 'nothing'}, where text stands",
        "on a picture or beside what scrolls; our own check computes it there (`tests/api/accessibility.py`).",
        "",
        f"Pages: {'; '.join(axe['pages'])}.",
        "",
        f"Rules: {', '.join(f'`{rule}`' for rule in axe['rules'])}.",
    ]


def _listed(words: Iterable[str]) -> str:
    *others, last = list(words) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _languages() -> list[str]:
    rows = ["| catalogue | " + " | ".join(LOCALES) + " | missing |", "| --- |" + " ---: |" * (len(LOCALES) + 1)]
    for catalogue in ("console.", "desk.", "reasons.", "page.", ""):
        keys = {locale: set(_keys(shipped_toml(f"messages/{catalogue}{locale}.toml"))) for locale in LOCALES}
        missing = sum(len(keys["en"] - found) for found in keys.values())
        counts = " | ".join(str(len(keys[locale])) for locale in LOCALES)
        rows.append(f"| {catalogue.rstrip('.') or 'notices'} | {counts} | {missing} |")
    return rows


def _keys(texts: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Where each text of a catalogue stands."""
    for name, value in texts.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{before}{name}.")
        else:
            yield before + name


PAGES: Mapping[str, Callable[[], str]] = {
    "roles.md": lambda: roles_page(Authority.from_mapping(shipped_toml("roles.toml"))),
    "desk-checks.md": lambda: checks_page(
        Authority.from_mapping(shipped_toml("roles.toml")), json.loads((DOCS / "axe.json").read_text("utf-8"))
    ),
    "cases.md": lambda: cases_page(Playbook.from_mapping(shipped_toml("playbook.toml"))),
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
