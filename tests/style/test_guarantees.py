"""docs/guarantees.md promises nothing that no test shows: every test it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "guarantees.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _is_there(file: str, function: str) -> bool:
    path = REPOSITORY / file
    return path.exists() and (not function or function in _functions(path))


def test_every_test_that_the_page_names_is_there() -> None:
    """A promise whose test was renamed or removed is found at once."""
    named = _NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert named, "the page names no tests"
    assert not [f"{file}::{function}" for file, function in named if not _is_there(file, function)]


def test_every_promise_names_a_test() -> None:
    """No row of the promises stands there without what shows it."""
    section = PAGE.read_text(encoding="utf-8").split("## What is promised")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert not [row for row in rows if not row.startswith("| ---") and not _NAMED.search(row)]
