"""The log of webhooks: what was told to each endpoint lately, what it was not told, and who wants nothing any more."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

# Lines of an endpoint that are kept, and events that it was not told: the oldest go. All of them can be read again from
# Kafka, where they stand.
LINES_KEPT, UNTOLD_KEPT = 1_000, 10_000
# Workers speak every few seconds: who has said nothing for so long is gone.
STANDING_KEPT_MS = 60_000


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


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it goes with an endpoint, as a worker that tells it says every few seconds.

    Attributes:
        time_ms: when it says so.
        oldest_waiting_ms: when the earliest event happened that was not taken yet; None where what comes is taken.
        failed_ms: when the endpoint last did not take an event; None where the worker knows of none.
        failure: what it answered then: a status or the class of an error.
    """

    time_ms: int
    oldest_waiting_ms: int | None = None
    failed_ms: int | None = None
    failure: str = ""


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

    async def untold_span(self, endpoint: str) -> tuple[int, int | None]:
        """How many events `untold` gives, and when the earliest of them happened; None where there is none."""

    async def say(self, endpoint: str, worker: str, standing: Standing) -> None:
        """Say how it goes with the endpoint; what others said more than `STANDING_KEPT_MS` before is forgotten."""

    async def standings(self, endpoint: str) -> list[Standing]:
        """What workers said last, each once, in any order."""

    async def disable(self, endpoint: str, disabled: Disabled) -> None:
        """Tell the endpoint nothing any more."""

    async def disabled(self, endpoint: str) -> Disabled | None:
        """Since when and why the endpoint is told nothing; None where it is told."""

    async def enable(self, endpoint: str) -> None:
        """Tell it again."""
