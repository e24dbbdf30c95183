"""Results as JSON in an ignored folder, and their tables between markers in docs/benchmarks.md.

A table is written by the benchmark that measured it, and only into its own place:

    <!-- begin NAME -->
    ...
    <!-- end NAME -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = REPOSITORY / ".cache" / "benchmarks"
PAGE = REPOSITORY / "docs" / "benchmarks.md"

Results = dict[str, Any]


class MissingPlaceError(Exception):
    """The page has no markers for a benchmark."""


def save(name: str, results: Mapping[str, Any]) -> Path:
    """Keep results, with what they were measured on and when; returns the file."""
    folder = CACHE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(tz=UTC)
    content = {"benchmark": name, "measured": now.isoformat(timespec="seconds"), "machine": machine.describe()}
    path = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({**content, **results}, indent=2) + "\n", encoding="utf-8")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    rules = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def machine_lines(busy_before: float) -> str:
    """What a table was measured on and when, as a line of Markdown; `busy_before` is of `Options`."""
    facts = "; ".join(machine.describe().values())
    when = f"Measured {datetime.now(tz=UTC):%Y-%m-%d}"
    return f"{when} on: {facts}. Load of the machine in the minute before: {busy_before:.1f}."


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between a benchmark's markers.

    Raises:
        MissingPlaceError: the page has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    place = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    content = page.read_text(encoding="utf-8")
    if len(place.findall(content)) != 1:
        message = f"{page.name} must have `{begin}` and `{end}` once"
        raise MissingPlaceError(message)
    # A function, for a backslash in the text is no reference to a group.
    page.write_text(place.sub(lambda _: f"{begin}\n{text}\n{end}", content), encoding="utf-8")
