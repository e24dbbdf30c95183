"""Decoding: what is good becomes columns, what is bad is put aside with its reason, and nothing stops the stream."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.texts import pack_letters
from detector.transactions import build_batch
from detector.vocabulary import Channel, EntryMode, Kind, Label, LabelSource, StepUp
from streams.card_numbers import CardNumberCheck
from streams.codecs import Decoded, LabelCodec, TransactionCodec
from streams.records import ReadRecord
from streams.rejections import Reason
from tests.streams.raw_records import NOW_MS, raw, raw_transaction, transaction
from tests.streams.stand_in import KEY

BOUND_MS = 300_000
CARD_NUMBER = "4111111111111111"


def decode(*records: ReadRecord, issuer: str | None = None) -> Decoded:
    return TransactionCodec(CardNumberCheck(issuer), BOUND_MS).decode(records, NOW_MS)


def reason_of(record: ReadRecord) -> Reason | None:
    """The reason why a record is put aside among good ones, which it must not touch."""
    before, after = raw_transaction(0, transaction_id="before"), raw_transaction(9, transaction_id="after")
    decoded = decode(before, record._replace(offset=5), after)
    taken = [text for text in decoded.columns["transaction_id"] if text in {"before", "after"}]
    assert taken == ["before", "after"]
    assert len(decoded.rejected) + len(decoded.records) == 3
    return decoded.rejected[0].reason if decoded.rejected else None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b'{"card_token":"\xff"}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b"[1]", Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.MISSING_FIELD),
    ],
)
def test_what_is_no_transaction_is_put_aside(value: bytes | None, reason: Reason) -> None:
    """Whatever bytes come, they get a reason."""
    assert reason_of(raw(value)) is reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"transaction_id": None}, Reason.MISSING_FIELD),
        ({"transaction_id": ""}, Reason.MISSING_FIELD),
        ({"currency": None}, Reason.MISSING_FIELD),
        ({"amount_minor": "12"}, Reason.WRONG_TYPE),
        ({"amount_minor": 12.5}, Reason.WRONG_TYPE),
        ({"amount_minor": True}, Reason.WRONG_TYPE),
        ({"card_token": 17}, Reason.WRONG_TYPE),
        ({"amount_minor": -1}, Reason.NEGATIVE_AMOUNT),
        ({"amount_minor": 10**13 + 1}, Reason.AMOUNT_OUT_OF_RANGE),
        ({"amount_minor": 10**30}, Reason.AMOUNT_OUT_OF_RANGE),
        ({"event_time_ms": -5}, Reason.TIME_OUT_OF_RANGE),
        ({"event_time_ms": 10**20}, Reason.TIME_OUT_OF_RANGE),
        ({"event_time_ms": NOW_MS + BOUND_MS + 1}, Reason.DATED_IN_FUTURE),
        ({"event_time_ms": NOW_MS + BOUND_MS}, None),
        ({"currency": "XXX"}, Reason.UNKNOWN_CURRENCY),
        ({"currency": "eur"}, Reason.UNKNOWN_CURRENCY),
        ({"card_token": CARD_NUMBER}, Reason.CARD_NUMBER_IN_CLEAR),
        ({"card_token": "4111 1111 1111 1111"}, Reason.CARD_NUMBER_IN_CLEAR),
        ({"card_token": int(CARD_NUMBER)}, Reason.CARD_NUMBER_IN_CLEAR),
        ({"card_token": CARD_NUMBER, "amount_minor": "x"}, Reason.CARD_NUMBER_IN_CLEAR),
        ({"card_token": CARD_NUMBER, "currency": "XXX"}, Reason.CARD_NUMBER_IN_CLEAR),
        ({"card_token": "4111111111111112"}, None),
        ({"transaction_id": "x" * 65}, Reason.TOO_LONG),
        ({"merchant_id": "x" * 129}, Reason.TOO_LONG),
        ({"transaction_id": "t\u001f1"}, Reason.CONTROL_CHARACTER),
        ({"kind": "loan"}, Reason.UNKNOWN_VALUE),
        ({"channel": "fax"}, Reason.UNKNOWN_VALUE),
        ({"entry_mode": "fax"}, Reason.UNKNOWN_VALUE),
        ({"step_up": "maybe"}, Reason.UNKNOWN_VALUE),
        ({"response_code": "000"}, Reason.UNKNOWN_VALUE),
        ({"country": "Deutschland"}, Reason.BAD_COUNTRY),
        ({"ip_country": "d"}, Reason.BAD_COUNTRY),
        ({"mcc": "54a1"}, Reason.BAD_MCC),
        ({"mcc": "٥٤١١"}, Reason.BAD_MCC),
        ({"latitude": 90.1, "longitude": 0.0}, Reason.BAD_COORDINATES),
        ({"home_longitude": -181.0}, Reason.BAD_COORDINATES),
        ({"kind": "reversal"}, Reason.MISSING_REFERENCE),
        ({"kind": "outcome"}, Reason.MISSING_REFERENCE),
        ({"kind": "reversal", "refers_to": "t-0"}, None),
        ({"kind": "reversal", "refers_to": "t\u001f0"}, Reason.CONTROL_CHARACTER),
        ({"country": "", "mcc": "", "channel": ""}, None),
    ],
)
def test_each_fault_has_its_reason(fields: dict[str, Any], reason: Reason | None) -> None:
    """One bad record among good ones gets its own reason, and the good ones are taken."""
    assert reason_of(raw_transaction(**fields)) is reason


def test_columns_are_what_the_detector_takes() -> None:
    """Words become codes, missing fields stay missing, and a batch can be built from the columns as they are."""
    full = raw_transaction(
        3, kind="outcome", refers_to="t-0", channel="ecom", entry_mode="token", mcc="5411", country="DE",
        merchant_id="m-1", latitude=52.5, longitude=13.4, response_code="05", step_up="passed",
    )  # fmt: skip
    decoded = decode(full, raw_transaction(7))
    columns = decoded.columns
    assert columns["kind"].tolist() == [Kind.OUTCOME, Kind.PURCHASE]
    assert columns["channel"].tolist() == [Channel.ECOM, Channel.NONE]
    assert columns["entry_mode"].tolist() == [EntryMode.TOKEN, EntryMode.NONE]
    assert columns["step_up"].tolist() == [StepUp.PASSED, StepUp.NONE]
    assert columns["mcc"].tolist() == [5411, 0]
    batch = build_batch(columns, key=KEY, partition=2, offset=decoded.offset)
    assert batch.offset.tolist() == [3, 7]
    assert batch.places[0, :2].tolist() == [52_500_000, 13_400_000]
    assert batch.refused.tolist() == [1, 0]
    assert batch.country_code.tolist() == pack_letters(["DE", None], 2).tolist()


def test_unknown_fields_are_ignored_and_counted() -> None:
    """A producer may add fields before we know them."""
    decoded = decode(raw_transaction(0, loyalty_tier="gold"), raw_transaction(1))
    assert len(decoded.records) == 2
    assert decoded.unknown_fields == 1


def test_a_record_without_a_timestamp_is_held_against_our_clock() -> None:
    """Brokers may deliver records without a timestamp; the bound on the future holds all the same."""
    late = raw_transaction(event_time_ms=NOW_MS + BOUND_MS + 1)._replace(timestamp=-1)
    fine = raw_transaction(event_time_ms=NOW_MS)._replace(timestamp=-1)
    assert decode(late).rejected[0].reason is Reason.DATED_IN_FUTURE
    assert not decode(fine).rejected


def test_numeric_tokens_of_an_issuer_are_no_card_numbers() -> None:
    """An issuer whose own tokens look like card numbers configures their pattern."""
    assert not decode(raw_transaction(card_token=CARD_NUMBER), issuer=r"4111\d{12}").rejected
    assert decode(raw_transaction(card_token=CARD_NUMBER), issuer=r"9\d{15}").rejected


def test_trace_context_is_kept() -> None:
    """The traceparent of a record goes with its row."""
    traced = raw_transaction(1)._replace(headers=(("other", b"x"), ("traceparent", b"00-a-b-01")))
    assert decode(raw_transaction(0), traced).traceparents == {1: b"00-a-b-01"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.sampled_from([*transaction(), "kind", "mcc", "latitude"]), json_values), max_size=6))
def test_any_json_is_taken_or_put_aside(changes: list[dict[str, Any]]) -> None:
    """Each record is in exactly one of the two, in order, and what is taken always makes a batch."""
    records = [raw(json.dumps(transaction() | change).encode(), offset) for offset, change in enumerate(changes)]
    decoded = decode(*records)
    places = sorted([*decoded.offset.tolist(), *(item.record.offset for item in decoded.rejected)])
    assert places == list(range(len(records)))
    assert np.all(np.diff(decoded.offset) > 0)
    build_batch(decoded.columns, key=KEY, offset=decoded.offset)


@given(st.binary(max_size=60))
def test_any_bytes_are_put_aside(value: bytes) -> None:
    """No bytes raise."""
    assert len(decode(raw(value)).rejected) == 1


@given(st.lists(st.integers(0, 40), min_size=1, max_size=41, unique=True))
def test_batches_may_be_cut_anywhere(cuts: list[int]) -> None:
    """The same records give the same columns however they are cut."""
    records = [raw_transaction(n, transaction_id=f"t-{n}", currency="XXX" if n % 7 == 3 else "EUR") for n in range(40)]
    whole = decode(*records)
    edges = sorted({0, 40, *cuts})
    parts = [decode(*records[start:stop]) for start, stop in pairwise(edges)]
    assert [text for part in parts for text in part.columns["transaction_id"]] == whole.columns["transaction_id"]
    assert sum(len(part.rejected) for part in parts) == len(whole.rejected)


def test_labels() -> None:
    """Labels become codes; maturity is no source that others may name."""

    def label(offset: int, **fields: Any) -> ReadRecord:
        record = {
            "transaction_id": "t-1", "card_token": "card-a", "label": "fraud", "source": "chargeback",
            "label_time_ms": NOW_MS,
        }  # fmt: skip
        return raw(json.dumps(record | fields).encode(), offset)

    records = [
        label(0),
        label(1, label="genuine", source="agent", case_id="c-1", note="n"),
        label(2, label="perhaps"),
        label(3, source="maturity"),
        label(4, label_time_ms=NOW_MS + BOUND_MS + 1),
        label(5, card_token=CARD_NUMBER),
    ]
    decoded = LabelCodec(CardNumberCheck(), BOUND_MS).decode(records, NOW_MS)
    assert decoded.columns["label"] == [Label.FRAUD, Label.GENUINE]
    assert decoded.columns["source"] == [LabelSource.CHARGEBACK, LabelSource.AGENT]
    assert [item.reason for item in decoded.rejected] == [
        Reason.UNKNOWN_VALUE, Reason.UNKNOWN_VALUE, Reason.DATED_IN_FUTURE, Reason.CARD_NUMBER_IN_CLEAR,
    ]  # fmt: skip
