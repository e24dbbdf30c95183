"""JSON of notices: what became of what a cardholder was told."""

from __future__ import annotations

from pydantic import Field

from api.schemas import View
from casework.deliveries import DeliveryState


class DeliveryOut(View):
    """What became of a notice; what it said is not kept."""

    notification_id: str
    template: str = Field(description="Which message it was")
    channel: str
    locale: str
    sender: str = Field(description="What it was handed to: log, webhook or smtp; log tells nobody")
    state: DeliveryState = Field(description="sent, put_off (tried again at due_ms) or failed")
    requested_ms: int = Field(description="When it was asked for")
    time_ms: int = Field(description="When it came to this state")
    attempts: int = Field(description="How often its sender was asked")
    sms_segments: int = Field(description="Parts of the text message; 0 on other channels")
    due_ms: int = Field(description="Of one that was put off: when it is tried again")
    detail: str = Field(description="Of one that was put off or failed: why")


class DeliveriesOut(View):
    """The notices of a case, in the order in which they were asked for."""

    notices: list[DeliveryOut]
