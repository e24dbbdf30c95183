"""What a client is told when something cannot be done: RFC 9457 problem details, mapped in this one place.

A problem is made of our own words only. Nothing of the request (path, query, header, body, exception message) goes
into it; of a failed validation it names the field as our schema spells it and the rule that was broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.errors import (
    AuthenticationError,
    BodyIncompleteError,
    BodyTooLargeError,
    CardNumberError,
    ForgedRequestError,
    FormError,
    HeaderError,
    HistoryMissingError,
    NoticesMissingError,
    ProviderUnavailableError,
    RefusedPaymentError,
    RoleMissingError,
    ScoringUnavailableError,
    SignInRefusedError,
    TooManyListenersError,
)
from casework.cards import CardChange
from casework.cases import CaseEvent
from casework.errors import (
    CaseLockedError,
    CaseNotFoundError,
    CaseOpenError,
    EndpointNotFoundError,
    HistoryError,
    IdempotencyConflictError,
    IdentityNotVerifiedError,
    IllegalMoveError,
    InvalidCommandError,
    InvalidCursorError,
    LinkError,
    NotAuthorisedError,
    NothingWaitsError,
    ReplayUnderWayError,
    StoreError,
    VerificationError,
    VersionConflictError,
)

MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:cardwatch:problem:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem, or one occurrence of it with details.

    Attributes:
        code: last part of the `type` URN; stable, for programs.
        status: HTTP status.
        title: the same for every occurrence.
        detail: what to do about it.
        members: further members of the problem document, in our own words.
        headers: HTTP headers that belong to it.
    """

    code: str
    status: int
    title: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_members(self, **members: Any) -> Problem:
        """This problem, with details of the occurrence."""
        return Problem(self.code, self.status, self.title, self.detail, members, self.headers)

    def document(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": _TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


class FieldError(BaseModel):
    """One field that breaks a rule."""

    field: str = Field(description="where: body, query, path or header, then our name of the field")
    rule: str = Field(description="the rule it breaks")


class Change(BaseModel):
    """One thing that happened since the version named in If-Match."""

    sequence: int = Field(description="number of the event within the case, or of the change of the card")
    type: str = Field(description="type of the case's event, or the state a card was put into")
    actor: str = Field(description="who did it")
    time_ms: int = Field(description="when, UTC epoch milliseconds")


class ProblemDocument(BaseModel):
    """RFC 9457 problem details. Members are only ever added."""

    type: str = Field(
        description="URN of the kind of problem, for programs", examples=["urn:cardwatch:problem:not-found"]
    )
    title: str = Field(description="the kind of problem in words")
    status: int = Field(description="the HTTP status, again")
    detail: str = Field(description="what to do about it")
    errors: list[FieldError] | None = Field(default=None, description="fields that break a rule (invalid-request)")
    changes: list[Change] | None = Field(default=None, description="what happened meanwhile (version-conflict)")
    version: int | None = Field(default=None, description="the version to read and to name now (version-conflict)")
    missing: list[str] | None = Field(default=None, description="dependencies that cannot be used (not-ready)")
    subject: str | None = Field(default=None, description="case or card: whose state forbids it (not-possible)")
    state: str | None = Field(default=None, description="the state it is in (not-possible)")
    possible: list[str] | None = Field(default=None, description="states it can become (not-possible)")
    act: str | None = Field(default=None, description="what was asked for (not-permitted)")
    why: str | None = Field(default=None, description="what is in the way (not-permitted, verification-refused)")
    owner: str | None = Field(default=None, description="who works on the case (case-locked)")
    until_ms: int | None = Field(default=None, description="until when (case-locked)")
    case_id: str | None = Field(default=None, description="the open case (case-open)")


_RETRY_SOON = {"Retry-After": "1"}
_BEARER = {"WWW-Authenticate": 'Bearer realm="cardwatch"'}

INVALID_REQUEST = Problem(
    "invalid-request", 422, "Invalid request", "Correct what `errors` names; the OpenAPI document has all bounds."
)
MALFORMED_HEADER = Problem(
    "malformed-header", 400, "Malformed header",
    'If-Match is one ETag as it was given out, such as "7", or *. '
    "Idempotency-Key is 1 to 128 letters, digits and ._:~-.",
)  # fmt: skip
BAD_REQUEST = Problem("bad-request", 400, "Bad request", "The request cannot be read as HTTP with a JSON body.")
UNAUTHENTICATED = Problem(
    "unauthenticated", 401, "No valid API key", "Send `Authorization: Bearer <API key>`.", headers=_BEARER
)
NOT_PERMITTED = Problem(
    "not-permitted", 403, "Not permitted", "The role of this API key may not do this, or not here: `why` says which."
)
NOT_VERIFIED = Problem(
    "identity-not-verified",
    403,
    "Identity not verified",
    "This needs the cardholder's verified identity: verify it in the card's open case, then repeat.",
)
FORGED_FORM = Problem(
    "forged-form", 403, "Form not accepted", "The form did not come from this session. Open the page again and repeat."
)
NOT_FOUND = Problem("not-found", 404, "Not found", "There is nothing at this address.")
METHOD_NOT_ALLOWED = Problem(
    "method-not-allowed", 405, "Method not allowed", "The Allow header names what is possible."
)
IDEMPOTENCY_CONFLICT = Problem(
    "idempotency-conflict", 409, "Idempotency-Key used before",
    "This key came with another request. Use a new key for a new request.",
)  # fmt: skip
NOT_POSSIBLE = Problem(
    "not-possible",
    409,
    "Not possible now",
    "The case or card is in a state that forbids it; `possible` says what it can become.",
)
CASE_LOCKED = Problem(
    "case-locked", 409, "Somebody works on it", "`owner` works on the case until `until_ms`, or longer if they go on."
)
CASE_OPEN = Problem(
    "case-open", 409, "A case is open", "The card has an open case, `case_id`: one at a time. Work on that one."
)
NOTHING_WAITS = Problem(
    "nothing-waits", 409, "Nothing waits", "There is nothing to approve, refuse, undo or cancel here, or not any more."
)
REPLAY_UNDER_WAY = Problem(
    "replay-under-way", 409, "It is told again already",
    "This endpoint has a replay that is not over: one at a time. Wait for its end, or cancel it.",
)  # fmt: skip
VERIFICATION_REFUSED = Problem(
    "verification-refused",
    409,
    "Cannot be verified this way now",
    "`why` says what is in the way: locked after too many wrong answers, nothing asked, expired, too few payments.",
)
VERSION_CONFLICT = Problem(
    "version-conflict",
    412,
    "Changed meanwhile",
    "Look at `changes`, then repeat with the current ETag if you still want to.",
)
BODY_TOO_LARGE = Problem("body-too-large", 413, "Body too large", "Shorten the request.")
CARD_NUMBER = Problem(
    "card-number", 422, "Card number in clear",
    "Something in the request looks like a full card number. It was not stored. "
    "Use the card's token, and leave numbers out of texts.",
)  # fmt: skip
INTERNAL = Problem(
    "internal", 500, "Internal error", "Our fault. Name the X-Request-Id of this answer to those who run the service."
)
UNAVAILABLE = Problem(
    "unavailable", 503, "Temporarily unavailable",
    "Whether it was done is unknown. Repeating it with the same Idempotency-Key is safe.", headers=_RETRY_SOON,
)  # fmt: skip
NOT_READY = Problem(
    "not-ready", 503, "Not ready", "`missing` names the dependencies that cannot be used.", headers=_RETRY_SOON
)

SCORING_UNAVAILABLE = Problem(
    "scoring-unavailable", 503, "No decisions now",
    "Payments cannot be taken. Repeating the request is safe: a payment is known by card_token and transaction_id.",
    headers=_RETRY_SOON,
)  # fmt: skip

HISTORY_UNAVAILABLE = Problem(
    "history-unavailable", 503, "Closed cases cannot be looked up", "The queue and open cases work. Try again soon.",
    headers=_RETRY_SOON,
)  # fmt: skip

TOO_MANY_LISTENERS = Problem(
    "too-many-listeners", 503, "Too many open pages",
    "This page does not follow by itself. Reload it when you need to.",
    headers={"Retry-After": "60"},
)  # fmt: skip

NOTICES_UNAVAILABLE = Problem(
    "notices-unavailable", 503, "Notices cannot be looked up", "What cardholders were told is not known here.",
    headers=_RETRY_SOON,
)  # fmt: skip

SIGN_IN_REFUSED = Problem(
    "sign-in-refused", 400, "Sign-in not accepted",
    "What came back from your organisation's sign-in cannot be accepted, or not any more. Begin again; if it happens "
    "again, tell those who run the desk the word above.",
)  # fmt: skip
SIGN_IN_WITHOUT_ROLE = Problem(
    "sign-in-without-role", 403, "No role at the desk",
    "Your organisation's sign-in knows you, and gives you no role at this desk. "
    "Whoever manages access must give you one.",
)  # fmt: skip
PROVIDER_UNAVAILABLE = Problem(
    "provider-unavailable", 503, "Sign-in does not answer",
    "Your organisation's sign-in gives no answer that can be used. Whoever is signed in at the desk can go on working. "
    "Try again in a minute; if it lasts, tell those who run it.",
    headers={"Retry-After": "60"},
)  # fmt: skip
SIGN_IN_PROBLEMS = frozenset(each.code for each in (SIGN_IN_REFUSED, SIGN_IN_WITHOUT_ROLE, PROVIDER_UNAVAILABLE))

# Errors whose problem needs nothing of the occurrence; looked up by class, most special first.
_BY_CLASS: tuple[tuple[type[Exception], Problem], ...] = (
    (AuthenticationError, UNAUTHENTICATED),
    (ForgedRequestError, FORGED_FORM),
    (ProviderUnavailableError, PROVIDER_UNAVAILABLE),
    (ScoringUnavailableError, SCORING_UNAVAILABLE),
    (TooManyListenersError, TOO_MANY_LISTENERS),
    (HistoryMissingError, HISTORY_UNAVAILABLE),
    (HistoryError, HISTORY_UNAVAILABLE),
    (NoticesMissingError, NOTICES_UNAVAILABLE),
    (CardNumberError, CARD_NUMBER),
    (HeaderError, MALFORMED_HEADER),
    (BodyTooLargeError, BODY_TOO_LARGE),
    (BodyIncompleteError, BAD_REQUEST),
    (CaseNotFoundError, NOT_FOUND),
    (LinkError, NOT_FOUND),
    (EndpointNotFoundError, NOT_FOUND),
    (ReplayUnderWayError, REPLAY_UNDER_WAY),
    (IdempotencyConflictError, IDEMPOTENCY_CONFLICT),
    (IdentityNotVerifiedError, NOT_VERIFIED),
    (NothingWaitsError, NOTHING_WAITS),
    (StoreError, UNAVAILABLE),
)
# What the framework raises by itself.
_BY_STATUS = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}
_FRAMEWORK_HEADERS = frozenset({"allow"})


