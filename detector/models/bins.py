"""Bins: where in its feature's grid a value lies, by grids that are fixed and can be explained.

Everything behind the features works on bins: scores, what is remembered of a payment until its label, examples, and
learning. A row of bins is a quarter of the size of its features, and the same row gives the same bins for ever.

A bin is found without a search. Adding an offset and taking the upper bits of the float32 maps values to cells, in
order: the cells of a positive number grow with it, as the edges of most grids do. A table says how many edges lie
before a value's cell; those in it, nearly always one at most, are compared with the value itself. So the bins are
exact whatever the arithmetic rounds. It takes 1.8 ns a feature, however long the grid is; counting all edges took 4.6
and a binary search 7.6, since half of its branches are predicted wrongly (94 features of 32 edges on average, one core
of an EPYC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError
from detector.jit import constants, kernel

Grids = Sequence[tuple[str, Sequence[float]]]
# A bin is a byte, and the bin of missing values stands behind those of the grid.
MAXIMUM_EDGES = 254
BIN_CODES = 256

# A feature as the kernel reads it: bits that a cell leaves out, number of the first cell, last cell, where its cells
# and its edges start, compares in a cell, bin of a missing value.
_SHIFT, _FIRST, _LAST, _CELLS, _EDGES, _COMPARES, _MISSING = constants(7)
_WORDS = 7
_MANTISSA_BITS = 23
# More cells for one grid would push other tables out of the cache.
_MAXIMUM_CELLS = 4096


@kernel
def bin_rows(
    features: NDArray[np.float32],
    offsets: NDArray[np.float32],
    plan: NDArray[np.int32],
    before: NDArray[np.uint8],
    edges: NDArray[np.float32],
    keys: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Bins of all rows: how many edges of a feature's grid are <= its value; NaN has the bin behind the last.

    `plan` and `before` are as `Binner` lays them out; `edges` holds each grid with a NaN behind it. `keys` is room for
    one row.
    """
    moved = keys.view(np.float32)
    columns = features.shape[1]
    for row in range(features.shape[0]):
        for column in range(columns):
            moved[column] = features[row, column] + offsets[column]
        for column in range(columns):
            value = features[row, column]
            cell = min(max((keys[column] >> plan[column, _SHIFT]) - plan[column, _FIRST], 0), plan[column, _LAST])
            found = np.int64(before[np.uint32(plan[column, _CELLS] + cell)])
            for _ in range(plan[column, _COMPARES]):
                found += np.int64(edges[np.uint32(plan[column, _EDGES] + found)] <= value)
            out[row, column] = plan[column, _MISSING] if np.isnan(value) else found


def _checked_grid(name: str, grid: Sequence[float]) -> NDArray[np.float32]:
    """A grid as float32: as features are, so that 0.7 falls on the edge 0.7."""
    edges = np.array(grid, dtype=np.float32)
    increasing = edges.ndim == 1 and edges.size and np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
    if not increasing or len(edges) > MAXIMUM_EDGES:
        message = (
            f"grid of feature {name}: must be 1 to {MAXIMUM_EDGES} finite numbers that increase, distinct as float32"
        )
        raise ConfigurationError(message)
    return edges


def _keys(edges: NDArray[np.float32], offset: np.float32) -> NDArray[np.int64]:
    """What the kernel makes of edges before it leaves bits out."""
    with np.errstate(over="ignore"):
        return (edges + offset).astype(np.float32).view(np.int32).astype(np.int64)


def _cells(edges: NDArray[np.float32]) -> tuple[np.float32, int, NDArray[np.int64]]:
    """The coarsest cells that keep a grid's edges apart.

    Returns:
        (offset, shift, cell of each edge). Where no offset leads to as few cells as are allowed, some hold more edges.
    """
    apart = [np.float32(0.0)]
    with np.errstate(over="ignore"):
        if len(edges) > 1:
            # A grid like 10, 20, 30 grows from its first step, one like -3, -2, -1 from a step before its first edge.
            apart += [np.diff(edges).min() - edges[0], edges[1] - np.float32(2.0) * edges[0]]
        else:
            apart += [np.float32(1.0) - edges[0]]
    found: tuple[tuple[int, int], np.float32, int, NDArray[np.int64]] | None = None
    for offset in apart:
        keys = np.maximum(_keys(edges, offset), 0)
        if not np.isfinite(edges + offset).all():
            continue
        for shift in range(_MANTISSA_BITS, -1, -1):
            cells = (keys >> shift) - (keys[0] >> shift)
            most = int(np.unique(cells, return_counts=True)[1].max())
            rank = (most, int(cells[-1]))
            if rank[1] >= _MAXIMUM_CELLS:
                break
            if found is None or rank < found[0]:
                found = rank, offset, shift, cells
            if most == 1:
                break
    if found is None:  # edges further apart than the cells reach: one cell for all of them
        return np.float32(0.0), _MANTISSA_BITS, np.zeros(len(edges), dtype=np.int64)
    return found[1:]


