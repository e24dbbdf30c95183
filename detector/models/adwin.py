"""ADWIN: a mean over a window that grows while nothing changes and drops its older part when something does.

Values from 0 to 1 go into buckets of one, two, four, ... values, a few of each size, the oldest being the largest.
After each value every boundary between buckets is tried: where the means before and behind it differ by more than
chance makes of two such samples, the oldest bucket goes, and the boundaries are tried again. By chance alone that
happens with a probability of about `delta` at a time.

river has it as well, in compiled code whose state cannot be taken out but by pickling. Here it is one array, so that a
learner that starts again goes on with the very window it had.

Source: Bifet, Gavalda: *Learning from time-changing data with adaptive windowing* (SDM 2007).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.jit import constants, kernel

BUCKETS = 5
# 2^40 blocks of examples are more than ever come.
LEVELS = 40
# A row of the state for each size of bucket: how many, then their totals, the oldest first, then their squares: sums of
# squared distances from a bucket's own mean. One more row holds width, total and squares of the whole window.
_COUNT, _TOTALS, _SQUARES = 0, 1, 2 + BUCKETS
WORDS = 3 + 2 * BUCKETS
SHAPE = (LEVELS + 1, WORDS)
WIDTH, TOTAL, SQUARES = constants(3)
_WHOLE = LEVELS
# Fewer values on a side of a boundary say nothing.
_LEAST = 5.0
_GRACE = 10.0


@kernel
def _drop(window: NDArray[np.float64], level: int, count: int) -> None:
    """Take the oldest buckets of a level out of it."""
    for place in range(BUCKETS + 1 - count):
        window[level, _TOTALS + place] = window[level, _TOTALS + place + count]
        window[level, _SQUARES + place] = window[level, _SQUARES + place + count]
    window[level, _COUNT] -= count


@kernel
def _append(window: NDArray[np.float64], level: int, total: float, squares: float) -> None:
    """Put a bucket behind those of its level."""
    place = int(window[level, _COUNT])
    window[level, _TOTALS + place] = total
    window[level, _SQUARES + place] = squares
    window[level, _COUNT] += 1.0


@kernel
def _insert(window: NDArray[np.float64], value: float) -> None:
    """Take a value in; of more than five buckets of a size the two oldest become one of the next size."""
    whole = window[_WHOLE]
    if whole[WIDTH] > 0.0:
        apart = value - whole[TOTAL] / whole[WIDTH]
        whole[SQUARES] += whole[WIDTH] * apart * apart / (whole[WIDTH] + 1.0)
    whole[WIDTH] += 1.0
    whole[TOTAL] += value
    _append(window, 0, value, 0.0)
    size = 1.0
    for level in range(LEVELS - 1):
        own = window[level]
        if own[_COUNT] <= BUCKETS:
            return
        apart = (own[_TOTALS] - own[_TOTALS + 1]) / size
        squares = own[_SQUARES] + own[_SQUARES + 1] + 0.5 * size * apart * apart
        _append(window, level + 1, own[_TOTALS] + own[_TOTALS + 1], squares)
        _drop(window, level, 2)
        size *= 2.0


@kernel
def _differs(window: NDArray[np.float64], delta: float) -> bool:
    """Whether the means on both sides of some boundary differ by more than chance makes of them."""
    whole = window[_WHOLE]
    width = whole[WIDTH]
    doubt = math.log(2.0 * math.log(width) / delta)
    variance = max(whole[SQUARES], 0.0) / width
    before = total = 0.0
    size = 2.0 ** (LEVELS - 1)
    for step in range(LEVELS):
        level = LEVELS - 1 - step
        for place in range(int(window[level, _COUNT])):
            before += size
            total += window[level, _TOTALS + place]
            behind = width - before
            if before < _LEAST or behind < _LEAST:
                continue
            apart = abs(total / before - (whole[TOTAL] - total) / behind)
            share = 1.0 / (before - _LEAST + 1.0) + 1.0 / (behind - _LEAST + 1.0)
            if apart > math.sqrt(2.0 * share * variance * doubt) + 2.0 / 3.0 * doubt * share:
                return True
        size *= 0.5
    return False


@kernel
def _forget_oldest(window: NDArray[np.float64]) -> None:
    """Drop the oldest bucket."""
    whole = window[_WHOLE]
    level = LEVELS - 1
    size = 2.0 ** (LEVELS - 1)
    while window[level, _COUNT] == 0.0:
        level -= 1
        size *= 0.5
    total, squares = window[level, _TOTALS], window[level, _SQUARES]
    _drop(window, level, 1)
    whole[WIDTH] -= size
    whole[TOTAL] -= total
    if whole[WIDTH] > 0.0:
        apart = total / size - whole[TOTAL] / whole[WIDTH]
        whole[SQUARES] -= squares + size * whole[WIDTH] * apart * apart / (size + whole[WIDTH])


@kernel
def update(window: NDArray[np.float64], value: float, delta: float) -> bool:
    """Take a value in; whether the mean has changed, and older values were dropped for it."""
    _insert(window, value)
    has_changed = False
    while window[_WHOLE, WIDTH] > _GRACE and _differs(window, delta):
        _forget_oldest(window)
        has_changed = True
    return has_changed


class Adwin:
    """The mean of the latest values, as far back as nothing has changed.

    Attributes:
        delta: how often chance may pass for a change.
        window: float64 of `SHAPE`, all that it knows.
    """

    def __init__(self, delta: float) -> None:
        """Start with no value."""
        self.delta = delta
        self.window = np.zeros(SHAPE)

    @property
    def width(self) -> int:
        """Values in the window."""
        return int(self.window[_WHOLE, WIDTH])

    @property
    def mean(self) -> float:
        """Mean of the window; 0 while it is empty."""
        return float(self.window[_WHOLE, TOTAL] / self.window[_WHOLE, WIDTH]) if self.width else 0.0

    def update(self, value: float) -> bool:
        """Take a value in.

        Args:
            value: 0 to 1.

        Returns:
            Whether the mean has changed: then the window has become shorter.
        """
        return update(self.window, value, self.delta)