def problem_of(error: Exception) -> Problem:
    """What to tell a client about an error; everything unknown is an internal error."""
    if isinstance(error, RequestValidationError):
        return INVALID_REQUEST.with_members(errors=_field_errors(error.errors()))
    if isinstance(error, FormError):
        return INVALID_REQUEST.with_members(errors=[_field_error(f"body.{error.field}", "missing or impossible")])
    if isinstance(error, RefusedPaymentError):
        return INVALID_REQUEST.with_members(errors=[_field_error(f"body.{error.field}", error.reason)])
    if isinstance(error, InvalidCursorError):
        return INVALID_REQUEST.with_members(errors=[_field_error("query.cursor", "must be a next_cursor of this list")])
    if isinstance(error, InvalidCommandError):
        return INVALID_REQUEST.with_members(errors=[_command_error(str(error))])
    if isinstance(error, NotAuthorisedError):
        return NOT_PERMITTED.with_members(act=str(error.act), why=error.why)
    if isinstance(error, SignInRefusedError):
        return SIGN_IN_REFUSED.with_members(why=str(error.why))
    if isinstance(error, RoleMissingError):
        return SIGN_IN_WITHOUT_ROLE.with_members(**({"ask": error.ask} if error.ask else {}))
    if isinstance(error, CaseLockedError):
        return CASE_LOCKED.with_members(owner=error.owner, until_ms=error.until_ms)
    if isinstance(error, CaseOpenError):
        return CASE_OPEN.with_members(case_id=error.case_id)
    if isinstance(error, VerificationError):
        return VERIFICATION_REFUSED.with_members(why=str(error.why))
    if isinstance(error, IllegalMoveError):
        return NOT_POSSIBLE.with_members(subject=error.subject, state=error.current, possible=list(error.possible))
    if isinstance(error, VersionConflictError):
        return VERSION_CONFLICT.with_members(
            version=error.current, changes=[_change(change) for change in error.changes]
        )
    if isinstance(error, HTTPException):
        return _framework_problem(error)
    return next((problem for kind, problem in _BY_CLASS if isinstance(error, kind)), INTERNAL)


