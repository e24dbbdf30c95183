"""Kafka's record batches as tables: what they say is what was written, and damage is found, never believed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import RecordFormatError
from streams.events import TRACE_HEADER
from streams.kernels.record_batches import Batches
from streams.record_table import PADDING, RecordTable, offsets_of, selected, timestamps_of, traceparents_of, values_of
from streams.records import RawRecord, TopicPartition
from tests import naive_wire

PLACE = TopicPartition("payments", 3)
_TEXTS = st.one_of(st.none(), st.binary(max_size=200))
_NAMES = st.one_of(st.just(TRACE_HEADER), st.text(max_size=12), st.just(TRACE_HEADER[:-1]))
_RECORDS = st.lists(
    st.tuples(
        st.integers(0, 300), st.integers(-5, 2**40), _TEXTS, _TEXTS, st.lists(st.tuples(_NAMES, _TEXTS), max_size=3)
    ),
    max_size=8,
)
_BATCHES = st.lists(
    st.tuples(st.integers(0, 2**50), st.integers(-1, 2**41), st.sampled_from([-1, 7]), _RECORDS), max_size=4
)


def number(value: int) -> bytes:
    """A varint in zigzag encoding."""
    left, made = value << 1 ^ value >> 63, b""
    while left > 0x7F:
        made += bytes([left & 0x7F | 0x80])
        left >>= 7
    return made + bytes([left])


def text(value: bytes | None) -> bytes:
    return number(-1) if value is None else number(len(value)) + value


def written(batches: list) -> tuple[list[bytes], Batches]:  # type: ignore[type-arg] # as _BATCHES draws them
    """Batches as Kafka writes them."""
    bodies = []
    for *_, records in batches:
        body = b""
        for offset, own_ms, key, value, headers in records:
            record = b"\0" + number(own_ms) + number(offset) + text(key) + text(value) + number(len(headers))
            record += b"".join(text(name.encode()) + text(told) for name, told in headers)
            body += number(len(record)) + record
        bodies.append(body)
    ends = np.cumsum([len(body) for body in bodies], dtype=np.int64)
    columns = [np.array([batch[at] for batch in batches], dtype=np.int64) for at in range(3)]
    counts = np.array([len(batch[3]) for batch in batches], dtype=np.int64)
    return bodies, Batches(np.concatenate([[0], ends[:-1]]) if bodies else ends, ends, counts, *columns)


def told(record: RawRecord) -> tuple[object, ...]:
    """All that a record says, as the twin says it."""
    headers = [(name.encode(), value) for name, value in record.headers]
    return record.offset, record.timestamp, record.key, record.value, headers


@given(_BATCHES)
def test_a_table_says_what_was_written(batches: list) -> None:  # type: ignore[type-arg]
    """Offsets, timestamps, keys, values and headers, record by record and as columns, in parts and in selections."""
    bodies, facts = written(batches)
    table = RecordTable.read(PLACE, b"".join((*bodies, PADDING)), facts)
    wanted = naive_wire.record_batches(
        b"".join(bodies), *(column.tolist() for column in (facts.counts, *facts[3:])),
    )  # fmt: skip
    assert list(map(told, table)) == wanted
    assert [told(table[at]) for at in range(len(table))] == wanted
    plain = list(table)
    odd = np.arange(len(plain))[1::2]
    for records, same in ((table, plain), (table[1:3], plain[1:3]), (table.select(odd), plain[1::2])):
        assert offsets_of(records).tolist() == offsets_of(same).tolist()
        assert timestamps_of(records, 5).tolist() == timestamps_of(same, 5).tolist()
        assert traceparents_of(records) == traceparents_of(same)
        assert list(map(told, selected(records, np.arange(len(records))[::-1]))) == [*map(told, same)][::-1]
        buffer, starts, ends = values_of(records)
        values = [buffer[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]
        assert values == [record.value or b"" for record in same]


@given(_BATCHES, st.data())
def test_damage_is_found_or_harmless(batches: list, data: st.DataObject) -> None:  # type: ignore[type-arg]
    """Bytes that changed on their way, or numbers in headers: what is taken is what the twin takes."""
    bodies, facts = written(batches)
    buffer = bytearray(b"".join(bodies))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3)):
        if buffer:
            buffer[at % len(buffer)] = byte
    more: int = data.draw(st.sampled_from([0, 0, -2, -1, 1, 2**40]))
    if bodies:
        facts.counts[data.draw(st.integers(0, len(bodies) - 1))] += more
    wanted = by_twin(bytes(buffer), facts)
    if wanted is None:
        with pytest.raises(RecordFormatError, match="payments/3"):
            RecordTable.read(PLACE, bytes(buffer) + PADDING, facts)
    else:
        table = RecordTable.read(PLACE, bytes(buffer) + PADDING, facts)
        assert [(record.key, record.value) for record in table] == wanted


def by_twin(buffer: bytes, facts: Batches) -> list[tuple[bytes | None, bytes | None]] | None:
    """Keys and values, batch by batch; None where something is damaged."""
    found: list[tuple[bytes | None, bytes | None]] = []
    for at, (start, end) in enumerate(zip(facts.starts, facts.ends, strict=True)):
        said = [column[at : at + 1].tolist() for column in (facts.counts, *facts[3:])]
        try:
            found += [record[2:4] for record in naive_wire.record_batches(buffer[start:end], *said)]
        except ValueError:
            return None
    return None if (facts.counts < 0).any() else found


def test_what_has_no_records_is_an_empty_table() -> None:
    """As a fetch that brought aborted transactions alone."""
    bodies, facts = written([])
    table = RecordTable.read(PLACE, PADDING, facts)
    assert (bodies, len(table), list(table), len(table[:5])) == ([], 0, [], 0)
    with pytest.raises(IndexError):
        table[0]
