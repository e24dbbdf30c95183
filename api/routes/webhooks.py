"""What we post to others, for the OpenAPI document: nobody asks for it here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header

from api.webhook_schemas import CARD_EXAMPLE, CASE_EXAMPLE, CardWebhook, CaseWebhook
from casework.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

webhooks = APIRouter()

EventId = Annotated[
    str, Header(alias=ID_HEADER, description="The event's id: the same in every copy; drop what is known")
]
SentAt = Annotated[
    int, Header(alias=TIMESTAMP_HEADER, description="Seconds since 1970 of this attempt; refuse what is old")
]
Signed = Annotated[
    str,
    Header(
        alias=SIGNATURE_HEADER,
        description="v1, and the base64 of the HMAC-SHA-256 of id.timestamp.body; more than one while a secret changes",
    ),
]
ANSWERS: dict[int | str, dict[str, Any]] = {
    "2XX": {"description": "It has the event; nothing of the body is looked at"},
    "410": {"description": "It wants nothing any more: it is disabled until a person enables it"},
    "4XX": {"description": "It does not want this event: asked six times, then given up"},
    "5XX": {"description": "It is away (408, 425 and 429 as well): asked again until the event is too old"},
}


@webhooks.post("case", status_code=204, responses=ANSWERS)
def case_event(
    told: Annotated[CaseWebhook, Body(openapi_examples={"opened": {"value": CASE_EXAMPLE}})],
    webhook_id: EventId,
    webhook_timestamp: SentAt,
    webhook_signature: Signed,
) -> None:
    """Something happened to a case. Signed by Standard Webhooks; docs/webhooks.md says how to verify."""


@webhooks.post("card", status_code=204, responses=ANSWERS)
def card_event(
    told: Annotated[CardWebhook, Body(openapi_examples={"frozen": {"value": CARD_EXAMPLE}})],
    webhook_id: EventId,
    webhook_timestamp: SentAt,
    webhook_signature: Signed,
) -> None:
    """A card's state was set, by cardwatch or by a person."""
