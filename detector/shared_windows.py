"""What payments and labels add to the histories of shared entities, and the sums of their windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import LEVEL_WORDS, Amounts, add, slide, sums_of
from detector.errors import CapacityError
from detector.eviction import evict_entity
from detector.jit import constants, kernel
from detector.layout import ENTITIES, LAST_TIME, LEVELS, SHARED_HOUR, SHARED_LONGEST, SHARED_WINDOW_COUNT
from detector.memory import Memory, address, has_room, save_row
from detector.outcomes import allocate_outcomes, has_outcomes, set_outcome
from detector.shared import AT, BEFORE, DROPPED, create_entity, find_entity

_NONE = constants(1)[0]
# Which windows of a kind count payments: 0 none, 1 all, 2 only where the entity is the payment's place; and labels.
_NOT, _ALWAYS, _AS_PLACE = range(3)
_PAYMENT_WINDOWS = np.array(
    [
        [_AS_PLACE, _AS_PLACE, _NOT],
        [_AS_PLACE, _AS_PLACE, _ALWAYS],
        [_ALWAYS, _ALWAYS, _NOT],
        [_NOT, _NOT, _ALWAYS],
    ]
)  # fmt: skip
_LABEL_WINDOWS = np.array([[_NOT] * 3, [_NOT, _NOT, _ALWAYS], [_NOT, _NOT, _ALWAYS], [_NOT] * 3])


@kernel
def _counts(kind: int, window: int, is_place: int) -> bool:
    """Whether a window of an entity counts this payment."""
    needed = _PAYMENT_WINDOWS[kind, window]
    return needed == _ALWAYS or (needed == _AS_PLACE and is_place != 0)


@kernel
def find_or_create_entity(shared: Memory, kind: int, key_0: int, key_1: int, time_ms: int) -> int:
    """The entity's row, saved for changes; it is remembered for the sake of this time from now on."""
    row = find_entity(shared, kind, key_0, key_1)
    if row != 0:
        save_row(shared, ENTITIES, row)
    else:
        while not has_room(shared, ENTITIES, 1):
            evict_entity(shared, 0)
        row = create_entity(shared, kind, key_0, key_1)
    last = address(shared, ENTITIES, row) + LAST_TIME
    shared[last] = max(shared[last], time_ms)
    return row


@kernel
def history_of(shared: Memory, row: int, window: int) -> int:
    """Where the words of a window's history stand."""
    return address(shared, ENTITIES, row) + LEVELS + LEVEL_WORDS * window


@kernel
def _add(shared: Memory, row: int, window: int, numbers: NDArray[np.int64], amounts: Amounts) -> None:
    """Add amounts to a window's history, forgetting other entities where there is no room.

    `numbers` are those of the window alone.
    """
    history = history_of(shared, row, window)
    while not add(shared, history, numbers[AT], numbers[DROPPED], amounts):
        if not evict_entity(shared, row):
            raise CapacityError


@kernel
def add_entity_payment(
    shared: Memory, kind: int, row: int, is_place: int, amounts: Amounts, of_card: Amounts, numbers: NDArray[np.int64]
) -> None:
    """Add a payment to the windows of an entity that count it, or take it back with negative amounts.

    `numbers` are the `bucket_numbers` of its time. Of a category, `amounts` hold the logarithm and its square. The
    window of an hour counts `of_card` instead: `detector.distinct`.
    """
    for window in range(SHARED_WINDOW_COUNT):
        if _counts(kind, window, is_place):
            _add(shared, row, window, numbers[window], of_card if window == SHARED_HOUR else amounts)


@kernel
def _add_label(shared: Memory, row: int, window: int, numbers: NDArray[np.int64], labelled: int, frauds: int) -> None:
    """Add a label to a window's history at its payment's own time; what no query can see any more is left out."""
    if numbers[AT] > numbers[DROPPED]:
        _add(shared, row, window, numbers, (_NONE, _NONE, labelled, frauds, _NONE))


@kernel
def add_entity_label(
    shared: Memory, kind: int, row: int, labelled: int, frauds: int, numbers: NDArray[np.int64]
) -> None:
    """Add a payment's label to the windows of an entity, or take it back with negative numbers.

    `numbers` are the `bucket_numbers` of the payment's time.
    """
    for window in range(SHARED_WINDOW_COUNT):
        if _LABEL_WINDOWS[kind, window] == _ALWAYS:
            _add_label(shared, row, window, numbers[window], labelled, frauds)


@kernel
def slide_windows(shared: Memory, kind: int, row: int, is_place: int, numbers: NDArray[np.int64]) -> None:
    """Let the windows of an entity that some feature asks for end where `numbers` say."""
    for window in range(SHARED_WINDOW_COUNT):
        if _counts(kind, window, is_place) or _LABEL_WINDOWS[kind, window] == _ALWAYS:
            slide(shared, history_of(shared, row, window), numbers[window, BEFORE], numbers[window, AT])


@kernel
def pattern_sums(shared: Memory, row: int, numbers: NDArray[np.int64]) -> tuple[int, int]:
    """How many payments of a pattern have a known outcome, and how many of them were frauds."""
    history = history_of(shared, row, SHARED_HOUR)
    slide(shared, history, numbers[SHARED_LONGEST, BEFORE], numbers[SHARED_LONGEST, AT])
    _, _, labelled, frauds, _ = sums_of(shared, history)
    return labelled, frauds


@kernel
def add_pattern_label(shared: Memory, row: int, labelled: int, frauds: int, numbers: NDArray[np.int64]) -> None:
    """Add a payment's label to its pattern, or take it back with negative numbers; `numbers` as above."""
    _add_label(shared, row, SHARED_HOUR, numbers[SHARED_LONGEST], labelled, frauds)


@kernel
def note_outcome(shared: Memory, row: int, word: int) -> None:
    """Add an outcome to a place, or put a corrected one in its place; forgets other entities where there is no room."""
    at = address(shared, ENTITIES, row)
    while not has_outcomes(shared, at):
        if not allocate_outcomes(shared, at) and not evict_entity(shared, row):
            raise CapacityError
    set_outcome(shared, at, word)
