"""Shared entities: terminals, merchants and devices, whose payments come from every partition.

Their aggregates are integers in absolute buckets, one history per window with a resolution of 1/64 of the window, so
the order of adding does not matter and a hot entity is bounded (DESIGN, decisions 7 and 8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import BUCKET_WORDS, add_label, add_payment, free_chunks, window_sums
from detector.catalogue import WINDOW_FRACTION, WINDOWS_MS, window_needs
from detector.jit import kernel
from detector.layout import BUCKETS, ENTITIES, ENTITY_INDEX, LAST_TIME, LEVELS, WINDOW_COUNT
from detector.memory import HASH, KEY_1, KEY_2, Memory, address, allocate, find, link, mix, release, touch, unlink

RESOLUTIONS_MS: tuple[int, ...] = tuple(max(1, window // WINDOW_FRACTION) for window in WINDOWS_MS)
_WINDOWS = WINDOWS_MS
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
def _note_time(shared: Memory, row: int, time_ms: int) -> None:
    """Keep the entity's youngest time, which decides when it may be forgotten."""
    at = address(shared, ENTITIES, row)
    if time_ms > shared[at + LAST_TIME]:
        touch(shared, ENTITIES, row)
        shared[at + LAST_TIME] = time_ms


@kernel
def add_entity_payment(
    shared: Memory, kind: int, row: int, time_ms: int, sign: int, spends: int, spend: int, visible_from_ms: int
) -> None:
    """Add a payment to the windows of an entity, or take it back; queries from `visible_from_ms` on stay exact."""
    _note_time(shared, row, time_ms)
    for level in range(WINDOW_COUNT):
        if _PAYMENTS_NEEDED[kind, level]:
            resolution = RESOLUTIONS_MS[level]
            limit = (visible_from_ms - _WINDOWS[level]) // resolution
            column = LEVELS + 2 * level
            add_payment(shared, ENTITIES, row, column, BUCKETS, time_ms // resolution, limit, sign, spends, spend)


@kernel
def add_entity_label(
    shared: Memory, kind: int, row: int, time_ms: int, labelled: int, frauds: int, visible_from_ms: int
) -> None:
    """Add a label to the windows of an entity, or take it back with negative numbers."""
    _note_time(shared, row, time_ms)
    for level in range(WINDOW_COUNT):
        if _LABELS_NEEDED[kind, level]:
            resolution = RESOLUTIONS_MS[level]
            limit = (visible_from_ms - _WINDOWS[level]) // resolution
            column = LEVELS + 2 * level
            add_label(shared, ENTITIES, row, column, BUCKETS, time_ms // resolution, limit, labelled, frauds)


@kernel
def sum_windows(shared: Memory, row: int, time_ms: int, out: NDArray[np.int64]) -> None:
    """Sums of every window that ends at `time_ms`; out has the shape (WINDOW_COUNT, BUCKET_WORDS)."""
    at = address(shared, ENTITIES, row)
    for level in range(WINDOW_COUNT):
        last_chunk = shared[at + LEVELS + 2 * level + 1]
        if last_chunk == 0:
            for index in range(BUCKET_WORDS):
                out[level, index] = 0
        else:
            resolution = RESOLUTIONS_MS[level]
            low = (time_ms - _WINDOWS[level]) // resolution
            window_sums(shared, last_chunk, BUCKETS, low, time_ms // resolution, out[level])


@kernel
def forget_entity(shared: Memory, row: int) -> None:
    """Remove an entity and its buckets."""
    at = address(shared, ENTITIES, row)
    for level in range(WINDOW_COUNT):
        free_chunks(shared, BUCKETS, shared[at + LEVELS + 2 * level])
    unlink(shared, ENTITY_INDEX, ENTITIES, row)
    release(shared, ENTITIES, row)
