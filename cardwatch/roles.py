"""From settings to what the stream roles take, and running one of them in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cardwatch import wiring
from cardwatch.embedded import DataDirectory
from cardwatch.errors import ServiceError, SettingsError
from cardwatch.metrics import write_url
from cardwatch.settings import Settings
from cardwatch.store_clock import StoreClock
from cardwatch.stream_settings import stream_settings
from cardwatch.vitals import Watched, certificate_files
from casework.courier import Courier
from casework.errors import (
    CaseworkError,
    HistoryUnavailableError,
    StoreAccessError,
    StoreEmptyError,
    StoreUnavailableError,
)
from casework.webhooks import Endpoint
from detector.errors import DetectorError
from streams import errors as streams_errors
from streams.app import Role, run_worker
from streams.clock import epoch_ms
from streams.history import HistoryRole
from streams.metrics import StreamMetrics
from streams.notify import NOTICES_AT_ONCE, NotifyRole
from streams.reconciliation import Reconciler
from streams.replaying import ReplayRole
from streams.respond import RespondRole
from streams.settings import StreamSettings
from streams.topic_tail import knows_cards, read_since
from streams.webhooks import WebhookRole
from telemetry.endpoint import serve
from telemetry.errors import EndpointError
from telemetry.exposition import process_registry
from telemetry.metric import Process
from telemetry.process import ProcessMetrics
from telemetry.tracing import NO_SPANS, Spans
from telemetry.vitals import Vitals

if TYPE_CHECKING:
    from casework.adapters.sql_history.store import SqlHistory

_HOUR_MS = 3_600_000

logger = logging.getLogger(__name__)


def run_role(role: str, settings: Settings) -> None:
    """Run one role in this process, its metrics shown, until SIGTERM or Ctrl-C.

    Args:
        role: score, respond, learn, history or notify.
        settings: with the addresses of Kafka and, for respond, of Redis.

    Raises:
        SettingsError: a setting is wrong.
        ServiceError: the metrics' port cannot be had, or the role broke; a supervisor starts it again.
    """
    try:
        streams = stream_settings(settings, f"{role}-{socket.gethostname()}-{os.getpid()}")
        registry, vitals = process_registry(), Vitals()
        metrics = StreamMetrics(registry, Process(role), vitals, _spans(settings))
        # Whatever is wrong in files and settings shows here, before anything is joined or listened to.
        role_in_loop = _makers(role)(settings, streams, metrics)
        ProcessMetrics(registry, Process(role), certificate_files(settings))
        port = serve(registry, vitals, settings.metrics.host, settings.metrics.port(role))
        write_url(DataDirectory(settings.data.directory), role, settings.metrics.host, port)
        run_worker(lambda: [Watched(role_in_loop(), vitals), *_beside(role, settings, streams, metrics)])
    except EndpointError as error:
        message = f"no metrics on {error}; choose another in [metrics], or 0"
        raise ServiceError(message) from error
    except (streams_errors.SettingsError, DetectorError, CaseworkError) as error:
        raise SettingsError(str(error)) from error
    except streams_errors.StreamsError as error:
        logger.exception("the role %s ended", role)
        message = f"the role {role} ended: {error}"
        raise ServiceError(message) from error


def _spans(settings: Settings) -> Spans:
    return Spans.from_environment() if settings.tracing.enabled else NO_SPANS


def _makers(role: str) -> Callable[[Settings, StreamSettings, StreamMetrics], Callable[[], Role]]:
    """What makes a role: the engine, and with it the compiler, is imported only where it is needed."""
    without_engine = {"respond": _respond, "history": _history, "notify": _notify}
    if role in without_engine:
        return without_engine[role]
    from cardwatch import engine_roles  # noqa: PLC0415  three seconds that responding does not need

    return {"score": engine_roles.score, "learn": engine_roles.learn}[role]


def _respond(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    # Wrong files show here rather than in the loop.
    wiring.playbook(settings)
    wiring.authority(settings)
    return lambda: RespondWithDesk(settings, streams, metrics)


def _history(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    memory = wiring.history(settings)
    return lambda: HistoryWithMemory(memory, streams, metrics)


def _notify(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    # Wrong files show here rather than in the loop.
    wiring.messages(settings)
    return lambda: NotifyWithSender(settings, streams, metrics)


def _beside(role: str, settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> list[Role]:
    """What runs in a role's process besides: the one that tells cardholders tells systems as well."""
    if role != "notify":
        return []
    return [WebhookWithLog(endpoint, settings, streams, metrics) for endpoint in wiring.endpoints(settings)]


