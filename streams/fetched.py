"""What aiokafka fetched, handed on as tables: no object a record, and no Python for each.

aiokafka's fetcher makes three objects out of the bytes that a broker sends for a partition. `install` puts ours in
their places, which keep the bytes and read all batches at once (`streams.record_table`); everything else of the fetcher
(positions, what to fetch next, errors) stays its own. Part of the batch seam; `streams.seam_names` lists the names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode  # type: ignore[import-untyped]
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.record.util import calc_crc32c  # type: ignore[import-untyped]

from streams.errors import RecordFormatError
from streams.kernels.record_batches import Batches
from streams.record_table import PADDING, RecordTable
from streams.records import TopicPartition

# Base offset, length, leader's epoch, format, CRC, attributes, last offset's difference, first and highest timestamp,
# producer's id, epoch and first sequence number, number of records: the protocol guide's "Record Batch".
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_END, _FORMAT_END, _CRC_FROM, _FORMAT = 12, 17, 21, 2
_CODEC_BITS, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0b111, 1 << 3, 1 << 4, 1 << 5
_CODECS: Mapping[int, Callable[[bytes], bytes]] = {
    0: bytes, 1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode,
}  # fmt: skip
# The key of a control record: a version, then its kind.
_ABORT = b"\x00\x00"


class _Batch(NamedTuple):
    """A record batch, its records compressed still."""

    base_offset: int
    next_offset: int
    attributes: int
    producer_id: int
    base_timestamp_ms: int
    highest_timestamp_ms: int
    record_count: int
    records: bytes

    def has(self, attribute: int) -> bool:
        return bool(self.attributes & attribute)


class FetchedBytes:
    """In the place of aiokafka's `MemoryRecords`: the bytes that came for a partition."""

    def __init__(self, data: bytes) -> None:
        """Keep the bytes."""
        self.data = data

    def size_in_bytes(self) -> int:
        """How many came, a broken-off batch at their end included."""
        return len(self.data)

    def has_next(self) -> bool:
        """Whether there is a whole batch; brokers break off behind the most that was asked for."""
        return len(self.data) >= _FORMAT_END and _end_of_batch(self.data, 0) <= len(self.data)


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka has no types
    """In the place of aiokafka's `PartitionRecords`: reads everything when the first part is taken."""

    _table: RecordTable | None = None
    _end = 0

    def _unpack_records(self) -> Iterator[Any]:
        """Nobody iterates: `take` is for whole parts."""
        return iter(())

    def take(self, most: int | None) -> RecordTable:
        """The next records, at most so many; `next_fetch_offset` and `is_done` say where this leaves us.

        Raises:
            RecordFormatError: bytes are damaged; nothing of them was taken.
        """
        if self._table is None:
            self._table = self._read()
        table = self._table
        taken, self._table = (table, table[:0]) if most is None else (table[:most], table[most:])
        self.next_fetch_offset = taken[-1].offset + 1 if len(self._table) else self._end
        return taken

    @property
    def is_done(self) -> bool:
        """Whether everything was taken."""
        return self._table is not None and not len(self._table)

    def _read(self) -> RecordTable:
        """Read all batches, without what was aborted, what is nobody's business, and what was asked for before."""
        wanted_from, self._end = self.next_fetch_offset, self.next_fetch_offset
        bodies: list[bytes] = []
        facts: list[tuple[int, int, int, int]] = []
        for batch in self._batches():
            self._end = max(self._end, batch.next_offset)
            if self._is_standing(batch):
                bodies.append(self._decompressed(batch))
                append_ms = batch.highest_timestamp_ms if batch.has(_APPEND_TIME) else -1
                facts.append((batch.record_count, batch.base_offset, batch.base_timestamp_ms, append_ms))
        table = _table_of(TopicPartition(*self._tp), bodies, facts)
        # A broker sends whole batches, also where the middle of one was asked for.
        return table[int(np.searchsorted(table.offsets(), wanted_from)) :]

    def _decompressed(self, batch: _Batch) -> bytes:
        """The records of a batch."""
        try:
            return _CODECS[batch.attributes & _CODEC_BITS](batch.records)
        except Exception as error:  # five libraries, each with errors of its own
            raise self._complaint(batch.base_offset, f"cannot be decompressed ({type(error).__name__})") from error

    def _complaint(self, base_offset: int, what: str) -> RecordFormatError:
        place = f"{self._tp.topic}/{self._tp.partition}"
        return RecordFormatError(f"{place}: the batch from offset {base_offset} on {what}")

    def _batches(self) -> Iterator[_Batch]:
        """All whole batches.

        Raises:
            RecordFormatError: one is damaged, or of an old format.
        """
        data, at = self._records.data, 0
        while at + _FORMAT_END <= len(data) and (end := _end_of_batch(data, at)) <= len(data):
            first, version = int.from_bytes(data[at : at + 8], "big"), data[at + _FORMAT_END - 1]
            if version != _FORMAT:
                raise self._complaint(first, f"is of format {version}, which Kafka wrote before 0.11")
            if end < at + _HEADER.size:
                raise self._complaint(first, "says that it is shorter than its header")
            (
                base_offset, _, _, _, crc, attributes, last, base_ms, highest_ms, producer_id, _, _, count,
            ) = _HEADER.unpack_from(data, at)  # fmt: skip
            if self._check_crcs and calc_crc32c(data[at + _CRC_FROM : end]) != crc:
                raise self._complaint(base_offset, "has another checksum than it says")
            records = data[at + _HEADER.size : end]
            yield _Batch(
                base_offset, base_offset + last + 1, attributes, producer_id, base_ms, highest_ms, count, records
            )
            at = end

    def _is_standing(self, batch: _Batch) -> bool:
        """Whether records of a batch are for readers; batches come in order, and aborted transactions end in it."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.has(_CONTROL) and self._is_abort(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.has(_TRANSACTIONAL) and batch.producer_id in self._aborted_producers:
                return False
        return not batch.has(_CONTROL)

    def _is_abort(self, batch: _Batch) -> bool:
        """Whether a control batch ends a transaction that was aborted; a log's cleaner may have emptied it."""
        facts = (batch.record_count, batch.base_offset, batch.base_timestamp_ms, -1)
        records = _table_of(TopicPartition(*self._tp), [self._decompressed(batch)], [facts])
        return any((record.key or b"")[2:4] == _ABORT for record in records)


