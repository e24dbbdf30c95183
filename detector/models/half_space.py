"""Half-Space Trees: the anomaly score that needs no label, grown by river and run in Numba.

river's own `HalfSpaceTrees` draws the splits from a seed; they are flattened to arrays here, and learning and scoring
follow river step by step. The trees look at bins and not at values: a feature's bin divided by its number of edges is
in [0, 1], as river expects, and a split `bin / edges < threshold` is the same as `bin < limit` for an integer limit.

river's quirks, kept: a missing value follows the child that more of the *current* window went to, the left one when
equal; a score adds mass x 2^depth on the way down and stops at the first node whose mass is under a tenth of the
window; and all scores are 0 until the first window is full.

Source: Tan, Ting, Liu: *Fast anomaly detection for streaming data* (IJCAI 2011).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from detector.errors import ConfigurationError
from detector.jit import kernel
from detector.models.bins import Binner
from detector.models.fields import EVERY_FEATURE
from detector.models.forest import Forest, compile_forest, room, score_rows

# Of the window: a node with less mass ends the walk of a score. river's, and the paper's.
SIZE_LIMIT_SHARE = 0.1
# What the forest remembers beside its masses, as int64: examples in the current window, and 1 while it is the first.
COUNTER, FIRST_WINDOW = range(2)
MAXIMUM_HEIGHT = 15


@kernel
def _child(node: int, column_bin: int, missing_bin: int, limit: int, current_mass: NDArray[np.int64]) -> int:
    """The child that a row goes to."""
    left = 2 * node + 1
    if column_bin == missing_bin:
        return left + 1 if current_mass[left] < current_mass[left + 1] else left
    return left if column_bin < limit else left + 1


@kernel
def learn_rows(
    bins: NDArray[np.uint8],
    missing_bins: NDArray[np.int32],
    columns: NDArray[np.int32],
    limits: NDArray[np.int32],
    current_mass: NDArray[np.int64],
    reference_mass: NDArray[np.int64],
    window: int,
    progress: NDArray[np.int64],
) -> None:
    """Learn row by row; a full window's mass becomes the reference. Masses and `progress` are changed in place."""
    trees = columns.shape[0]
    splits = columns.shape[1]
    for row in range(bins.shape[0]):
        for tree in range(trees):
            node = 0
            while node < splits:
                current_mass[tree, node] += 1
                column = columns[tree, node]
                node = _child(node, bins[row, column], missing_bins[column], limits[tree, node], current_mass[tree])
            current_mass[tree, node] += 1
        progress[COUNTER] += 1
        if progress[COUNTER] == window:
            for tree in range(trees):
                for node in range(current_mass.shape[1]):
                    reference_mass[tree, node] = current_mass[tree, node]
                    current_mass[tree, node] = 0
            progress[COUNTER] = 0
            progress[FIRST_WINDOW] = 0


