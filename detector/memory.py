"""Memory: one flat array of int64 that holds every table of a state, its undo journal and its bookkeeping.

All scoring state is int64 words in a `Memory`, reserved at its configured size. The operating system commits a page
only when it is first written, so nothing grows by copying and no insertion stalls. One array instead of dozens also
keeps the kernels quick to compile and to call. A table is a run of rows of equal width; links between rows are row
numbers, `address` turns one into an index of the array. Row 0 of a table is never used: 0 names "none".

Kernels change state as they walk a batch, yet an error must leave it as it was. So every row is saved to the journal
the first time a batch touches it (`touch`), links of the index word by word (`touch_word`), and `roll_back` puts them
back, the last first. The mark that makes "the first time" cheap is the epoch in a hidden word behind each row.

The index over a table is linear hashing with chains: it grows by splitting one bucket per insertion, so there is no
rehash to wait for. Source: W. Litwin, *Linear hashing: a new tool for file and table addressing* (1980). Rows that are
indexed hold their hash word in field 0, the rest of their exact key in fields 1 and 2, and the chain in field 3.
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

# The first words of a memory.
EPOCH, JOURNAL_START, JOURNAL_USED, JOURNAL_SIZE, HEADER_SIZE = range(5)
_DESCRIPTORS = 8
# A table's descriptor.
BASE, WIDTH, CAPACITY, USED, FREE, LIVE, HAND, LEVEL, SPLIT, TAIL, CURSOR = constants(11)
DESCRIPTOR_WORDS = 11
_FIRST_LEVEL = 6
# A journal entry is its words, then where they stood and how many they are.
_ENTRY_WORDS = 2


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to reserve: its id is its position in the list.

    Attributes:
        name: for saved arrays and messages.
        capacity: rows that can be used; of an index, the rows it must be able to index.
        width: words a row; 1 for an index.
        is_index: whether the rows are bucket heads of linear hashing.
        is_ring: whether rows are used round and round.
    """

    name: str
    capacity: int
    width: int
    is_index: bool = False
    is_ring: bool = False

    @property
    def rows(self) -> int:
        """Rows to reserve, the unused row 0 included."""
        if self.is_index:
            return 1 + (1 << max(_FIRST_LEVEL, int(self.capacity - 1).bit_length()))
        return 1 + self.capacity


def reserve(specs: Sequence[TableSpec], journal_words: int) -> Memory:
    """Reserve a memory for these tables; nothing is committed before it is written."""
    header = _DESCRIPTORS + len(specs) * DESCRIPTOR_WORDS
    total = header + journal_words + sum(spec.rows * (spec.width + 1) for spec in specs)
    memory: Memory = np.zeros(total, dtype=np.int64)
    memory[EPOCH] = 1
    memory[JOURNAL_START] = header
    memory[JOURNAL_SIZE] = journal_words
    memory[HEADER_SIZE] = header
    position = header + journal_words
    for table, spec in enumerate(specs):
        words = descriptor(memory, table)
        words[BASE], words[WIDTH], words[CAPACITY] = position, spec.width, spec.rows - 1
        words[USED] = words[HAND] = words[TAIL] = words[CURSOR] = 1
        if spec.is_index:
            words[USED], words[LEVEL] = spec.rows, _FIRST_LEVEL
        position += spec.rows * (spec.width + 1)
    return memory


def descriptor(memory: Memory, table: int) -> NDArray[np.int64]:
    """A table's bookkeeping, as a view."""
    start = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    return memory[start : start + DESCRIPTOR_WORDS]


def table_rows(memory: Memory, table: int) -> NDArray[np.int64]:
    """All rows of a table as a view of shape (rows, width), row 0 included."""
    words = descriptor(memory, table)
    base, width, rows = int(words[BASE]), int(words[WIDTH]), int(words[CAPACITY]) + 1
    return memory[base : base + rows * (width + 1)].reshape(rows, width + 1)[:, :width]


def used_rows(memory: Memory, table: int, spec: TableSpec) -> int:
    """How many rows from the start of a table carry something, row 0 included."""
    words = descriptor(memory, table)
    if spec.is_index:
        return (1 << int(words[LEVEL])) + int(words[SPLIT]) + 1
    return int(words[USED])


def begin(memory: Memory) -> NDArray[np.int64]:
    """Start a batch: a new epoch and an empty journal; returns what `roll_back` needs."""
    memory[EPOCH] += 1
    memory[JOURNAL_USED] = 0
    return memory[: memory[HEADER_SIZE]].copy()


def roll_back(memory: Memory, saved_header: NDArray[np.int64]) -> None:
    """Undo everything since `begin`."""
    _restore_rows(memory)
    memory[: len(saved_header)] = saved_header


@kernel
def _restore_rows(memory: Memory) -> None:
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
    return memory[about + BASE] + row * (memory[about + WIDTH] + 1)


@kernel
def _save(memory: Memory, place: int, length: int) -> None:
    """Append words to the journal."""
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
def touch(memory: Memory, table: int, row: int) -> None:
    """Save a row before this batch first changes it."""
    start = address(memory, table, row)
    width = memory[_DESCRIPTORS + table * DESCRIPTOR_WORDS + WIDTH]
    if memory[start + width] != memory[EPOCH]:
        _save(memory, start, width + 1)
        memory[start + width] = memory[EPOCH]


