"""docs/http.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from api import problems
from api.problems import Problem

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]


def test_every_problem_is_listed_with_its_status() -> None:
    """No problem is missing from the page, none is invented."""
    known = {problem.code: problem.status for problem in vars(problems).values() if isinstance(problem, Problem)}
    listed = {
        code: int(row[1])
        for row in ROWS
        if len(row) == 3 and row[1].isdecimal()
        for code in re.findall(r"`([a-z-]+)`", row[0])
    }
    assert listed == known
