"""What stands where in Kafka's record batches: columns of places, without an object a record.

The format is that of Kafka's protocol guide, "Record Batch", version 2, decompressed: what follows a batch's header.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.jit import inlined, kernel

# Rows of the table that `read_records` fills: places in the buffer, -1 where there is nothing.
COLUMNS = (
    "offset", "timestamp_ms", "key_start", "key_end", "value_start", "value_end", "headers_start", "trace_start",
    "trace_end",
)  # fmt: skip
(OFFSET, TIMESTAMP_MS, KEY_START, KEY_END, VALUE_START, VALUE_END, HEADERS_START, TRACE_START, TRACE_END) = range(
    len(COLUMNS)
)
_VARINT_BYTES = 10


class Batches(NamedTuple):
    """What headers say of batches; int64, one row each.

    Attributes:
        starts, ends: where their records stand in the buffer.
        counts: how many records.
        base_offsets: that the records' offsets count from.
        base_timestamps_ms: that their timestamps count from.
        append_timestamps_ms: the broker's time that all of them have instead; -1 where each has its own.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]
    base_offsets: NDArray[np.int64]
    base_timestamps_ms: NDArray[np.int64]
    append_timestamps_ms: NDArray[np.int64]


@inlined
def _varint(buffer: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """A number in Protobuf's zigzag encoding, and the place behind it; -1 where it has no end."""
    value = np.uint64(0)
    for index in range(_VARINT_BYTES):
        byte = np.uint64(buffer[at + index])
        value |= (byte & np.uint64(0x7F)) << np.uint64(7 * index)
        if byte < np.uint64(0x80):
            half = np.int64(value >> np.uint64(1))
            return int(half ^ -np.int64(value & np.uint64(1))), at + index + 1
    return 0, -1


@inlined
def _span(buffer: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """Where bytes behind their length start and end, -1 where they are null; the place behind them, -1 if none fits."""
    length, start = _varint(buffer, at)
    if start < 0 or length < -1 or length > end - start:
        return -1, -1, -1
    if length < 0:
        return -1, -1, start
    return start, start + length, start + length


@inlined
def _is_named(buffer: NDArray[np.uint8], start: int, end: int, name: NDArray[np.uint8]) -> bool:
    """Whether a header has this name."""
    length, same = name.shape[0], 0
    if end - start == length:
        while same < length and buffer[start + same] == name[same]:
            same += 1
    return same == length and end - start == length


@inlined
def _read_headers(
    buffer: NDArray[np.uint8], at: int, end: int, name: NDArray[np.uint8], row: int, table: NDArray[np.int64]
) -> int:
    """Walk over a record's headers, noting the last one of this name; the place behind them, or -1."""
    count, at = _varint(buffer, at)
    if at < 0 or count < 0:
        return -1
    for _ in range(count):
        start, stop, at = _span(buffer, at, end)
        is_trace = start >= 0 and _is_named(buffer, start, stop, name)
        if start < 0 or at < 0:
            return -1
        start, stop, at = _span(buffer, at, end)
        if at < 0:
            return -1
        if is_trace and stop > start:
            table[TRACE_START, row] = start
            table[TRACE_END, row] = stop
    return at


@inlined
def _read_record(
    buffer: NDArray[np.uint8], at: int, end: int, name: NDArray[np.uint8], row: int, table: NDArray[np.int64]
) -> int:
    """Read one record, its times and offset as differences; the place behind it, or -1."""
    length, at = _varint(buffer, at)
    if at < 0 or length < 1 or length > end - at:
        return -1
    end = at + length
    table[TIMESTAMP_MS, row], at = _varint(buffer, at + 1)  # behind a byte of attributes that nobody uses
    if at < 0:
        return -1
    table[OFFSET, row], at = _varint(buffer, at)
    if at < 0:
        return -1
    for column in (KEY_START, VALUE_START):
        table[column, row], table[column + 1, row], at = _span(buffer, at, end)
        if at < 0:
            return -1
    table[HEADERS_START, row] = at
    return end if _read_headers(buffer, at, end, name, row, table) == end else -1


@kernel
def read_records(buffer: NDArray[np.uint8], batches: Batches, name: NDArray[np.uint8], table: NDArray[np.int64]) -> int:
    """Find out where everything stands.

    Args:
        buffer: uint8, the records of all batches, and 32 bytes behind them.
        batches: what their headers say.
        name: uint8, of the header whose value is looked for.
        table: int64 (COLUMNS, n), filled with -1; n is the sum of all counts.

    Returns:
        -1, or the number of the first batch that is not what its header says.
    """
    row = 0
    for batch in range(batches.starts.shape[0]):
        at, end = batches.starts[batch], batches.ends[batch]
        append_ms = batches.append_timestamps_ms[batch]
        for _ in range(batches.counts[batch]):
            at = _read_record(buffer, at, end, name, row, table)
            if at < 0:
                return batch
            table[OFFSET, row] += batches.base_offsets[batch]
            table[TIMESTAMP_MS, row] += batches.base_timestamps_ms[batch]
            if append_ms >= 0:
                table[TIMESTAMP_MS, row] = append_ms
            row += 1
        if at != end:
            return batch
    return -1
