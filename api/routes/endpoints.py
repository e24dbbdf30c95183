"""/v1/webhooks: how it goes with the endpoints of webhooks, what they were told, enabling them, telling them again."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query

from api.context import Context
from api.dependencies import ContextOf, Cursor, IdempotencyKey, checked_text, permitted
from api.endpoint_schemas import (
    CANCEL_EXAMPLES,
    ENABLE_EXAMPLES,
    REPLAY_EXAMPLES,
    EndpointEnableIn,
    EndpointOut,
    EndpointsOut,
    ReplayCancelIn,
    ReplayIn,
    ReplayOut,
    ToldPageOut,
)
from api.keys import ApiKey
from api.ports import WebhooksPort
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    IDEMPOTENCY_CONFLICT,
    INVALID_REQUEST,
    MALFORMED_HEADER,
    NOT_FOUND,
    NOT_PERMITTED,
    NOTHING_WAITS,
    REPLAY_UNDER_WAY,
    UNAUTHENTICATED,
    UNAVAILABLE,
    documented,
)
from api.roles import Permission
from casework.errors import EndpointNotFoundError
from casework.ids import digest_of
from casework.webhook_book import DEFAULT_LINES_PAGE, MAXIMUM_LINES_PAGE

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_ID_BYTES = 12
_READING = (BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, NOT_FOUND, INVALID_REQUEST, UNAVAILABLE)
_ACTING = (*_READING, BODY_TOO_LARGE, CARD_NUMBER)
Name = Annotated[str, Path(max_length=32, description="The endpoint's name in the configuration")]
Reader = Annotated[ApiKey, Depends(permitted(Permission.WEBHOOK_READ))]
Operator = Annotated[ApiKey, Depends(permitted(Permission.WEBHOOK_OPERATE))]


def _book(context: Context) -> WebhooksPort:
    """The endpoints.

    Raises:
        EndpointNotFoundError: this service knows of none.
    """
    if context.webhooks is None:
        raise EndpointNotFoundError
    return context.webhooks


@router.get("", responses=documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, UNAVAILABLE))
async def list_endpoints(_caller: Reader, context: ContextOf) -> EndpointsOut:
    """List the endpoints, and how it goes with each: told, away, disabled, and since when."""
    found = [] if context.webhooks is None else await context.webhooks.endpoints(context.now_ms())
    return EndpointsOut(endpoints=[EndpointOut.model_validate(each) for each in found])


@router.get("/{endpoint}/events", responses=documented(*_READING))
async def list_told_events(
    _caller: Reader,
    context: ContextOf,
    endpoint: Name,
    untold: Annotated[bool, Query(description="Only what was given up and not told since, the earliest first")] = False,  # noqa: FBT002 - a parameter of the address
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_LINES_PAGE, description="Events a page")] = DEFAULT_LINES_PAGE,
) -> ToldPageOut:
    """List what became of the endpoint's last 1,000 events, the last first; nothing of what they said."""
    page = await _book(context).lines(endpoint, cursor, limit, only_untold=untold)
    return ToldPageOut.model_validate(page)


@router.post("/{endpoint}/enable", responses=documented(*_ACTING))
async def enable_endpoint(
    caller: Operator,
    context: ContextOf,
    endpoint: Name,
    command: Annotated[EndpointEnableIn, Body(openapi_examples=ENABLE_EXAMPLES)],
) -> EndpointOut:
    """Tell a disabled endpoint again, within seconds, first what has waited. Repeating it changes nothing."""
    view = await _book(context).enable(endpoint, caller.person, checked_text(command.reason), context.now_ms())
    return EndpointOut.model_validate(view)


@router.get("/{endpoint}/replay", responses=documented(*_READING))
async def read_replay(_caller: Reader, context: ContextOf, endpoint: Name) -> ReplayOut:
    """Show the last order to tell the endpoint again, and how far it has come; 404 where there never was one."""
    view = await _book(context).replay(endpoint)
    if view is None:
        raise EndpointNotFoundError
    return ReplayOut.of_view(view)


@router.post(
    "/{endpoint}/replay",
    status_code=202,
    responses=documented(*_ACTING, MALFORMED_HEADER, REPLAY_UNDER_WAY, IDEMPOTENCY_CONFLICT),
)
async def order_replay(
    caller: Operator,
    context: ContextOf,
    endpoint: Name,
    command: Annotated[ReplayIn, Body(openapi_examples=REPLAY_EXAMPLES)],
    idempotency_key: IdempotencyKey,
) -> ReplayOut:
    """Have the endpoint told again, under the ids that events always had: what it knows it drops.

    The process that tells the endpoint begins within seconds; GET says how far it has come. An endpoint has one order
    at a time. The same order under the same Idempotency-Key is one for as long as it is the endpoint's last.
    """
    asked = command.asked()
    checked_text(asked.reason)
    replay_id = secrets.token_hex(_ID_BYTES)
    if idempotency_key is not None:
        replay_id = digest_of("replay", endpoint, caller.name, idempotency_key)
    view = await _book(context).order(endpoint, asked, caller.person, context.now_ms(), f"replay-{replay_id}")
    return ReplayOut.of_view(view)


@router.post("/{endpoint}/replay/cancel", responses=documented(*_ACTING, NOTHING_WAITS))
async def cancel_replay(
    caller: Operator,
    context: ContextOf,
    endpoint: Name,
    command: Annotated[ReplayCancelIn, Body(openapi_examples=CANCEL_EXAMPLES)],
) -> ReplayOut:
    """Cancel the order that is not over; what was told stays told."""
    view = await _book(context).cancel(endpoint, caller.person, checked_text(command.reason), context.now_ms())
    return ReplayOut.of_view(view)
