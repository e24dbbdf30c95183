"""The simulated contest: chance does not win, what is better does, and what turns worse goes back."""

from __future__ import annotations

import pytest

from benchmarks.contest import CASES, rules_shipped, simulate

pytestmark = pytest.mark.compiled


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_are_what_they_are_called(case: object) -> None:
    """A few runs of each: worse ones lose, much better ones win, and lose their place when they turn worse."""
    found = simulate(case, rules_shipped(), runs=8, rows=30_000)  # type: ignore[arg-type]
    name = getattr(case, "name", "")
    if name.startswith("much better"):
        assert found.gain > rules_shipped().margin
        assert found.promoted == 1.0
        assert found.frauds >= rules_shipped().least_frauds
    if name == "worse":
        assert found.gain < 0.0
    if name in {"worse", "as good"}:
        assert found.promoted == 0.0
    assert found.rolled_back == (1.0 if name.endswith("then worse") else 0.0)
