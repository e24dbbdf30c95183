"""Histories of absolute time buckets: integers that commute.

A history is a time-ordered run of non-empty buckets, a bucket being `number = time_ms // resolution` with integer
counts and sums. Adding is commutative, so the order in which partitions, workers or labels arrive does not matter. The
buckets lie in one block of the arena, column by column: first the sums of 64 bits, then columns of uint32. The owner
keeps two words, at `level`: the block's address, and packed the first bucket in use, how many are, and the block's
order. Whoever calls a function that changes a history has saved these two words.

A window is never more than 1/64 of itself coarse, so a query looks at the last 65 buckets at the most; what lies
further back is dropped when a block is replaced.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.arena import allocate_block, entries_of, free_block, order_for
from detector.catalogue import WINDOW_FRACTION
from detector.jit import kernel
from detector.memory import Memory, save

# Words of what a query returns and of what is added, in this order.
COUNT, SPENDS, LABELLED, FRAUDS, SPEND_SUM = range(5)
SUM_WORDS = 5
Amounts = tuple[int, int, int, int, int]
# Columns of uint32 behind the sums: the bucket's number, and the counts in the order above.
_NUMBER, _COUNTS = 0, 1
_COUNT_COLUMNS = 4
_FIRST_ENTRIES = 4
_SPARE = 3
_FIRST_BITS, _FILL_BITS = 24, 24
_MASK = (1 << 24) - 1
_LONGEST_QUERY = WINDOW_FRACTION + 1


@kernel
def first_of(memory: Memory, level: int) -> int:
    """The first bucket in use, as a place in the block."""
    return memory[level + 1] & _MASK


@kernel
def stop_of(memory: Memory, level: int) -> int:
    """The place behind the last bucket."""
    return (memory[level + 1] >> _FIRST_BITS) & _MASK


@kernel
def order_of(memory: Memory, level: int) -> int:
    """The block's order."""
    return memory[level + 1] >> (_FIRST_BITS + _FILL_BITS)


@kernel
def _set_range(memory: Memory, level: int, first: int, stop: int, order: int) -> None:
    """Keep which buckets are in use."""
    memory[level + 1] = first | (stop << _FIRST_BITS) | (order << (_FIRST_BITS + _FILL_BITS))


@kernel
def column_start(block: int, order: int, column: int) -> int:
    """Where a column of uint32 starts, in the memory seen as such."""
    return 2 * block + (2 + column) * entries_of(order)


@kernel
def _find(half: NDArray[np.uint32], numbers: int, first: int, stop: int, number: int) -> int:
    """The place of the last bucket up to this number, or the one before `first`: looked for from behind."""
    place = stop - 1
    while place >= first and np.int64(half[numbers + place]) > number:
        place -= 1
    return place


