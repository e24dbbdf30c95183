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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import anomaly, base

from detector.errors import ConfigurationError
from detector.jit import kernel
from detector.models.bins import Binner

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
def _flatten(
    missing_bins: NDArray[np.int32],
    columns: NDArray[np.int32],
    limits: NDArray[np.int32],
    current_mass: NDArray[np.int64],
    reference_mass: NDArray[np.int64],
    size_limit: float,
    place: NDArray[np.int64],
    nodes: NDArray[np.int32],
    totals: NDArray[np.int64],
) -> tuple[int, int]:
    """Prune and flatten the trees for scoring, see `CompiledForest`; returns (nodes used, steps to the deepest end).

    `place` is room for one tree's nodes.
    """
    trees, splits = columns.shape
    used = trees
    deepest = 0
    for tree in range(trees):
        place[:] = -1
        place[0] = tree
        totals[tree] = reference_mass[tree, 0]
        depth = 0
        for node in range(reference_mass.shape[1]):
            if node == 2 ** (depth + 1) - 1:
                depth += 1
            here = place[node]
            if here < 0:
                continue
            if node >= splits or reference_mass[tree, node] < size_limit:
                nodes[here, 3] = here
                continue
            column = columns[tree, node]
            left = 2 * node + 1
            upper = missing_bins[column] + (1 if current_mass[tree, left] < current_mass[tree, left + 1] else 0)
            nodes[here, 0] = column
            nodes[here, 1] = limits[tree, node]
            nodes[here, 2] = upper - limits[tree, node]
            nodes[here, 3] = used
            for side in range(2):
                place[left + side] = used
                totals[used] = totals[here] + reference_mass[tree, left + side] * 2 ** (depth + 1)
                used += 1
            deepest = max(deepest, depth + 1)
    return used, deepest


@kernel
def score_forest(
    bins: NDArray[np.int32], nodes: NDArray[np.int32], totals: NDArray[np.int64], trees: int, steps: int, scale: int
) -> float:
    """Anomaly score of one row, 0 to 1; the sum is of integers, so that the order of trees does not matter."""
    total = 0
    for tree in range(trees):
        node = np.int64(tree)
        for _ in range(steps):
            above = np.uint32(bins[nodes[node, 0]] - nodes[node, 1])
            node = np.int64(nodes[node, 3]) + np.int64(above < np.uint32(nodes[node, 2]))
        total += totals[node]
    return 1.0 - total / scale


@kernel
def score_rows(
    bins: NDArray[np.int32],
    nodes: NDArray[np.int32],
    totals: NDArray[np.int64],
    trees: int,
    steps: int,
    scale: int,
    out: NDArray[np.float64],
) -> None:
    """Anomaly score of each row."""
    for row in range(bins.shape[0]):
        out[row] = score_forest(bins[row], nodes, totals, trees, steps, scale)


