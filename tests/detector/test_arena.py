"""The arena: blocks that never overlap, grow together again, and come back after an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.arena import ENTRIES_PER_UNIT, allocate_block, entries_of, free_block, order_for
from detector.memory import ARENA_ALLOCATED, ARENA_BASE, UNIT_WORDS, Memory, begin, reserve, roll_back

UNITS = 48
orders = st.integers(0, 4)
steps = st.lists(st.tuples(st.booleans(), orders, st.integers(0, 99)), max_size=60)


def new_memory() -> Memory:
    memory = reserve((), 1 << 16, UNITS)
    begin(memory)
    return memory


def play(memory: Memory, wanted: list[tuple[bool, int, int]], held: list[tuple[int, int]]) -> None:
    """Take and give back blocks, each filled with its own address."""
    for take, order, chosen in wanted:
        if take:
            place = int(allocate_block(memory, order))
            if place:
                memory[place : place + (UNIT_WORDS << order)] = place
                held.append((place, order))
        elif held:
            place, own_order = held.pop(chosen % len(held))
            assert (memory[place : place + (UNIT_WORDS << own_order)] == place).all()
            free_block(memory, place, own_order)


@given(steps)
@settings(max_examples=80)
def test_blocks_never_overlap_and_none_is_lost(wanted: list[tuple[bool, int, int]]) -> None:
    """What one block holds no other writes over; given back in full, the arena is as large as it was."""
    memory, held = new_memory(), []  # type: tuple[Memory, list[tuple[int, int]]]
    play(memory, wanted, held)
    for place, order in held:
        assert (memory[place : place + (UNIT_WORDS << order)] == place).all()
    assert memory[ARENA_ALLOCATED] == sum(1 << order for _, order in held)
    for place, order in held:
        free_block(memory, place, order)
    largest = [int(allocate_block(memory, 5)), int(allocate_block(memory, 4))]
    assert all(largest)
    assert not allocate_block(memory, 0)


@given(steps, steps)
@settings(max_examples=60)
def test_rolling_back_restores_every_block(
    before: list[tuple[bool, int, int]], after: list[tuple[bool, int, int]]
) -> None:
    """Whatever a batch took and gave back, what was held before still holds what it held, and room is not lost."""
    memory, held = new_memory(), []  # type: tuple[Memory, list[tuple[int, int]]]
    play(memory, before, held)
    saved, kept = begin(memory), list(held)
    play(memory, after, held)
    roll_back(memory, saved)
    for place, order in kept:
        assert (memory[place : place + (UNIT_WORDS << order)] == place).all()
    for place, order in kept:
        free_block(memory, place, order)
    assert allocate_block(memory, 5) == memory[ARENA_BASE]


@pytest.mark.parametrize(("entries", "order"), [(1, 0), (4, 0), (5, 1), (64, 4), (65, 5)])
def test_an_order_is_the_smallest_that_holds_the_entries(entries: int, order: int) -> None:
    """Blocks are powers of two of four entries."""
    assert order_for(entries) == order
    assert entries_of(order) == ENTRIES_PER_UNIT << order >= entries
