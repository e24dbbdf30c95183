"""Alerts are read to the contract, and what is not one is named without being repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casework.alerts import MAXIMUM_PAYMENTS, decode_alert, parse_alert
from casework.errors import AlertError
from detector.vocabulary import Action

RECORD: dict[str, Any] = {
    "alert_id": "a-1",
    "transaction_id": "t-1",
    "card_token": "card-1",
    "event_time_ms": 1_000,
    "action": "FREEZE",
    "score": 0.5,
    "anomaly": 0.25,
    "reasons": ["amount_unusual"],
    "rules": [],
    "expected_loss_minor": 700,
    "model_version": "m-000001",
    "policy_version": "p-1",
    "rates_version": "r-1",
    "flags": ["late"],
    "source": {"topic": "payments.transactions.v1", "partition": 3, "offset": 99},
    "evidence": [{"code": "amount_unusual", "text_key": "k", "observed": 12.5, "usual": None, "contribution": 1.5}],
    "last_payments": [{"event_time_ms": 900, "amount_minor": 5, "nested": {"x": 1}}],
}


def test_a_record_of_the_contract_is_read_alike_from_bytes_and_objects() -> None:
    """Known fields are typed, unknown ones ignored, nested values of payments left out."""
    alert = decode_alert(json.dumps(RECORD).encode(), decided_ms=2_000, traceparent="00-a")
    assert alert == parse_alert(RECORD, decided_ms=2_000, traceparent="00-a")
    assert (alert.action, alert.flags, alert.evidence[0].usual) == (Action.FREEZE, ("late",), None)
    assert alert.last_payments == ({"event_time_ms": 900, "amount_minor": 5},)


def test_an_alert_stands_where_it_was_decided() -> None:
    """Against people's commands the time of the decision counts; without it the payment's own."""
    assert parse_alert(RECORD).time_ms == 1_000
    assert parse_alert(RECORD | {"decided_ms": 1_500}).time_ms == 1_500
    assert parse_alert(RECORD | {"decided_ms": 1_500}, decided_ms=1_600).time_ms == 1_600


def test_what_is_too_much_is_cut() -> None:
    """The newest payments stay, and no more than the contract has."""
    alert = parse_alert(RECORD | {"last_payments": [{"event_time_ms": time_ms} for time_ms in range(50)]})
    assert len(alert.last_payments) == MAXIMUM_PAYMENTS
    assert alert.last_payments[-1] == {"event_time_ms": 49}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"alert_id": None}, "alert_id"),
        ({"card_token": ""}, "card_token"),
        ({"card_token": "4111111111111111" * 5}, "card_token"),
        ({"event_time_ms": "4111111111111111"}, "event_time_ms"),
        ({"event_time_ms": 4_102_444_800_001}, "event_time_ms"),
        ({"action": "ALLOW"}, "action"),
        ({"action": "4111111111111111"}, "action"),
        ({"evidence": [{"text_key": "k"}]}, "evidence"),
        ({"reasons": "4111111111111111"}, "reasons"),
        ({"expected_loss_minor": -1}, "expected_loss_minor"),
    ],
)
def test_what_is_no_alert_is_named_and_not_repeated(change: dict[str, Any], named: str) -> None:
    """The error says which field is wrong, and never what it holds."""
    with pytest.raises(AlertError, match=named) as error:
        parse_alert(RECORD | change)
    with pytest.raises(AlertError, match=named):
        decode_alert(json.dumps(RECORD | change).encode())
    assert "4111" not in str(error.value)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b'"4111111111111111"', b"\xff", b'{"alert_id":"\xff"}'])
def test_what_is_no_object_is_refused(value: bytes) -> None:
    """Bytes that are not a JSON object are no alert."""
    with pytest.raises(AlertError) as error:
        decode_alert(value)
    assert "4111" not in str(error.value)
