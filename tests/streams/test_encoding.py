"""Decisions on the wire: the fast way and the full way say the same, and both are JSON whatever ids look like."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Flag
from streams.encoding import NotFiniteError, Subject, Versions, encode_fallback, encode_full, encode_plain
from tests.streams.raw_records import NOW_MS
from tests.streams.stand_in import KEY, Assessed, Shown, examples_of

VERSIONS = Versions("m-000001", "policy-1", "rates-1", ("rule-a", "rule-b"))
ids = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64)


def batch_of(transactions: list[str]) -> TransactionBatch:
    count = len(transactions)
    columns = {
        "transaction_id": transactions, "card_token": [f"card {text}"[:64] for text in transactions],
        "event_time_ms": [NOW_MS] * count, "amount_minor": [100] * count, "currency": ["EUR"] * count,
        "merchant_id": ["m-1"] * count, "country": [None] * count,
    }  # fmt: skip
    return build_batch(columns, key=KEY, partition=3, offset=np.arange(10, 10 + count))


def assessed_of(batch: TransactionBatch, action: int = 0, score: float = 0.25) -> Assessed:
    count = len(batch)
    shown = {row: Shown(f"al-{row}") for row in range(count)} if action else {}
    return Assessed(batch, np.full(count, action), np.full(count, score), shown, examples_of([], []))


@given(st.lists(ids, min_size=1, max_size=5), st.floats(0, 1))
def test_the_fast_way_says_what_the_full_way_says(transactions: list[str], score: float) -> None:
    """Any id that the codec takes is written as valid JSON, with scores to the last bit."""
    batch = batch_of(transactions)
    assessed = assessed_of(batch, score=score)
    plain = encode_plain(assessed, VERSIONS)
    for row, value in enumerate(plain):
        full = encode_full(assessed, VERSIONS, row, timestamp_ms=1, now_ms=NOW_MS, traceparent=None)
        assert value is not None
        assert json.loads(value) == json.loads(full.value or b"")
        assert json.loads(value)["score"] == score
        assert json.loads(value)["transaction_id"] == transactions[row]


def test_only_plain_rows_go_the_fast_way() -> None:
    """What is not ALLOW, or has a score that JSON cannot carry, is left to the full way, which says so."""
    batch = batch_of(["a", "b"])
    assert encode_plain(assessed_of(batch, action=4), VERSIONS) == [None, None]
    broken = assessed_of(batch, score=float("nan"))
    assert encode_plain(broken, VERSIONS) == [None, None]
    with pytest.raises(NotFiniteError):
        encode_full(broken, VERSIONS, 0, timestamp_ms=1, now_ms=NOW_MS, traceparent=None)


def test_an_alert_carries_everything() -> None:
    """The payment, its evidence, the identity in its headers, the trace context and the time of the source record."""
    assessed = assessed_of(batch_of(["a"]), action=4)
    record = encode_full(assessed, VERSIONS, 0, timestamp_ms=77, now_ms=NOW_MS, traceparent=b"00-a-b-01")
    body, headers = json.loads(record.value or b""), dict(record.headers)
    assert body["alert_id"] == "al-0"
    assert body["reasons"] == ["large_amount"]
    assert (body["amount_minor"], body["currency"], body["merchant_id"], body["country"]) == (100, "EUR", "m-1", None)
    assert body["source"] == {"topic": "payments.transactions.v1", "partition": 3, "offset": 10}
    assert headers["ce_id"] == b"al-0"
    assert headers["traceparent"] == b"00-a-b-01"
    assert headers["source_timestamp_ms"] == b"77"
    assert "decided_ms" not in body, "no wall clock in the body"


def test_rules_and_flags_are_written_by_name() -> None:
    """Bits become the words of the contract."""

    class Marked(Assessed):
        @property
        def flags(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array([int(Flag.LATE | Flag.COLD_START)])

        @property
        def rule_hits(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array([2])

    made = assessed_of(batch_of(["a"]))
    marked = Marked(**{name: getattr(made, name) for name in ("batch", "action", "score", "evidence", "unlabelled")})
    body = json.loads(encode_plain(marked, VERSIONS)[0] or b"")
    assert body["flags"] == ["late", "cold_start"]
    assert body["rules"] == ["rule-b"]


def test_the_fallback_is_marked() -> None:
    """A record that our own code failed on is allowed, and says that nobody looked."""
    subject = Subject("t", "c", NOW_MS, 3, 9)
    body = json.loads(encode_fallback(subject, replace(VERSIONS, model="m-2"), NOW_MS, None).value or b"")
    assert (body["action"], body["flags"], body["reasons"]) == ("ALLOW", ["degraded"], ["scoring_failed"])
    assert body["model_version"] == "m-2"
