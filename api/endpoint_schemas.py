"""JSON of the endpoints of webhooks: how it goes with them, what they were told, and telling them again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas import Command, Reason, TimeMs, View
from casework.replays import MOST_PICKED, ReplayOf, ReplayState
from casework.webhook_book import Asked, EndpointState, ReplayView
from casework.webhook_log import Outcome

_LATEST_MS = 4_102_444_800_000
_MAXIMUM_EVENT_ID = 128

ENABLE_EXAMPLES: dict[str, Any] = {"repaired": {"value": {"reason": "Its certificate was renewed."}}}
CANCEL_EXAMPLES: dict[str, Any] = {"a wrong day": {"value": {"reason": "It was another day that they lost."}}}
REPLAY_EXAMPLES: dict[str, Any] = {
    "what it was not told": {"value": {"of": "untold", "reason": "It takes closed cases again."}},
    "some events": {
        "value": {"of": "picked", "event_ids": ["event-6a09e667f3bcc908b2fb1366"], "reason": "They lost these."}
    },
    "a span of time": {
        "value": {
            "of": "span",
            "since_ms": 1_759_996_800_000,
            "before_ms": 1_760_000_400_000,
            "reason": "They restored a backup of ten o'clock.",
        }
    },
    "a test": {"value": {"of": "test", "reason": "To see whether it is back."}},
}

PastMs = Annotated[int, Field(ge=0, le=_LATEST_MS, description="UTC epoch milliseconds")]


class DisabledOut(View):
    """An endpoint that is told nothing until a person enables it."""

    since_ms: TimeMs
    why: str


class EndpointOut(View):
    """A system that is told, and how it goes with it. Its path, query and secrets are never shown."""

    name: str
    host: str = Field(description="Of its address, with a port that is not the usual one")
    events: list[str] = Field(description="The kinds that it wants, as configured")
    state: EndpointState = Field(
        description="unattended: no process that tells it was heard of for a minute; not_active: by configuration"
    )
    disabled: DisabledOut | None
    oldest_waiting_ms: TimeMs | None = Field(
        description="When the earliest event happened that waits until the endpoint takes it; null: none waits"
    )
    untold: int = Field(description="Events that were given up and not told since")
    oldest_untold_ms: TimeMs | None = Field(description="When the earliest of these happened")
    failed_ms: TimeMs | None = Field(
        description="When it last did not take an event, as far as the process that tells it knows"
    )
    failure: str = Field(description="What it answered then: a status, or the class of an error")


class EndpointsOut(View):
    """All of them, in the order of the configuration."""

    endpoints: list[EndpointOut]


class ToldOut(View):
    """What became of an event at an endpoint; nothing of what it said."""

    webhook_id: str = Field(description="The event's id, the same in every copy")
    kind: str
    event_time_ms: TimeMs
    time_ms: int = Field(description="When it came to this")
    attempts: int = Field(description="How often the endpoint was asked")
    outcome: Outcome = Field(description="refused: given up after many attempts; expired: too old before it was taken")
    detail: str = Field(description="The last answer: a status or the class of an error")
    topic: str = Field(description="Where the event stands in Kafka")
    partition: int
    offset: int


class ToldPageOut(View):
    """Some of what became of events."""

    events: list[ToldOut] = Field(validation_alias="lines")
    next_cursor: str | None = Field(description="Pass it back for what follows; null at the end")


class EndpointEnableIn(Command):
    """Tell a disabled endpoint again."""

    reason: Reason


class ReplayCancelIn(Command):
    """Cancel a replay that is not over."""

    reason: Reason


class ReplayUntoldIn(Command):
    """What the endpoint refused, or was not told in time."""

    of: Literal["untold"]
    reason: Reason

    def asked(self) -> Asked:
        """What is wanted."""
        return Asked(ReplayOf.UNTOLD, self.reason)


class ReplayPickedIn(Command):
    """Events that its log holds, whatever became of them."""

    of: Literal["picked"]
    event_ids: list[Annotated[str, Field(min_length=1, max_length=_MAXIMUM_EVENT_ID)]] = Field(
        min_length=1, max_length=MOST_PICKED, description="`webhook_id` of each"
    )
    reason: Reason

    def asked(self) -> Asked:
        """What is wanted."""
        return Asked(ReplayOf.PICKED, self.reason, event_ids=tuple(self.event_ids))


class ReplaySpanIn(Command):
    """Everything that happened within a span of time, as far as Kafka still has it."""

    of: Literal["span"]
    since_ms: PastMs
    before_ms: PastMs | None = Field(default=None, description="Left out: until now")
    reason: Reason

    def asked(self) -> Asked:
        """What is wanted."""
        return Asked(ReplayOf.SPAN, self.reason, since_ms=self.since_ms, before_ms=self.before_ms)


class ReplayTestIn(Command):
    """One `webhook.test`, which tells nothing and is not in the log."""

    of: Literal["test"]
    reason: Reason

    def asked(self) -> Asked:
        """What is wanted."""
        return Asked(ReplayOf.TEST, self.reason)


ReplayIn = Annotated[
    ReplayUntoldIn | ReplayPickedIn | ReplaySpanIn | ReplayTestIn,
    Field(discriminator="of"),
]


class ReplayOut(View):
    """An order to tell an endpoint again, and how far it has come."""

    replay_id: str
    state: ReplayState = Field(
        description="waiting until the process that tells the endpoint begins; stopped: the endpoint was away, "
        "nothing behind that was told: order it again later"
    )
    of: ReplayOf
    event_ids: list[str]
    since_ms: int
    before_ms: int = Field(description="0: until asked_ms")
    actor: str
    reason: str
    asked_ms: TimeMs
    told: int = Field(description="Events that the endpoint took")
    refused: int = Field(description="Events that it did not take")
    missing: int = Field(
        description="Events that no longer stand where they stood, or that the endpoint does not want any more"
    )
    stopped_by: str = Field(description="The answer at which it was broken off")
    cancelled_by: str
    ended_ms: int = Field(description="0: not yet")

    @classmethod
    def of_view(cls, view: ReplayView) -> ReplayOut:
        """As it goes out."""
        progress, replay = view.progress, view.progress.replay
        return cls(
            replay_id=replay.replay_id,
            state=view.state,
            of=replay.of,
            event_ids=[each.webhook_id for each in replay.picked],
            since_ms=replay.since_ms,
            before_ms=replay.before_ms,
            actor=replay.actor,
            reason=replay.reason,
            asked_ms=replay.asked_ms,
            told=progress.told,
            refused=progress.refused,
            missing=progress.missing,
            stopped_by=progress.stopped_by,
            cancelled_by=progress.cancelled_by,
            ended_ms=progress.ended_ms,
        )
