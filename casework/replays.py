"""Replays: a person's order to tell an endpoint of webhooks again, and how far the process that tells it has come.

Whoever orders one needs neither Kafka nor a way out of the network: the order waits in Redis, and the process that
tells the endpoint carries it out. An endpoint has one order at a time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

# Of events that a person picks out one by one.
MOST_PICKED = 100


class ReplayOf(StrEnum):
    """What is told again.

    untold: what the endpoint refused or was not told in time. picked: events that were picked out of its log. span:
    what happened within a span of time. test: nothing but one event that tells nothing.
    """

    UNTOLD = "untold"
    PICKED = "picked"
    SPAN = "span"
    TEST = "test"


class ReplayState(StrEnum):
    """waiting: nobody has begun yet. running, done. stopped: the endpoint was away. cancelled: by a person."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class Picked(msgspec.Struct, frozen=True):
    """An event that was picked: its id, when it happened and where it stands."""

    webhook_id: str
    event_time_ms: int
    topic: str
    partition: int
    offset: int


class Replay(msgspec.Struct, frozen=True):
    """An order.

    Attributes:
        replay_id: names it.
        of: what is told again.
        actor, reason, asked_ms: who ordered it, why and when.
        picked: with `PICKED`, the events.
        since_ms, before_ms: with `SPAN`, from when on and before when they happened, UTC epoch milliseconds.
    """

    replay_id: str
    of: ReplayOf
    actor: str
    reason: str
    asked_ms: int
    picked: tuple[Picked, ...] = ()
    since_ms: int = 0
    before_ms: int = 0


class ReplayProgress(msgspec.Struct, frozen=True):
    """How far an order has come.

    Attributes:
        replay: the order.
        told, refused: how many events the endpoint took, and did not take.
        missing: events that no longer stand where they stood, or that the endpoint does not want any more.
        stopped_by: the answer at which it was broken off; empty where it was not.
        cancelled_by: who cancelled it; empty where nobody did.
        ended_ms: when it ended; 0 where it has not.
    """

    replay: Replay
    told: int = 0
    refused: int = 0
    missing: int = 0
    stopped_by: str = ""
    cancelled_by: str = ""
    ended_ms: int = 0


class Replays(Protocol):
    """Where orders wait; every implementation passes `tests/contracts/test_replays.py`.

    Every method raises `StoreUnavailableError` where it gives no answer.
    """

    async def order(self, endpoint: str, replay: Replay) -> bool:
        """Leave an order; whether there was room for it: an endpoint has one at a time."""

    async def ordered(self, endpoint: str) -> Replay | None:
        """The order that is not over yet."""

    async def progress(self, endpoint: str) -> ReplayProgress | None:
        """How far the order has come that was begun last; it may be over long since."""

    async def take(self, endpoint: str, worker: str, hold_ms: int) -> Replay | None:
        """The order that is not over, for one worker at a time.

        Args:
            endpoint: whose.
            worker: who would carry it out.
            hold_ms: for so long nobody else gets it, unless `note` says that it goes on.
        """

    async def note(self, endpoint: str, worker: str, progress: ReplayProgress, hold_ms: int) -> bool:
        """Note how far it has come; whether the order still stands. Of one that is over nothing is noted."""

    async def end(self, endpoint: str, progress: ReplayProgress) -> bool:
        """End an order with how far it has come; whether it was still there to be ended."""


def state_of(ordered: Replay | None, progress: ReplayProgress | None) -> tuple[ReplayState, ReplayProgress] | None:
    """The state of an endpoint's last order, with how far it has come; None where there never was one.

    Args:
        ordered: the order that is not over.
        progress: of the order that was begun last.
    """
    if ordered is not None:
        if progress is None or progress.replay.replay_id != ordered.replay_id:
            return ReplayState.WAITING, ReplayProgress(ordered)
        return ReplayState.RUNNING, progress
    if progress is None:
        return None
    if progress.stopped_by:
        return ReplayState.STOPPED, progress
    return ReplayState.DONE if progress.ended_ms and not progress.cancelled_by else ReplayState.CANCELLED, progress
