"""Memory: one flat array of int64 that holds every table of a state, its undo journal and its bookkeeping.

All scoring state is int64 words in a `Memory`, reserved at its configured size. The operating system commits a page
only when it is first written, so nothing grows by copying and no insertion stalls. One array instead of dozens also
keeps the kernels quick to compile and to call. A table is a run of rows of equal width, a whole number of cache lines;
links between rows are row numbers, `address` turns one into an index of the array. Row 0 of a table is never used: 0
names "none".

Kernels change state as they walk a batch, yet an error must leave it as it was. So what stood in a place is saved to
the journal before it is written over (`save`, `put`), and `roll_back` puts it back, the last first. What lies beyond
the used part of a table needs no saving: rolling back the header forgets it.

What changed since it was last copied for a checkpoint is known by the line of eight words: a bit of a map is set by
whatever saves a word, and by `mark` where words are written that needed no saving (`detector.changes`).

The index over a table is open addressing with linear probing, at most half full, and deletion by shifting back, so
nothing is ever rebuilt. An entry holds 32 bits of the hash word beside the row, so a look-up reads the row only where
these agree; equality is always decided by the whole key. Source: Knuth, *The Art of Computer Programming* 3, 6.4,
algorithms L and R. Rows that are indexed hold their hash word in field 0 and the rest of their exact key in fields 1
and 2; field 3 links rows that are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import CapacityError
from detector.jit import constants, kernel

Memory = NDArray[np.int64]

HASH, KEY_1, KEY_2, NEXT = 0, 1, 2, 3

# The first words of a memory: of the journal, of the header, and of the arena of `detector.arena`.
JOURNAL_START, JOURNAL_USED, JOURNAL_SIZE, HEADER_SIZE = range(4)
ARENA_BASE, ARENA_MAP, ARENA_UNITS, ARENA_TOP, ARENA_LARGEST, ARENA_ALLOCATED = constants(10)[4:]
ARENA_HEADS = 10
ARENA_ORDERS = 22
UNIT_WORDS = 16
# Where the map of changed lines starts: a word a page, a bit in it a line.
MARKS = constants(ARENA_HEADS + ARENA_ORDERS + 1)[-1]
_DESCRIPTORS = int(MARKS) + 1
# A table's descriptor.
BASE, WIDTH, CAPACITY, USED, FREE, LIVE, HAND, TAIL, CURSOR = constants(9)
DESCRIPTOR_WORDS = 9
# Words of a cache line: rows start on one. Tables start on a page of 64 lines.
LINE = 8
LINE_SHIFT, PAGE_SHIFT, LINES_SHIFT = 3, 9, 6
PAGE = 1 << PAGE_SHIFT
# Bits n to 63, and bits 0 to n, as int64.
_LAST_LINE = PAGE // LINE - 1
_BITS_FROM = np.array([-1 << bit for bit in range(_LAST_LINE + 1)])
_BITS_UP_TO = np.array([*((2 << bit) - 1 for bit in range(_LAST_LINE)), -1])
_LINE_BYTES = 64
_SMALLEST_INDEX = 128
_TAG_BITS = 32
_TAG_MASK = (1 << _TAG_BITS) - 1
# A journal entry is its words, then where they stood and how many they are.
_ENTRY_WORDS = 2


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to reserve: its id is its position in the list.

    Attributes:
        name: for saved arrays and messages.
        capacity: rows that can be used; of an index, the rows it must be able to index.
        width: words a row needs; 1 for an index.
        is_index: whether the rows are entries of a hash table.
        is_ring: whether rows are used round and round.
    """

    name: str
    capacity: int
    width: int
    is_index: bool = False
    is_ring: bool = False

    @property
    def rows(self) -> int:
        """Rows to reserve, the unused row 0 of a table included."""
        if self.is_index:
            return max(_SMALLEST_INDEX, 1 << int(2 * self.capacity - 1).bit_length())
        return 1 + self.capacity

    @property
    def row_words(self) -> int:
        """Words that a row takes: whole cache lines, but for the entries of an index."""
        return 1 if self.is_index else -(-self.width // LINE) * LINE

    @property
    def words(self) -> int:
        """Words that the table takes."""
        return _whole_pages(self.rows * self.row_words)


def _whole_pages(words: int) -> int:
    """So many words or a little more, up to the end of a page."""
    return -(-words // PAGE) * PAGE


def reserve(specs: Sequence[TableSpec], journal_words: int, arena_units: int = 0) -> Memory:
    """Reserve a memory for tables and for an arena of units of 16 words; nothing is committed before it is written."""
    header = _whole_pages(_DESCRIPTORS + len(specs) * DESCRIPTOR_WORDS)
    journal, map_words = _whole_pages(journal_words), _whole_pages(arena_units)
    arena = map_words + _whole_pages(arena_units * UNIT_WORDS)
    marked = header + journal + sum(spec.words for spec in specs) + arena
    total = marked + marked // PAGE
    room = np.zeros(total + LINE, dtype=np.int64)
    start = -room.ctypes.data % _LINE_BYTES // room.itemsize
    memory: Memory = room[start : start + total]
    memory[JOURNAL_START], memory[JOURNAL_SIZE], memory[HEADER_SIZE] = header, journal, header
    position = header + journal
    for table, spec in enumerate(specs):
        words = descriptor(memory, table)
        words[BASE], words[WIDTH], words[CAPACITY] = position, spec.row_words, spec.rows - 1
        words[USED] = words[HAND] = words[TAIL] = words[CURSOR] = 1
        position += spec.words
    memory[ARENA_MAP], memory[ARENA_BASE], memory[ARENA_UNITS] = position, position + map_words, arena_units
    memory[ARENA_LARGEST] = min(ARENA_ORDERS, max(1, arena_units).bit_length()) - 1
    memory[MARKS] = marked
    return memory


def descriptor(memory: Memory, table: int) -> NDArray[np.int64]:
    """A table's bookkeeping, as a view."""
    start = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    return memory[start : start + DESCRIPTOR_WORDS]


def table_rows(memory: Memory, table: int) -> NDArray[np.int64]:
    """All rows of a table as a view of shape (rows, words a row), row 0 included."""
    words = descriptor(memory, table)
    base, width, rows = int(words[BASE]), int(words[WIDTH]), int(words[CAPACITY]) + 1
    return memory[base : base + rows * width].reshape(rows, width)


def begin(memory: Memory) -> NDArray[np.int64]:
    """Start a batch with an empty journal; returns what `roll_back` needs."""
    memory[JOURNAL_USED] = 0
    return memory[: memory[HEADER_SIZE]].copy()


def roll_back(memory: Memory, saved_header: NDArray[np.int64]) -> None:
    """Undo everything since `begin`."""
    _restore_words(memory)
    memory[: len(saved_header)] = saved_header


@kernel
def _restore_words(memory: Memory) -> None:
    """Put back what the journal saved, the last first."""
    start = memory[JOURNAL_START]
    position = start + memory[JOURNAL_USED]
    while position > start:
        length = memory[position - 1]
        place = memory[position - 2]
        position -= length + _ENTRY_WORDS
        for index in range(length):
            memory[place + index] = memory[position + index]


@kernel
def info(memory: Memory, table: int, word: int) -> int:
    """A word of a table's descriptor."""
    return memory[_DESCRIPTORS + table * DESCRIPTOR_WORDS + word]


@kernel
def set_info(memory: Memory, table: int, word: int, value: int) -> None:
    """Set a word of a table's descriptor."""
    memory[_DESCRIPTORS + table * DESCRIPTOR_WORDS + word] = value


@kernel
def address(memory: Memory, table: int, row: int) -> int:
    """Where a row starts."""
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    return memory[about + BASE] + row * memory[about + WIDTH]


@kernel
def mark(memory: Memory, place: int, length: int) -> None:
    """Note that words change, for the next checkpoint; `save` does so for what it saves."""
    first, last = place >> LINE_SHIFT, (place + length - 1) >> LINE_SHIFT
    for page in range(first >> LINES_SHIFT, (last >> LINES_SHIFT) + 1):
        low = max(first - (page << LINES_SHIFT), 0)
        high = min(last - (page << LINES_SHIFT), _LAST_LINE)
        memory[memory[MARKS] + page] |= _BITS_FROM[low] & _BITS_UP_TO[high]


@kernel
def save(memory: Memory, place: int, length: int) -> None:
    """Save words to the journal, before they are written over."""
    mark(memory, place, length)
    used = memory[JOURNAL_USED]
    if used + length + _ENTRY_WORDS > memory[JOURNAL_SIZE]:
        raise CapacityError
    position = memory[JOURNAL_START] + used
    for index in range(length):
        memory[position + index] = memory[place + index]
    memory[position + length] = place
    memory[position + length + 1] = length
    memory[JOURNAL_USED] = used + length + _ENTRY_WORDS


@kernel
def put(memory: Memory, place: int, value: int) -> None:
    """Write over a word, saving what stood there."""
    save(memory, place, 1)
    memory[place] = value


@kernel
def save_row(memory: Memory, table: int, row: int) -> None:
    """Save a row, before it is changed."""
    save(memory, address(memory, table, row), info(memory, table, WIDTH))


@kernel
def has_room(memory: Memory, table: int, rows: int) -> bool:
    """Whether `rows` more rows can surely be allocated."""
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    return memory[about + LIVE] + rows <= memory[about + CAPACITY]


@kernel
def allocate(memory: Memory, table: int) -> int:
    """Take a row, zeroed: a freed one, else the next unused one. It needs no saving and no mark in this batch."""
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    row = memory[about + FREE]
    if row != 0:
        save_row(memory, table, row)
        memory[about + FREE] = memory[address(memory, table, row) + NEXT]
    else:
        row = memory[about + USED]
        if row > memory[about + CAPACITY]:
            raise CapacityError
        memory[about + USED] = row + 1
    memory[about + LIVE] += 1
    start = address(memory, table, row)
    mark(memory, start, memory[about + WIDTH])
    for index in range(memory[about + WIDTH]):
        memory[start + index] = 0
    return row


@kernel
def release(memory: Memory, table: int, row: int) -> None:
    """Give a row back; its fields become zero but for the free list's link."""
    save_row(memory, table, row)
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    start = address(memory, table, row)
    for index in range(memory[about + WIDTH]):
        memory[start + index] = 0
    memory[start + NEXT] = memory[about + FREE]
    memory[about + FREE] = row
    memory[about + LIVE] -= 1


@kernel
def slot_address(memory: Memory, index: int, word: int) -> int:
    """Where the search for a hash word begins."""
    about = _DESCRIPTORS + index * DESCRIPTOR_WORDS
    return memory[about + BASE] + (word & memory[about + CAPACITY])


@kernel
def find(memory: Memory, index: int, table: int, word: int, key_1: int, key_2: int) -> int:
    """The row with exactly this key, or 0."""
    about = _DESCRIPTORS + index * DESCRIPTOR_WORDS
    base, mask = memory[about + BASE], memory[about + CAPACITY]
    slot = word & mask
    tag = word & _TAG_MASK
    while True:
        entry = memory[base + slot]
        if entry == 0:
            return 0
        if (entry >> _TAG_BITS) & _TAG_MASK == tag:
            row = entry & _TAG_MASK
            at = address(memory, table, row)
            if memory[at + HASH] == word and memory[at + KEY_1] == key_1 and memory[at + KEY_2] == key_2:
                return row
        slot = (slot + 1) & mask


@kernel
def _vacant_slot(memory: Memory, index: int, word: int) -> int:
    """Where a new entry for a hash word goes."""
    about = _DESCRIPTORS + index * DESCRIPTOR_WORDS
    base, mask = memory[about + BASE], memory[about + CAPACITY]
    slot = word & mask
    while memory[base + slot] != 0:
        slot = (slot + 1) & mask
    return base + slot


@kernel
def link(memory: Memory, index: int, table: int, row: int) -> None:
    """Enter a row, whose key fields are set, into the index."""
    word = memory[address(memory, table, row) + HASH]
    put(memory, _vacant_slot(memory, index, word), ((word & _TAG_MASK) << _TAG_BITS) | row)


@kernel
def unlink(memory: Memory, index: int, table: int, row: int) -> None:
    """Take a row out of the index; entries behind it that it kept from their place move up."""
    about = _DESCRIPTORS + index * DESCRIPTOR_WORDS
    base, mask = memory[about + BASE], memory[about + CAPACITY]
    hole = memory[address(memory, table, row) + HASH] & mask
    while memory[base + hole] & _TAG_MASK != row:
        hole = (hole + 1) & mask
    slot = (hole + 1) & mask
    entry = memory[base + slot]
    while entry != 0:
        home = (entry >> _TAG_BITS) & mask
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            put(memory, base + hole, entry)
            hole = slot
        slot = (slot + 1) & mask
        entry = memory[base + slot]
    put(memory, base + hole, 0)


@kernel
def index_rows(memory: Memory, index: int, table: int, first: int, stop: int, live_field: int) -> None:
    """Enter the rows `first` to `stop` whose `live_field` is not 0 into an index: after loading a table."""
    for row in range(first, stop):
        if memory[address(memory, table, row) + live_field] != 0:
            word = memory[address(memory, table, row) + HASH]
            memory[_vacant_slot(memory, index, word)] = ((word & _TAG_MASK) << _TAG_BITS) | row


@kernel
def mix(word: int) -> int:
    """Spread a small integer over 64 bits (the finaliser of MurmurHash3), as the hash word of composite keys."""
    mixed = np.uint64(word) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    spread: int = np.int64(mixed ^ (mixed >> np.uint64(33)))  # type: ignore[assignment]
    return spread
