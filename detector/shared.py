"""Shared entities: terminals, merchants and devices, whose payments come from every partition.

Their aggregates are integers in absolute buckets, one history per window with a resolution of 1/64 of the window, so
the order of adding does not matter and a hot entity is bounded (DESIGN, decisions 7 and 8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import BUCKET_WORDS, free_chunks
from detector.catalogue import WINDOW_FRACTION, WINDOWS_MS, window_needs
from detector.jit import constants, kernel
from detector.layout import BUCKETS, ENTITIES, ENTITY_INDEX, LAST_TIME, LEVELS, WINDOW_COUNT
from detector.memory import HASH, KEY_1, KEY_2, Memory, address, allocate, find, link, mix, release, touch, unlink
from detector.sliding import SUMS, WINDOW_WORDS, add_sliding, slide

RESOLUTIONS_MS: tuple[int, ...] = tuple(max(1, window // WINDOW_FRACTION) for window in WINDOWS_MS)
_WINDOWS = WINDOWS_MS
_NONE = constants(1)[0]
# Columns of `bucket_numbers`.
_AT, _BEFORE, _DROPPED = constants(3)
_PAYMENTS_NEEDED = np.array(window_needs(labels=False))
_LABELS_NEEDED = np.array(window_needs(labels=True))


@kernel
def find_or_create_entity(shared: Memory, kind: int, key_0: int, key_1: int) -> int:
    """The entity's row."""
    word = key_0 ^ mix(kind)
    row = find(shared, ENTITY_INDEX, ENTITIES, word, key_1, kind)
    if row != 0:
        return row
    row = allocate(shared, ENTITIES)
    at = address(shared, ENTITIES, row)
    shared[at + HASH] = word
    shared[at + KEY_1] = key_1
    shared[at + KEY_2] = kind
    link(shared, ENTITY_INDEX, ENTITIES, row)
    return row


@kernel
def _touch_at(shared: Memory, row: int, time_ms: int) -> None:
    """Make the entity's row ready for changes, and keep its youngest time, which decides when it may be forgotten."""
    touch(shared, ENTITIES, row)
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)


@kernel
def bucket_numbers(time_ms: int, visible_from_ms: int, out: NDArray[np.int64]) -> None:
    """Per window, the bucket of a time, the last bucket before the window that ends there, and the last one dropped.

    Queries from `visible_from_ms` on stay exact. `out` has the shape (WINDOW_COUNT, 3).
    """
    for level in range(WINDOW_COUNT):
        out[level, _AT] = time_ms // RESOLUTIONS_MS[level]
        out[level, _BEFORE] = (time_ms - _WINDOWS[level]) // RESOLUTIONS_MS[level]
        out[level, _DROPPED] = (visible_from_ms - _WINDOWS[level]) // RESOLUTIONS_MS[level]


@kernel
def add_entity_payment(
    shared: Memory, kind: int, row: int, time_ms: int, sign: int, spends: int, spend: int, numbers: NDArray[np.int64]
) -> None:
    """Add a payment to the windows of an entity, or take it back; `numbers` are its `bucket_numbers`."""
    _touch_at(shared, row, time_ms)
    amounts = (sign, sign * spends, sign * spend, _NONE, _NONE)
    for level in range(WINDOW_COUNT):
        if _PAYMENTS_NEEDED[kind, level]:
            column = LEVELS + WINDOW_WORDS * level
            add_sliding(shared, ENTITIES, row, column, BUCKETS, numbers[level, _AT], numbers[level, _DROPPED], amounts)


@kernel
def add_entity_label(
    shared: Memory, kind: int, row: int, time_ms: int, labelled: int, frauds: int, numbers: NDArray[np.int64]
) -> None:
    """Add a label to the windows of an entity, or take it back with negative numbers."""
    _touch_at(shared, row, time_ms)
    amounts = (_NONE, _NONE, _NONE, labelled, frauds)
    for level in range(WINDOW_COUNT):
        if _LABELS_NEEDED[kind, level]:
            column = LEVELS + WINDOW_WORDS * level
            add_sliding(shared, ENTITIES, row, column, BUCKETS, numbers[level, _AT], numbers[level, _DROPPED], amounts)


@kernel
def sum_windows(shared: Memory, row: int, numbers: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Sums of every window; `numbers` say where they end, out has the shape (WINDOW_COUNT, BUCKET_WORDS)."""
    touch(shared, ENTITIES, row)
    at = address(shared, ENTITIES, row)
    for level in range(WINDOW_COUNT):
        window = at + LEVELS + WINDOW_WORDS * level
        slide(shared, BUCKETS, window, numbers[level, _BEFORE], numbers[level, _AT])
        out[level, 0] = 0
        for word in range(1, BUCKET_WORDS):
            out[level, word] = shared[window + SUMS + word - 1]


@kernel
def forget_entity(shared: Memory, row: int) -> None:
    """Remove an entity and its buckets."""
    at = address(shared, ENTITIES, row)
    for level in range(WINDOW_COUNT):
        free_chunks(shared, BUCKETS, shared[at + LEVELS + WINDOW_WORDS * level])
    unlink(shared, ENTITY_INDEX, ENTITIES, row)
    release(shared, ENTITIES, row)
