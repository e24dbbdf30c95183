"""State as a checkpoint holds it: changes in named arrays, a base beneath them, and both back into a memory.

Indexes are not saved but made anew from their tables. A memory of other capacities is moved table by table; the blocks
of the arena then come to lie elsewhere, so their addresses are moved with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.changes import Changes, Chunk, Image, Room, layout_of, used_rows
from detector.errors import StateError
from detector.memory import (
    ARENA_ALLOCATED,
    ARENA_BASE,
    ARENA_HEADS,
    ARENA_LARGEST,
    ARENA_MAP,
    ARENA_ORDERS,
    ARENA_TOP,
    ARENA_UNITS,
    CAPACITY,
    HAND,
    UNIT_WORDS,
    USED,
    Memory,
    TableSpec,
    descriptor,
    index_rows,
    table_rows,
)
from detector.names import Names

Arrays = Mapping[str, NDArray[np.generic]]
_NAME_KEYS, _NAME_TEXTS, _CODES = "names.keys", "names.texts", "reason_codes"


class Index(NamedTuple):
    """An index of a memory: its table id, the table it is over, and the field of a row that is 0 where it is not in."""

    index_id: int
    table_id: int
    live_field: int


class Shape(NamedTuple):
    """What a kind of memory is made of.

    Attributes:
        specs: its tables.
        indexes: made anew when it is read.
        owners: the table whose rows own blocks of the arena, and the fields that hold their addresses.
    """

    specs: tuple[TableSpec, ...]
    indexes: tuple[Index, ...]
    owners: tuple[int, tuple[int, ...]]


class Texts(NamedTuple):
    """What a partition keeps beside its memory."""

    names: Names
    codes: list[str]


@dataclass(frozen=True, slots=True)
class Taken:
    """Changes that were taken to be written.

    Attributes:
        changes: of the memory.
        chunks: copies of what changed in it.
        header: of the memory, as it was.
        texts: what changed in the texts beside it, as arrays.
    """

    changes: Changes
    chunks: list[Chunk]
    header: NDArray[np.int64]
    texts: dict[str, NDArray[np.generic]]

    def arrays(self) -> Arrays:
        """All of it, over the chunks, until they are released or put back; takes a while, and may be in a thread."""
        return self.changes.arrays_of(self.chunks, self.header) | self.texts


class StateChanges:
    """What has changed in one memory, and in the texts beside it, since it was last taken."""

    def __init__(self, memory: Memory, shape: Shape, room: Room, texts: Texts | None = None) -> None:
        """Watch from now on."""
        self._changes = Changes(memory, shape.specs, room)
        self._texts = texts
        self.layout = layout_of(memory)

    @property
    def held_bytes(self) -> int:
        """Bytes of copies that were not taken yet."""
        return self._changes.held_bytes

    def drain(self, most_lines: int) -> bool:
        """Copy changed lines aside; see `Changes.drain`."""
        return self._changes.drain(most_lines)

    def take(self) -> Taken:
        """Everything drained since the last call; the last drain, at this moment, has left nothing."""
        chunks, header = self._changes.take()
        texts: dict[str, NDArray[np.generic]] = {}
        if self._texts is not None:
            texts[_NAME_KEYS], texts[_NAME_TEXTS] = self._texts.names.take_new()
            texts[_CODES] = np.array([code.encode() for code in self._texts.codes] or [b""], dtype=np.bytes_)
        return Taken(self._changes, chunks, header, texts)

    def release(self, taken: Taken) -> None:
        """What was taken is written."""
        self._changes.release(taken.chunks)

    def put_back(self, taken: Taken) -> None:
        """What was taken could not be written and counts as changed again; the caller stands between two batches."""
        self._changes.put_back(taken.chunks)
        if self._texts is not None:
            self._texts.names.put_back(taken.texts[_NAME_KEYS].view(np.int64))

    def base_arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Everything, to be read by another thread while batches go on; see `detector.changes`."""
        yield from self._changes.base_arrays()
        if self._texts is not None:
            for number, (keys, texts) in enumerate(self._texts.names.chunks()):
                yield f"{_NAME_KEYS}.{number}", keys
                yield f"{_NAME_TEXTS}.{number}", texts


