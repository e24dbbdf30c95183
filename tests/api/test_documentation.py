"""docs/http.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from api import problems
from api.problems import Problem
from api.roles import ROLE_MATRIX, Permission, Role

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
ROW_OF = {
    Permission.CARD_READ: "read a card",
    Permission.CARD_FREEZE: "freeze a card",
    Permission.CARD_UNFREEZE: "unfreeze a card",
    Permission.CARD_BLOCK: "block a card (in an override)",
    Permission.CASE_READ: "read cases",
    Permission.CASE_OVERRIDE: "override a case",
    Permission.CONSOLE: "use the console",
    Permission.BREAKER_READ: "see the circuit breakers",
    Permission.BREAKER_RELEASE: "release a circuit breaker",
    Permission.METRICS_READ: "read `/metrics`, where `metrics_need_key` is set",
}


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


def test_the_role_matrix_is_the_codes() -> None:
    """Each cell of the page's table."""
    (heading,) = [row for row in ROWS if row[0] == "may"]
    assert [Role(name) for name in heading[1:]] == list(Role)
    cells = {row[0]: row[1:] for row in ROWS if len(row) == 5}
    for permission, title in ROW_OF.items():
        assert [mark == "✓" for mark in cells[title]] == [permission in ROLE_MATRIX[role] for role in Role]
    assert set(ROW_OF) == set(Permission)
