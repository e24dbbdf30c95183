"""Bucket histories against a dictionary: adding commutes, windows sum, dropping is invisible, errors undo all."""

from __future__ import annotations

import random
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from detector.buckets import LEVEL_WORDS, add, free_history, list_buckets, slide, sums_of
from detector.jit import constants
from detector.memory import ARENA_ALLOCATED, Memory, TableSpec, address, allocate, begin, reserve, roll_back, save_row

(OWNERS,) = constants(1)
LEVEL = 8

Event = tuple[int, bool, int, int]
events = st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 1), st.integers(0, 1000)), max_size=80)


def new_history() -> tuple[Memory, int]:
    memory = reserve((TableSpec("owners", 64, LEVEL + LEVEL_WORDS),), 1 << 16, 512)
    begin(memory)
    return memory, int(address(memory, OWNERS, allocate(memory, OWNERS))) + LEVEL


def amounts_of(event: Event) -> tuple[int, int, int, int, int]:
    _, is_label, flag, amount = event
    return (0, 0, 1, flag, 0) if is_label else (1, flag, 0, 0, amount * flag)


def fill(memory: Memory, level: int, stream: list[Event], limit: int = -1) -> None:
    for event in stream:
        assert add(memory, level, event[0], limit, amounts_of(event))


def twin_of(stream: list[Event]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = defaultdict(lambda: [0] * 5)
    for event in stream:
        buckets[event[0]] = [a + b for a, b in zip(buckets[event[0]], amounts_of(event), strict=True)]
    return buckets


@given(events)
def test_a_history_is_its_buckets_in_order(stream: list[Event]) -> None:
    """In whatever order events come, the list holds each bucket once, sorted, with exact sums."""
    memory, level = new_history()
    fill(memory, level, stream)
    twin = twin_of(stream)
    assert list_buckets(memory, level) == [(number, *twin[number]) for number in sorted(twin)]


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(stream: list[Event], chance: random.Random) -> None:
    """Two interleavings of the same events give the same buckets."""
    shuffled = list(stream)
    chance.shuffle(shuffled)
    lists = []
    for order in (stream, shuffled):
        memory, level = new_history()
        fill(memory, level, order)
        lists.append(list_buckets(memory, level))
    assert lists[0] == lists[1]


ranges = st.lists(st.tuples(st.integers(-2, 42), st.integers(0, 42)), min_size=1, max_size=12)


@given(events, ranges, st.integers(-2, 42), st.randoms(use_true_random=False))
def test_a_window_that_slides_sums_what_lies_in_it(
    stream: list[Event], asked: list[tuple[int, int]], limit: int, chance: random.Random
) -> None:
    """Wherever a window moves, between whatever is added, its sums are those of low < number <= high.

    What is dropped lies below every query.
    """
    memory, level = new_history()
    dropped = min([limit, *(low for low, _ in asked)])
    added: list[Event] = []
    waiting = list(stream)
    for low, length in asked:
        count = chance.randint(0, len(waiting))
        fill(memory, level, waiting[:count], dropped)
        added += waiting[:count]
        del waiting[:count]
        slide(memory, level, low, low + length)
        if waiting:
            fill(memory, level, waiting[:1], dropped)
            added.append(waiting.pop(0))
        inside = [bucket for number, bucket in twin_of(added).items() if low < number <= low + length]
        assert list(sums_of(memory, level)) == [sum(bucket[word] for bucket in inside) for word in range(5)]


@given(events, events)
def test_an_error_undoes_everything(before: list[Event], after: list[Event]) -> None:
    """After a roll-back a history holds what it held, and can be filled anew."""
    memory, level = new_history()
    fill(memory, level, before)
    saved = begin(memory)
    held = list_buckets(memory, level)
    save_row(memory, OWNERS, 1)
    fill(memory, level, after)
    roll_back(memory, saved)
    assert list_buckets(memory, level) == held
    fill(memory, level, after)
    twin = twin_of([*before, *after])
    assert list_buckets(memory, level) == [(number, *twin[number]) for number in sorted(twin)]
    free_history(memory, level)
    assert memory[ARENA_ALLOCATED] == 0


def test_what_was_taken_back_is_zero_again() -> None:
    """Adding and taking back leaves counts and sums of 0."""
    memory, level = new_history()
    for sign in (1, -1):
        add(memory, level, 7, -1, (sign, sign, sign, sign, sign * 50))
    assert list_buckets(memory, level) == [(7, 0, 0, 0, 0, 0)]


def test_a_full_arena_says_so_and_changes_nothing() -> None:
    """Where there is no room the answer is no, and the buckets are as they were."""
    memory = reserve((TableSpec("owners", 64, LEVEL + LEVEL_WORDS),), 1 << 16, 3)
    begin(memory)
    level = int(address(memory, OWNERS, allocate(memory, OWNERS))) + LEVEL
    numbers = 0
    while add(memory, level, numbers, -1, (1, 0, 0, 0, 0)):
        numbers += 1
    assert numbers >= 4
    assert [bucket[:2] for bucket in list_buckets(memory, level)] == [(number, 1) for number in range(numbers)]
