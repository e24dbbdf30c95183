"""Sliding windows against sums over a dictionary: exact in whichever direction time goes, whatever was dropped."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from detector.buckets import BUCKET_WORDS, CHUNK_WORDS, list_buckets
from detector.jit import constants
from detector.memory import Memory, TableSpec, address, allocate, begin, reserve, roll_back, touch
from detector.sliding import HEAD, SUMS, WINDOW_WORDS, add_sliding, slide

OWNERS, CHUNKS = constants(2)
COLUMN = 4

# (bucket number above the limit, how far the limit moves first, amount), or (low above the limit, length) of a query.
additions = st.tuples(st.integers(1, 60), st.integers(0, 3), st.integers(-50, 50))
queries = st.tuples(st.integers(0, 60), st.integers(0, 30))
steps = st.lists(st.one_of(additions, queries), max_size=120)


class History:
    """A history with a window, and the dictionary that says what it should hold."""

    def __init__(self) -> None:
        self.memory: Memory = reserve(
            (TableSpec("owners", 64, COLUMN + WINDOW_WORDS), TableSpec("chunks", 400, CHUNK_WORDS)), 1 << 16
        )
        begin(self.memory)
        self.owner = int(allocate(self.memory, OWNERS))
        self.window = int(address(self.memory, OWNERS, self.owner)) + COLUMN
        self.twin: dict[int, list[int]] = defaultdict(lambda: [0] * (BUCKET_WORDS - 1))
        self.limit = 0

    def add(self, above: int, limit_step: int, amount: int) -> None:
        self.limit += limit_step
        number = self.limit + above
        amounts = (1, amount % 2, amount, 1 - amount % 2, amount % 3)
        add_sliding(self.memory, OWNERS, self.owner, COLUMN, CHUNKS, number, self.limit, amounts)
        self.twin[number] = [old + new for old, new in zip(self.twin[number], amounts, strict=True)]

    def sums(self, above: int, length: int) -> list[int]:
        low = self.limit + above
        slide(self.memory, CHUNKS, self.window, low, low + length)
        start = self.window + int(SUMS)
        return [int(word) for word in self.memory[start : start + BUCKET_WORDS - 1]]

    def expected(self, above: int, length: int) -> list[int]:
        low = self.limit + above
        inside = [sums for number, sums in self.twin.items() if low < number <= low + length]
        return [sum(column) for column in zip(*inside, strict=True)] or [0] * (BUCKET_WORDS - 1)


@given(steps)
def test_the_sums_are_those_of_the_range_asked_for(script: list[tuple[int, ...]]) -> None:
    """Late and early payments, ranges that jump back and forth, chunks dropped meanwhile: never off by one."""
    history = History()
    for step in script:
        if len(step) == 3:
            history.add(*step)
        else:
            assert history.sums(*step) == history.expected(*step)


@given(steps, steps)
def test_sums_and_buckets_roll_back_together(before: list[tuple[int, ...]], undone: list[tuple[int, ...]]) -> None:
    """What a failed batch did to a window is forgotten with the rest."""
    history = History()
    script = [step for step in before if len(step) == 3]
    for addition in script:
        history.add(*addition)
    first = int(history.memory[history.window + int(HEAD)])
    buckets = list_buckets(history.memory, first, int(CHUNKS))
    saved, limit, twin = begin(history.memory), history.limit, dict(history.twin)
    for step in undone:
        if len(step) == 3:
            # As the owner of a window must.
            touch(history.memory, OWNERS, history.owner)
            history.add(*step)
    roll_back(history.memory, saved)
    history.limit = limit
    history.twin.clear()
    history.twin.update(twin)
    assert list_buckets(history.memory, int(history.memory[history.window + int(HEAD)]), int(CHUNKS)) == buckets
    assert history.sums(0, 90) == history.expected(0, 90)
