"""/v1/lists: what is blocked, allowed or watched, by a person's decision, until when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.dependencies import ContextOf, checked_text, permitted, refuse_card_number
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    INVALID_REQUEST,
    NOT_PERMITTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    documented,
)
from api.roles import Permission
from api.schemas import ListChangeIn, ListEntryOut, ListsOut
from api.watching import WatchOf, listed_cards
from casework.access import AccessTo
from casework.lists import ListKey

router = APIRouter(prefix="/v1/lists", tags=["lists"])


@router.get("", responses=documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, UNAVAILABLE))
async def read_lists(
    caller: Annotated[ApiKey, Depends(permitted(Permission.LISTS_READ))], context: ContextOf, watch: WatchOf
) -> ListsOut:
    """List what is blocked, allowed or watched now. Entries of policy.toml stand beside these."""
    entries = await context.desk.list_entries(now_ms=context.now_ms())
    await watch.tell(caller.person, AccessTo.LISTS, listed_cards(entries))
    return ListsOut(entries=[ListEntryOut.model_validate(entry) for entry in entries])


@router.post(
    "",
    responses=documented(
        BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, BODY_TOO_LARGE, INVALID_REQUEST, CARD_NUMBER, UNAVAILABLE
    ),
)
async def change_list(
    caller: Annotated[ApiKey, Depends(permitted(Permission.LISTS_EDIT))],
    context: ContextOf,
    watch: WatchOf,
    command: ListChangeIn,
) -> ListEntryOut:
    """Put something on a list until a time, or take it off; scorers follow within two seconds."""
    entry = await context.desk.put_on_list(
        ListKey(command.effect, command.subject, refuse_card_number(command.value, context)),
        caller.person,
        checked_text(command.reason),
        command.until_ms,
        now_ms=context.now_ms(),
    )
    await watch.tell(caller.person, AccessTo.LISTS, listed_cards([entry]))
    return ListEntryOut.model_validate(entry)