class HistoryWithMemory:
    """The history role with its database: tables brought up to date before, connections closed after."""

    def __init__(self, memory: SqlHistory, streams: StreamSettings, metrics: StreamMetrics) -> None:
        """Write into `memory`."""
        self._memory = memory
        self._role = HistoryRole(memory, streams, metrics)

    async def start(self) -> None:
        """Bring the tables up to date, then follow the topic.

        Raises:
            WorkerError: the database does not answer; a supervisor starts the worker again.
        """
        try:
            await asyncio.to_thread(self._memory.open)
        except HistoryUnavailableError as error:
            raise streams_errors.WorkerError(str(error)) from error
        await self._role.start()

    async def stop(self) -> None:
        """Leave the topic, then the database."""
        await self._role.stop()
        await asyncio.to_thread(self._memory.close)

    async def wait_broken(self) -> None:
        """Return only by raising."""
        await self._role.wait_broken()


class RespondWithDesk:
    """The respond role with the desk behind it: opened before, closed after."""

    def __init__(self, settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> None:
        """Make store, desk and role inside the event loop that they live in."""
        self._store = wiring.redis_store(settings)
        playbook = wiring.playbook(settings)
        self._desk = wiring.responding_desk(settings, self._store)
        reconciler = Reconciler(
            self._store,
            self._desk,
            partial(read_since, streams),
            (playbook.outcome_memory_ms, playbook.closed_case_memory_ms),
            epoch_ms,
            metrics,
        )
        self._streams = streams
        self._role = RespondRole(self._desk, streams, metrics, reconciler=reconciler)
        self._clock = StoreClock(settings, metrics)

    async def start(self) -> None:
        """Check the store, then join the group.

        Raises:
            WorkerError: Redis does not answer; a supervisor starts the worker again.
            StoreAccessError: Redis does not let us in.
            StoreSetupError: Redis was set up for another number of shards, or it lost everything: Kafka knows cards
                that it does not.
        """
        try:
            if not await self._store.is_set_up() and await asyncio.to_thread(knows_cards, self._streams):
                message = "Redis is empty, but Kafka knows cards: `cardwatch rebuild redis` builds it anew from Kafka"
                raise StoreEmptyError(message)
            await self._desk.open()
        except StoreAccessError:
            # No restart helps: it ends with what to check, like every other wrong setting.
            raise
        except StoreUnavailableError as error:
            message = "Redis does not answer"
            raise streams_errors.WorkerError(message) from error
        await self._role.start()
        self._clock.start()

    async def stop(self) -> None:
        """Leave the group, then the store."""
        await self._clock.stop()
        await self._role.stop()
        await self._store.close()

    async def wait_broken(self) -> None:
        """Return only by raising."""
        await self._role.wait_broken()


class NotifyWithSender:
    """The notify role with its memory and its sender: opened before, closed after."""

    def __init__(self, settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> None:
        """Make memory, sender and role inside the event loop that they live in."""
        self._memory = wiring.notice_memory(settings)
        self._poster = wiring.notice_poster(settings)
        sender = wiring.notice_sender(settings, self._memory, self._poster)
        rules = wiring.courier_rules(settings)
        courier = Courier(
            wiring.messages(settings), sender, self._memory, self._memory, rules, epoch_ms, wiring.page_links(settings)
        )
        self._store = wiring.redis_store(settings)
        desk = wiring.responding_desk(settings, self._store)
        # A batch is small, so that it ends before the worker counts as stalled.
        small = replace(streams, batch_rows=min(streams.batch_rows, NOTICES_AT_ONCE))
        self._role = NotifyRole(courier, desk, self._memory, small, metrics)

    async def start(self) -> None:
        """Join the group; a Redis that is away is waited for with the first notice."""
        await self._role.start()

    async def stop(self) -> None:
        """Leave the group, then the sender and the memory."""
        await self._role.stop()
        await self._poster.close()
        await self._memory.close()
        await self._store.close()

    async def wait_broken(self) -> None:
        """Return only by raising."""
        await self._role.wait_broken()


class WebhookWithLog:
    """The telling of one endpoint with what it needs: opened before, closed after."""

    def __init__(self, endpoint: Endpoint, settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> None:
        """Make log, poster and role inside the event loop that they live in."""
        self._log = wiring.webhook_log(settings)
        self._poster = wiring.endpoint_poster(settings, endpoint)
        give_up_ms = settings.webhooks.give_up_hours * _HOUR_MS
        self._role = WebhookRole(endpoint, self._poster, self._log, give_up_ms, streams, metrics)
        self._replays = wiring.replays(settings)
        self._again = ReplayRole(endpoint, self._poster, self._log, self._replays, streams, metrics)

    async def start(self) -> None:
        """Begin; an endpoint or a Redis that is away is waited for with the first event."""
        await self._role.start()
        await self._again.start()

    async def stop(self) -> None:
        """Leave the group, then the endpoint and the log."""
        await asyncio.gather(self._again.stop(), self._role.stop())
        await self._poster.close()
        await self._log.close()
        await self._replays.close()

    async def wait_broken(self) -> None:
        """Return only by raising."""
        await asyncio.gather(self._role.wait_broken(), self._again.wait_broken())
