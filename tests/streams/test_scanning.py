"""The scanner: what it takes, decoding one by one would have taken to the same columns; the rest it leaves alone."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.transactions import PLACES, TransactionBatch, build_batch
from streams.card_numbers import CardNumberCheck
from streams.codecs import Decoded, TransactionCodec
from streams.record_table import joined
from streams.records import ReadRecord
from streams.scanning import columns_of, scan
from tests.streams.raw_records import NOW_MS, raw, transaction
from tests.streams.stand_in import KEY

BOUND_MS = 300_000
CODEC = TransactionCodec(CardNumberCheck(), BOUND_MS)
FULL = transaction(
    kind="outcome", refers_to="t-0", terminal_id="term", merchant_id="mer", mcc="5411", merchant_category="groceries",
    country="DE", channel="wallet", entry_mode="credential_on_file", device_id="dev", customer_id="cus",
    ip_country="AT", latitude=52.520008, longitude=13.4, home_latitude=-33.5, home_longitude=-70, response_code="05",
    step_up="passed",
)  # fmt: skip


def batch_of(decoded: Decoded) -> TransactionBatch:
    return build_batch(decoded.columns, key=KEY, offset=decoded.offset)


def assert_equal_to_singly(values: list[bytes]) -> None:
    """Scanned or not, the same records are taken to the same batch, and the others rejected for the same reasons."""
    records = [raw(value, offset) for offset, value in enumerate(values)]
    decoded, singly = CODEC.decode(records, NOW_MS), CODEC.decode_singly(records, NOW_MS)
    assert decoded.rejected == singly.rejected
    assert list(decoded.records) == list(singly.records)
    assert decoded.unknown_fields == singly.unknown_fields
    assert decoded.timestamp_ms.tolist() == singly.timestamp_ms.tolist()
    assert decoded.rows.tolist() == singly.rows.tolist()
    batch, expected = batch_of(decoded), batch_of(singly)
    for field in fields(TransactionBatch):
        one, other = getattr(batch, field.name), getattr(expected, field.name)
        assert (one.tolist() == other.tolist()) if isinstance(one, np.ndarray) else (one == other), field.name


def is_clean(value: bytes) -> bool:
    return bool(scan(joined([value]), np.array([NOW_MS + BOUND_MS])).found.clean[0])


TEXTS = (
    "", "x" * 64, "x" * 65, "é" * 64, "é" * 128, "x" * 128, "x" * 129, "a\u007f", "a\u0080", "\\", '"', "日本", "𝄞",
    "EUR", "DE", "XXX", "eur", "EURO", "4111111111111111", "4111 1111-1111 1111", "4111111111111112", "5411", "05",
    "0a", "0A", "000", "purchase", "reversal", "pos", "POS", "none", "chip", "passed", "failed", "cash ", "PURCHASE",
)  # fmt: skip
texts = st.text(max_size=6) | st.sampled_from(TEXTS)
NUMBERS = (0, -0.0, 1e3, 90, 90.0000001, -180, 180.0000001, 10**13, 10**13 + 1, NOW_MS, NOW_MS + BOUND_MS + 1)
numbers = (
    st.integers(-(10**20), 10**20)
    | st.floats()
    | st.decimals(-200, 200, places=7).map(float)
    | st.sampled_from(NUMBERS)
)
values: st.SearchStrategy[Any] = st.none() | st.booleans() | texts | numbers | st.just([]) | st.just({"a": 1})
names = st.sampled_from([*FULL, "latitude", "loyalty"])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A record with some values changed, fields left out or in another order, written in one of JSON's many ways."""
    kept = draw(st.permutations(list(FULL)) | st.just(list(FULL)))
    record: dict[str, Any] = {name: FULL[name] for name in kept if draw(st.integers(0, 9))}
    record |= draw(st.dictionaries(names, values, max_size=2))
    spaced = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")]))
    text = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=spaced)
    return draw(st.sampled_from(["", " ", "\n"])).join(["", text, ""]).encode(errors="surrogatepass")


