"""Bins: what a value is turned into before a model sees it."""

from __future__ import annotations

import copy
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigurationError
from detector.models.bins import Binner
from tests.detector.models.helpers import GRIDS, binner

_FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
_GRID = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30, unique=True).map(sorted)


@given(_GRID, st.lists(_FLOATS, min_size=1, max_size=20))
def test_bin_counts_the_edges_not_above_the_value(grid: list[float], values: list[float]) -> None:
    """A bin is the number of edges <= the value, and NaN has its own behind the last."""
    bins = Binner([("x", grid)]).bins(np.array(values, dtype=np.float32).reshape(-1, 1))[:, 0]
    expected = [len(grid) + 1 if np.isnan(v) else bisect_right([float(np.float32(e)) for e in grid], v) for v in values]
    assert bins.tolist() == expected


def test_value_on_a_decimal_edge_is_above_it() -> None:
    """0.7 as a feature and 0.7 as an edge are the same number, though neither float32 nor float64 has it."""
    assert Binner([("x", (0.1, 0.7))]).bins(np.array([[0.7], [0.1]], dtype=np.float32)).tolist() == [[2], [1]]


@pytest.mark.parametrize(
    "grid",
    [
        (1.0,), (-1.0,), (0.0, 1e-30, 1.0, 1e30), (-3e38, 3e38), (1.0, 1.0000001, 1e6), (-2.0, -1.0, 0.0, 1.0),
        tuple(range(1, 255)), tuple(np.geomspace(0.05, 20, 63)), (1e-45, 1.0), (-1e30, 0.0, 1e-20),
    ],
)  # fmt: skip
def test_bins_are_exact_beside_every_edge(grid: tuple[float, ...]) -> None:
    """Whatever cells a grid leads to, the next float32 below an edge is below it, and the edge itself is not."""
    edges = np.array(grid, dtype=np.float32)
    beside = [edges, np.nextafter(edges, np.float32(-np.inf)), np.nextafter(edges, np.float32(np.inf))]
    values = np.concatenate([*beside, np.array([-np.inf, np.inf, 0.0, -0.0, 3.4e38, -3.4e38], dtype=np.float32)])
    bins = Binner([("x", grid)]).bins(values[:, None])[:, 0]
    assert bins.tolist() == [int((edges <= value).sum()) for value in values]


def test_row_leaves_absent_and_none_missing_and_ignores_unknown_names() -> None:
    """A dictionary of river's may lack names and may have others."""
    row = binner().row({"amount": 3, "ratio": None, "colour": 9})
    assert row.tolist() == [[2, 6, 2, 4]]


def test_binners_compare_by_content() -> None:
    """Equal grids are the same binner; another edge is another."""
    assert binner() == copy.deepcopy(binner())
    assert binner() != Binner(GRIDS[:3])
    assert binner() != Binner([*GRIDS[:3], ("rate", (0.001, 0.1, 0.6))])
    assert binner() != "binner"


def test_middles_stand_for_bins() -> None:
    """River's models are given a value for each bin: its middle, the outer edge behind the last, NaN for missing."""
    made = Binner([("x", (1.0, 2.0, 4.0))])
    assert [made.middle(0, bin_) for bin_ in range(4)] == [0.0, 1.5, 3.0, 4.0]
    assert np.isnan(made.middle(0, 4))


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ([], "features"),
        ([("x", (1.0,)), ("x", (2.0,))], "features"),
        ([("x", ())], "feature x"),
        ([("x", (2.0, 1.0))], "feature x"),
        ([("x", (1.0, float("nan")))], "feature x"),
        ([("x", (1.0, 1.0 + 1e-12))], "feature x"),
        ([("x", range(255))], "feature x: must be 1 to 254"),
    ],
)
def test_wrong_grid_is_named(features: list[tuple[str, tuple[float, ...]]], named: str) -> None:
    """A grid that cannot be used is refused by name, before any model is made."""
    with pytest.raises(ConfigurationError, match=named):
        Binner(features)


def test_matrix_of_another_width_is_refused() -> None:
    """Kernels never see a row of another length than the catalogue's."""
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        binner().bins(np.zeros((3, 5), dtype=np.float32))
