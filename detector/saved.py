"""A memory as named arrays and back: what a checkpoint holds of it.

Indexes are not saved but made anew from their tables; the blocks of the arena may come to lie elsewhere, so their
addresses are moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import StateError
from detector.memory import (
    ARENA_ALLOCATED,
    ARENA_BASE,
    ARENA_HEADS,
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

Arrays = Mapping[str, NDArray[np.generic]]
# Words of the header that describe the arena: those of `reserve`, and what has come of it.
_ARENA = slice(int(ARENA_BASE), ARENA_HEADS + ARENA_ORDERS)


class Index(NamedTuple):
    """An index of a memory: its table id, the table it is over, and the field of a row that is 0 where it is not in."""

    index_id: int
    table_id: int
    live_field: int


class Copies:
    """Room for copies of tables, used again and again: to get fresh pages takes longer than to copy into them."""

    def __init__(self) -> None:
        """Take no room yet."""
        self._room: dict[str, NDArray[np.int64]] = {}

    def copy(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Copy rows into the room of this name, over what it held."""
        room = self._room.get(name)
        if room is None or len(room) < len(rows):
            room = self._room[name] = np.empty((len(rows) + len(rows) // 4, rows.shape[1]), dtype=np.int64)
        copied = room[: len(rows)]
        np.copyto(copied, rows)
        return copied


def _arena_words(memory: Memory, units: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first units of the arena and of its map, as views a row a unit."""
    base, start = int(memory[ARENA_BASE]), int(memory[ARENA_MAP])
    words = memory[base : base + units * UNIT_WORDS].reshape(units, UNIT_WORDS)
    return words, memory[start : start + units].reshape(units, 1)


def save_tables(memory: Memory, specs: tuple[TableSpec, ...], copies: Copies) -> dict[str, NDArray[np.generic]]:
    """Copy the used part of each table and of the arena."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for table, spec in enumerate(specs):
        if spec.is_index:
            continue
        used = 2 if spec.name == "progress" else int(descriptor(memory, table)[USED])
        arrays[f"{spec.name}.rows"] = copies.copy(spec.name, table_rows(memory, table)[:used])
        arrays[f"{spec.name}.info"] = descriptor(memory, table).copy()
    words, orders = _arena_words(memory, int(memory[ARENA_TOP]))
    arrays["arena.words"] = copies.copy("arena.words", words)
    arrays["arena.map"] = copies.copy("arena.map", orders)
    arrays["arena.info"] = memory[_ARENA].copy()
    return arrays


def _array(arrays: Arrays, name: str, columns: int) -> NDArray[np.int64]:
    """A saved array of rows.

    Raises:
        StateError: it is missing or has another shape or type.
    """
    found = arrays.get(name)
    if found is None or found.dtype != np.int64 or found.ndim != 2 or found.shape[1] != columns:
        message = f"saved state has no usable {name}"
        raise StateError(message)
    return found.view(np.int64)


def _load_table(memory: Memory, table: int, spec: TableSpec, arrays: Arrays) -> None:
    """Fill one table.

    Raises:
        StateError: it is missing, has another width, or does not fit the configured capacity.
    """
    room, own = table_rows(memory, table), descriptor(memory, table)
    rows, words = _array(arrays, f"{spec.name}.rows", room.shape[1]), arrays.get(f"{spec.name}.info")
    if words is None or words.shape != own.shape or words.dtype != np.int64:
        message = f"saved state has no usable {spec.name}.info"
        raise StateError(message)
    if rows.shape[0] > room.shape[0]:
        message = (
            f"saved table {spec.name} of {rows.shape[0]} rows does not fit into {room.shape[0]}: raise its capacity"
        )
        raise StateError(message)
    about = words.view(np.int64)
    if spec.is_ring and int(about[CAPACITY]) != int(own[CAPACITY]) and int(about[HAND]) > int(about[CAPACITY]):
        message = f"{spec.name} has wrapped round at a capacity of {int(about[CAPACITY])}: keep that capacity"
        raise StateError(message)
    room[: rows.shape[0]] = rows
    own[USED:] = about[USED:]


def _load_arena(memory: Memory, arrays: Arrays) -> int:
    """Fill the arena; returns by how much the addresses of its blocks have moved.

    Raises:
        StateError: it is missing or does not fit.
    """
    words, orders = _array(arrays, "arena.words", UNIT_WORDS), _array(arrays, "arena.map", 1)
    saved = arrays.get("arena.info")
    if saved is None or saved.shape != memory[_ARENA].shape or saved.dtype != np.int64 or len(words) != len(orders):
        message = "saved state has no usable arena"
        raise StateError(message)
    if len(words) > int(memory[ARENA_UNITS]):
        message = (
            f"a saved arena of {len(words)} units does not fit into {int(memory[ARENA_UNITS])}: raise its capacity"
        )
        raise StateError(message)
    room, room_map = _arena_words(memory, len(words))
    room[:], room_map[:] = words, orders
    header = np.zeros(_ARENA.stop, dtype=np.int64)
    header[_ARENA] = saved.view(np.int64)
    for word in (ARENA_TOP, ARENA_ALLOCATED):
        memory[word] = header[word]
    memory[ARENA_HEADS : ARENA_HEADS + ARENA_ORDERS] = header[ARENA_HEADS : ARENA_HEADS + ARENA_ORDERS]
    return int(memory[ARENA_BASE]) - int(header[ARENA_BASE])


def load_tables(
    memory: Memory,
    specs: tuple[TableSpec, ...],
    indexes: tuple[Index, ...],
    blocks: tuple[int, tuple[int, ...]],
    arrays: Arrays,
) -> None:
    """Fill a freshly reserved memory from saved arrays.

    Args:
        memory: made by `reserve` for these tables.
        specs: its tables.
        indexes: made anew.
        blocks: the table whose rows own blocks of the arena, and the fields that hold their addresses.
        arrays: what `save_tables` made, under the same or a smaller capacity.

    Raises:
        StateError: an array is missing, has another width, or does not fit the configured capacity.
    """
    for table, spec in enumerate(specs):
        if not spec.is_index:
            _load_table(memory, table, spec, arrays)
    moved = _load_arena(memory, arrays)
    owners = table_rows(memory, blocks[0])[: int(descriptor(memory, blocks[0])[USED])]
    for field in blocks[1]:
        owners[:, field] += np.where(owners[:, field] != 0, moved, 0)
    for index in indexes:
        used = int(descriptor(memory, index.table_id)[USED])
        index_rows(memory, index.index_id, index.table_id, 1, used, index.live_field)
