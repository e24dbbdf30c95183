"""Decisions on the wire, one by one: everything that the contract has for them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from detector.transactions import TransactionBatch, build_batch
from streams.encoding import NotFiniteError, Subject, Versions, encode_fallback, encode_full
from tests.streams.raw_records import NOW_MS
from tests.streams.stand_in import KEY, Assessed, Shown, examples_of

VERSIONS = Versions("m-000001", "policy-1", "rates-1", ("rule-a", "rule-b"))


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


def test_a_score_that_is_no_number_is_not_written() -> None:
    """JSON cannot carry it: that it stands there is a bug of ours, and is said so."""
    broken = assessed_of(batch_of(["a"]), score=float("nan"))
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


def test_the_fallback_is_marked() -> None:
    """A record that our own code failed on is allowed, and says that nobody looked."""
    subject = Subject("t", "c", NOW_MS, 3, 9)
    body = json.loads(encode_fallback(subject, replace(VERSIONS, model="m-2"), NOW_MS, None).value or b"")
    assert (body["action"], body["flags"], body["reasons"]) == ("ALLOW", ["degraded"], ["scoring_failed"])
    assert body["model_version"] == "m-2"
