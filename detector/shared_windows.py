"""What payments and labels add to the histories of shared entities, and the sums of their windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import LEVEL_WORDS, Amounts, add, slide
from detector.catalogue import window_needs
from detector.errors import CapacityError
from detector.eviction import evict_entity
from detector.jit import constants, kernel
from detector.layout import ENTITIES, LAST_TIME, LEVELS, WINDOW_COUNT
from detector.memory import Memory, address, has_room, save_row
from detector.shared import AT, BEFORE, DROPPED, create_entity, find_entity

_NONE = constants(1)[0]
_PAYMENTS_NEEDED = np.array(window_needs(labels=False))
_LABELS_NEEDED = np.array(window_needs(labels=True))
_ANY_NEEDED = _PAYMENTS_NEEDED | _LABELS_NEEDED


@kernel
def find_or_create_entity(shared: Memory, kind: int, key_0: int, key_1: int) -> int:
    """The entity's row, saved for changes."""
    row = find_entity(shared, kind, key_0, key_1)
    if row != 0:
        save_row(shared, ENTITIES, row)
        return row
    while not has_room(shared, ENTITIES, 1):
        evict_entity(shared, 0)
    return create_entity(shared, kind, key_0, key_1)


@kernel
def history_of(shared: Memory, row: int, window: int) -> int:
    """Where the words of a window's history stand."""
    return address(shared, ENTITIES, row) + LEVELS + LEVEL_WORDS * window


@kernel
def _add(shared: Memory, row: int, window: int, numbers: NDArray[np.int64], amounts: Amounts) -> None:
    """Add amounts to a window's history, forgetting other entities where there is no room."""
    history = history_of(shared, row, window)
    while not add(shared, history, numbers[window, AT], numbers[window, DROPPED], amounts):
        if not evict_entity(shared, row):
            raise CapacityError


@kernel
def add_entity_payment(
    shared: Memory, kind: int, row: int, time_ms: int, amounts: tuple[int, int, int], numbers: NDArray[np.int64]
) -> None:
    """Add a payment (`amounts`: count, spends, spent) to the windows of an entity, or take it back with negative ones.

    `numbers` are the `bucket_numbers` of its time.
    """
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)
    for window in range(WINDOW_COUNT):
        if _PAYMENTS_NEEDED[kind, window]:
            _add(shared, row, window, numbers, (amounts[0], amounts[1], _NONE, _NONE, amounts[2]))


@kernel
def add_entity_label(
    shared: Memory, kind: int, row: int, time_ms: int, labelled: int, frauds: int, numbers: NDArray[np.int64]
) -> None:
    """Add a label to the windows of an entity, or take it back with negative numbers."""
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)
    for window in range(WINDOW_COUNT):
        if _LABELS_NEEDED[kind, window]:
            _add(shared, row, window, numbers, (_NONE, _NONE, labelled, frauds, _NONE))


@kernel
def slide_windows(shared: Memory, kind: int, row: int, numbers: NDArray[np.int64]) -> None:
    """Let the windows of an entity that some feature asks for end where `numbers` say."""
    for window in range(WINDOW_COUNT):
        if _ANY_NEEDED[kind, window]:
            slide(shared, history_of(shared, row, window), numbers[window, BEFORE], numbers[window, AT])
