"""What routes ask for before they run: a permitted caller, a card token that is one, parsed headers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.convertors import StringConvertor, register_url_convertor

from api.card_numbers import contains_card_number, is_card_number
from api.context import Context, context_of
from api.errors import AuthenticationError, CardNumberError, HeaderError
from api.keys import ApiKey
from api.roles import Permission

_ETAG = re.compile(r'"(\d{1,15})"', re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
MAXIMUM_TOKEN = 64
# Tokens are opaque but not invisible.
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
MAXIMUM_CASE_ID = 64
MAXIMUM_CURSOR = 512

bearer = HTTPBearer(auto_error=False, scheme_name="apiKey", description="An API key from the service's configuration")


class TokenConvertor(StringConvertor):
    """A card token in a path. Tokens are opaque and may hold slashes, so a path may end in /freeze or in a token."""

    # Line ends included, also as the last character: such tokens are refused by name rather than not found.
    regex = r"(?s:.+?)(?<!/freeze)(?<!/unfreeze)(?!\n)"


register_url_convertor("card_token", TokenConvertor())


async def _context(request: Request) -> Context:
    # A plain function would be called in a thread of FastAPI's pool: most of a request's time, all of its tail.
    return context_of(request)


ContextOf = Annotated[Context, Depends(_context)]


def permitted(permission: Permission) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency that lets in keys whose role holds the permission, and gives the key.

    The dependency raises AuthenticationError without a valid key and NotAuthorisedError without the permission.
    """

    async def caller(
        request: Request,
        context: ContextOf,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> ApiKey:
        if credentials is None:
            message = "no API key"
            raise AuthenticationError(message)
        key = context.keys.authenticate(credentials.credentials)
        # For the request log: names are configuration, never input.
        request.state.caller = key.name
        context.desk.authority.require(key.person, permission)
        return key

    return caller


def refuse_card_number(token: str, context: Context) -> str:
    """A card token, or CardNumberError for what looks like a full card number."""
    if is_card_number(token, context.settings.issuer_token_pattern):
        message = "a card number instead of a token"
        raise CardNumberError(message)
    return token


def checked_text(text: str) -> str:
    """A person's words, or CardNumberError where they contain a full card number."""
    if contains_card_number(text):
        message = "a card number in a text"
        raise CardNumberError(message)
    return text


async def _card_token(
    context: ContextOf,
    card_token: Annotated[
        str,
        Path(min_length=1, max_length=MAXIMUM_TOKEN, pattern=_PRINTABLE, description="The card's opaque token"),
    ],
) -> str:
    return refuse_card_number(card_token, context)


async def _card_token_filter(
    context: ContextOf,
    card_token: Annotated[
        str | None,
        Query(min_length=1, max_length=MAXIMUM_TOKEN, pattern=_PRINTABLE, description="Only cases of this card"),
    ] = None,
) -> str | None:
    return None if card_token is None else refuse_card_number(card_token, context)


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Makes a repeated write one write: letters, digits and ._:~-, at most 128, kept for a day",
        ),
    ] = None,
) -> str | None:
    if idempotency_key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        message = "Idempotency-Key"
        raise HeaderError(message)
    return checked_text(idempotency_key)


async def _if_match(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description='The ETag that was read, such as "7", or *')
    ] = None,
) -> int | None:
    return parse_if_match(if_match)


def parse_if_match(value: str | None) -> int | None:
    """The version an If-Match header names; None for no header and for `*`.

    Raises:
        HeaderError: it is neither `*` nor one strong ETag of ours.
    """
    if value is None or value == "*":
        return None
    match = _ETAG.fullmatch(value)
    if match is None:
        message = "If-Match"
        raise HeaderError(message)
    return int(match.group(1))


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


CardToken = Annotated[str, Depends(_card_token)]
CardTokenFilter = Annotated[str | None, Depends(_card_token_filter)]
CaseId = Annotated[str, Path(min_length=1, max_length=MAXIMUM_CASE_ID, description="The case's id")]
Cursor = Annotated[
    str | None, Query(max_length=MAXIMUM_CURSOR, description="next_cursor of the page before, with the same filters")
]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
IfMatch = Annotated[int | None, Depends(_if_match)]
