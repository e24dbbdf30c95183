"""`docs/roles.md` and `docs/cases.md`, made from the code and its configuration.

`python -m cardwatch.case_pages` writes them, a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cardwatch.settings import shipped_toml
from casework import commands
from casework.acting import DEEDS
from casework.authority import Act, Authority, Beyond, Cell, Role
from casework.kinds import KINDS, rule_of
from casework.lifecycle import mermaid
from casework.playbook import Playbook

DOCS = Path("docs")
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


PAGES: Mapping[str, Callable[[], str]] = {
    "roles.md": lambda: roles_page(Authority.from_mapping(shipped_toml("roles.toml"))),
    "cases.md": lambda: cases_page(Playbook.from_mapping(shipped_toml("playbook.toml"))),
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
