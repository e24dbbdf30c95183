"""/v1/transactions: the decision on a payment, for a caller that waits for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query

from api.context import Context
from api.dependencies import ContextOf, permitted
from api.errors import CardNumberError, RefusedPaymentError, ScoringUnavailableError
from api.keys import ApiKey
from api.payment_schemas import BulkIn, BulkItemOut, BulkOut, DecisionOut, RefusalOut, TransactionIn
from api.ports import Refusal
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    INVALID_REQUEST,
    NOT_PERMITTED,
    SCORING_UNAVAILABLE,
    UNAUTHENTICATED,
    documented,
)
from api.roles import Permission

DEFAULT_DEADLINE_MS = 200
BULK_PATH = "/v1/transactions/bulk"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

router = APIRouter(tags=["transactions"])

_PROBLEMS = documented(
    BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, BODY_TOO_LARGE, INVALID_REQUEST, CARD_NUMBER, SCORING_UNAVAILABLE
)
DeadlineMs = Annotated[
    int, Query(ge=20, le=10_000, description="After so many milliseconds the caller waits no longer")
]
Traceparent = Annotated[str | None, Header(description="W3C trace context; passed on with the transaction")]
Caller = Annotated[ApiKey, Depends(permitted(Permission.PAYMENT_DECIDE))]


@router.post("/v1/transactions", responses=_PROBLEMS)
async def decide_transaction(
    _caller: Caller,
    context: ContextOf,
    transaction: TransactionIn,
    deadline_ms: DeadlineMs = DEFAULT_DEADLINE_MS,
    traceparent: Traceparent = None,
) -> DecisionOut:
    """Decide a transaction, and answer within the deadline.

    The transaction goes onto `payments.transactions.v1` like every other. When no decision came in time the policy for
    that case answers, flagged `degraded`; that answer then stands as the decision. The same identity again gets the
    same decision.
    """
    (answer,) = await _decide(context, [transaction], deadline_ms, traceparent)
    if isinstance(answer, Refusal):
        if answer.card_number:
            message = "a card number instead of a token"
            raise CardNumberError(message)
        raise RefusedPaymentError(answer.field, answer.reason)
    return DecisionOut.model_validate(answer)


@router.post(BULK_PATH, responses=_PROBLEMS)
async def decide_transactions(
    _caller: Caller,
    context: ContextOf,
    bulk: BulkIn,
    deadline_ms: DeadlineMs = DEFAULT_DEADLINE_MS,
    traceparent: Traceparent = None,
) -> BulkOut:
    """Decide up to 1,000 transactions at once; each is answered as if it had come alone."""
    answers = await _decide(context, bulk.transactions, deadline_ms, traceparent)
    return BulkOut(results=[_item(answer) for answer in answers])


def _item(answer: Mapping[str, Any] | Refusal) -> BulkItemOut:
    if isinstance(answer, Refusal):
        return BulkItemOut(refused=RefusalOut(field=answer.field, rule=answer.reason))
    return BulkItemOut(decision=DecisionOut.model_validate(answer))


async def _decide(
    context: Context, transactions: Sequence[TransactionIn], deadline_ms: int, traceparent: str | None
) -> list[Mapping[str, Any] | Refusal]:
    if context.scoring is None:
        message = "this service has no Kafka"
        raise ScoringUnavailableError(message)
    trace = traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None
    records = [transaction.record() for transaction in transactions]
    return await context.scoring.decide(records, now_ms=context.now_ms(), deadline_ms=deadline_ms, traceparent=trace)
