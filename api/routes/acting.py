"""/v1/cases: opening a case, taking the next one, and everything that is done about one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api.context import Context
from api.dependencies import (
    CaseId,
    ContextOf,
    IdempotencyKey,
    IfMatch,
    checked_text,
    etag,
    permitted,
    refuse_card_number,
)
from api.keys import ApiKey
from api.problems import with_etag
from api.roles import Permission
from api.routes.cases import WRITE_PROBLEMS, answer
from api.schemas import CaseDetailOut, OpeningIn, PreviewOut
from api.watching import WatchOf
from casework.access import AccessTo
from casework.commands import Command, Commands, decode_commands
from casework.views import Opening

router = APIRouter(prefix="/v1/cases", tags=["cases"])

_SCHEMAS = "#/components/schemas/"
_NONCE_BYTES = 24
_EXAMPLES = {
    "note": {"value": {"actions": [{"do": "note", "text": "Called, no answer; trying again at noon."}]}},
    "send a code": {"value": {"actions": [{"do": "verify_begin", "method": "code"}]}},
    "snooze": {
        "value": {
            "actions": [
                {"do": "move", "state": "contacting"},
                {"do": "snooze", "until_ms": 1_760_003_600_000, "reason": "Asked to be called back."},
            ]
        }
    },
    "decide and close": {
        "value": {
            "actions": [
                {"do": "decide", "disposition": "confirmed_fraud", "note": "Not theirs."},
                {"do": "block", "reason": "Stolen."},
                {"do": "close", "outcome": "confirmed_fraud", "note": "Card is blocked."},
            ]
        }
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Commands"}, "examples": _EXAMPLES}},
    }
}


def command_schemas() -> dict[str, object]:
    """The schemas of commands for the OpenAPI document, from the very structures that read them."""
    _, components = msgspec.json.schema_components([Commands], ref_template=_SCHEMAS + "{name}")
    return dict(components)


async def _commands(request: Request, context: ContextOf) -> tuple[Command, ...]:
    """The request's commands, none of whose texts holds a card number."""
    commands = decode_commands(await request.body())
    refuse_card_numbers(msgspec.to_builtins(commands), context)
    return commands


def refuse_card_numbers(value: object, context: Context) -> None:
    """Pass if no text in a JSON value, at whatever depth, holds a card number.

    Raises:
        CardNumberError: one does.
    """
    if isinstance(value, str):
        pattern = context.settings.issuer_token_pattern
        if pattern is None or not pattern.fullmatch(value):
            checked_text(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            refuse_card_numbers(item, context)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_card_numbers(item, context)


CommandsIn = Annotated[tuple[Command, ...], Depends(_commands)]


def fresh_nonce() -> str:
    """Randomness of a request."""
    return secrets.token_urlsafe(_NONCE_BYTES)


@router.post("", responses=with_etag(WRITE_PROBLEMS))
async def open_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_OPEN))],
    context: ContextOf,
    watch: WatchOf,
    command: OpeningIn,
    idempotency_key: IdempotencyKey,
    response: Response,
) -> CaseDetailOut:
    """Open a case for a card that has none. A card that is reported lost or stolen is frozen at once."""
    refuse_card_numbers([command.note, command.details], context)
    view = await context.desk.open_case(
        refuse_card_number(command.card_token, context),
        Opening(
            command.kind,
            command.channel,
            command.details,
            command.note,
            vulnerable=command.vulnerable,
            customer_waiting=command.customer_waiting,
        ),
        caller.person,
        now_ms=context.now_ms(),
        idempotency_key=idempotency_key,
    )
    return await answer(view, watch, caller, response)


@router.post("/next", responses={204: {"description": "There is none"}, **with_etag(WRITE_PROBLEMS)})
async def take_next_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_TAKE))],
    context: ContextOf,
    watch: WatchOf,
    response: Response,
) -> CaseDetailOut | None:
    """Take the most urgent case that this key may work on and nobody else does; it is locked for its holder."""
    view = await context.desk.next_case(caller.person, now_ms=context.now_ms())
    if view is None:
        response.status_code = 204
        return None
    return await answer(view, watch, caller, response)


@router.post("/{case_id}/actions", responses=with_etag(WRITE_PROBLEMS), openapi_extra=_BODY)
async def act_on_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
    commands: CommandsIn,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
    response: Response,
) -> CaseDetailOut:
    """Do one to ten things about a case, in their order, in one step: all of them or none.

    Which role may do what is in the matrix of docs/roles.md. Where a second person must agree, all of it waits for
    them: `approval` of the case says so, and `approve` by somebody else does it.
    """
    view = await context.desk.act(
        case_id,
        commands,
        caller.person,
        now_ms=context.now_ms(),
        nonce=fresh_nonce(),
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    return await answer(view, watch, caller, response)


@router.post("/{case_id}/preview", responses=with_etag(WRITE_PROBLEMS), openapi_extra=_BODY)
async def preview_actions(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
    commands: CommandsIn,
    response: Response,
) -> PreviewOut:
    """Show what the same actions would do now, a macro with its effects, without doing it."""
    preview = await context.desk.preview(case_id, commands, caller.person, now_ms=context.now_ms(), nonce=fresh_nonce())
    await watch.tell(caller.person, AccessTo.CASE, [preview.case.card_token], case_id, is_read=True)
    response.headers["etag"] = etag(preview.case.sequence)
    return PreviewOut.model_validate(preview)