@kernel
def touch_word(memory: Memory, place: int) -> None:
    """Save a single word, where saving its row would cost more."""
    _save(memory, place, 1)


@kernel
def has_room(memory: Memory, table: int, rows: int) -> bool:
    """Whether `rows` more rows can surely be allocated."""
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    return memory[about + LIVE] + rows <= memory[about + CAPACITY]


@kernel
def allocate(memory: Memory, table: int) -> int:
    """Take a row, zeroed: a freed one, else the next unused one."""
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    row = memory[about + FREE]
    if row != 0:
        touch(memory, table, row)
        memory[about + FREE] = memory[address(memory, table, row) + NEXT]
    else:
        row = memory[about + USED]
        if row > memory[about + CAPACITY]:
            raise CapacityError
        # A row beyond `USED` holds nothing to save: rolling back `USED` forgets it.
        memory[address(memory, table, row) + memory[about + WIDTH]] = memory[EPOCH]
        memory[about + USED] = row + 1
    memory[about + LIVE] += 1
    start = address(memory, table, row)
    for index in range(memory[about + WIDTH]):
        memory[start + index] = 0
    return row


@kernel
def release(memory: Memory, table: int, row: int) -> None:
    """Give a row back; its fields become zero but for the free list's link."""
    touch(memory, table, row)
    about = _DESCRIPTORS + table * DESCRIPTOR_WORDS
    start = address(memory, table, row)
    for index in range(memory[about + WIDTH]):
        memory[start + index] = 0
    memory[start + NEXT] = memory[about + FREE]
    memory[about + FREE] = row
    memory[about + LIVE] -= 1


@kernel
def _bucket(memory: Memory, index: int, word: int) -> int:
    """The chain a hash word belongs to, as a row of the index."""
    level = info(memory, index, LEVEL)
    slot = word & ((2 << level) - 1)
    if slot >= (1 << level) + info(memory, index, SPLIT):
        slot = word & ((1 << level) - 1)
    return slot + 1


@kernel
def bucket_address(memory: Memory, index: int, word: int) -> int:
    """Where the head of the chain of a hash word stands."""
    return address(memory, index, _bucket(memory, index, word))


@kernel
def find(memory: Memory, index: int, table: int, word: int, key_1: int, key_2: int) -> int:
    """The row with exactly this key, or 0."""
    row = memory[address(memory, index, _bucket(memory, index, word))]
    while row != 0:
        at = address(memory, table, row)
        if memory[at + HASH] == word and memory[at + KEY_1] == key_1 and memory[at + KEY_2] == key_2:
            return row
        row = memory[at + NEXT]
    return 0


@kernel
def _split(memory: Memory, index: int, table: int) -> None:
    """Grow the index by one bucket: divide the chain whose turn it is."""
    level = info(memory, index, LEVEL)
    old = info(memory, index, SPLIT)
    new = old + (1 << level)
    if new + 1 > info(memory, index, CAPACITY):
        return
    mask = (2 << level) - 1
    old_head = address(memory, index, old + 1)
    new_head = address(memory, index, new + 1)
    touch_word(memory, old_head)
    touch_word(memory, new_head)
    # `place` is the word that names the row at hand: the head, or the link of the row before.
    place = old_head
    row = memory[old_head]
    memory[new_head] = 0
    while row != 0:
        at = address(memory, table, row)
        following = memory[at + NEXT]
        if memory[at + HASH] & mask == new:
            touch_word(memory, place)
            touch_word(memory, at + NEXT)
            memory[place] = following
            memory[at + NEXT] = memory[new_head]
            memory[new_head] = row
        else:
            place = at + NEXT
        row = following
    if old + 1 == 1 << level:
        set_info(memory, index, LEVEL, level + 1)
        set_info(memory, index, SPLIT, 0)
    else:
        set_info(memory, index, SPLIT, old + 1)


@kernel
def link(memory: Memory, index: int, table: int, row: int) -> None:
    """Enter a row, whose key fields are set, into the index."""
    live = info(memory, index, LIVE)
    if live >= (1 << info(memory, index, LEVEL)) + info(memory, index, SPLIT):
        _split(memory, index, table)
    at = address(memory, table, row)
    head = address(memory, index, _bucket(memory, index, memory[at + HASH]))
    touch_word(memory, head)
    touch_word(memory, at + NEXT)
    memory[at + NEXT] = memory[head]
    memory[head] = row
    set_info(memory, index, LIVE, live + 1)


@kernel
def unlink(memory: Memory, index: int, table: int, row: int) -> None:
    """Take a row out of the index."""
    at = address(memory, table, row)
    place = address(memory, index, _bucket(memory, index, memory[at + HASH]))
    while memory[place] != row:
        place = address(memory, table, memory[place]) + NEXT
    touch_word(memory, place)
    memory[place] = memory[at + NEXT]
    set_info(memory, index, LIVE, info(memory, index, LIVE) - 1)


@kernel
def mix(word: int) -> int:
    """Spread a small integer over 64 bits (the finaliser of MurmurHash3), as the hash word of composite keys."""
    mixed = np.uint64(word) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    spread: int = np.int64(mixed ^ (mixed >> np.uint64(33)))  # type: ignore[assignment]
    return spread
