"""What leaves the ring of payments for the disk, and the labels that come to what is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.jit import kernel
from detector.layout import (
    BINS,
    COUNTED_ONCE,
    KEPT,
    KEPT_BINS,
    KEPT_INDEX,
    LABEL_STATE,
    LATE_LABEL,
    LATE_LABEL_INDEX,
    LATE_LABELS,
    PAYMENT_LEVEL,
    PAYMENT_STATE,
    PAYMENTS,
)
from detector.memory import (
    HASH,
    KEY_1,
    KEY_2,
    TAIL,
    USED,
    WIDTH,
    Memory,
    address,
    allocate,
    find,
    info,
    link,
    mix,
    put,
    release,
    save_row,
    set_info,
    unlink,
)
from detector.ring import ring_row, withdraw

# Places of a segment fit into so many bits.
_PLACE_BITS = 20


@kernel
def _keep(memory: Memory, row: int, level: int) -> None:
    """Copy a payment of the ring, with its bins, behind those that are to go to disk."""
    kept = info(memory, KEPT, USED)
    set_info(memory, KEPT, USED, kept + 1)
    set_info(memory, KEPT_BINS, USED, kept + 1)
    save_row(memory, KEPT, kept)
    save_row(memory, KEPT_BINS, kept)
    source, target = address(memory, PAYMENTS, row), address(memory, KEPT, kept)
    for word in range(info(memory, KEPT, WIDTH)):
        memory[target + word] = memory[source + word]
    memory[target + PAYMENT_LEVEL] = level | (COUNTED_ONCE if memory[source + LABEL_STATE] != 0 else 0)
    older = find(memory, KEPT_INDEX, KEPT, memory[target + HASH], memory[target + KEY_1], 0)
    if older != 0:
        unlink(memory, KEPT_INDEX, KEPT, older)
        put(memory, address(memory, KEPT, older) + PAYMENT_STATE, 0)
    link(memory, KEPT_INDEX, KEPT, kept)
    source, target = address(memory, BINS, row), address(memory, KEPT_BINS, kept)
    for word in range(info(memory, KEPT_BINS, WIDTH)):
        memory[target + word] = memory[source + word]


@kernel
def let_go(memory: Memory, levels: NDArray[np.int64], room: int) -> int:
    """Let go of the oldest payments of the ring, keeping those whose level is not below 0.

    Returns how many were let go of: fewer than there are levels where `room` payments are kept then.
    """
    for place in range(levels.shape[0]):
        if levels[place] >= 0 and info(memory, KEPT, USED) > room:
            return place
        sequence = info(memory, PAYMENTS, TAIL)
        row = ring_row(memory, sequence)
        if memory[address(memory, PAYMENTS, row) + PAYMENT_STATE] != 0:
            if levels[place] >= 0:
                _keep(memory, row, levels[place])
            withdraw(memory, row)
        set_info(memory, PAYMENTS, TAIL, sequence + 1)
    return levels.shape[0]


@kernel
def empty_kept(memory: Memory) -> None:
    """Forget the payments that have gone to disk."""
    for row in range(1, info(memory, KEPT, USED)):
        if memory[address(memory, KEPT, row) + PAYMENT_STATE] != 0:
            unlink(memory, KEPT_INDEX, KEPT, row)
    set_info(memory, KEPT, USED, 1)
    set_info(memory, KEPT_BINS, USED, 1)


@kernel
def row_number(number: int, place: int) -> int:
    """One number for the segment and the place in it, in the order of both."""
    return (number << _PLACE_BITS) | place


@kernel
def _find_late_label(memory: Memory, number: int, place: int) -> int:
    """The row of the label that came to a payment of a segment, or 0."""
    return find(memory, LATE_LABEL_INDEX, LATE_LABELS, mix(row_number(number, place)), number, place)


@kernel
def fill_late_labels(
    memory: Memory, number: NDArray[np.int64], place: NDArray[np.int64], label_state: NDArray[np.int64]
) -> None:
    """Put the labels that came to payments of segments in place of those stored with them."""
    for index in range(number.shape[0]):
        row = _find_late_label(memory, number[index], place[index])
        if row != 0:
            label_state[index] = memory[address(memory, LATE_LABELS, row) + LATE_LABEL]


@kernel
def note_late_labels(
    memory: Memory, number: NDArray[np.int64], place: NDArray[np.int64], label_state: NDArray[np.int64]
) -> None:
    """Remember the labels of payments of segments; there is room for them."""
    for index in range(number.shape[0]):
        row = _find_late_label(memory, number[index], place[index])
        if row != 0:
            put(memory, address(memory, LATE_LABELS, row) + LATE_LABEL, label_state[index])
            continue
        row = allocate(memory, LATE_LABELS)
        at = address(memory, LATE_LABELS, row)
        memory[at + HASH] = mix(row_number(number[index], place[index]))
        memory[at + KEY_1], memory[at + KEY_2] = number[index], place[index]
        memory[at + LATE_LABEL] = label_state[index]
        link(memory, LATE_LABEL_INDEX, LATE_LABELS, row)


@kernel
def forget_late_labels(memory: Memory, number: int) -> None:
    """Forget all labels that came to a segment."""
    for row in range(1, info(memory, LATE_LABELS, USED)):
        at = address(memory, LATE_LABELS, row)
        if memory[at + LATE_LABEL] != 0 and memory[at + KEY_1] == number:
            unlink(memory, LATE_LABEL_INDEX, LATE_LABELS, row)
            release(memory, LATE_LABELS, row)
