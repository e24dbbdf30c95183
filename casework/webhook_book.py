"""What people see and do about endpoints of webhooks: how it goes, what was told, enabling, telling again.

Nothing is posted from here, and Kafka is not asked: the process that tells an endpoint writes down how it goes and
carries orders out (docs/decisions/0029). What a person does is told to the audit first, and done then: where it fails
in between, the audit says what was tried, and nothing is ever done untold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from casework.authority import Act, Authority, Person
from casework.errors import (
    EndpointNotFoundError,
    IdempotencyConflictError,
    InvalidCommandError,
    InvalidCursorError,
    NothingWaitsError,
    ReplayUnderWayError,
)
from casework.ids import digest_of
from casework.outbox import AUDIT_TOPIC, Draft, OutboxMessage, messages_of
from casework.replays import MOST_PICKED, Picked, Replay, ReplayOf, ReplayProgress, Replays, ReplayState, state_of
from casework.webhook_log import LINES_KEPT, STANDING_KEPT_MS, Disabled, Line, WebhookLog

MAXIMUM_LINES_PAGE = 200
DEFAULT_LINES_PAGE = 50
_CURSOR = re.compile(r"(\d{1,15})\.([A-Za-z0-9_-]{1,128})", re.ASCII)


class EndpointState(StrEnum):
    """How it goes with an endpoint.

    told. disabled: told nothing until a person enables it. unattended: no process that tells it has been heard of for a
    minute. not_active: configuration says that it is told nothing.
    """

    TOLD = "told"
    DISABLED = "disabled"
    UNATTENDED = "unattended"
    NOT_ACTIVE = "not_active"


@dataclass(frozen=True, slots=True)
class Configured:
    """What people may know of an endpoint's configuration.

    Attributes:
        name: of the endpoint.
        host: of its address; a path or query may hold what only the two of us shall know.
        events: patterns of the kinds that it wants.
        is_active: whether it is to be told.
    """

    name: str
    host: str
    events: tuple[str, ...]
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint, and how it goes with it.

    Attributes:
        name, host, events: see `Configured`.
        disabled: since when and why it is told nothing; None where nobody disabled it.
        oldest_waiting_ms: when the earliest event happened that waits until the endpoint takes it; None: none waits.
        untold: how many events were given up, and not told since.
        oldest_untold_ms: when the earliest of them happened.
        failed_ms, failure: when it last did not take an event, and its answer; None and empty where it takes all.
    """

    name: str
    host: str
    events: tuple[str, ...]
    state: EndpointState
    disabled: Disabled | None
    oldest_waiting_ms: int | None
    untold: int
    oldest_untold_ms: int | None
    failed_ms: int | None
    failure: str


