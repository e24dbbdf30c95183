"""Histories of absolute time buckets: integers that commute.

A history is a time-ordered list of non-empty buckets, a bucket being `number = time_ms // resolution` with an integer
count and integer sums. Adding is commutative, so the order in which partitions, workers or labels arrive does not
matter. The list is kept in doubly linked chunks of a few buckets. Its owner is a row whose fields `column` and
`column + 1` name the first and the last chunk; `owner_table` and `chunks` are table ids of the same memory. Buckets
that no window can reach any more are trimmed from the front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.jit import kernel
from detector.memory import Memory, address, allocate, release, touch

# Fields of a chunk; field 3 is the free list's link of `memory.release`.
PREVIOUS, FOLLOWING, FILL = 0, 1, 2
FIRST = 4
BUCKETS_PER_CHUNK = 4

# Words of a bucket.
NUMBER, COUNT, SPENDS, SPEND_SUM, LABELLED, FRAUDS = range(6)
BUCKET_WORDS = 6
# What is added to a bucket: its words but for the number, in their order.
Amounts = tuple[int, int, int, int, int]
CHUNK_WORDS = FIRST + BUCKETS_PER_CHUNK * BUCKET_WORDS
_HALF = BUCKETS_PER_CHUNK // 2


@kernel
def _insert_chunk(
    memory: Memory, owner_table: int, owner: int, column: int, chunks: int, before: int, new: int
) -> None:
    """Link an allocated chunk behind `before`, or in front of all if `before` is 0."""
    touch(memory, owner_table, owner)
    ends = address(memory, owner_table, owner) + column
    following = memory[ends] if before == 0 else memory[address(memory, chunks, before) + FOLLOWING]
    memory[address(memory, chunks, new) + PREVIOUS] = before
    memory[address(memory, chunks, new) + FOLLOWING] = following
    if before == 0:
        memory[ends] = new
    else:
        touch(memory, chunks, before)
        memory[address(memory, chunks, before) + FOLLOWING] = new
    if following == 0:
        memory[ends + 1] = new
    else:
        touch(memory, chunks, following)
        memory[address(memory, chunks, following) + PREVIOUS] = new


@kernel
def _split_chunk(memory: Memory, owner_table: int, owner: int, column: int, chunks: int, chunk: int) -> int:
    """Move the younger half of a full chunk into a new one behind it; returns the new one."""
    new = allocate(memory, chunks)
    touch(memory, chunks, chunk)
    old_at, new_at = address(memory, chunks, chunk), address(memory, chunks, new)
    for index in range((BUCKETS_PER_CHUNK - _HALF) * BUCKET_WORDS):
        memory[new_at + FIRST + index] = memory[old_at + FIRST + _HALF * BUCKET_WORDS + index]
    memory[new_at + FILL] = BUCKETS_PER_CHUNK - _HALF
    memory[old_at + FILL] = _HALF
    _insert_chunk(memory, owner_table, owner, column, chunks, chunk, new)
    return new


@kernel
def trim(memory: Memory, owner_table: int, owner: int, column: int, chunks: int, limit: int) -> None:
    """Drop chunks from the front whose buckets all have `number <= limit`."""
    ends = address(memory, owner_table, owner) + column
    chunk = memory[ends]
    while chunk != 0:
        at = address(memory, chunks, chunk)
        if memory[at + FIRST + (memory[at + FILL] - 1) * BUCKET_WORDS] > limit:
            return
        following = memory[at + FOLLOWING]
        touch(memory, owner_table, owner)
        memory[ends] = following
        if following == 0:
            memory[ends + 1] = 0
        else:
            touch(memory, chunks, following)
            memory[address(memory, chunks, following) + PREVIOUS] = 0
        release(memory, chunks, chunk)
        chunk = following


@kernel
def _make_bucket(memory: Memory, chunks: int, chunk: int, slot: int, number: int) -> int:
    """Open an empty bucket at a slot of a chunk with room; returns its address."""
    touch(memory, chunks, chunk)
    at = address(memory, chunks, chunk)
    fill = memory[at + FILL]
    place = at + FIRST + slot * BUCKET_WORDS
    for index in range(at + FIRST + fill * BUCKET_WORDS - 1, place - 1, -1):
        memory[index + BUCKET_WORDS] = memory[index]
    for index in range(BUCKET_WORDS):
        memory[place + index] = 0
    memory[place + NUMBER] = number
    memory[at + FILL] = fill + 1
    return place


@kernel
def seek(memory: Memory, chunks: int, chunk: int, number: int) -> int:
    """The last chunk that begins at or before a bucket number, or the first of all; walks from `chunk`."""
    at = address(memory, chunks, chunk)
    while memory[at + FIRST] > number and memory[at + PREVIOUS] != 0:
        chunk = memory[at + PREVIOUS]
        at = address(memory, chunks, chunk)
    following = memory[at + FOLLOWING]
    while following != 0:
        at = address(memory, chunks, following)
        if memory[at + FIRST] > number:
            break
        chunk, following = following, memory[at + FOLLOWING]
    return chunk


@kernel
def _open_bucket(
    memory: Memory, owner_table: int, owner: int, column: int, chunks: int, near: int, number: int, limit: int
) -> int:
    """Find the bucket of this number or make it; returns its address, its chunk touched.

    Where the list grows by a chunk, chunks that end at or before `limit` are dropped from its front.
    """
    if near == 0:
        chunk = allocate(memory, chunks)
        _insert_chunk(memory, owner_table, owner, column, chunks, 0, chunk)
        return _make_bucket(memory, chunks, chunk, 0, number)
    chunk = seek(memory, chunks, near, number)
    at = address(memory, chunks, chunk)
    slot = memory[at + FILL]
    while slot > 0 and memory[at + FIRST + (slot - 1) * BUCKET_WORDS] > number:
        slot -= 1
    place = at + FIRST + (slot - 1) * BUCKET_WORDS
    if slot > 0 and memory[place] == number:
        touch(memory, chunks, chunk)
        return place
    if memory[at + FILL] == BUCKETS_PER_CHUNK:
        if slot == BUCKETS_PER_CHUNK:
            new = allocate(memory, chunks)
            _insert_chunk(memory, owner_table, owner, column, chunks, chunk, new)
            place = _make_bucket(memory, chunks, new, 0, number)
            trim(memory, owner_table, owner, column, chunks, min(limit, number - 1))
            return place
        new = _split_chunk(memory, owner_table, owner, column, chunks, chunk)
        if slot > _HALF:
            chunk, slot = new, slot - _HALF
    return _make_bucket(memory, chunks, chunk, slot, number)


@kernel
def add(
    memory: Memory, owner_table: int, owner: int, column: int, chunks: int, near: int, number: int, limit: int,
    amounts: Amounts,
) -> None:  # fmt: skip
    """Add amounts to a bucket, or take them back with negative ones.

    `near` is a chunk of the list to look from, 0 only for an empty list; no query sees buckets up to `limit` any more.
    """
    bucket = _open_bucket(memory, owner_table, owner, column, chunks, near, number, limit)
    memory[bucket + COUNT] += amounts[0]
    memory[bucket + SPENDS] += amounts[1]
    memory[bucket + SPEND_SUM] += amounts[2]
    memory[bucket + LABELLED] += amounts[3]
    memory[bucket + FRAUDS] += amounts[4]


@kernel
def count_range(
    memory: Memory, chunks: int, last_chunk: int, low: int, high: int, sign: int, sums: NDArray[np.int64], into: int
) -> None:
    """Add the buckets with `low < number <= high`, from `last_chunk` backwards, to words of `sums` from `into` on.

    A sign of -1 takes them out. The words are those of a bucket but for its number.
    """
    chunk = last_chunk
    while chunk != 0:
        at = address(memory, chunks, chunk)
        for slot in range(memory[at + FILL] - 1, -1, -1):
            place = at + FIRST + slot * BUCKET_WORDS
            if memory[place] <= low:
                return
            if memory[place] <= high:
                for word in range(BUCKET_WORDS - 1):
                    sums[into + word] += sign * memory[place + 1 + word]
        chunk = memory[at + PREVIOUS]


@kernel
def window_sums(memory: Memory, last_chunk: int, chunks: int, low: int, high: int, out: NDArray[np.int64]) -> None:
    """Sum the buckets with `low < number <= high` into `out` (BUCKET_WORDS long, word 0 set to 0)."""
    for index in range(BUCKET_WORDS):
        out[index] = 0
    count_range(memory, chunks, last_chunk, low, high, 1, out, 1)


@kernel
def free_chunks(memory: Memory, chunks: int, first: int) -> None:
    """Release a whole chain of chunks."""
    chunk = first
    while chunk != 0:
        following = memory[address(memory, chunks, chunk) + FOLLOWING]
        release(memory, chunks, chunk)
        chunk = following


def list_buckets(memory: Memory, first_chunk: int, chunks: int) -> list[tuple[int, ...]]:
    """The buckets of a history in time order, as tuples of BUCKET_WORDS integers (for digests and inspection)."""
    buckets: list[tuple[int, ...]] = []
    chunk = first_chunk
    while chunk != 0:
        at = int(address(memory, chunks, chunk))
        for slot in range(int(memory[at + FILL])):
            place = at + FIRST + slot * BUCKET_WORDS
            buckets.append(tuple(int(word) for word in memory[place : place + BUCKET_WORDS]))
        chunk = int(memory[at + FOLLOWING])
    return buckets
