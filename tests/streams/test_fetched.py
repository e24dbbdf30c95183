"""aiokafka's fetches as tables: the same records as its own, transactions and compressions included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]
from aiokafka.record.util import calc_crc32c  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]

from streams.errors import RecordFormatError
from streams.fetched import FetchedBytes, FetchedRecords, FetchedResult

PLACE = TopicPartition("payments", 3)
ORIGINAL = fetcher.PartitionRecords


def batch(first: int, count: int, *, codec: int = 0, producer: int = -1, kind: bytes | None = None) -> bytes:
    """A batch as a producer writes it; with `kind`, the end of a transaction."""
    is_transactional = producer >= 0
    builder = DefaultRecordBatchBuilder(2, codec, int(is_transactional), producer, 0, 0, 1 << 20)
    for number in range(count):
        key = b"\0\0" + kind if kind is not None else b"card-%d" % (first + number)
        headers = [("ce_id", b"%d" % number), ("empty", None)]
        assert builder.append(number, 1_000 + number, key, b"x" * 50, headers)
    made = bytearray(builder.build())
    made[0:8] = first.to_bytes(8, "big")
    if kind is not None:
        made[22] |= 1 << 5
        made[17:21] = int(calc_crc32c(bytes(made[21:]))).to_bytes(4, "big")
    return bytes(made)


def by_aiokafka(data: bytes, start: int, level: int, aborted: list[tuple[int, int]]) -> tuple[list[Any], int]:
    """What aiokafka itself makes of it, and where it would fetch next."""
    records = ORIGINAL(PLACE, MemoryRecords(data), aborted, start, None, None, check_crcs=True, isolation_level=level)
    return list(records), records.next_fetch_offset


def fetched(
    data: bytes, start: int, level: int = fetcher.READ_COMMITTED, aborted: Sequence[tuple[int, int]] = ()
) -> FetchedRecords:
    """Ours."""
    return FetchedRecords(PLACE, FetchedBytes(data), aborted, start, None, None, check_crcs=True, isolation_level=level)


def by_tables(data: bytes, start: int, level: int, aborted: list[tuple[int, int]], most: int) -> tuple[list[Any], int]:
    """The same in parts."""
    records = fetched(data, start, level, aborted)
    found: list[Any] = []
    while not records.is_done:
        found += list(records.take(most))
    return found, records.next_fetch_offset


def test_the_fetcher_looks_for_these_names() -> None:
    """What is put in their places would else be used by nobody."""
    assert {"MemoryRecords", "PartitionRecords", "FetchResult"} <= {
        *fetcher.Fetcher._proc_fetch_request.__code__.co_names
    }


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("most", [1, 3, 1_000])
@pytest.mark.parametrize("start", [10, 13])
def test_records_are_those_that_aiokafka_makes(codec: int, most: int, start: int) -> None:
    """Whatever the compression, from the middle of a batch, in parts; a batch that was broken off is left out."""
    data = batch(10, 5, codec=codec) + batch(15, 7, codec=0) + batch(30, 2, codec=codec)
    for sent in (data, data[:-3], data[: len(data) // 2]):
        theirs, theirs_next = by_aiokafka(sent, start, fetcher.READ_UNCOMMITTED, [])
        ours, ours_next = by_tables(sent, start, fetcher.READ_UNCOMMITTED, [], most)
        assert [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in ours] == [
            (r.offset, r.timestamp, r.key, r.value, r.headers) for r in theirs
        ]
        assert ours_next == theirs_next
        assert ours or sent != data


@pytest.mark.parametrize("level", [fetcher.READ_COMMITTED, fetcher.READ_UNCOMMITTED])
def test_what_was_aborted_is_nobodys_business(level: int) -> None:
    """Transactions of two producers among each other; their ends are no records."""
    data = b"".join(
        (
            batch(0, 2, producer=5), batch(2, 2, producer=6), batch(4, 1, producer=5, kind=b"\0\0"),
            batch(5, 2, producer=5), batch(7, 1, producer=6, kind=b"\0\1"), batch(8, 1, producer=5, kind=b"\0\1"),
            batch(9, 3),
        )
    )  # fmt: skip
    aborted = [(5, 0)]
    theirs, theirs_next = by_aiokafka(data, 0, level, aborted)
    ours, ours_next = by_tables(data, 0, level, aborted, 1_000)
    assert [r.offset for r in ours] == [r.offset for r in theirs]
    assert [r.offset for r in ours][:2] == ([2, 3] if level == fetcher.READ_COMMITTED else [0, 1])
    assert ours_next == theirs_next == 12


@pytest.mark.parametrize(
    ("at", "byte", "said"),
    [(16, 1, "of format 1"), (80, 7, "another checksum"), (8, 0x80, "shorter than its header")],
)
def test_damage_is_refused_and_named(at: int, byte: int, said: str) -> None:
    """Nothing of the fetch was taken, so it is fetched again."""
    data = bytearray(batch(10, 5) + batch(15, 5))
    data[at] = byte
    records = fetched(bytes(data), 10)
    with pytest.raises(RecordFormatError, match=rf"payments/3: the batch from offset 10 on .*{said}"):
        records.take(100)
    assert records.next_fetch_offset == 10


def test_bytes_that_cannot_be_decompressed_are_refused_and_named() -> None:
    """A checksum that fits says only that they were written like that."""
    data = bytearray(batch(10, 5, codec=3))
    data[61:70] = bytes(9)
    data[17:21] = int(calc_crc32c(bytes(data[21:]))).to_bytes(4, "big")
    with pytest.raises(RecordFormatError, match="payments/3: the batch from offset 10 on cannot be decompressed"):
        fetched(bytes(data), 10).take(100)


def test_the_end_of_a_transaction_that_the_cleaner_has_emptied_ends_nothing() -> None:
    """It has a header and no record any more."""
    emptied = bytearray(batch(2, 1, producer=5, kind=b"\0\0")[:61])
    emptied[8:12] = (61 - 12).to_bytes(4, "big")
    emptied[57:61] = bytes(4)
    emptied[17:21] = int(calc_crc32c(bytes(emptied[21:]))).to_bytes(4, "big")
    records = fetched(batch(0, 2) + bytes(emptied) + batch(3, 1), 0)
    assert [record.offset for record in records.take(100)] == [0, 1, 3]


class State:
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


class Assignment:
    active = True

    def __init__(self, position: int) -> None:
        self.state = State(position)

    def state_value(self, _: TopicPartition) -> State:
        return self.state


def test_a_fetch_is_taken_in_parts_until_somebody_seeks() -> None:
    """What is left of it does not follow on where the reader has gone meanwhile."""
    for seeks in (False, True):
        assignment = Assignment(10)
        records = fetched(batch(10, 5), 10)
        result = FetchedResult(PLACE, assignment=assignment, partition_records=records, backoff=0)
        assert [each.offset for each in result.getall(3)] == [10, 11, 12]
        assert (result.has_more(), assignment.state.position) == (True, 13)
        if seeks:
            assignment.state.position = 11
        assert [each.offset for each in result.getall(3)] == ([] if seeks else [13, 14])
        assert (result.has_more(), assignment.state.position) == (False, 11 if seeks else 15)


def test_what_is_damaged_is_fetched_again() -> None:
    """It may have been damaged on its way; what stood in memory is thrown away."""
    data = bytearray(batch(10, 5))
    data[80] ^= 1
    assignment = Assignment(10)
    result = FetchedResult(PLACE, assignment=assignment, partition_records=fetched(bytes(data), 10), backoff=0)
    with pytest.raises(RecordFormatError):
        result.getall(3)
    assert (result.getall(3), result.has_more(), assignment.state.position) == ([], False, 10)
