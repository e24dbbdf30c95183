"""/v1/cards: a card's state, and a person's commands on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.dependencies import CardToken, ContextOf, IdempotencyKey, IfMatch, checked_text, etag, permitted
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    CASE_LOCKED,
    IDEMPOTENCY_CONFLICT,
    INVALID_REQUEST,
    MALFORMED_HEADER,
    NOT_PERMITTED,
    NOT_POSSIBLE,
    NOT_VERIFIED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    VERSION_CONFLICT,
    documented,
    with_etag,
)
from api.roles import Permission
from api.schemas import CardCommandIn, CardOut
from api.watching import Watch, WatchOf
from casework.access import AccessTo
from casework.views import CardView
from detector.vocabulary import CardStatus

router = APIRouter(prefix="/v1/cards", tags=["cards"])

_READ_PROBLEMS = documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, INVALID_REQUEST, CARD_NUMBER, UNAVAILABLE)
_WRITE_PROBLEMS = documented(
    BAD_REQUEST,
    MALFORMED_HEADER,
    UNAUTHENTICATED,
    NOT_PERMITTED,
    NOT_VERIFIED,
    IDEMPOTENCY_CONFLICT,
    NOT_POSSIBLE,
    CASE_LOCKED,
    VERSION_CONFLICT,
    BODY_TOO_LARGE,
    INVALID_REQUEST,
    CARD_NUMBER,
    UNAVAILABLE,
)


@router.get("/{card_token:card_token}", responses=with_etag(_READ_PROBLEMS))
async def read_card(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CARD_READ))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardToken,
    response: Response,
) -> CardOut:
    """Read a card: state with history, last payments, alerts. A card nobody ever spoke of is an active one."""
    return await _answer(await context.desk.card(card_token), watch, caller, response)


@router.post("/{card_token:card_token}/freeze", responses=with_etag(_WRITE_PROBLEMS))
async def freeze_card(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CARD_FREEZE))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardToken,
    command: CardCommandIn,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
    response: Response,
) -> CardOut:
    """Freeze a card: payments are declined until somebody unfreezes it. Freezing a frozen card confirms it."""
    view = await context.desk.set_card_state(
        card_token,
        CardStatus.FROZEN,
        checked_text(command.reason),
        caller.person,
        now_ms=context.now_ms(),
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    return await _answer(view, watch, caller, response)


@router.post("/{card_token:card_token}/unfreeze", responses=with_etag(_WRITE_PROBLEMS))
async def unfreeze_card(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CARD_UNFREEZE))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardToken,
    command: CardCommandIn,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
    response: Response,
) -> CardOut:
    """Let a card pay again; it wins over every alert that is not later, and a blocked card stays blocked.

    The cardholder's identity must be verified in the card's open case.
    """
    view = await context.desk.set_card_state(
        card_token,
        CardStatus.ACTIVE,
        checked_text(command.reason),
        caller.person,
        now_ms=context.now_ms(),
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    return await _answer(view, watch, caller, response)


async def _answer(view: CardView, watch: Watch, caller: ApiKey, response: Response) -> CardOut:
    await watch.tell(
        caller.person, AccessTo.CARD, [view.card_token], None if view.open_case is None else view.open_case.case_id
    )
    response.headers["etag"] = etag(view.sequence)
    return CardOut.model_validate(view)
