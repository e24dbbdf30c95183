"""Sliding windows over bucket histories: running sums that follow time in either direction.

Summing a window of 64 buckets anew for every payment is most of the work at a busy merchant. So the owner of a history
keeps the sums of one range of bucket numbers (cut, top], and moves both ends to where the next query wants them: a
bucket enters and leaves once, however many payments ask. Partitions take turns and may be hours apart in event time;
then the range jumps once per turn. Which range is kept is no part of the state that a digest covers.

`window` is the address of the words below, inside the owner's row, which must be touched.
"""

from __future__ import annotations

from detector.buckets import BUCKET_WORDS, FILL, Amounts, add, count_range, seek
from detector.jit import constants, kernel
from detector.memory import Memory, address

# First and last chunk as `buckets` wants them, chunks near both ends of the range (0: none known), the range, its sums.
HEAD, LAST, CUT_CHUNK, TOP_CHUNK, CUT, TOP, SUMS = constants(7)
WINDOW_WORDS = 11
_SUM_WORDS = BUCKET_WORDS - 1


@kernel
def _near(memory: Memory, window: int, hint: int) -> int:
    """A chunk to look from, 0 only for an empty history."""
    chunk = memory[window + hint]
    return chunk if chunk != 0 else memory[window + LAST]


@kernel
def _count_range(memory: Memory, chunks: int, window: int, near: int, low: int, high: int, sign: int) -> int:
    """Add the buckets low < number <= high to the sums (sign 1) or take them out (-1); returns the chunk of `high`."""
    end = seek(memory, chunks, near, high)
    count_range(memory, chunks, end, low, high, sign, memory, window + SUMS)
    return end


@kernel
def slide(memory: Memory, chunks: int, window: int, low: int, high: int) -> None:
    """Make the sums those of the buckets low < number <= high."""
    cut, top = memory[window + CUT], memory[window + TOP]
    memory[window + CUT] = low
    memory[window + TOP] = high
    if memory[window + LAST] == 0:
        return
    if low >= top or high <= cut:
        for word in range(_SUM_WORDS):
            memory[window + SUMS + word] = 0
        memory[window + TOP_CHUNK] = _count_range(
            memory, chunks, window, _near(memory, window, TOP_CHUNK), low, high, 1
        )
        memory[window + CUT_CHUNK] = memory[window + TOP_CHUNK]
        return
    if high > top:
        near = _near(memory, window, TOP_CHUNK)
        memory[window + TOP_CHUNK] = _count_range(memory, chunks, window, near, top, high, 1)
    elif high < top:
        near = _near(memory, window, TOP_CHUNK)
        _count_range(memory, chunks, window, near, high, top, -1)
        memory[window + TOP_CHUNK] = seek(memory, chunks, near, high)
    if low > cut:
        near = _near(memory, window, CUT_CHUNK)
        memory[window + CUT_CHUNK] = _count_range(memory, chunks, window, near, cut, low, -1)
    elif low < cut:
        near = _near(memory, window, CUT_CHUNK)
        _count_range(memory, chunks, window, near, low, cut, 1)
        memory[window + CUT_CHUNK] = seek(memory, chunks, near, low)


@kernel
def add_sliding(
    memory: Memory, owner_table: int, owner: int, column: int, chunks: int, number: int, limit: int, amounts: Amounts
) -> None:
    """Add amounts to a bucket of a history whose window stands at `column`; see `buckets.add`."""
    window = address(memory, owner_table, owner) + column
    if memory[window + CUT] < limit:
        # Buckets up to the limit may be dropped: the sums let go of them first.
        slide(memory, chunks, window, limit, max(limit, memory[window + TOP]))
    head = memory[window + HEAD]
    add(memory, owner_table, owner, column, chunks, _near(memory, window, TOP_CHUNK), number, limit, amounts)
    if memory[window + CUT] < number <= memory[window + TOP]:
        for word in range(_SUM_WORDS):
            memory[window + SUMS + word] += amounts[word]
    if memory[window + HEAD] != head:
        for hint in (CUT_CHUNK, TOP_CHUNK):
            # A chunk in use holds at least one bucket.
            if memory[address(memory, chunks, memory[window + hint]) + FILL] == 0:
                memory[window + hint] = 0