class StateImage:
    """Saved state that is being read back: a base, then changes in order."""

    def __init__(self, layout: str) -> None:
        """Prepare for a memory of this layout.

        Raises:
            StateError: the layout is not one.
        """
        self._image = Image(layout)
        self.names = Names()
        self.codes: list[str] = []

    def room_for(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Where an array is to be read into; None where any room will do."""
        return self._image.room_for(name, shape)

    def apply(self, arrays: Arrays) -> None:
        """Take over changes, or what a base has beside its memory.

        Raises:
            StateError: they do not fit.
        """
        self._image.apply(arrays)
        for name in arrays:
            if name.startswith(_NAME_KEYS):
                texts = arrays.get(_NAME_TEXTS + name.removeprefix(_NAME_KEYS))
                if texts is None or texts.dtype.kind != "S":
                    message = f"saved state has no texts for {name}"
                    raise StateError(message)
                self.names.load((arrays[name].view(np.int64), texts.view(texts.dtype)))
        codes = arrays.get(_CODES)
        if codes is not None:
            self.codes = [bytes(code).decode() for code in codes if code]

    def memory(self, own: Memory, shape: Shape) -> Memory:
        """The memory that was saved, ready for use.

        Args:
            own: a freshly reserved memory of the configured capacities; taken only if those that were saved differ.
            shape: what both are made of.

        Raises:
            StateError: it is not complete, or does not fit into the configured capacities.
        """
        memory = self._image.finish()
        if self._image.layout != layout_of(own):
            _move_tables(memory, own, shape)
            memory = own
        for index in shape.indexes:
            used = int(descriptor(memory, index.table_id)[USED])
            index_rows(memory, index.index_id, index.table_id, 1, used, index.live_field)
        return memory


def _move_table(saved: Memory, own: Memory, table: int, spec: TableSpec) -> None:
    """Fill one table.

    Raises:
        StateError: it does not fit the configured capacity.
    """
    rows, room = used_rows(saved, table), table_rows(own, table)
    about, words = descriptor(saved, table), descriptor(own, table)
    if spec.name == "progress":
        rows = table_rows(saved, table)
    if rows.shape[0] > room.shape[0] or rows.shape[1] != room.shape[1]:
        message = (
            f"saved table {spec.name} of {rows.shape[0]} rows does not fit into {room.shape[0]}: raise its capacity"
        )
        raise StateError(message)
    if spec.is_ring and int(about[CAPACITY]) != int(words[CAPACITY]) and int(about[HAND]) > int(about[CAPACITY]):
        message = f"{spec.name} has wrapped round at a capacity of {int(about[CAPACITY])}: keep that capacity"
        raise StateError(message)
    room[: rows.shape[0]] = rows
    words[USED:] = about[USED:]


def _move_arena(saved: Memory, own: Memory) -> int:
    """Fill the arena; returns by how much the addresses of its blocks have moved.

    Raises:
        StateError: it does not fit.
    """
    units = int(saved[ARENA_TOP])
    if units > int(own[ARENA_UNITS]) or int(saved[ARENA_LARGEST]) > int(own[ARENA_LARGEST]):
        message = f"a saved arena of {units} units does not fit into {int(own[ARENA_UNITS])}: raise its capacity"
        raise StateError(message)
    for word, size in ((ARENA_MAP, units), (ARENA_BASE, units * UNIT_WORDS)):
        start, place = int(saved[word]), int(own[word])
        own[place : place + size] = saved[start : start + size]
    for word in (ARENA_TOP, ARENA_ALLOCATED):
        own[word] = saved[word]
    heads = slice(ARENA_HEADS, ARENA_HEADS + ARENA_ORDERS)
    own[heads] = saved[heads]
    return int(own[ARENA_BASE]) - int(saved[ARENA_BASE])


def _move_tables(saved: Memory, own: Memory, shape: Shape) -> None:
    """Fill a freshly reserved memory from one of other capacities.

    Raises:
        StateError: it does not fit the configured capacities.
    """
    for table, spec in enumerate(shape.specs):
        if not spec.is_index:
            _move_table(saved, own, table, spec)
    moved = _move_arena(saved, own)
    owners = used_rows(own, shape.owners[0])
    for field in shape.owners[1]:
        owners[:, field] += np.where(owners[:, field] != 0, moved, 0)
