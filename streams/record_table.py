"""Records of one partition as one buffer and columns of places in it: an object is made for who asks for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from streams.errors import RecordFormatError
from streams.events import TRACE_HEADER
from streams.kernels.record_batches import (
    COLUMNS,
    HEADERS_START,
    KEY_END,
    KEY_START,
    OFFSET,
    TIMESTAMP_MS,
    TRACE_END,
    TRACE_START,
    VALUE_END,
    VALUE_START,
    Batches,
    read_records,
)
from streams.records import Headers, RawRecord, TopicPartition

# Behind the last record: whole words can be read there, and no text goes on.
PADDING = bytes(32)
# Length, attributes, differences of time and offset, lengths of key and value, number of headers.
_SMALLEST_RECORD = 7
_TRACE_NAME = np.frombuffer(TRACE_HEADER.encode(), dtype=np.uint8)


class Values(NamedTuple):
    """Values of records: bytes from `starts` to `ends` of a buffer that has padding at its end; null ones are empty."""

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class TableRecord:
    """A record of a table. It keeps the whole fetch alive, and makes of its bytes what it is asked for."""

    __slots__ = ("_buffer", "_row")

    def __init__(self, buffer: bytes, row: list[int]) -> None:
        """Take the buffer and a column of the table."""
        self._buffer = buffer
        self._row = row

    @property
    def offset(self) -> int:
        """See `RawRecord`."""
        return self._row[OFFSET]

    @property
    def timestamp(self) -> int:
        """See `RawRecord`."""
        return self._row[TIMESTAMP_MS]

    @property
    def key(self) -> bytes | None:
        """See `RawRecord`."""
        start = self._row[KEY_START]
        return self._buffer[start : self._row[KEY_END]] if start >= 0 else None

    @property
    def value(self) -> bytes | None:
        """See `RawRecord`."""
        start = self._row[VALUE_START]
        return self._buffer[start : self._row[VALUE_END]] if start >= 0 else None

    @property
    def headers(self) -> Headers:
        """See `RawRecord`."""
        return _headers(self._buffer, self._row[HEADERS_START])


class RecordTable(Sequence[RawRecord]):
    """Records in offset order; slices share the buffer."""

    __slots__ = ("_buffer", "_columns")

    def __init__(self, buffer: bytes, columns: NDArray[np.int64]) -> None:
        """Take places as `read_records` writes them.

        Args:
            buffer: they stand here, with `PADDING` behind them.
            columns: int64 (COLUMNS, n).
        """
        self._buffer = buffer
        self._columns = columns

    @classmethod
    def read(cls, place: TopicPartition, buffer: bytes, batches: Batches) -> RecordTable:
        """Find the records of batches.

        Args:
            place: where they come from, for errors.
            buffer: the records of all batches, decompressed, with `PADDING` behind them.
            batches: what their headers say.

        Raises:
            RecordFormatError: a batch is not what its header says.
        """
        counts = int(batches.counts.sum())
        # No header makes room for more records than were sent.
        if (batches.counts < 0).any() or counts * _SMALLEST_RECORD > len(buffer):
            message = f"{place.topic}/{place.partition}: a record batch says that it has more records than bytes"
            raise RecordFormatError(message)
        columns = np.full((len(COLUMNS), counts), -1, dtype=np.int64)
        with np.errstate(over="ignore"):
            broken = read_records(np.frombuffer(buffer, dtype=np.uint8), batches, _TRACE_NAME, columns)
        if broken >= 0:
            offset = int(batches.base_offsets[broken])
            message = f"{place.topic}/{place.partition}: the record batch from offset {offset} on is damaged"
            raise RecordFormatError(message)
        return cls(buffer, columns)

    def __len__(self) -> int:
        """How many records."""
        return int(self._columns.shape[1])

    @overload
    def __getitem__(self, at: int) -> RawRecord: ...
    @overload
    def __getitem__(self, at: slice) -> RecordTable: ...
    def __getitem__(self, at: int | slice) -> RawRecord | RecordTable:
        """One record, made for the caller, or a part of the table."""
        if isinstance(at, slice):
            return RecordTable(self._buffer, self._columns[:, at])
        return TableRecord(self._buffer, self._columns[:, at].tolist())

    def __iter__(self) -> Iterator[RawRecord]:
        """All records, each made for the caller."""
        return (TableRecord(self._buffer, row) for row in self._columns.T.tolist())

    def select(self, rows: NDArray[np.intp]) -> RecordTable:
        """The records at some places."""
        return RecordTable(self._buffer, self._columns[:, rows])

    def offsets(self) -> NDArray[np.int64]:
        """int64, of each record."""
        offsets: NDArray[np.int64] = self._columns[OFFSET]
        return offsets

    def timestamps_ms(self) -> NDArray[np.int64]:
        """int64, Kafka's timestamps; negative where a record has none."""
        timestamps: NDArray[np.int64] = self._columns[TIMESTAMP_MS]
        return timestamps

    def values(self) -> Values:
        """Where the values stand."""
        starts, ends = self._columns[VALUE_START], self._columns[VALUE_END]
        nowhere = len(self._buffer) - len(PADDING)
        is_null = starts < 0
        if is_null.any():
            starts, ends = np.where(is_null, nowhere, starts), np.where(is_null, nowhere, ends)
        return Values(np.frombuffer(self._buffer, dtype=np.uint8), starts, ends)

    def traceparents(self) -> dict[int, bytes]:
        """The trace context of rows that have one."""
        starts, ends = self._columns[TRACE_START], self._columns[TRACE_END]
        return {row: self._buffer[starts[row] : ends[row]] for row in np.flatnonzero(starts >= 0).tolist()}