@kernel
def _replace_block(memory: Memory, half: NDArray[np.uint32], level: int, limit: int) -> bool:
    """Move the buckets above `limit` into a block with room for more; False where the arena has none."""
    first, stop, old, old_order = (
        first_of(memory, level),
        stop_of(memory, level),
        memory[level],
        order_of(memory, level),
    )
    while first < stop and np.int64(half[column_start(old, old_order, _NUMBER) + first]) <= limit:
        first += 1
    live = stop - first
    order = order_for(max(_FIRST_ENTRIES, live + live // _SPARE + 1))
    block = allocate_block(memory, order)
    if block == 0:
        return False
    if old != 0:
        for place in range(live):
            memory[block + place] = memory[old + first + place]
        for column in range(1 + _COUNT_COLUMNS):
            source, target = column_start(old, old_order, column) + first, column_start(block, order, column)
            for place in range(live):
                half[target + place] = half[source + place]
        free_block(memory, old, old_order)
    memory[level] = block
    _set_range(memory, level, 0, live, order)
    return True


@kernel
def _insert(memory: Memory, half: NDArray[np.uint32], level: int, place: int, number: int) -> None:
    """Open an empty bucket at a place of a block with room, saving what moves."""
    block, order, stop = memory[level], order_of(memory, level), stop_of(memory, level)
    if place < stop:
        save(memory, block + place, stop + 1 - place)
        for column in range(1 + _COUNT_COLUMNS):
            start = column_start(block, order, column)
            save(memory, (start + place) // 2, (start + stop) // 2 - (start + place) // 2 + 1)
            for index in range(stop, place, -1):
                half[start + index] = half[start + index - 1]
        for index in range(stop, place, -1):
            memory[block + index] = memory[block + index - 1]
    # What is written at the end lies beyond all buckets in use, and needs no saving.
    memory[block + place] = 0
    half[column_start(block, order, _NUMBER) + place] = number
    for column in range(_COUNTS, _COUNTS + _COUNT_COLUMNS):
        half[column_start(block, order, column) + place] = 0
    _set_range(memory, level, first_of(memory, level), stop + 1, order)


@kernel
def add(memory: Memory, half: NDArray[np.uint32], level: int, number: int, limit: int, amounts: Amounts) -> bool:
    """Add amounts to a bucket, or take them back with negative ones; no query sees buckets up to `limit` any more.

    Returns:
        False where the arena has no room; then nothing has changed.
    """
    block, order = memory[level], order_of(memory, level)
    first, stop = first_of(memory, level), stop_of(memory, level)
    place = -1
    if block != 0:
        place = _find(half, column_start(block, order, _NUMBER), first, stop, number)
    if block == 0 or place < first or np.int64(half[column_start(block, order, _NUMBER) + place]) != number:
        if block == 0 or stop == entries_of(order):
            if not _replace_block(memory, half, level, limit):
                return False
            block, order = memory[level], order_of(memory, level)
            place = _find(
                half, column_start(block, order, _NUMBER), first_of(memory, level), stop_of(memory, level), number
            )
        place += 1
        _insert(memory, half, level, place, number)
    else:
        save(memory, block + place, 1)
        for column in range(_COUNTS, _COUNTS + _COUNT_COLUMNS):
            if amounts[column - _COUNTS] != 0:
                save(memory, (column_start(block, order, column) + place) // 2, 1)
    memory[block + place] += amounts[SPEND_SUM]
    for column in range(_COUNTS, _COUNTS + _COUNT_COLUMNS):
        if amounts[column - _COUNTS] != 0:
            index = column_start(block, order, column) + place
            half[index] = np.uint32(np.int64(half[index]) + amounts[column - _COUNTS])
    return True


@kernel
def sum_range(
    memory: Memory, half: NDArray[np.uint32], level: int, low: int, high: int, out: NDArray[np.int64]
) -> None:
    """Sum the buckets with `low < number <= high` into `out`, which has SUM_WORDS elements."""
    out[:] = 0
    block = memory[level]
    if block == 0:
        return
    order, first, stop = order_of(memory, level), first_of(memory, level), stop_of(memory, level)
    numbers = column_start(block, order, _NUMBER)
    stop = _find(half, numbers, first, stop, high) + 1
    start = max(first, stop - _LONGEST_QUERY)
    while start < stop and np.int64(half[numbers + start]) <= low:
        start += 1
    for column in range(_COUNTS, _COUNTS + _COUNT_COLUMNS):
        values = column_start(block, order, column)
        total = np.int32(0)
        for place in range(start, stop):
            total += np.int32(half[np.uint64(values + place)])
        out[column - _COUNTS] = total
    spent = 0
    for place in range(start, stop):
        spent += memory[np.uint64(block + place)]
    out[SPEND_SUM] = spent


@kernel
def free_history(memory: Memory, level: int) -> None:
    """Give a history's block back."""
    if memory[level] != 0:
        free_block(memory, memory[level], order_of(memory, level))


def list_buckets(memory: Memory, level: int) -> list[tuple[int, ...]]:
    """The buckets in time order: number, then the words of a sum (for digests and inspection)."""
    half = memory.view(np.uint32)
    block, order = int(memory[level]), int(order_of(memory, level))
    buckets: list[tuple[int, ...]] = []
    for place in range(int(first_of(memory, level)), int(stop_of(memory, level))):
        number = int(half[column_start(block, order, _NUMBER) + place])
        counts = [
            int(half[column_start(block, order, column) + place].astype(np.int32))
            for column in range(_COUNTS, _COUNTS + _COUNT_COLUMNS)
        ]
        buckets.append((number, *counts, int(memory[block + place])))
    return buckets