@dataclass(frozen=True, slots=True)
class LinePage:
    """Some of what became of events.

    Attributes:
        next_cursor: pass it back for what follows; None at the end.
    """

    lines: tuple[Line, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReplayView:
    """An order and how far it has come."""

    state: ReplayState
    progress: ReplayProgress

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is to come."""
        return self.state not in {ReplayState.WAITING, ReplayState.RUNNING}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants told again; see `Replay`.

    Attributes:
        event_ids: with `PICKED`, ids of 1 to 100 events in the endpoint's log.
        before_ms: None means everything until now.
    """

    of: ReplayOf
    reason: str
    event_ids: tuple[str, ...] = ()
    since_ms: int = 0
    before_ms: int | None = None


class Audit(Protocol):
    """The part of `casework.store.Store` that takes what is told of operators."""

    async def tell(self, place: str, messages: Sequence[OutboxMessage], time_ms: int) -> None:
        """Let messages enter the outbox."""


class WebhookBook:
    """The endpoints of an installation. Every method raises `StoreUnavailableError` where Redis gives no answer."""

    def __init__(
        self, configured: Sequence[Configured], log: WebhookLog, replays: Replays, audit: Audit, authority: Authority
    ) -> None:
        """Know these endpoints.

        Args:
            configured: all of them.
            log: what became of events.
            replays: where orders wait.
            audit: is told what people do.
            authority: who may.
        """
        self._configured = {each.name: each for each in configured}
        self._log, self._replays, self._audit, self._authority = log, replays, audit, authority

    async def endpoints(self, now_ms: int) -> list[EndpointView]:
        """All of them, in the order of the configuration."""
        return [await self._view(each, now_ms) for each in self._configured.values()]

    async def lines(self, name: str, cursor: str | None, limit: int, *, only_untold: bool) -> LinePage:
        """What became of events: the last written first, or of those that were given up the earliest event first.

        Raises:
            EndpointNotFoundError: no such endpoint.
            InvalidCursorError: no page of this list gave it out.
        """
        self._named(name)
        after = None if cursor is None else _position(cursor)
        if only_untold:
            lines = [line for line in await self._log.untold(name) if after is None or _event_place(line) > after]
            page = lines[: limit + 1]
        else:
            lines = await self._log.newest(name, LINES_KEPT)
            places = [_line_place(line) for line in lines]
            # What is not there any more has gone with everything behind it.
            start = 0 if after is None else places.index(after) + 1 if after in places else len(lines)
            page = lines[start : start + limit + 1]
        place = _event_place if only_untold else _line_place
        more = len(page) > limit
        return LinePage(tuple(page[:limit]), "{}.{}".format(*place(page[limit - 1])) if more else None)

    async def enable(self, name: str, by: Person, reason: str, now_ms: int) -> EndpointView:
        """Tell a disabled endpoint again, first what has waited. One that is told already stays as it is, untold.

        Raises:
            NotAuthorisedError: the role may not.
            EndpointNotFoundError: no such endpoint.
        """
        self._authority.require(by, Act.WEBHOOK_OPERATE)
        configured = self._named(name)
        if await self._log.disabled(name) is not None:
            await self._tell("enabled", name, by, reason, now_ms, digest_of("enable", name, by.name, str(now_ms)))
            await self._log.enable(name)
        return await self._view(configured, now_ms)

    async def order(self, name: str, asked: Asked, by: Person, now_ms: int, replay_id: str) -> ReplayView:
        """Have an endpoint told again. The same order under the same id once more gives how far it has come.

        Args:
            name: of the endpoint.
            asked: what is to be told.
            by: whose decision it is.
            now_ms: when it is asked for.
            replay_id: names the order.

        Raises:
            NotAuthorisedError: the role may not.
            EndpointNotFoundError: no such endpoint, or it is not active.
            InvalidCommandError: an event is not in the log, or the span of time is empty.
            ReplayUnderWayError: another order is not over yet.
            IdempotencyConflictError: the id stands for another order.
        """
        self._authority.require(by, Act.WEBHOOK_OPERATE)
        if not self._named(name).is_active:
            raise EndpointNotFoundError
        last = await self.replay(name)
        if last is not None and last.progress.replay.replay_id == replay_id:
            if _asks_for(last.progress.replay, asked):
                return last
            raise IdempotencyConflictError
        replay = await self._replay(name, asked, by, now_ms, replay_id)
        if last is None or last.is_over:
            await self._tell("replayed", name, by, asked.reason, now_ms, replay_id, of=asked.of.value)
            if await self._replays.order(name, replay):
                return ReplayView(ReplayState.WAITING, ReplayProgress(replay))
        raise ReplayUnderWayError

    async def replay(self, name: str) -> ReplayView | None:
        """The endpoint's last order; None where there never was one.

        Raises:
            EndpointNotFoundError: no such endpoint.
        """
        self._named(name)
        # In this order: an order that ends in between is seen as over rather than not at all.
        ordered = await self._replays.ordered(name)
        found = state_of(ordered, await self._replays.progress(name))
        return None if found is None else ReplayView(*found)

    async def cancel(self, name: str, by: Person, reason: str, now_ms: int) -> ReplayView:
        """Cancel the order that is not over; what was told stays told.

        Raises:
            NotAuthorisedError: the role may not.
            EndpointNotFoundError: no such endpoint.
            NothingWaitsError: there is none, or it has just ended.
        """
        self._authority.require(by, Act.WEBHOOK_OPERATE)
        found = await self.replay(name)
        if found is None or found.is_over:
            raise NothingWaitsError
        await self._tell("replay_cancelled", name, by, reason, now_ms, f"cancel-{found.progress.replay.replay_id}")
        ended = msgspec.structs.replace(found.progress, cancelled_by=by.name, ended_ms=now_ms)
        if not await self._replays.end(name, ended):
            raise NothingWaitsError
        return ReplayView(ReplayState.CANCELLED, ended)

    def _named(self, name: str) -> Configured:
        if name not in self._configured:
            raise EndpointNotFoundError
        return self._configured[name]

    async def _view(self, configured: Configured, now_ms: int) -> EndpointView:
        name = configured.name
        disabled, (untold, oldest_untold_ms) = await self._log.disabled(name), await self._log.untold_span(name)
        said = [each for each in await self._log.standings(name) if each.time_ms > now_ms - STANDING_KEPT_MS]
        state = EndpointState.TOLD if said else EndpointState.UNATTENDED
        if disabled is not None:
            state = EndpointState.DISABLED
        if not configured.is_active:
            state = EndpointState.NOT_ACTIVE
        waiting = [each.oldest_waiting_ms for each in said if each.oldest_waiting_ms is not None]
        failures = [(each.failed_ms, each.failure) for each in said if each.failed_ms is not None]
        failed_ms, failure = max(failures, default=(None, ""))
        return EndpointView(
            name, configured.host, configured.events, state, disabled, min(waiting, default=None), untold,
            oldest_untold_ms, failed_ms, failure,
        )  # fmt: skip

    async def _replay(self, name: str, asked: Asked, by: Person, now_ms: int, replay_id: str) -> Replay:
        """The order.

        Raises:
            InvalidCommandError: an event is not in the log, or the span of time is empty.
        """
        if asked.before_ms is not None and asked.before_ms <= asked.since_ms:
            message = "before_ms must be later than since_ms"
            raise InvalidCommandError(message)
        picked = await self._picked(name, asked.event_ids) if asked.of is ReplayOf.PICKED else ()
        return Replay(
            replay_id, asked.of, by.name, asked.reason, now_ms, picked, asked.since_ms, asked.before_ms or 0
        )  # fmt: skip

    async def _picked(self, name: str, event_ids: Sequence[str]) -> tuple[Picked, ...]:
        """Where events stand."""
        known = {line.webhook_id: line for line in await self._log.newest(name, LINES_KEPT)}
        if not known.keys() >= set(event_ids):
            known |= {line.webhook_id: line for line in await self._log.untold(name)}
        if not 1 <= len(event_ids) <= MOST_PICKED or not known.keys() >= set(event_ids):
            message = f"event_ids must name 1 to {MOST_PICKED} events that the log of this endpoint holds"
            raise InvalidCommandError(message)
        lines = [known[event_id] for event_id in dict.fromkeys(event_ids)]
        return tuple(
            Picked(line.webhook_id, line.event_time_ms, line.topic, line.partition, line.offset) for line in lines
        )

    async def _tell(self, what: str, name: str, by: Person, reason: str, now_ms: int, step: str, **more: str) -> None:
        """Tell the audit; told twice under one step it is one event."""
        body = {
            "kind": f"webhook_endpoint_{what}",
            "subject": f"webhook:{name}",
            "actor": by.name,
            "reason": reason,
            "time_ms": now_ms,
            **more,
        }
        draft = Draft(AUDIT_TOPIC, f"webhook:{name}", f"cardwatch.webhooks.{what}", body)
        await self._audit.tell(name, messages_of(f"webhook-{what}-{step}", now_ms, [draft], None), now_ms)


def _asks_for(replay: Replay, asked: Asked) -> bool:
    picked = tuple(each.webhook_id for each in replay.picked)
    return (replay.of, replay.reason, picked, replay.since_ms, replay.before_ms) == (
        asked.of, asked.reason, tuple(dict.fromkeys(asked.event_ids)), asked.since_ms, asked.before_ms or 0,
    )  # fmt: skip


def _line_place(line: Line) -> tuple[int, str]:
    return line.time_ms, line.webhook_id


def _event_place(line: Line) -> tuple[int, str]:
    return line.event_time_ms, line.webhook_id


def _position(cursor: str) -> tuple[int, str]:
    """The place that a cursor says.

    Raises:
        InvalidCursorError: no page gave it out.
    """
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        message = "the cursor was not given out by this list"
        raise InvalidCursorError(message)
    return int(found[1]), found[2]