def _headers(buffer: bytes, at: int) -> Headers:
    """A record's headers, which `read_records` has walked over; names are UTF-8, and what is not is shown as such."""
    count, at = _varint(buffer, at)
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = _varint(buffer, at)
        name, at = buffer[at : at + length].decode("utf-8", "backslashreplace"), at + length
        length, at = _varint(buffer, at)
        found.append((name, buffer[at : at + length] if length >= 0 else None))
        at += max(length, 0)
    return found


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """A number in Protobuf's zigzag encoding, and the place behind it."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), at
        shift += 7


# What those ask who take tables and, from elsewhere, plain lists.


def offsets_of(records: Sequence[RawRecord]) -> NDArray[np.int64]:
    """int64, offsets of records."""
    if isinstance(records, RecordTable):
        return records.offsets()
    return np.fromiter((record.offset for record in records), dtype=np.int64, count=len(records))


def timestamps_of(records: Sequence[RawRecord], now_ms: int) -> NDArray[np.int64]:
    """int64, Kafka's timestamps; a record without one counts as written at `now_ms`."""
    if isinstance(records, RecordTable):
        timestamps = records.timestamps_ms()
    else:
        timestamps = np.fromiter((record.timestamp for record in records), dtype=np.int64, count=len(records))
    return np.where(timestamps < 0, now_ms, timestamps)


def values_of(records: Sequence[RawRecord]) -> Values:
    """Where the values of records stand."""
    return records.values() if isinstance(records, RecordTable) else joined([record.value or b"" for record in records])


def joined(values: Sequence[bytes]) -> Values:
    """Values one behind the other."""
    ends = np.cumsum(np.fromiter(map(len, values), dtype=np.int64, count=len(values)), dtype=np.int64)
    starts = np.concatenate([np.zeros(min(1, len(ends)), dtype=np.int64), ends[:-1]])
    return Values(np.frombuffer(b"".join((*values, PADDING)), dtype=np.uint8), starts, ends)


def selected(records: Sequence[RawRecord], rows: NDArray[np.intp]) -> Sequence[RawRecord]:
    """The records at some places."""
    return records.select(rows) if isinstance(records, RecordTable) else [records[row] for row in rows.tolist()]


def traceparents_of(records: Sequence[RawRecord]) -> dict[int, bytes]:
    """The trace context of rows that have one."""
    if isinstance(records, RecordTable):
        return records.traceparents()
    headers = [record.headers for record in records]
    # Nearly all producers write headers, few a trace: looking for the name first is half the work.
    if TRACE_HEADER not in set(map(itemgetter(0), chain.from_iterable(headers))):
        return {}
    named = ((row, name, value) for row, pairs in enumerate(headers) for name, value in pairs)
    return {row: value for row, name, value in named if name == TRACE_HEADER and value}
