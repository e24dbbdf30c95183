"""What payments and labels add to the histories of shared entities, and the sums of their windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import Amounts, add, sum_range
from detector.catalogue import window_needs
from detector.errors import CapacityError
from detector.eviction import evict_entity
from detector.jit import constants, kernel
from detector.layout import ENTITIES, LAST_TIME, LEVEL_WORDS, LEVELS, WINDOW_COUNT
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
def _add(
    shared: Memory, half: NDArray[np.uint32], row: int, level: int, numbers: NDArray[np.int64], amounts: Amounts
) -> None:
    """Add amounts to a window's history, forgetting other entities where there is no room."""
    history = address(shared, ENTITIES, row) + LEVELS + LEVEL_WORDS * level
    while not add(shared, half, history, numbers[level, AT], numbers[level, DROPPED], amounts):
        if not evict_entity(shared, row):
            raise CapacityError


@kernel
def add_entity_payment(
    shared: Memory, half: NDArray[np.uint32], kind: int, row: int, time_ms: int, amounts: tuple[int, int, int],
    numbers: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add a payment (`amounts`: count, spends, spent) to the windows of an entity, or take it back with negative ones.

    `numbers` are the `bucket_numbers` of its time.
    """
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)
    for level in range(WINDOW_COUNT):
        if _PAYMENTS_NEEDED[kind, level]:
            _add(shared, half, row, level, numbers, (amounts[0], amounts[1], _NONE, _NONE, amounts[2]))


@kernel
def add_entity_label(
    shared: Memory, half: NDArray[np.uint32], kind: int, row: int, time_ms: int, labelled: int, frauds: int,
    numbers: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add a label to the windows of an entity, or take it back with negative numbers."""
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)
    for level in range(WINDOW_COUNT):
        if _LABELS_NEEDED[kind, level]:
            _add(shared, half, row, level, numbers, (_NONE, _NONE, labelled, frauds, _NONE))


@kernel
def sum_window(
    shared: Memory, half: NDArray[np.uint32], kind: int, row: int, level: int, numbers: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:  # fmt: skip
    """The sums of one window of an entity that ends where `numbers` say, all 0 where no feature asks for it."""
    if _ANY_NEEDED[kind, level]:
        history = address(shared, ENTITIES, row) + LEVELS + LEVEL_WORDS * level
        sum_range(shared, half, history, numbers[level, BEFORE], numbers[level, AT], out)
    else:
        out[:] = 0
