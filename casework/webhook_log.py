"""The log of webhooks: what was told to each endpoint lately, what it was not told, and who wants nothing any more."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

# Lines of an endpoint that are kept, and events that it was not told: the oldest go. All of them can be read again from
# Kafka, where they stand.
LINES_KEPT, UNTOLD_KEPT = 1_000, 10_000


class Outcome(StrEnum):
    """What became of an event: delivered; refused so often that it was given up; expired before it could be told."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an event at an endpoint; nothing of what it said.

    Attributes:
        webhook_id, kind: of the event.
        event_time_ms: when it happened.
        time_ms: when it came to this.
        attempts: how often the endpoint was asked.
        outcome: see `Outcome`.
        detail: the last answer: a status or the class of an error.
        topic, partition, offset: where the event stands.
    """

    webhook_id: str
    kind: str
    event_time_ms: int
    time_ms: int
    attempts: int
    outcome: Outcome
    detail: str
    topic: str
    partition: int
    offset: int


class Disabled(msgspec.Struct, frozen=True):
    """An endpoint that is told nothing until a person enables it again: since when, and why."""

    since_ms: int
    why: str


class WebhookLog(Protocol):
    """The log; every implementation passes `tests/contracts/test_webhook_log.py`.

    Every method raises `StoreUnavailableError` where it gives no answer.
    """

    async def write(self, endpoint: str, line: Line) -> None:
        """Note what became of an event; one that was delivered is no longer untold."""

    async def newest(self, endpoint: str, count: int) -> list[Line]:
        """The latest lines, the last written first."""

    async def untold(self, endpoint: str) -> list[Line]:
        """Events that the endpoint was not told and has not been told since, the earliest event first."""

    async def disable(self, endpoint: str, disabled: Disabled) -> None:
        """Tell the endpoint nothing any more."""

    async def disabled(self, endpoint: str) -> Disabled | None:
        """Since when and why the endpoint is told nothing; None where it is told."""

    async def enable(self, endpoint: str) -> None:
        """Tell it again."""
