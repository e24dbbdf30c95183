"""Bins and slots: what a value is turned into before a model sees it."""

from __future__ import annotations

import copy
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigurationError
from detector.models.bins import Binner
from tests.detector.models.helpers import CROSSES, GRIDS, NAMES, binner, random_features

_FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
_GRID = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30, unique=True).map(sorted)


def _naive_bin(value: float, grid: tuple[float, ...]) -> int:
    if np.isnan(value):
        return len(grid) + 1
    return sum(bool(np.float32(edge) <= np.float32(value)) for edge in grid)


@given(_GRID, st.lists(_FLOATS, min_size=1, max_size=20))
def test_bin_counts_the_edges_not_above_the_value(grid: list[float], values: list[float]) -> None:
    """A bin is the number of edges <= the value, and NaN has its own behind the last."""
    bins = Binner([("x", grid)]).bins(np.array(values, dtype=np.float32).reshape(-1, 1))[:, 0]
    expected = [len(grid) + 1 if np.isnan(v) else bisect_right([float(np.float32(e)) for e in grid], v) for v in values]
    assert bins.tolist() == expected


def test_value_on_a_decimal_edge_is_above_it() -> None:
    """0.7 as a feature and 0.7 as an edge are the same number, though neither float32 nor float64 has it."""
    assert Binner([("x", (0.1, 0.7))]).bins(np.array([[0.7], [0.1]], dtype=np.float32)).tolist() == [[2], [1]]


def test_slots_equal_naive_twin() -> None:
    """Every field lights exactly one slot; a cross lights the pair of its features' bins."""
    features = random_features(3, 400)
    made = binner()
    sizes = [len(grid) + 2 for _, grid in GRIDS]
    for row, slots in zip(features, made.slots(features), strict=True):
        bins = [_naive_bin(float(value), grid) for value, (_, grid) in zip(row, GRIDS, strict=True)]
        expected, start = [], 0
        for size, value in zip(sizes, bins, strict=True):
            expected.append(start + value)
            start += size
        for first, second in CROSSES:
            a, b = NAMES.index(first), NAMES.index(second)
            expected.append(start + bins[a] * sizes[b] + bins[b])
            start += sizes[a] * sizes[b]
        assert slots.tolist() == expected
        assert made.slot_count == start


def test_row_leaves_absent_and_none_missing_and_ignores_unknown_names() -> None:
    """A dictionary of river's may lack names and may have others."""
    row = binner().row({"amount": 3, "ratio": None, "colour": 9})
    assert row[0, 0] == 3.0
    assert np.isnan(row[0, 1:]).all()


def test_binners_compare_by_content() -> None:
    """Equal grids and crosses are the same binner; an edge or a cross more is another."""
    assert binner() == copy.deepcopy(binner())
    assert binner() != Binner(GRIDS)
    assert binner() != Binner([*GRIDS[:3], ("rate", (0.001, 0.1, 0.6))], CROSSES)
    assert binner() != "binner"


@pytest.mark.parametrize(
    ("features", "crosses", "named"),
    [
        ([], [], "features"),
        ([("x", (1.0,)), ("x", (2.0,))], [], "features"),
        ([("x", ())], [], "feature x"),
        ([("x", (2.0, 1.0))], [], "feature x"),
        ([("x", (1.0, float("nan")))], [], "feature x"),
        ([("x", (1.0, 1.0 + 1e-12))], [], "feature x"),
        ([("x", (1.0,))], [("x", "y")], "logistic.crosses[0]"),
        ([("x", (1.0,))], [("x", "x")], "logistic.crosses[0]"),
        ([("x", range(2000)), ("y", range(2000))], [("x", "y")], "logistic.crosses"),
    ],
)
def test_wrong_layout_is_named(
    features: list[tuple[str, tuple[float, ...]]], crosses: list[tuple[str, str]], named: str
) -> None:
    """A grid or cross that cannot be used is refused by name, before any model is made."""
    with pytest.raises(ConfigurationError, match=named.replace("[", r"\[").replace("]", r"\]")):
        Binner(features, crosses)


def test_matrix_of_another_width_is_refused() -> None:
    """Kernels never see a row of another length than the catalogue's."""
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        binner().slots(np.zeros((3, 5), dtype=np.float32))