def grow(
    binner: Binner, features: Sequence[str], trees: int, height: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Let river draw the splits.

    Args:
        binner: of all features.
        features: names of those that are split.
        trees: how many.
        height: splits from the root to a leaf, at least 1.
        seed: of river's generator.

    Returns:
        (columns, limits): int32 of shape (trees, 2^height - 1), children of node i at 2i + 1 and 2i + 2; a row goes
        left where the bin of the split's column is below its limit.
    """
    from river import anomaly  # noqa: PLC0415  brings all of scipy along, seconds that nobody but a first trainer needs

    forest: Any = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=2, seed=seed)
    forest.learn_one(dict.fromkeys(features, 0.0))
    edge_counts = np.diff(binner.edge_starts)
    splits = 2**height - 1
    columns = np.zeros((trees, splits), dtype=np.int32)
    limits = np.zeros((trees, splits), dtype=np.int32)
    for tree, root in enumerate(forest.trees):
        pending: list[tuple[int, Any]] = [(0, root)]
        while pending:
            node, branch = pending.pop()
            if node >= splits:
                continue
            column = binner.columns[branch.feature]
            columns[tree, node] = column
            limits[tree, node] = sum(
                scaled_bin(value, int(edge_counts[column])) < branch.threshold
                for value in range(int(edge_counts[column]) + 1)
            )
            pending += [(2 * node + 1, branch.left), (2 * node + 2, branch.right)]
    return columns, limits


def scaled_bin(column_bin: int, edge_count: int) -> float:
    """Scale a bin that is not the missing one to [0, 1], as the trees see it."""
    return column_bin / edge_count


def forest_of(
    binner: Binner,
    columns: NDArray[np.int32],
    limits: NDArray[np.int32],
    current_mass: NDArray[np.int64],
    reference_mass: NDArray[np.int64],
    window: int,
    *,
    first_window: bool,
) -> Forest:
    """Compile trees as `CompiledHalfSpaceTrees` holds them for scoring."""
    trees, nodes = reference_mass.shape
    scale = 0 if first_window else trees * window * nodes
    size_limit = SIZE_LIMIT_SHARE * window
    return compile_forest(binner.missing_bins, columns, limits, current_mass, reference_mass, size_limit, scale)


class CompiledHalfSpaceTrees(base.AnomalyDetector):
    """river's Half-Space Trees over binned features, compiled.

    Args:
        binner: turns feature values into bins.
        n_trees: how many trees.
        height: splits from the root to a leaf, 1 to 15.
        window_size: examples after which the mass profile is renewed.
        seed: of the random splits.
        features: names of the features that trees look at; all of the binner's if "*" is among them.
        is_grown: False for trees without splits, which stand for what never learns: growing takes seconds.

    Attributes:
        columns, limits: the splits, see `grow`.
        current_mass, reference_mass: int64 of shape (trees, 2^(height + 1) - 1): of this window and of the last one.
        progress: int64[2], examples in the current window, and 1 while it is the first.

    Raises:
        ConfigurationError: height or window_size out of bounds, or a feature that the binner does not have.
    """

    def __init__(
        self,
        binner: Binner,
        n_trees: int = 10,
        height: int = 8,
        window_size: int = 250,
        seed: int = 0,
        features: Sequence[str] = (EVERY_FEATURE,),
        is_grown: bool = True,  # noqa: FBT001, FBT002 - river copies estimators by their parameters
    ) -> None:
        """Grow the trees, with no mass yet."""
        if not 1 <= height <= MAXIMUM_HEIGHT or n_trees < 1 or window_size < 1:
            message = f"half_space: height must be 1 to {MAXIMUM_HEIGHT}, trees and window at least 1"
            raise ConfigurationError(message)
        split = binner.names if EVERY_FEATURE in features else tuple(features)
        unknown = [name for name in split if name not in binner.columns]
        if unknown:
            message = f"half_space.features: no such feature: {', '.join(unknown)}"
            raise ConfigurationError(message)
        self.binner = binner
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.seed = seed
        self.features = tuple(features)
        self.is_grown = is_grown
        if is_grown:
            self.columns, self.limits = grow(binner, split, n_trees, height, seed)
        else:
            self.columns, self.limits = np.zeros((2, n_trees, 2**height - 1), dtype=np.int32)
        self.current_mass = np.zeros((n_trees, 2 ** (height + 1) - 1), dtype=np.int64)
        self.reference_mass = np.zeros_like(self.current_mass)
        self.progress = np.array([0, 1], dtype=np.int64)
        self._window_forest: Forest | None = None

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        """Parameters for river's own checks, which make estimators by themselves."""
        yield {"binner": Binner([("amount", (1.0, 2.0))])}

    def learn_one(self, x: dict[base.typing.FeatureName, Any]) -> None:
        """Learn from one row of raw feature values; an absent one is missing."""
        self.learn_many(self.binner.row(x))

    def score_one(self, x: dict[base.typing.FeatureName, Any]) -> float:
        """Anomaly score of one row, 0 to 1; 0 until the first window is full."""
        return float(self.score_many(self.binner.row(x))[0])

    def learn_many(self, bins: NDArray[Any]) -> None:
        """Learn rows of bins in order: `learn_one` over and over, only faster."""
        learn_rows(
            self.binner.matrix(bins), self.binner.missing_bins, self.columns, self.limits,
            self.current_mass, self.reference_mass, self.window_size, self.progress,
        )  # fmt: skip
        if len(bins) >= self.window_size or self.progress[COUNTER] < len(bins):
            self.forget_window()

    def score_many(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly score of each row of a matrix of bins."""
        return self._scored(bins, self._compiled(self.current_mass))

    def score_as_of_window(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly scores as they were when the current window began, whatever it has learned since."""
        if self._window_forest is None:
            self._window_forest = self._compiled(np.zeros_like(self.current_mass))
        return self._scored(bins, self._window_forest)

    def forget_window(self) -> None:
        """Note that the masses were set from outside, or renewed."""
        self._window_forest = None

    def forest(self) -> Forest:
        """The trees as they are now, ready to score."""
        return self._compiled(self.current_mass)

    @property
    def left_in_window(self) -> int:
        """Examples until the mass profile is renewed."""
        return self.window_size - int(self.progress[COUNTER])

    def _compiled(self, current_mass: NDArray[np.int64]) -> Forest:
        """Compile the trees; the current mass tells where missing values go."""
        return forest_of(
            self.binner, self.columns, self.limits, current_mass, self.reference_mass,
            self.window_size, first_window=bool(self.progress[FIRST_WINDOW]),
        )  # fmt: skip

    def _scored(self, bins: NDArray[Any], forest: Forest) -> NDArray[np.float64]:
        """Score by a forest."""
        matrix = self.binner.matrix(bins)
        out = np.zeros(len(matrix))
        if forest.scale:
            score_rows(matrix, forest, room(), np.zeros(len(matrix), np.int64), out)
        return out