def json_response(problem: Problem) -> JSONResponse:
    """A problem as `application/problem+json`."""
    return JSONResponse(
        problem.document(), status_code=problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE
    )


def documented(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems, for OpenAPI."""
    titles: dict[int, list[str]] = {}
    for problem in problems:
        titles.setdefault(problem.status, []).append(problem.title)
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": " / ".join(names), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, names in sorted(titles.items())
    }


def with_etag(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """The same `responses`, with the ETag that a successful answer carries."""
    header = {"description": "The version, for If-Match", "required": True, "schema": {"type": "string"}}
    return {200: {"headers": {"ETag": header}}, **responses}


def _framework_problem(error: HTTPException) -> Problem:
    """FastAPI's and Starlette's own refusals, in our words, with the one header that carries none of the input."""
    fallback = BAD_REQUEST if 400 <= error.status_code < 500 else INTERNAL
    problem = _BY_STATUS.get(error.status_code, fallback)
    kept = {name: value for name, value in (error.headers or {}).items() if name.lower() in _FRAMEWORK_HEADERS}
    return Problem(problem.code, problem.status, problem.title, problem.detail, headers=kept)


def _field_error(name: str, rule: str) -> dict[str, str]:
    return {"field": name, "rule": rule}


# Pydantic's error types and the bounds in their context come from our schema; its messages and inputs do not.
_RULES = {
    "missing": "is required",
    "json_invalid": "must be JSON",
    "extra_forbidden": "has a member that is not known",
    "string_type": "must be a string",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must not hold control characters",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is required",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "too_short": "must have at least {min_length} elements",
    "too_long": "must have at most {max_length} elements",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
}
_MAXIMUM_FIELD_ERRORS = 20


def _field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Validation errors as our field names and rules. The name of an unknown member is input: it is left out."""
    listed = []
    for error in errors[:_MAXIMUM_FIELD_ERRORS]:
        kind = error["type"]
        place = error["loc"][:1] if kind in {"extra_forbidden", "json_invalid"} else error["loc"]
        rule = _RULES.get(kind, "breaks the schema").format_map(error.get("ctx", {}))
        listed.append(_field_error(".".join(str(part) for part in place), rule))
    return listed


# How msgspec and casework say what is wrong with a command: "... - at `$.actions[0].state`", or the field's name first.
_PLACE = re.compile(r" - at `\$?\.?([a-z_.0-9\[\]]{1,80})`$")
_NAMED = re.compile(r"([a-z][a-z_.]{0,63}) (must|is|may) ")
_EXPECTED = re.compile(r"(Expected|Object missing required field) [^'\"]{1,160}")


def _command_error(message: str) -> dict[str, str]:
    """What is wrong with a command, in the words of our schema; whatever may repeat the input is left out."""
    place = _PLACE.search(message)
    if place is not None:
        rule = _EXPECTED.match(message[: place.start()])
        return _field_error(f"body.{place[1]}", "breaks the schema" if rule is None else rule[0])
    named = _NAMED.match(message)
    return _field_error("body" if named is None else f"body.{named[1]}", message if named else "breaks the schema")


def _change(change: CaseEvent | CardChange) -> dict[str, Any]:
    """One thing the caller had not seen, without the words people wrote."""
    if isinstance(change, CardChange):
        return Change(
            sequence=change.sequence, type=change.state.wire, actor=change.actor, time_ms=change.command_time_ms
        ).model_dump()
    return Change(
        sequence=change.sequence, type=change.type.value, actor=change.actor, time_ms=change.time_ms
    ).model_dump()