class Binner:
    """Grids of features, and the tables that find bins in them.

    Attributes:
        names: the features, in the order of their columns.
        edges: float32, the grids of all features one behind the other.
        edge_starts: int32[F + 1], where each feature's grid starts in `edges`.
        missing_bins: int32[F], the bin of each feature that means "missing"; the largest.
    """

    def __init__(self, features: Grids) -> None:
        """Lay out the tables.

        Args:
            features: (name, increasing bin edges) of each column, at most 254 edges; a value's bin is the number of
                edges <= it, and NaN has a bin of its own behind the last.

        Raises:
            ConfigurationError: a grid does not increase or is too long, or a name comes twice.
        """
        self.names = tuple(name for name, _ in features)
        if not self.names or len(set(self.names)) != len(self.names):
            message = "features: must be one or more, with different names"
            raise ConfigurationError(message)
        grids = [_checked_grid(name, grid) for name, grid in features]
        self.edges = np.concatenate(grids)
        self.edge_starts = np.cumsum([0, *map(len, grids)]).astype(np.int32)
        self.missing_bins = (np.diff(self.edge_starts) + 1).astype(np.int32)
        self.columns = {name: column for column, name in enumerate(self.names)}
        self._lay_out(grids)
        for column in (self.edges, self.edge_starts, self.missing_bins):
            column.setflags(write=False)

    def _lay_out(self, grids: Sequence[NDArray[np.float32]]) -> None:
        """Make the tables of the kernel."""
        self._offsets = np.empty(len(grids), dtype=np.float32)
        self._plan = np.empty((len(grids), _WORDS), dtype=np.int32)
        tables: list[NDArray[np.uint8]] = []
        cell_start = edge_start = 0
        for column, grid in enumerate(grids):
            self._offsets[column], shift, cells = _cells(grid)
            first = int(max(_keys(grid, self._offsets[column])[0], 0)) >> shift
            last = int(cells[-1])
            tables.append(np.searchsorted(cells, np.arange(last + 1)).astype(np.uint8))
            most = int(np.unique(cells, return_counts=True)[1].max())
            self._plan[column] = shift, first, last, cell_start, edge_start, most, len(grid) + 1
            cell_start += last + 1
            edge_start += len(grid) + 1
        self._before = np.concatenate(tables)
        self._ended_edges = np.concatenate([np.append(grid, np.float32(np.nan)) for grid in grids])

    def __eq__(self, other: object) -> bool:
        """Whether both make the same bins of the same features."""
        return (
            isinstance(other, Binner)
            and self.names == other.names
            and np.array_equal(self.edge_starts, other.edge_starts)
            and np.array_equal(self.edges, other.edges)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Sizes; the grids themselves are the catalogue's."""
        return f"Binner({self.feature_count} features, {len(self.edges)} edges)"

    @property
    def feature_count(self) -> int:
        """Columns of a matrix of features or bins."""
        return len(self.names)

    def grid(self, column: int) -> NDArray[np.float32]:
        """The edges of one feature."""
        return self.edges[self.edge_starts[column] : self.edge_starts[column + 1]]

    def matrix(self, bins: NDArray[Any]) -> NDArray[np.uint8]:
        """Check a matrix of bins and give it the layout that kernels take.

        Raises:
            ValueError: it has not one column a feature, is not of uint8, or has a bin behind a feature's last.
        """
        if bins.ndim != 2 or bins.shape[1] != self.feature_count or bins.dtype != np.uint8:
            message = f"bins must be uint8 of shape (n, {self.feature_count}), not {bins.dtype} of {bins.shape}"
            raise ValueError(message)
        if len(bins) and (bins.max(axis=0) > self.missing_bins).any():
            message = "bins must not exceed those of their features"
            raise ValueError(message)
        return np.ascontiguousarray(bins)

    def row(self, values: Mapping[Any, Any]) -> NDArray[np.uint8]:
        """Bins of one row of river's dictionaries; absent and None are missing, unknown names are ignored."""
        features = np.full((1, self.feature_count), np.nan, dtype=np.float32)
        for name, value in values.items():
            column = self.columns.get(name)
            if column is not None and value is not None:
                features[0, column] = value
        return self.bins(features)

    def bins(self, features: NDArray[Any]) -> NDArray[np.uint8]:
        """Bins of features.

        Args:
            features: (n, F), NaN where missing.

        Returns:
            uint8 (n, F), each feature's counted from 0.

        Raises:
            ValueError: not one column a feature.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_count:
            message = f"features must be of shape (n, {self.feature_count}), not {features.shape}"
            raise ValueError(message)
        matrix = np.ascontiguousarray(features, dtype=np.float32)
        out = np.empty(matrix.shape, dtype=np.uint8)
        keys = np.empty(self.feature_count, dtype=np.int32)
        bin_rows(matrix, self._offsets, self._plan, self._before, self._ended_edges, keys, out)
        return out

    @cached_property
    def middles(self) -> NDArray[np.float64]:
        """A value that stands for each bin, float64[F, 256].

        Its middle; 0 or the edge beside it for the outer ones, NaN for missing.
        """
        middles = np.full((self.feature_count, BIN_CODES), np.nan)
        for column in range(self.feature_count):
            grid = self.grid(column).astype(np.float64)
            middles[column, 0] = min(grid[0], 0.0)
            middles[column, 1 : len(grid)] = (grid[:-1] + grid[1:]) / 2.0
            middles[column, len(grid)] = grid[-1]
        return middles

    def middle(self, column: int, column_bin: int) -> float:
        """The value that stands for a bin; see `middles`."""
        return float(self.middles[column, column_bin])
