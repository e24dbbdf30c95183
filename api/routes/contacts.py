"""/v1/contacts: how cardholders want to be reached."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.contact_schemas import ContactBody
from api.dependencies import CardToken, ContextOf, permitted
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    INVALID_REQUEST,
    NOT_PERMITTED,
    NOTICES_UNAVAILABLE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    documented,
)
from api.roles import Permission
from api.routes.acting import refuse_card_numbers
from api.routes.notices import notices_of
from api.watching import WatchOf
from casework.access import AccessTo
from casework.contacts import ContactRecord, check_contact

router = APIRouter(prefix="/v1/contacts", tags=["contacts"])

_PROBLEMS = documented(
    BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, INVALID_REQUEST, CARD_NUMBER, NOTICES_UNAVAILABLE, UNAVAILABLE,
    BODY_TOO_LARGE,
)  # fmt: skip


@router.get("/{card_token:card_token}", responses=_PROBLEMS)
async def show_contact(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CARD_READ))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardToken,
) -> ContactBody:
    """The record of a card's holder; an empty one where nothing is known."""
    found = await notices_of(context).contact(card_token)
    await watch.tell(caller.person, AccessTo.CONTACT, [card_token])
    return ContactBody.model_validate(found or ContactRecord())


@router.put("/{card_token:card_token}", responses=_PROBLEMS)
async def put_contact(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CONTACT_EDIT))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardToken,
    body: ContactBody,
) -> ContactBody:
    """Replace the record of a card's holder; what is left out is not kept."""
    refuse_card_numbers(body.model_dump(), context)
    contact = ContactRecord(**(body.model_dump() | {"channels": tuple(body.channels)}))
    check_contact(contact)
    # Before it is done: no topic but this one tells of it.
    await watch.tell(caller.person, AccessTo.CONTACT, [card_token])
    await notices_of(context).put_contact(card_token, contact)
    return body
