"""Slopes: what the log-odds gain for each step by which a feature's bin lies above what is usual.

One-hot weights know nothing of a bin that they have not met, and need frauds in every bin to learn from. A slope is
shared by all bins of a feature, so it says something from the first frauds on, and of bins further out than any before:
a thousand payments at a place within an hour count for more than a hundred. Where frauds are many, weights correct it.

A bin's standing is its distance from the mean bin lately met, in standard deviations, at most ten to either side: 0
where the value is missing, and until something usual is known. Slopes learn by plain gradient descent, as river's
logistic regression behind its `StandardScaler` does. Scorers know nothing of them: in a version they are part of the
weights of the fields that are a feature all by itself.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.jit import constants, kernel
from detector.models.fields import Layout

# Rows learned after which what is usual is looked at again.
RENEWED_EVERY = 1024
# In bins: where all payments have the same bin, the next one is ten standard deviations away.
SMALLEST_SPREAD = 0.1
LARGEST_STANDING = 10.0
# Of each feature: its slope, the mean bin, and the standard deviation in bins, 0 while it is not known.
SLOPE, CENTRE, SPREAD = constants(3)
SLOPE_WORDS = 3


@kernel
def standing_of(column_bin: int, column: int, layout: Layout, table: NDArray[np.float64]) -> float:
    """How far a bin lies from what is usual, in standard deviations."""
    if column_bin == layout.missing[column] or table[SPREAD, column] == 0.0:
        return 0.0
    distance = (column_bin - table[CENTRE, column]) / table[SPREAD, column]
    return min(max(distance, -LARGEST_STANDING), LARGEST_STANDING)


@kernel
def note_standings(
    bins: NDArray[np.uint8], layout: Layout, table: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Fill in the standings of one row."""
    for column in range(bins.shape[0]):
        out[column] = standing_of(bins[column], column, layout, table)


@kernel
def renew_usual(bin_counts: NDArray[np.float64], layout: Layout, table: NDArray[np.float64]) -> None:
    """Look at what is usual: mean and standard deviation of the bins that were lately met."""
    for column in range(bin_counts.shape[0]):
        count = total = squares = 0.0
        for bin_ in range(layout.missing[column]):
            count += bin_counts[column, bin_]
            total += bin_counts[column, bin_] * bin_
            squares += bin_counts[column, bin_] * bin_ * bin_
        if count > 0.0:
            mean = total / count
            table[CENTRE, column] = mean
            variance = max(squares / count - mean * mean, 0.0)
            table[SPREAD, column] = max(math.sqrt(variance), SMALLEST_SPREAD)


@kernel
def fold_slopes(
    weights: NDArray[np.float64], layout: Layout, table: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Write weights and slopes together into the slots of fields that are a feature all by itself."""
    for field in range(layout.alone.shape[0]):
        column = layout.alone[field]
        if column < 0:
            continue
        first = layout.starts[field]
        for bin_ in range(layout.missing[column] + 1):
            slope = table[SLOPE, column] * standing_of(bin_, column, layout, table)
            out[first + bin_] = weights[first + bin_] + slope


def folded(weights: NDArray[np.float64], layout: Layout, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A copy of the weights that has the slopes in it: what scorers add up."""
    out = weights.copy()
    fold_slopes(weights, layout, table, out)
    return out
