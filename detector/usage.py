"""How full the engine's state is: rows in use, room for them, and the memory behind them, by kind of table."""

from __future__ import annotations

from dataclasses import dataclass

from detector.arena import ENTRIES_PER_UNIT
from detector.layout import CARDS, ENTITIES, PAYMENTS, SEGMENT_ROWS, SEGMENTS
from detector.memory import (
    ARENA_ALLOCATED,
    ARENA_UNITS,
    CAPACITY,
    HAND,
    LIVE,
    TAIL,
    UNIT_WORDS,
    USED,
    WIDTH,
    Memory,
    descriptor,
    table_rows,
)
from detector.segments import ROW_BYTES
from detector.state import EngineState

_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class TableUse:
    """One kind of table over all open partitions.

    Attributes:
        table: cards, payments or entities; events are the arena of cards, buckets that of entities; kept are payments
            on disk.
        rows: in use; of an arena the entries that its blocks have room for.
        capacity_rows: that there is room for.
        size_bytes: memory, or disk, behind the rows in use, without indexes.
    """

    table: str
    rows: int
    capacity_rows: int
    size_bytes: int


def state_usage(state: EngineState) -> list[TableUse]:
    """How full every kind of table is now."""
    partitions = [partition.memory for partition in state.partitions.values()]
    return [
        _table("cards", partitions, int(CARDS)),
        _table("payments", partitions, int(PAYMENTS), is_ring=True),
        _kept(partitions, 0 if state.segments is None else state.config.kept),
        _arena("events", partitions),
        _table("entities", [state.shared], int(ENTITIES)),
        _arena("buckets", [state.shared]),
    ]


def _table(name: str, memories: list[Memory], table: int, *, is_ring: bool = False) -> TableUse:
    rows = capacity = size = 0
    for memory in memories:
        about = descriptor(memory, table)
        used = int(about[HAND] - about[TAIL]) if is_ring else int(about[LIVE])
        rows += used
        capacity += int(about[CAPACITY])
        size += used * int(about[WIDTH]) * _WORD_BYTES
    return TableUse(name, rows, capacity, size)


def _kept(memories: list[Memory], capacity: int) -> TableUse:
    tables = (table_rows(memory, int(SEGMENTS))[: int(descriptor(memory, int(SEGMENTS))[USED])] for memory in memories)
    rows = sum(int(table[:, SEGMENT_ROWS].sum()) for table in tables)
    return TableUse("kept", rows, len(memories) * capacity, rows * ROW_BYTES)


def _arena(name: str, memories: list[Memory]) -> TableUse:
    units = sum(int(memory[ARENA_ALLOCATED]) for memory in memories)
    room = sum(int(memory[ARENA_UNITS]) for memory in memories)
    return TableUse(name, units * ENTRIES_PER_UNIT, room * ENTRIES_PER_UNIT, units * UNIT_WORDS * _WORD_BYTES)
