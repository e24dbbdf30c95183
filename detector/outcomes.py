"""The latest known outcomes of a place: which of its payments turned out to be fraud, ordered by when they were made.

A place (terminal, or merchant where no terminal is given) remembers the outcomes of its `OUTCOMES_KEPT` youngest
payments whose labels have come, whatever the delay and the order in which labels arrive: a set that does not depend on
the order of adding. A corrected label replaces the earlier one. Nothing here knows how late labels usually are.

An outcome is one word: the payment's time, 16 bits of its identity, whether its amount explains a fraud (far above the
card's usual, so that it points at the card and not at the place), and whether it was one. They lie in a block of the
arena, the oldest first; the owner's row, saved by the caller, names the block and how many it holds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.arena import allocate_block, free_block
from detector.catalogue import DAY_MS, OUTCOME_MEMORY_MS
from detector.features import (
    PLACE_FRAUD_RATE,
    PLACE_FRAUD_RUN,
    PLACE_GENUINE_SINCE,
    PLACE_LAST_FRAUD,
    PLACE_LAST_GENUINE,
    PLACE_LAST_OUTCOME,
    PLACE_LAST_THREE,
    PLACE_RUN_AGE,
    PLACE_RUN_MIDDLE,
    PLACE_RUN_SPREAD,
)
from detector.jit import kernel
from detector.layout import OUTCOME_COUNT, OUTCOMES
from detector.memory import Memory, save

OUTCOMES_KEPT = 32
# Of a block of 32 words.
_ORDER = 1
_FRAUD, _EXPLAINED = 1, 2
_FLAG_BITS = 4
_TAG_BITS = 16
_TAG_MASK = (1 << _TAG_BITS) - 1
_TIME_SHIFT = _FLAG_BITS + _TAG_BITS
_RATE_OVER = 10
_LAST = 3
_DAY = float(DAY_MS)
# Where no genuine outcome says when a run of frauds began, it began at most so many days before its first.
_LONGEST_GAP_DAYS = 30.0


@kernel
def outcome_word(time_ms: int, identity: int, is_explained: int, is_fraud: int) -> int:
    """An outcome as one word."""
    flags = (_EXPLAINED if is_explained else 0) | (_FRAUD if is_fraud else 0)
    return (time_ms << _TIME_SHIFT) | ((identity & _TAG_MASK) << _FLAG_BITS) | flags


@kernel
def has_outcomes(shared: Memory, at: int) -> bool:
    """Whether the entity at this address has a block for outcomes."""
    return shared[at + OUTCOMES] != 0


@kernel
def allocate_outcomes(shared: Memory, at: int) -> bool:
    """Get the entity at this address a block; False where the arena has none."""
    shared[at + OUTCOMES] = allocate_block(shared, _ORDER)
    return shared[at + OUTCOMES] != 0


@kernel
def set_outcome(shared: Memory, at: int, word: int) -> None:
    """Add an outcome to the entity at this address, which has a block, or put a corrected one in its place."""
    block, count = shared[at + OUTCOMES], shared[at + OUTCOME_COUNT]
    place = count
    while place > 0 and shared[block + place - 1] >> _FLAG_BITS > word >> _FLAG_BITS:
        place -= 1
    save(shared, block, min(count + 1, OUTCOMES_KEPT))
    if place > 0 and shared[block + place - 1] >> _FLAG_BITS == word >> _FLAG_BITS:
        shared[block + place - 1] = word
    elif count < OUTCOMES_KEPT:
        for index in range(count, place, -1):
            shared[block + index] = shared[block + index - 1]
        shared[block + place] = word
        shared[at + OUTCOME_COUNT] = count + 1
    elif place > 0:
        for index in range(place - 1):
            shared[block + index] = shared[block + index + 1]
        shared[block + place - 1] = word


@kernel
def _run_values(run: int, first_days: float, genuine_days: float, values: NDArray[np.float64]) -> None:
    """When the current run of frauds may have begun: between the genuine outcome before it and its first fraud."""
    values[PLACE_FRAUD_RUN] = run
    values[PLACE_RUN_AGE] = values[PLACE_RUN_MIDDLE] = values[PLACE_RUN_SPREAD] = math.nan
    if run > 0:
        before = first_days + _LONGEST_GAP_DAYS
        if not math.isnan(genuine_days):
            before = min(before, genuine_days)
        values[PLACE_RUN_AGE] = first_days
        values[PLACE_RUN_MIDDLE] = (first_days + before) / 2.0
        values[PLACE_RUN_SPREAD] = before - first_days


@kernel
def look_at_outcomes(shared: Memory, at: int, time_ms: int, values: NDArray[np.float64]) -> None:
    """What the latest known outcomes of the entity at this address say, as of a time; explained frauds are left out."""
    block = shared[at + OUTCOMES]
    run, genuine_since, seen, in_ten, three = 0, 0, 0, 0, 0
    first = last_fraud = last_genuine = youngest = math.nan
    for index in range(shared[at + OUTCOME_COUNT] - 1, -1, -1):
        word = shared[block + index]
        age_ms = time_ms - (word >> _TIME_SHIFT)
        if age_ms >= OUTCOME_MEMORY_MS:
            break
        is_fraud = word & _FRAUD
        if age_ms < 0 or (is_fraud and word & _EXPLAINED):
            continue
        days = age_ms / _DAY
        youngest = days if seen == 0 else youngest
        three = three * 3 + (2 if is_fraud else 1) if seen < _LAST else three
        in_ten += is_fraud if seen < _RATE_OVER else 0
        seen += 1
        if is_fraud:
            last_fraud = days if math.isnan(last_fraud) else last_fraud
            if math.isnan(last_genuine):
                run += 1
                first = days
        else:
            last_genuine = days if math.isnan(last_genuine) else last_genuine
            genuine_since += 1 if math.isnan(last_fraud) else 0
    for _ in range(seen, _LAST):
        three *= 3
    _run_values(run, first, last_genuine, values)
    values[PLACE_LAST_FRAUD], values[PLACE_LAST_GENUINE], values[PLACE_LAST_OUTCOME] = (
        last_fraud,
        last_genuine,
        youngest,
    )
    values[PLACE_LAST_THREE] = three
    values[PLACE_GENUINE_SINCE] = genuine_since
    values[PLACE_FRAUD_RATE] = in_ten / min(seen, _RATE_OVER) if seen > 0 else math.nan


@kernel
def forget_outcomes(shared: Memory, at: int) -> None:
    """Give the block of outcomes back."""
    if shared[at + OUTCOMES] != 0:
        free_block(shared, shared[at + OUTCOMES], _ORDER)


def list_outcomes(shared: Memory, at: int) -> list[tuple[int, int, int]]:
    """The outcomes in time order: time, 16 bits of the identity, and 1 for a fraud (for digests and inspection)."""
    start = int(shared[at + OUTCOMES])
    words = shared[start : start + int(shared[at + OUTCOME_COUNT])].tolist()
    return [(word >> _TIME_SHIFT, (word >> _FLAG_BITS) & _TAG_MASK, word & _FRAUD) for word in words]
