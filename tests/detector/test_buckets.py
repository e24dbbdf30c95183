"""Bucket histories against a dictionary: adding commutes, windows sum, trimming is invisible."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.buckets import (
    BUCKET_WORDS,
    CHUNK_WORDS,
    COUNT,
    FRAUDS,
    LABELLED,
    NUMBER,
    SPEND_SUM,
    SPENDS,
    add,
    list_buckets,
    trim,
    window_sums,
)
from detector.jit import constants
from detector.memory import Memory, TableSpec, address, allocate, begin, reserve

OWNERS, CHUNKS = constants(2)
COLUMN = 4

events = st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 1), st.integers(0, 1000)), max_size=80)


def new_history() -> tuple[Memory, int]:
    memory = reserve((TableSpec("owners", 64, 6), TableSpec("chunks", 400, CHUNK_WORDS)), 1 << 14)
    begin(memory)
    return memory, int(allocate(memory, OWNERS))


def fill(memory: Memory, owner: int, stream: list[tuple[int, bool, int, int]]) -> None:
    for number, is_label, flag, amount in stream:
        amounts = (0, 0, 0, 1, flag) if is_label else (1, flag, amount * flag, 0, 0)
        add(memory, OWNERS, owner, COLUMN, CHUNKS, last_chunk(memory, owner), number, -1, amounts)


def twin_of(stream: list[tuple[int, bool, int, int]]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = defaultdict(lambda: [0] * BUCKET_WORDS)
    for number, is_label, flag, amount in stream:
        bucket = buckets[number]
        bucket[NUMBER] = number
        if is_label:
            bucket[LABELLED] += 1
            bucket[FRAUDS] += flag
        else:
            bucket[COUNT] += 1
            bucket[SPENDS] += flag
            bucket[SPEND_SUM] += amount * flag
    return buckets


def first_chunk(memory: Memory, owner: int) -> int:
    return int(memory[address(memory, OWNERS, owner) + COLUMN])


def last_chunk(memory: Memory, owner: int) -> int:
    return int(memory[address(memory, OWNERS, owner) + COLUMN + 1])


@given(events)
def test_a_history_is_its_buckets_in_order(stream: list[tuple[int, bool, int, int]]) -> None:
    """In whatever order events come, the list holds each bucket once, sorted, with exact sums."""
    memory, owner = new_history()
    fill(memory, owner, stream)
    twin = twin_of(stream)
    assert list_buckets(memory, first_chunk(memory, owner), int(CHUNKS)) == [tuple(twin[n]) for n in sorted(twin)]


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(stream: list[tuple[int, bool, int, int]], random: object) -> None:
    """Two interleavings of the same events give the same buckets."""
    shuffled = list(stream)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    lists = []
    for order in (stream, shuffled):
        memory, owner = new_history()
        fill(memory, owner, order)
        lists.append(list_buckets(memory, first_chunk(memory, owner), int(CHUNKS)))
    assert lists[0] == lists[1]


@given(events, st.integers(-2, 42), st.integers(0, 42), st.integers(-2, 42))
def test_a_window_sums_what_lies_in_it(
    stream: list[tuple[int, bool, int, int]], low: int, length: int, trimmed: int
) -> None:
    """The sum is over low < number <= high, and trimming what is not above the window's start changes nothing."""
    memory, owner = new_history()
    fill(memory, owner, stream)
    trim(memory, OWNERS, owner, COLUMN, CHUNKS, min(trimmed, low))
    out = np.zeros(BUCKET_WORDS, dtype=np.int64)
    window_sums(memory, last_chunk(memory, owner), CHUNKS, low, low + length, out)
    inside = [bucket for number, bucket in twin_of(stream).items() if low < number <= low + length]
    expected = [0] + [sum(bucket[word] for bucket in inside) for word in range(1, BUCKET_WORDS)]
    assert out.tolist() == expected
