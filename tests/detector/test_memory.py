"""Memory: tables, their hash index and the undo journal, against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import CapacityError
from detector.jit import constants
from detector.memory import (
    HASH,
    KEY_1,
    KEY_2,
    USED,
    Memory,
    TableSpec,
    address,
    allocate,
    begin,
    descriptor,
    find,
    has_room,
    link,
    mix,
    put,
    release,
    reserve,
    roll_back,
    table_rows,
    unlink,
)

ROWS, INDEX = constants(2)
VALUE = 4


SPECS = (TableSpec("rows", 300, 5), TableSpec("index", 300, 1, is_index=True))


def new_memory(specs: tuple[TableSpec, ...] = SPECS) -> Memory:
    return reserve(specs, 1 << 16)


def insert(memory: Memory, key: tuple[int, int, int], value: int) -> int:
    row = allocate(memory, ROWS)
    at = address(memory, ROWS, row)
    memory[at + HASH], memory[at + KEY_1], memory[at + KEY_2] = key
    memory[at + VALUE] = value
    link(memory, INDEX, ROWS, row)
    return int(row)


def look_up(memory: Memory, key: tuple[int, int, int]) -> int | None:
    row = find(memory, INDEX, ROWS, *key)
    return int(memory[address(memory, ROWS, row) + VALUE]) if row else None


# Few hash words whose searches run into each other, round the end of the table too, and keys that differ only later.
keys = st.tuples(st.sampled_from([0, 1, 1023, 1024, 1025, -1, 2**62]), st.integers(0, 3), st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(keys, st.booleans()), max_size=120))
def test_an_index_finds_exactly_what_a_dictionary_finds(steps: list[tuple[tuple[int, int, int], bool]]) -> None:
    """Whatever is put in and taken out, equal hash words included, each key finds its own row and no other."""
    memory = new_memory()
    begin(memory)
    twin: dict[tuple[int, int, int], int] = {}
    for number, (key, remove) in enumerate(steps):
        if key in twin and remove:
            row = find(memory, INDEX, ROWS, *key)
            unlink(memory, INDEX, ROWS, row)
            release(memory, ROWS, row)
            del twin[key]
        elif key not in twin:
            insert(memory, key, number)
            twin[key] = number
    for key in {key for key, _ in steps}:
        assert look_up(memory, key) == twin.get(key)


def test_a_full_table_keeps_every_key() -> None:
    """As many insertions as there is room for lose nothing."""
    count = 3000
    memory = reserve((TableSpec("rows", count, 5), TableSpec("index", count, 1, is_index=True)), 1 << 20)
    words = np.random.default_rng(7).integers(-(2**62), 2**62, size=count)
    begin(memory)
    for number, word in enumerate(words.tolist()):
        insert(memory, (word, 7, 0), number)
    assert [look_up(memory, (word, 7, 0)) for word in words.tolist()] == list(range(count))


@settings(max_examples=40, deadline=None)
@given(st.lists(keys, max_size=60, unique=True), st.lists(st.tuples(keys, st.booleans()), max_size=60))
def test_rolling_back_restores_every_word(
    before: list[tuple[int, int, int]], steps: list[tuple[tuple[int, int, int], bool]]
) -> None:
    """Whatever a batch did, rolling back leaves all rows in use, index and bookkeeping to the bit as they were."""
    memory = new_memory()
    begin(memory)
    for number, key in enumerate(before):
        insert(memory, key, number)
    used = [int(descriptor(memory, ROWS)[USED]), SPECS[1].rows]
    saved_tables = [table_rows(memory, table)[:rows].copy() for table, rows in enumerate(used)]
    saved = begin(memory)
    header = memory[: len(saved)].copy()
    for key, remove in steps:
        row = find(memory, INDEX, ROWS, *key)
        if row and remove:
            unlink(memory, INDEX, ROWS, row)
            release(memory, ROWS, row)
        elif row:
            put(memory, address(memory, ROWS, row) + VALUE, -5)
        else:
            insert(memory, key, 99)
    roll_back(memory, saved)
    assert (memory[: len(saved)] == header).all()
    for table, rows in enumerate(saved_tables):
        assert (table_rows(memory, table)[: len(rows)] == rows).all()


def test_a_full_table_says_so() -> None:
    """Allocation beyond the capacity raises instead of writing over other rows, and `has_room` foretells it."""
    memory = new_memory((TableSpec("rows", 64, 5), TableSpec("index", 64, 1, is_index=True)))
    begin(memory)
    for number in range(64):
        assert has_room(memory, ROWS, 1)
        insert(memory, (number, 0, 0), number)
    assert not has_room(memory, ROWS, 1)
    with pytest.raises(CapacityError):
        allocate(memory, ROWS)


def test_a_freed_row_comes_back_empty() -> None:
    """A row that is used again carries nothing of its former tenant."""
    memory = new_memory()
    begin(memory)
    row = insert(memory, (5, 6, 7), 8)
    unlink(memory, INDEX, ROWS, row)
    release(memory, ROWS, row)
    again = allocate(memory, ROWS)
    assert again == row
    assert not table_rows(memory, 0)[again].any()


def test_mixing_spreads_neighbours() -> None:
    """Consecutive numbers land in different low bits, so that composite keys do not share chains."""
    with np.errstate(over="ignore"):
        words = {int(mix(number)) & 1023 for number in range(200)}
    assert len(words) > 150
