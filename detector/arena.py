"""The arena: blocks of memory that grow with what a card or an entity remembers.

A history lies in one block, so that walking it reads memory in order. Blocks are powers of two of a unit of 128 bytes,
cut and joined as buddies: what is freed grows together again, so room never crumbles. Source: Knuth, *The Art of
Computer Programming* 1, 2.5, algorithms R and S.

A block's owner remembers its order. The map holds, for the first unit of a free block, its order plus one; the first
two words of a free block link it with those of its order. Every change is saved to the journal of `detector.memory`.
"""

from __future__ import annotations

from detector.jit import kernel
from detector.memory import (
    ARENA_ALLOCATED,
    ARENA_BASE,
    ARENA_HEADS,
    ARENA_LARGEST,
    ARENA_MAP,
    ARENA_TOP,
    ARENA_UNITS,
    UNIT_WORDS,
    Memory,
    mark,
    put,
    save,
)

# Entries of 32 bytes in a block of order 0: an event of a card and a bucket of an entity are such entries.
ENTRIES_PER_UNIT = 4
_SPARE = 3
# Links inside a free block: unit number plus one, 0 for none.
_FOLLOWING, _PREVIOUS = 0, 1


@kernel
def entries_of(order: int) -> int:
    """How many entries of 32 bytes a block holds."""
    return ENTRIES_PER_UNIT << order


@kernel
def order_for(entries: int) -> int:
    """The smallest order whose blocks hold so many entries."""
    order = 0
    while (ENTRIES_PER_UNIT << order) < entries:
        order += 1
    return order


@kernel
def order_with_room(entries: int) -> int:
    """The order of a block for a history that has so many entries and will grow: it gets room for a third more."""
    return order_for(max(ENTRIES_PER_UNIT, entries + entries // _SPARE + 1))


@kernel
def _place(memory: Memory, unit: int) -> int:
    """Where a unit starts."""
    return memory[ARENA_BASE] + unit * UNIT_WORDS


@kernel
def _push(memory: Memory, unit: int, order: int) -> None:
    """Enter a block among the free ones of its order."""
    head = memory[ARENA_HEADS + order]
    put(memory, _place(memory, unit) + _FOLLOWING, head)
    put(memory, _place(memory, unit) + _PREVIOUS, 0)
    if head != 0:
        put(memory, _place(memory, head - 1) + _PREVIOUS, unit + 1)
    memory[ARENA_HEADS + order] = unit + 1
    put(memory, memory[ARENA_MAP] + unit, order + 1)


@kernel
def _remove(memory: Memory, unit: int, order: int) -> None:
    """Take a block out of the free ones of its order."""
    following, previous = memory[_place(memory, unit) + _FOLLOWING], memory[_place(memory, unit) + _PREVIOUS]
    if following != 0:
        put(memory, _place(memory, following - 1) + _PREVIOUS, previous)
    if previous != 0:
        put(memory, _place(memory, previous - 1) + _FOLLOWING, following)
    else:
        memory[ARENA_HEADS + order] = following
    put(memory, memory[ARENA_MAP] + unit, 0)


@kernel
def _give(memory: Memory, unit: int, order: int) -> None:
    """Make a block free; it joins with its free buddies."""
    while order < memory[ARENA_LARGEST]:
        buddy = unit ^ (1 << order)
        if buddy + (1 << order) > memory[ARENA_TOP] or memory[memory[ARENA_MAP] + buddy] != order + 1:
            break
        _remove(memory, buddy, order)
        unit = min(unit, buddy)
        order += 1
    _push(memory, unit, order)


@kernel
def _free_unused(memory: Memory, stop: int) -> None:
    """Make what was never used so far free, up to a unit."""
    unit = memory[ARENA_TOP]
    memory[ARENA_TOP] = stop
    while unit < stop:
        order = 0
        while order < memory[ARENA_LARGEST] and unit & (1 << order) == 0 and unit + (2 << order) <= stop:
            order += 1
        _give(memory, unit, order)
        unit += 1 << order


@kernel
def _take_unused(memory: Memory, order: int) -> int:
    """A block from the part of the arena never used so far, or 0; what lies before it becomes free."""
    size = 1 << order
    start = (memory[ARENA_TOP] + size - 1) & ~(size - 1)
    if start + size > memory[ARENA_UNITS]:
        return 0
    _free_unused(memory, start)
    memory[ARENA_TOP] = start + size
    memory[ARENA_ALLOCATED] += size
    mark(memory, _place(memory, start), UNIT_WORDS << order)
    return _place(memory, start)


@kernel
def _smallest_free(memory: Memory, order: int) -> int:
    """The smallest order from `order` on of which a block is free, or one beyond the largest."""
    while order <= memory[ARENA_LARGEST] and memory[ARENA_HEADS + order] == 0:
        order += 1
    return order


@kernel
def allocate_block(memory: Memory, order: int) -> int:
    """A block of this order, as the address of its first word; 0 where no room is left.

    What it holds is saved and marked already, and is nothing in particular.
    """
    if order > memory[ARENA_LARGEST]:
        return 0
    found = _smallest_free(memory, order)
    if found > memory[ARENA_LARGEST]:
        place = _take_unused(memory, order)
        if place != 0:
            return place
        _free_unused(memory, memory[ARENA_UNITS])
        found = _smallest_free(memory, order)
        if found > memory[ARENA_LARGEST]:
            return 0
    unit = memory[ARENA_HEADS + found] - 1
    _remove(memory, unit, found)
    while found > order:
        found -= 1
        _push(memory, unit + (1 << found), found)
    place = _place(memory, unit)
    save(memory, place, UNIT_WORDS << order)
    memory[ARENA_ALLOCATED] += 1 << order
    return place


@kernel
def free_block(memory: Memory, place: int, order: int) -> None:
    """Give a block back; it joins with its free buddies."""
    memory[ARENA_ALLOCATED] -= 1 << order
    _give(memory, (place - memory[ARENA_BASE]) // UNIT_WORDS, order)