class FetchedResult(fetcher.FetchResult):  # type: ignore[misc] # aiokafka has no types
    """In the place of aiokafka's `FetchResult`."""

    _partition_records: FetchedRecords | None

    def getall(self, max_records: int | None = None) -> Any:
        """The next records of the partition as a table, empty where it was lost or sought meanwhile."""
        if self._partition_records is None or not self.check_assignment(self._topic_partition):
            return []
        try:
            taken = self._partition_records.take(max_records)
        except RecordFormatError:
            self._partition_records = None  # so that the next call fetches these bytes again
            raise
        self._update_position()
        if self._partition_records.is_done:
            self._partition_records = None
        return taken


def install() -> None:
    """Let aiokafka's fetcher in this process make tables; compiles what reads them, where nothing is cached."""
    _table_of(TopicPartition("", 0), [], [])
    fetcher.MemoryRecords = FetchedBytes
    fetcher.PartitionRecords = FetchedRecords
    fetcher.FetchResult = FetchedResult


def _end_of_batch(data: bytes, at: int) -> int:
    return at + _LENGTH_END + int.from_bytes(data[at + 8 : at + _LENGTH_END], "big", signed=True)


def _table_of(place: TopicPartition, bodies: list[bytes], facts: list[tuple[int, int, int, int]]) -> RecordTable:
    """One table of the records of several batches, each with its count, first offset and times."""
    ends = np.cumsum([len(body) for body in bodies], dtype=np.int64)
    starts = ends - np.array([len(body) for body in bodies], dtype=np.int64)
    counts, offsets, base_ms, append_ms = np.array(facts, dtype=np.int64).reshape(-1, 4).T.copy()
    batches = Batches(starts, ends, counts, offsets, base_ms, append_ms)
    return RecordTable.read(place, b"".join((*bodies, PADDING)), batches)
