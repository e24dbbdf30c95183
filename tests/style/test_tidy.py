"""The repository is tidy, and each check of `tests.style.tidy` bites on what it is for."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tests.style import tidy


def _messages(check: tidy.Check, path: str, text: str) -> list[str]:
    return [finding.message for finding in check(PurePosixPath(path), text)]


def test_the_repository_is_tidy() -> None:
    """What `make check` refuses, `make test` refuses as well."""
    assert [str(finding) for finding in tidy.findings()] == []


@pytest.mark.parametrize(("body_lines", "found"), [(69, 0), (70, 1)])
def test_a_function_has_at_most_70_lines(body_lines: int, found: int) -> None:
    """70 lines with the signature pass, 71 do not."""
    text = "async def long():\n" + "    x = 1\n" * body_lines
    assert len(_messages(tidy.long_functions, "streams/a.py", text)) == found


@pytest.mark.parametrize(("lines", "found"), [(500, 0), (501, 1)])
def test_a_file_has_at_most_500_lines(lines: int, found: int) -> None:
    """500 lines pass, 501 do not."""
    assert len(_messages(tidy.long_file, "streams/a.lua", "x = 1\n" * lines)) == found


def test_notes_to_self_are_found() -> None:
    """A note is found as a word, not inside another word."""
    note = "TO" + "DO"
    assert _messages(tidy.stray_notes, "a.lua", f"-- {note} later\n-- {note}S\n") == [f"{note}: file an issue instead"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("detector/a.py", "import time\n"),
        ("detector/a.py", "from redis.asyncio import Redis\n"),
        ("detector/a.py", "def f():\n    import logging\n"),
        ("detector/a.py", "open('x')\n"),
        ("casework/a.py", "import redis\n"),
        ("cardwatch/simulator/a.py", "from pathlib import Path\n"),
    ],
)
def test_the_outside_does_not_get_into_a_pure_place(path: str, text: str) -> None:
    """Clock, network, files and logging are found wherever the import stands."""
    assert len(_messages(tidy.impurities, path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("detector/a.py", "import numpy as np\nfrom river import linear_model\nfrom detector.jit import kernel\n"),
        ("detector/jit.py", "import os\n"),
        ("casework/adapters/redis_store.py", "import redis\n"),
        ("streams/a.py", "import time\n"),
    ],
)
def test_what_a_floor_allows_passes(path: str, text: str) -> None:
    """The doors themselves, and places that are not pure, import what they need."""
    assert _messages(tidy.impurities, path, text) == []


def test_an_undeclared_dependency_is_found() -> None:
    """A shipped package may not lean on a test tool or on a dependency's dependency."""
    assert len(_messages(tidy.undeclared_imports, "streams/a.py", "import pytest\nimport numpy\n")) == 1
    assert _messages(tidy.undeclared_imports, "tests/a.py", "import pytest\n") == []


def test_an_error_missing_from_the_tree_is_found() -> None:
    """The tree at the top of an errors.py is complete."""
    text = '"""Errors.\n\nRootError\n"""\nclass RootError(Exception): ...\nclass LeafError(RootError): ...\n'
    assert _messages(tidy.errors_missing_from_tree, "api/errors.py", text) == [
        "draw LeafError into the tree at the top of the file"
    ]
