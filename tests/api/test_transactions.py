"""POST /v1/transactions: decisions for callers that wait."""

from __future__ import annotations

from typing import Any

import pytest

from api.roles import Role
from tests.api.support import CARD_NUMBER, NOW_MS, Scoring, World, world

PAYMENT: dict[str, Any] = {
    "transaction_id": "t-1",
    "card_token": "tok_1",
    "event_time_ms": NOW_MS,
    "amount_minor": 1_250,
    "currency": "EUR",
    "channel": "pos",
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def post(world_: World, body: Any, path: str = "/v1/transactions", **options: Any) -> Any:
    return world_.client.post(path, role=Role.PAYMENT_SYSTEM, json=body, **options)


def test_the_decision_is_the_answer() -> None:
    """The contract's record goes in whole, unknown members left out, and its decision comes back."""
    scoring = Scoring()
    answer = post(world(scoring=scoring), PAYMENT | {"loyalty": "gold"}, "/v1/transactions?deadline_ms=350",
                  headers={"traceparent": TRACE})  # fmt: skip
    assert answer.status_code == 200
    assert (answer.json()["action"], answer.json()["transaction_id"]) == ("ALLOW", "t-1")
    assert scoring.asked == [PAYMENT | {"kind": "purchase"}]
    assert (scoring.deadline_ms, scoring.traceparent) == (350, TRACE)


def test_a_broken_trace_is_not_passed_on() -> None:
    """A header that is no trace context goes no further: it would be written into records."""
    scoring = Scoring()
    assert post(world(scoring=scoring), PAYMENT, headers={"traceparent": CARD_NUMBER}).status_code == 200
    assert scoring.traceparent is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_minor": -1}, "body.amount_minor"),
        ({"amount_minor": "12"}, "body.amount_minor"),
        ({"latitude": 91.0}, "body.latitude"),
        ({"transaction_id": "a\tb"}, "body.transaction_id"),
        ({"currency": "XXX"}, "body.currency"),
    ],
)
def test_what_breaks_the_contract_is_named(change: dict[str, Any], field: str) -> None:
    """422 with the field, whether the schema or the contract behind it refuses; nothing of the input comes back."""
    answer = post(world(scoring=Scoring()), PAYMENT | change)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not any(isinstance(value, str) and value in answer.text for value in change.values())


def test_a_card_number_is_refused_and_not_repeated() -> None:
    """A full card number instead of a token is refused by name."""
    answer = post(world(scoring=Scoring()), PAYMENT | {"card_token": CARD_NUMBER})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cardwatch:problem:card-number")
    assert CARD_NUMBER not in answer.text


def test_many_at_once() -> None:
    """Each is answered in its place; a thousand full records fit, one more does not."""
    world_ = world(scoring=Scoring())
    bodies = [PAYMENT | {"transaction_id": f"t-{number}", "merchant_id": "m" * 128} for number in range(1_000)]
    bodies[7] = PAYMENT | {"currency": "XXX"}
    answer = post(world_, {"transactions": bodies}, "/v1/transactions/bulk")
    results = answer.json()["results"]
    assert len(results) == 1_000
    assert results[7] == {"decision": None, "refused": {"field": "currency", "rule": "unknown_currency"}}
    assert results[8]["decision"]["transaction_id"] == "t-8"
    assert post(world_, {"transactions": [*bodies, PAYMENT]}, "/v1/transactions/bulk").status_code == 422
    assert post(world_, {"transactions": []}, "/v1/transactions/bulk").status_code == 422


@pytest.mark.parametrize("scoring", [None, Scoring(available=False)])
def test_without_kafka_the_caller_comes_again(scoring: Scoring | None) -> None:
    """503 with Retry-After, and the desk goes on working."""
    world_ = world(scoring=scoring)
    answer = post(world_, PAYMENT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert world_.client.get("/v1/cases", role=Role.AGENT).status_code == 200
