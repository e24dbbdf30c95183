"""Patterns: category, size and part of the day together, and how often payments like that turned out to be fraud.

A pattern is a shared entity like any other: known outcomes in absolute buckets of the payment's own time, which
commute. Its risk is the logarithm of frauds over genuine payments, with a little of both before anything is known. A
card's history keeps the risk of each payment as it was scored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import HOUR_MS
from detector.features import PATTERN_RISK
from detector.jit import kernel
from detector.layout import ENTITIES, SHARED_PATTERN
from detector.memory import Memory, mix, save_row
from detector.shared import find_entity
from detector.shared_windows import add_pattern_label, find_or_create_entity, pattern_sums

_CLASSES_A_DOUBLING = 4.0
_SIZE_CLASSES, _DAY_PARTS = 64, 8
_HOURS_A_PART = 3
_HOURS = 24
_TOKEN_MASK = (1 << 32) - 1
_FEW_FRAUDS, _FEW_GENUINE = 0.02, 2.0


@kernel
def pattern_of(category_0: int, time_ms: int, amount: int) -> int:
    """The number of a payment's pattern; `category_0` is the first word of its category's key, 0 for none."""
    size = int(_CLASSES_A_DOUBLING * math.log2(max(amount, 1)))
    part = (time_ms // HOUR_MS) % _HOURS // _HOURS_A_PART
    return ((category_0 & _TOKEN_MASK) * _SIZE_CLASSES + size) * _DAY_PARTS + part


@kernel
def fill_pattern_risk(shared: Memory, pattern: int, numbers: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """How risky payments of this pattern are, as far as their outcomes are known."""
    labelled = frauds = 0
    row = find_entity(shared, SHARED_PATTERN, mix(pattern), pattern)
    if row != 0:
        save_row(shared, ENTITIES, row)
        labelled, frauds = pattern_sums(shared, row, numbers)
    values[PATTERN_RISK] = math.log((frauds + _FEW_FRAUDS) / (labelled - frauds + _FEW_GENUINE))


@kernel
def count_pattern_label(
    shared: Memory, pattern: int, time_ms: int, labelled: int, frauds: int, numbers: NDArray[np.int64]
) -> None:
    """Count an outcome for a pattern, or take it back with negative numbers."""
    row = find_or_create_entity(shared, SHARED_PATTERN, mix(pattern), pattern, time_ms)
    add_pattern_label(shared, row, labelled, frauds, numbers)
