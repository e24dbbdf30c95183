from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import broker, results


def test_a_table_is_written_into_its_own_place_only(tmp_path: Path) -> None:
    """A benchmark replaces its own section of the page and no other line, whatever characters its table has."""
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- begin a -->\nold\n<!-- end a -->\n<!-- begin b -->\nkept\n<!-- end b -->\n")
    results.write_section("a", r"new \1", page)
    results.write_section("a", r"newer \1", page)
    assert page.read_text() == (
        "head\n<!-- begin a -->\nnewer \\1\n<!-- end a -->\n<!-- begin b -->\nkept\n<!-- end b -->\n"
    )


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """A table is never lost silently."""
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(results.MissingPlaceError):
        results.write_section("a", "text", page)


def test_the_page_of_the_repository_has_a_place_for_every_benchmark() -> None:
    """Each benchmark that can be run can write its table."""
    text = results.PAGE.read_text(encoding="utf-8")
    for name in ("engine", "replay", "end_to_end"):
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1


def exact() -> broker.Count:
    return broker.Count(payments=10, decisions=10, actions={"ALLOW": 9, "FREEZE": 1}, alerts=1, last_ms=1_000)


def test_an_exact_count_is_accepted() -> None:
    """One decision for each payment and one alert for each that is not ALLOW is what must be there."""
    exact().require_exact()


@pytest.mark.parametrize(
    ("field", "value"), [("duplicates", 1), ("missing", 1), ("foreign", 1), ("alerts", 2), ("decisions", 9)]
)
def test_whatever_does_not_agree_fails_the_benchmark(field: str, value: int) -> None:
    """A fast run that loses, doubles or mixes up a decision is no result."""
    count = exact()
    setattr(count, field, value)
    with pytest.raises(broker.CountError):
        count.require_exact()


def test_rates_by_the_second() -> None:
    """The slowest second is told apart from the rest."""
    curve = broker.Curve(seconds=[0.0, 0.5, 1.0, 1.5, 2.0, 2.5], records=[0, 50, 100, 100, 100, 150])
    assert curve.rates().tolist() == [100.0, 0.0]
    assert broker.Curve(seconds=[0.0, 0.5], records=[0, 50]).rates().tolist() == [100.0]