SNIPPETS = (
    b"",
    b'"',
    b"\\",
    b"\\u0041",
    b"\\ud83d",
    b"\\ude00",
    b",",
    b"{",
    b"}",
    b"0",
    b"1",
    b"e1",
    b"\x80",
    b"\xc3",
    b"\0",
    b"\x1f",
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A record with some of its bytes replaced, taken out or put in."""
    data = bytearray(draw(documents()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        instead = draw(
            st.sampled_from(
                [
                    b"",
                    b'"',
                    b"\\",
                    b"\\u0041",
                    b"\\ud83d",
                    b"\\ude00",
                    b",",
                    b"{",
                    b"}",
                    b"0",
                    b"1",
                    b"e1",
                    b"\x80",
                    b"\xc3",
                    b"\0",
                    b"\x1f",
                ]
            )
        )
        data[at : at + draw(st.integers(0, 2))] = instead
    return bytes(data)


@given(st.lists(documents() | mutations(), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
@example([json.dumps(FULL).encode(), b"", json.dumps(transaction()).encode()])
@example([b'{"transaction_id":"t', b'","card_token":"c","event_time_ms":1,"amount_minor":1,"currency":"EUR"}'])
def test_scanned_records_equal_records_decoded_one_by_one(values: list[bytes]) -> None:
    """Columns, reasons, dead letters and counts are the same with the scanner and without it."""
    assert_equal_to_singly(values)


@given(st.binary(max_size=40), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_any_bytes_in_a_text_are_read_as_the_decoder_reads_them(data: bytes, padding: int) -> None:
    """UTF-8 in all its forms, and what is none of them, wherever a word of eight bytes ends."""
    record = json.dumps(transaction(merchant_category="HERE")).encode()
    assert_equal_to_singly([record.replace(b"HERE", b"x" * padding + data), record])


@given(
    st.sampled_from(PLACES),
    st.from_regex(r"-?(0|[1-9][0-9]{0,2})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)
@settings(max_examples=400, deadline=None)
@example("latitude", "52.12345649999999999")
@example("latitude", "52.1234565")
@example("latitude", "52.123456500000000")
@example("latitude", "90.00000000000000000")
@example("longitude", "-179.9999995000000001")
def test_degrees_are_those_of_the_decoder(name: str, text: str) -> None:
    """To the microdegree, however many digits there are."""
    record = json.dumps(transaction(latitude=1.0, longitude=2.0, home_latitude=3.0, home_longitude=4.0) | {name: 77.5})
    assert_equal_to_singly([record.replace("77.5", text).encode()])


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(FULL).encode(),
        json.dumps(FULL, separators=(",", ":")).encode(),
        json.dumps(FULL | {"merchant_category": "épicerie 日本 𝄞"}, ensure_ascii=False).encode(),
        json.dumps(FULL | dict.fromkeys(("country", "mcc", "channel", "latitude", "device_id"))).encode(),
        json.dumps(FULL | dict.fromkeys(("country", "mcc", "channel", "response_code"), "")).encode(),
        json.dumps(transaction(latitude=-33.123456789012345, amount_minor=0, card_token="4111111111111112")).encode(),
    ],
)
def test_plain_records_need_no_second_look(value: bytes) -> None:
    """What producers usually write is understood at once."""
    assert is_clean(value)
    assert_equal_to_singly([value])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        json.dumps(FULL | {"loyalty": "gold"}).encode(),
        json.dumps(FULL | {"merchant_category": "é"}).encode(),
        json.dumps(FULL | {"amount_minor": 12.0}).encode(),
        json.dumps(FULL | {"latitude": 1e-7}).encode(),
        json.dumps(FULL)[:-1].encode(),
        json.dumps(FULL).encode() + b"x",
        json.dumps(FULL).encode().replace(b'"mcc"', b'"country"'),
    ],
)
def test_what_is_odd_is_left_to_the_decoder(value: bytes) -> None:
    """Right or wrong, it is not the scanner that says so."""
    assert not is_clean(value)
    assert_equal_to_singly([json.dumps(FULL).encode(), value, json.dumps(transaction()).encode()])


def test_columns_that_nobody_gives_are_left_out() -> None:
    """They cost nothing further on."""
    scanned = scan(joined([json.dumps(transaction()).encode()]), np.array([NOW_MS]))
    assert "terminal_id" not in columns_of(scanned)
    assert columns_of(scanned)["card_token"] == ["card-a"]


def test_a_record_without_a_value_is_put_aside() -> None:
    """Among others, which are taken."""
    good = raw(json.dumps(FULL).encode(), 0)
    empty: ReadRecord = raw(None, 1)
    decoded = CODEC.decode([good, empty], NOW_MS)
    assert decoded.rows.tolist() == [0]
    assert [item.record for item in decoded.rejected] == [empty]
