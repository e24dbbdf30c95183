"""Histories of absolute time buckets: integers that commute, and windows over them that slide.

A history is a time-ordered run of non-empty buckets, a bucket being `number = time_ms // resolution` with integer
counts and sums. Adding is commutative, so the order in which partitions, workers or labels arrive does not matter. A
bucket is four words, two of them holding two counts of 32 bits each; the buckets of a history lie side by side in one
block of the arena. Counts are never negative: what takes back follows what was added, in the log of one partition.
What the third and fourth word count is the owner's choice: frauds and spent, or classes of cards
(`detector.distinct`).

The owner of a history keeps eight words, at `level`: block and bounds, and the sums of one range of bucket numbers
(cut, top]. A query moves both ends to where it wants them, so a bucket enters and leaves once, however many payments
ask. Partitions take turns and may be hours apart in event time; then the range moves back. Which range is kept is no
part of the state that a digest covers. Whoever calls a function that changes a history has saved its eight words.
"""

from __future__ import annotations

from detector.arena import allocate_block, entries_of, free_block, order_with_room
from detector.jit import constants, kernel
from detector.memory import Memory, mark, save

# Words of a level.
BLOCK, BOUNDS, CUT, TOP, SUMS = constants(5)
LEVEL_WORDS = 8
# Words of a bucket, and of sums: the bucket's number below a count, spends below labelled, frauds, and what was spent.
_COUNTED, _SPENDS, _FRAUDS, _SPENT = constants(4)
BUCKET_WORDS = 4
_HALF_BITS = 32
_HALF_MASK = (1 << _HALF_BITS) - 1
# Bounds: the first bucket in use, the place behind the last, the first that is above the cut, and the block's order.
_STOP_SHIFT, _INSIDE_SHIFT, _ORDER_SHIFT = 19, 38, 57
_PLACE_MASK = (1 << 19) - 1

# What is added: payments, spends, labelled, frauds, spent.
Amounts = tuple[int, int, int, int, int]


@kernel
def first_of(memory: Memory, level: int) -> int:
    """The place of the first bucket in use."""
    return memory[level + BOUNDS] & _PLACE_MASK


@kernel
def stop_of(memory: Memory, level: int) -> int:
    """The place behind the last bucket."""
    return (memory[level + BOUNDS] >> _STOP_SHIFT) & _PLACE_MASK


@kernel
def inside_of(memory: Memory, level: int) -> int:
    """The place of the first bucket above the cut."""
    return (memory[level + BOUNDS] >> _INSIDE_SHIFT) & _PLACE_MASK


@kernel
def order_of(memory: Memory, level: int) -> int:
    """The block's order."""
    return memory[level + BOUNDS] >> _ORDER_SHIFT


@kernel
def _set_bounds(memory: Memory, level: int, first: int, stop: int, inside: int, order: int) -> None:
    """Keep where the buckets are."""
    bounds = first | (stop << _STOP_SHIFT) | (inside << _INSIDE_SHIFT) | (order << _ORDER_SHIFT)
    memory[level + BOUNDS] = bounds


@kernel
def bucket_at(memory: Memory, level: int, place: int) -> int:
    """The address of a bucket."""
    return memory[level + BLOCK] + place * BUCKET_WORDS


@kernel
def _number(memory: Memory, level: int, place: int) -> int:
    """A bucket's number."""
    return memory[bucket_at(memory, level, place)] & _HALF_MASK


@kernel
def _count_in(memory: Memory, level: int, place: int, sign: int) -> None:
    """Count a bucket into (1) or out of (-1) the sums."""
    bucket, sums = bucket_at(memory, level, place), level + SUMS
    memory[sums + _COUNTED] += sign * (memory[bucket + _COUNTED] >> _HALF_BITS)
    for word in range(1, BUCKET_WORDS):
        memory[sums + word] += sign * memory[bucket + word]


@kernel
def _find(memory: Memory, level: int, number: int) -> int:
    """The place of the last bucket up to this number, or the one before the first: looked for from behind."""
    place, first = stop_of(memory, level) - 1, first_of(memory, level)
    while place >= first and _number(memory, level, place) > number:
        place -= 1
    return place


@kernel
def _sum_anew(memory: Memory, level: int, low: int, high: int) -> None:
    """Sum the buckets low < number <= high from nothing."""
    for word in range(BUCKET_WORDS):
        memory[level + SUMS + word] = 0
    place, first, stop = _find(memory, level, high), first_of(memory, level), stop_of(memory, level)
    while place >= first and _number(memory, level, place) > low:
        _count_in(memory, level, place, 1)
        place -= 1
    _set_bounds(memory, level, first, stop, place + 1, order_of(memory, level))


@kernel
def slide(memory: Memory, level: int, low: int, high: int) -> None:
    """Make the sums those of the buckets low < number <= high."""
    cut, top = memory[level + CUT], memory[level + TOP]
    memory[level + CUT], memory[level + TOP] = low, high
    if memory[level + BLOCK] == 0 or (low == cut and high == top):
        return
    if low >= top or high <= cut:
        _sum_anew(memory, level, low, high)
        return
    first, stop, inside = first_of(memory, level), stop_of(memory, level), inside_of(memory, level)
    while inside < stop and _number(memory, level, inside) <= low:
        if _number(memory, level, inside) <= top:
            _count_in(memory, level, inside, -1)
        inside += 1
    while inside > first and _number(memory, level, inside - 1) > low:
        inside -= 1
        if _number(memory, level, inside) <= top:
            _count_in(memory, level, inside, 1)
    _set_bounds(memory, level, first, stop, inside, order_of(memory, level))
    place = stop - 1
    while place >= inside and _number(memory, level, place) > min(top, high):
        number = _number(memory, level, place)
        if top < number <= high:
            _count_in(memory, level, place, 1)
        elif high < number <= top:
            _count_in(memory, level, place, -1)
        place -= 1


