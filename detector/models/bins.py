"""Bins: turns feature values into one-hot fields, by grids that are fixed and can be explained.

Every feature is a field; a cross is one more field whose bins are the pairs of two features' bins. A slot is a bin's
place in the one long list of all fields' bins: what river would call the name of a one-hot feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError
from detector.jit import kernel

# A logistic regression keeps three float64 a slot; a million slots are 24 MB, more than any grid of sense needs.
MAXIMUM_SLOTS = 1_000_000

Grids = Sequence[tuple[str, Sequence[float]]]


@kernel
def bin_of(value: np.float32, edges: NDArray[np.float32], start: int, stop: int) -> int:
    """Bin of one value: how many of `edges[start:stop]` are <= value; NaN has the bin behind the last.

    Counting all edges, eight at a time, takes 9 ns a feature of the catalogue; a binary search takes 30, since half of
    its branches are predicted wrongly. The narrow types are what lets LLVM make vectors of it.
    """
    count = np.int32(0)
    for index in range(start, stop):
        count += np.int32(edges[np.uint32(index)] <= value)
    return stop - start + 1 if np.isnan(value) else int(count)


@kernel
def bin_row(
    features: NDArray[np.float32],
    row: int,
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Bins of one row's features, counted from 0 in each field."""
    for column in range(edge_starts.shape[0] - 1):
        out[column] = bin_of(features[row, column], edges, edge_starts[column], edge_starts[column + 1])


@kernel
def bin_rows(
    features: NDArray[np.float32],
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Bins of all rows' features."""
    for row in range(features.shape[0]):
        bin_row(features, row, edges, edge_starts, out[row])


@kernel
def slot_row(
    bins: NDArray[np.int32], crosses: NDArray[np.int32], slot_starts: NDArray[np.int32], out: NDArray[np.int32]
) -> None:
    """Slots of one row: its features' bins and then the crosses, each behind its field's first slot.

    `crosses` holds (first column, second column, bins of the second).
    """
    columns = bins.shape[0]
    for column in range(columns):
        out[column] = slot_starts[column] + bins[column]
    for index in range(crosses.shape[0]):
        pair = bins[crosses[index, 0]] * crosses[index, 2] + bins[crosses[index, 1]]
        out[columns + index] = slot_starts[columns + index] + pair


@kernel
def slot_rows(
    features: NDArray[np.float32],
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    crosses: NDArray[np.int32],
    slot_starts: NDArray[np.int32],
    bins: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Slots of all rows; `bins` is room for one row's bins."""
    for row in range(features.shape[0]):
        bin_row(features, row, edges, edge_starts, bins)
        slot_row(bins, crosses, slot_starts, out[row])


def _checked_grid(name: str, grid: Sequence[float]) -> NDArray[np.float32]:
    """A grid as float32: as features are, so that 0.7 falls on the edge 0.7."""
    edges = np.array(grid, dtype=np.float32)
    if edges.ndim != 1 or not edges.size or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        message = f"grid of feature {name}: must be one or more finite numbers that increase, distinct as float32"
        raise ConfigurationError(message)
    return edges


class Binner:
    """Fields and their bins.

    Attributes:
        names: the features, in the order of their columns.
        crosses: pairs of names.
        edges: float32, the grids of all features one behind the other.
        edge_starts: int32[F + 1], where each feature's grid starts in `edges`.
        cross_columns: int32[C, 3], (first column, second column, bins of the second).
        slot_starts: int32[F + C + 1], where each field's slots start.
    """

    def __init__(self, features: Grids, crosses: Sequence[tuple[str, str]] = ()) -> None:
        """Lay out the slots.

        Args:
            features: (name, increasing bin edges) of each column; a value's bin is the number of edges <= it, and NaN
                has a bin of its own behind the last.
            crosses: pairs of different feature names.

        Raises:
            ConfigurationError: a grid does not increase, a name comes twice, a cross names no feature, or there are
                more than a million slots.
        """
        self.names = tuple(name for name, _ in features)
        self.crosses = tuple((str(first), str(second)) for first, second in crosses)
        if not self.names or len(set(self.names)) != len(self.names):
            message = "features: must be one or more, with different names"
            raise ConfigurationError(message)
        grids = [_checked_grid(name, grid) for name, grid in features]
        self.edges = np.concatenate(grids)
        self.edge_starts = np.cumsum([0, *map(len, grids)]).astype(np.int32)
        self._columns = {name: column for column, name in enumerate(self.names)}
        for index, (first, second) in enumerate(self.crosses):
            if first not in self._columns or second not in self._columns or first == second:
                message = f"logistic.crosses[{index}]: must be two different features, not {first} and {second}"
                raise ConfigurationError(message)
        sizes = [len(grid) + 2 for grid in grids]
        rows = [(self._columns[a], self._columns[b], sizes[self._columns[b]]) for a, b in self.crosses]
        self.cross_columns = np.array(rows, dtype=np.int32).reshape(-1, 3)
        sizes += [sizes[first] * seconds for first, _, seconds in rows]
        if sum(sizes) > MAXIMUM_SLOTS:
            message = f"logistic.crosses: must give at most {MAXIMUM_SLOTS} bins together; they give {sum(sizes)}"
            raise ConfigurationError(message)
        self.slot_starts = np.cumsum([0, *sizes]).astype(np.int32)
        for column in (self.edges, self.edge_starts, self.cross_columns, self.slot_starts):
            column.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        """Whether both make the same slots of the same features."""
        return (
            isinstance(other, Binner)
            and self.names == other.names
            and self.crosses == other.crosses
            and np.array_equal(self.edge_starts, other.edge_starts)
            and np.array_equal(self.edges, other.edges)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Sizes; the grids themselves are the catalogue's."""
        return f"Binner({self.feature_count} features, {len(self.crosses)} crosses, {self.slot_count} slots)"

    @property
    def feature_count(self) -> int:
        """Columns of a feature matrix."""
        return len(self.names)

    @property
    def field_count(self) -> int:
        """Features and crosses."""
        return len(self.names) + len(self.crosses)

    @property
    def slot_count(self) -> int:
        """Bins of all fields together."""
        return int(self.slot_starts[-1])

    def matrix(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Check a feature matrix and give it the layout that kernels take.

        Raises:
            ValueError: it has not one column a feature.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_count:
            message = f"features must be of shape (n, {self.feature_count}), not {features.shape}"
            raise ValueError(message)
        return np.ascontiguousarray(features, dtype=np.float32)

    def row(self, values: Mapping[Any, Any]) -> NDArray[np.float32]:
        """A matrix of one row from river's dictionaries; absent and None are NaN, unknown names are ignored."""
        out = np.full((1, self.feature_count), np.nan, dtype=np.float32)
        for name, value in values.items():
            column = self._columns.get(name)
            if column is not None and value is not None:
                out[0, column] = value
        return out

    def bins(self, features: NDArray[Any]) -> NDArray[np.int32]:
        """Bins of the features, each counted from 0: int32 of shape (n, F)."""
        matrix = self.matrix(features)
        out = np.empty(matrix.shape, dtype=np.int32)
        bin_rows(matrix, self.edges, self.edge_starts, out)
        return out

    def slots(self, features: NDArray[Any]) -> NDArray[np.int32]:
        """Slots of all fields: int32 of shape (n, F + C)."""
        matrix = self.matrix(features)
        out = np.empty((len(matrix), self.field_count), dtype=np.int32)
        bins = np.empty(self.feature_count, dtype=np.int32)
        slot_rows(matrix, self.edges, self.edge_starts, self.cross_columns, self.slot_starts, bins, out)
        return out