@kernel
def learn_rows(
    bins: NDArray[np.int32],
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


def grow(binner: Binner, trees: int, height: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Let river draw the splits.

    Args:
        binner: whose features are split.
        trees: how many.
        height: splits from the root to a leaf, at least 1.
        seed: of river's generator.

    Returns:
        (columns, limits): int32 of shape (trees, 2^height - 1), children of node i at 2i + 1 and 2i + 2; a row goes
        left where the bin of the split's column is below its limit.
    """
    forest: Any = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=2, seed=seed)
    forest.learn_one(dict.fromkeys(binner.names, 0.0))
    column_of = {name: column for column, name in enumerate(binner.names)}
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
            column = column_of[branch.feature]
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


@dataclass(frozen=True, slots=True)
class CompiledForest:
    """Trees ready to score: pruned where a score ends anyway, and walked without a branch to be predicted wrongly.

    A row goes right where `bin - limit`, taken as unsigned, is below the span; the span lets the missing bin pass only
    where missing values go right. A node at which scores end has span 0 and leads to itself, so that all walks have as
    many steps. This halves the time of a walk that stops at a tenth of the window.

    Attributes:
        nodes: int32[nodes, 4], (column, limit, span, left child); the right child is next to the left one, and the
            roots come first.
        totals: int64, mass x 2^depth added up on the way to each node.
        trees: how many roots.
        steps: of every walk.
        scale: the largest sum that there may be; 0 while the first window is not full, when all scores are 0.
    """

    nodes: NDArray[np.int32]
    totals: NDArray[np.int64]
    trees: int
    steps: int
    scale: int

    @classmethod
    def of(
        cls,
        binner: Binner,
        columns: NDArray[np.int32],
        limits: NDArray[np.int32],
        current_mass: NDArray[np.int64],
        reference_mass: NDArray[np.int64],
        window: int,
        *,
        first_window: bool,
    ) -> CompiledForest:
        """Compile trees as `CompiledHalfSpaceTrees` holds them."""
        trees, count = reference_mass.shape
        nodes = np.zeros((trees * count, 4), dtype=np.int32)
        totals = np.zeros(trees * count, dtype=np.int64)
        used, steps = _flatten(
            missing_bins(binner), columns, limits, current_mass, reference_mass,
            SIZE_LIMIT_SHARE * window, np.empty(count, np.int64), nodes, totals,
        )  # fmt: skip
        scale = 0 if first_window else trees * window * count
        return cls(nodes[:used].copy(), totals[:used].copy(), trees, steps, scale)


class CompiledHalfSpaceTrees(base.AnomalyDetector):
    """river's Half-Space Trees over binned features, compiled.

    Args:
        binner: turns feature values into bins; its crosses are not used.
        n_trees: how many trees.
        height: splits from the root to a leaf, 1 to 15.
        window_size: examples after which the mass profile is renewed.
        seed: of the random splits.

    Attributes:
        columns, limits: the splits, see `grow`.
        current_mass, reference_mass: int64 of shape (trees, 2^(height + 1) - 1): of this window and of the last one.
        progress: int64[2], examples in the current window, and 1 while it is the first.

    Raises:
        ConfigurationError: height or window_size out of bounds.
    """

    def __init__(
        self, binner: Binner, n_trees: int = 10, height: int = 8, window_size: int = 250, seed: int = 0
    ) -> None:
        """Grow the trees, with no mass yet."""
        if not 1 <= height <= MAXIMUM_HEIGHT or n_trees < 1 or window_size < 1:
            message = f"half_space: height must be 1 to {MAXIMUM_HEIGHT}, trees and window at least 1"
            raise ConfigurationError(message)
        self.binner = binner
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.seed = seed
        self.columns, self.limits = grow(binner, n_trees, height, seed)
        self.current_mass = np.zeros((n_trees, 2 ** (height + 1) - 1), dtype=np.int64)
        self.reference_mass = np.zeros_like(self.current_mass)
        self.progress = np.array([0, 1], dtype=np.int64)
        self._missing_bins = missing_bins(binner)

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

    def learn_many(self, features: NDArray[Any]) -> None:
        """Learn rows in order: `learn_one` over and over, only faster."""
        learn_rows(
            self.binner.bins(features), self._missing_bins, self.columns, self.limits,
            self.current_mass, self.reference_mass, self.window_size, self.progress,
        )  # fmt: skip

    def score_many(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly score of each row of a feature matrix."""
        return self._score(features, self.current_mass)

    def score_as_of_window(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly scores as they were when the current window began, whatever it has learned since."""
        return self._score(features, np.zeros_like(self.current_mass))

    @property
    def left_in_window(self) -> int:
        """Examples until the mass profile is renewed."""
        return self.window_size - int(self.progress[COUNTER])

    def _score(self, features: NDArray[Any], current_mass: NDArray[np.int64]) -> NDArray[np.float64]:
        """Score by the reference mass; the current mass tells where missing values go."""
        bins = self.binner.bins(features)
        out = np.zeros(len(bins))
        if not self.progress[FIRST_WINDOW]:
            forest = CompiledForest.of(
                self.binner, self.columns, self.limits, current_mass, self.reference_mass,
                self.window_size, first_window=False,
            )  # fmt: skip
            score_rows(bins, forest.nodes, forest.totals, forest.trees, forest.steps, forest.scale, out)
        return out


def missing_bins(binner: Binner) -> NDArray[np.int32]:
    """The bin of each feature that means "missing"."""
    return (np.diff(binner.edge_starts) + 1).astype(np.int32)