@kernel
def _move(memory: Memory, level: int, first: int, block: int, order: int) -> None:
    """Move the buckets from `first` on to the front of a block."""
    live, inside = stop_of(memory, level) - first, max(inside_of(memory, level), first) - first
    start = bucket_at(memory, level, first)
    for word in range(live * BUCKET_WORDS):
        memory[block + word] = memory[start + word]
    memory[level + BLOCK] = block
    _set_bounds(memory, level, 0, live, inside, order)


@kernel
def _replace_block(memory: Memory, level: int, limit: int) -> bool:
    """Move the buckets above `limit` into a block with room for more; False where the arena has none."""
    if memory[level + CUT] < limit:
        # What is dropped leaves the sums first.
        slide(memory, level, limit, max(limit, memory[level + TOP]))
    old, old_order = memory[level + BLOCK], order_of(memory, level)
    first, stop = first_of(memory, level), stop_of(memory, level)
    while first < stop and _number(memory, level, first) <= limit:
        first += 1
    live = stop - first
    order = order_with_room(live)
    block = allocate_block(memory, order) if entries_of(order) <= _PLACE_MASK else 0
    if block == 0:
        return False
    _move(memory, level, first, block, order)
    if old != 0:
        free_block(memory, old, old_order)
    return True


@kernel
def _insert(memory: Memory, level: int, place: int, number: int) -> None:
    """Open an empty bucket at a place of a block with room, saving what moves; the place behind the last needs none."""
    first, stop, inside = first_of(memory, level), stop_of(memory, level), inside_of(memory, level)
    start = bucket_at(memory, level, place)
    if place < stop:
        save(memory, start, (stop + 1 - place) * BUCKET_WORDS)
        for word in range((stop - place) * BUCKET_WORDS - 1, -1, -1):
            memory[start + BUCKET_WORDS + word] = memory[start + word]
    else:
        mark(memory, start, BUCKET_WORDS)
    for word in range(BUCKET_WORDS):
        memory[start + word] = 0
    memory[start] = number
    if number <= memory[level + CUT]:
        inside += 1
    _set_bounds(memory, level, first, stop + 1, inside, order_of(memory, level))


@kernel
def add(memory: Memory, level: int, number: int, limit: int, amounts: Amounts) -> bool:
    """Add amounts to a bucket, or take them back with negative ones; no query sees buckets up to `limit` any more.

    Returns:
        False where the arena has no room; then no bucket has changed.
    """
    place = -1
    if memory[level + BLOCK] != 0:
        place = _find(memory, level, number)
    if memory[level + BLOCK] == 0 or place < first_of(memory, level) or _number(memory, level, place) != number:
        if memory[level + BLOCK] == 0 or stop_of(memory, level) == entries_of(order_of(memory, level)):
            if not _replace_block(memory, level, limit):
                return False
            place = _find(memory, level, number)
        place += 1
        _insert(memory, level, place, number)
    else:
        save(memory, bucket_at(memory, level, place), BUCKET_WORDS)
    counted, labelled = amounts[0], amounts[1] + amounts[2] * (1 << _HALF_BITS)
    bucket, sums = bucket_at(memory, level, place), level + SUMS
    memory[bucket + _COUNTED] += counted * (1 << _HALF_BITS)
    memory[bucket + _SPENDS] += labelled
    memory[bucket + _FRAUDS] += amounts[3]
    memory[bucket + _SPENT] += amounts[4]
    if memory[level + CUT] < number <= memory[level + TOP]:
        memory[sums + _COUNTED] += counted
        memory[sums + _SPENDS] += labelled
        memory[sums + _FRAUDS] += amounts[3]
        memory[sums + _SPENT] += amounts[4]
    return True


@kernel
def sums_of(memory: Memory, level: int) -> Amounts:
    """Payments, spends, labelled, frauds and spent of the range that the history was slid to."""
    sums = level + SUMS
    pair = memory[sums + _SPENDS]
    return (
        memory[sums + _COUNTED], pair & _HALF_MASK, pair >> _HALF_BITS, memory[sums + _FRAUDS], memory[sums + _SPENT],
    )  # fmt: skip


@kernel
def free_history(memory: Memory, level: int) -> None:
    """Give a history's block back."""
    if memory[level + BLOCK] != 0:
        free_block(memory, memory[level + BLOCK], order_of(memory, level))


def list_buckets(memory: Memory, level: int) -> list[tuple[int, ...]]:
    """The buckets in time order: number, payments, spends, labelled, frauds, spent (for digests and inspection)."""
    buckets: list[tuple[int, ...]] = []
    for place in range(int(first_of(memory, level)), int(stop_of(memory, level))):
        start = int(bucket_at(memory, level, place))
        counted, pair, frauds, spent = (int(word) for word in memory[start : start + BUCKET_WORDS])
        numbers = (counted & _HALF_MASK, counted >> _HALF_BITS, pair & _HALF_MASK, pair >> _HALF_BITS)
        buckets.append((*numbers, frauds, spent))
    return buckets
