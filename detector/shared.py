"""Shared entities: terminals, merchants, devices and categories, whose payments come from every partition.

Their aggregates are integers in absolute buckets, one history per window with a resolution of 1/64 of the window, so
the order of adding does not matter and a hot entity is bounded (DESIGN, decisions 7 and 8). Here are their rows;
`detector.shared_windows` adds to their histories and sums them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import LEVEL_WORDS, free_history
from detector.catalogue import SHARED_WINDOWS_MS, WINDOW_FRACTION
from detector.jit import constants, kernel
from detector.layout import ENTITIES, ENTITY_INDEX, LEVELS, SHARED_WINDOW_COUNT
from detector.memory import HASH, KEY_1, KEY_2, Memory, address, allocate, find, link, mix, release, unlink
from detector.outcomes import forget_outcomes

RESOLUTIONS_MS: tuple[int, ...] = tuple(max(1, window // WINDOW_FRACTION) for window in SHARED_WINDOWS_MS)
_WINDOWS = SHARED_WINDOWS_MS
# Columns of `bucket_numbers`: the bucket of a time, the last one before the window that ends there, the last dropped.
AT, BEFORE, DROPPED = constants(3)


@kernel
def entity_word(kind: int, key_0: int) -> int:
    """The hash word of an entity."""
    return key_0 ^ mix(kind)


@kernel
def find_entity(shared: Memory, kind: int, key_0: int, key_1: int) -> int:
    """The entity's row, or 0."""
    return find(shared, ENTITY_INDEX, ENTITIES, entity_word(kind, key_0), key_1, kind)


@kernel
def create_entity(shared: Memory, kind: int, key_0: int, key_1: int) -> int:
    """A new entity's row."""
    row = allocate(shared, ENTITIES)
    at = address(shared, ENTITIES, row)
    shared[at + HASH] = entity_word(kind, key_0)
    shared[at + KEY_1] = key_1
    shared[at + KEY_2] = kind
    link(shared, ENTITY_INDEX, ENTITIES, row)
    return row


@kernel
def forget_entity(shared: Memory, row: int) -> None:
    """Remove an entity and its histories."""
    at = address(shared, ENTITIES, row)
    for level in range(SHARED_WINDOW_COUNT):
        free_history(shared, at + LEVELS + LEVEL_WORDS * level)
    forget_outcomes(shared, at)
    unlink(shared, ENTITY_INDEX, ENTITIES, row)
    release(shared, ENTITIES, row)


@kernel
def bucket_numbers(time_ms: int, visible_from_ms: int, out: NDArray[np.int64]) -> None:
    """Per window, the bucket of a time, the last bucket before the window that ends there, and the last one dropped.

    Queries from `visible_from_ms` on stay exact. `out` has a row a window of SHARED_WINDOWS_MS and three columns.
    """
    for level in range(len(RESOLUTIONS_MS)):
        out[level, AT] = time_ms // RESOLUTIONS_MS[level]
        out[level, BEFORE] = (time_ms - _WINDOWS[level]) // RESOLUTIONS_MS[level]
        out[level, DROPPED] = (visible_from_ms - _WINDOWS[level]) // RESOLUTIONS_MS[level]
