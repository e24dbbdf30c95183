"""How the cardholder's routes stand in the OpenAPI document: pages and forms, for whoever links to them or guards them.

They are made for browsers. Paths, fields and statuses are kept as those of /v1 are; the words of pages are not.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query

from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    FORGED_FORM,
    INVALID_REQUEST,
    NOT_FOUND,
    NOTICES_UNAVAILABLE,
    UNAVAILABLE,
    Problem,
)
from casework.contacts import CHANNELS, LOCALES
from casework.links import LONGEST_LINK

_HTML = {"text/html": {"schema": {"type": "string"}}}
_ONCE = {
    "type": "string",
    "description": "Makes a form that is sent twice one write; the page brings one",
    "pattern": "^[A-Za-z0-9_-]*[A-Za-z0-9][A-Za-z0-9_-]*$",
    "maxLength": 128,
}
_OVER = (NOT_FOUND, INVALID_REQUEST, UNAVAILABLE, NOTICES_UNAVAILABLE)

LinkText = Annotated[
    str, Path(max_length=LONGEST_LINK, description="case.purpose.end.signature: what the notice's link ends with")
]
Lang = Annotated[str, Query(description=f"Language of the page: {', '.join(LOCALES)}; anything else is passed over")]
Done = Annotated[str, Query(description="1: the page says that the choice is kept")]


def _answers(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route whose refusals are a page that says whom to call."""
    titles: dict[int, list[str]] = {}
    for problem in problems:
        titles.setdefault(problem.status, []).append(problem.title)
    return {
        status: {"description": " / ".join(dict.fromkeys(names)), "content": _HTML}
        for status, names in sorted(titles.items())
    }


SHOWN = _answers(BAD_REQUEST, *_OVER)
DONE = _answers(BAD_REQUEST, FORGED_FORM, BODY_TOO_LARGE, *_OVER)
CHOSEN: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "Kept; the page with the choice is at Location",
        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
    },
    **DONE,
}


def _form(properties: dict[str, Any], optional: tuple[str, ...], examples: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    content = {"application/x-www-form-urlencoded": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


ANSWER_FORM = _form(
    {
        "mine": {"type": "string", "enum": ["yes", "no"], "description": "Whether the payment is the cardholder's"},
        "transaction_id": {"type": "string", "description": "One of the case's payments"},
        "code": {"type": "string", "description": "With yes: the six digits that were sent; empty without"},
        "idempotency_key": _ONCE,
    },
    ("code",),
    {
        "yes": {"value": {"mine": "yes", "transaction_id": "tx-000001", "idempotency_key": "a1"}},
        "no": {"value": {"mine": "no", "transaction_id": "tx-000001", "idempotency_key": "a2"}},
    },
)
CODE_FORM = _form({"idempotency_key": _ONCE}, (), {"a code": {"value": {"idempotency_key": "c1"}}})
LOST_FORM = _form({"idempotency_key": _ONCE}, (), {"lost": {"value": {"idempotency_key": "l1"}}})
SETTINGS_FORM = _form(
    {
        "locale": {"type": "string", "enum": [*LOCALES], "description": "Language of notices and pages"},
        "channel": {"type": "string", "enum": [*CHANNELS], "description": "Tried first from now on"},
    },
    (),
    {"by mail, in Filipino": {"value": {"locale": "fil", "channel": "email"}}},
)
