"""Carrying out what people order over HTTP: telling an endpoint of webhooks again.

Beside the role that tells the endpoint, in the same process. An order is carried out by one worker at a time; should
that one die, another begins anew within two minutes, and the endpoint drops what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from casework.errors import StoreError
from casework.replays import Replay, ReplayOf, ReplayProgress, Replays
from casework.webhook_log import WebhookLog
from casework.webhooks import TOLD_TOPICS, Answer, Endpoint, trial_webhook
from streams.clock import Clock, epoch_ms
from streams.errors import BroadcastError
from streams.metrics import StreamMetrics
from streams.settings import StreamSettings
from streams.tasks import end_tasks
from streams.topic_tail import read_since
from streams.webhook_replay import Meant, Replayed, in_batches, meant_by, replay
from streams.webhooks import Posting, post_once

# Longer than any single post may take.
_HOLD_MS = 120_000
_LOOK_EVERY_S = 2.0
_NOTE_EVERY_S = 1.0
_STOP_WITHIN_S = 20.0
KAFKA_AWAY = "Kafka cannot be read"
_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class _LeftError(Exception):
    """The order does not stand any more, or this worker ends and leaves it to the next one."""


class ReplayRole:
    """Carries out the orders of one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        posting: Posting,
        log: WebhookLog,
        replays: Replays,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Clock = epoch_ms,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Nothing connects before `start`.

        Args:
            endpoint: who is told.
            posting: reaches it.
            log: keeps what became of events.
            replays: where orders wait.
            settings: of the streams.
            metrics: counts what Redis does not answer.
            clock: UTC epoch milliseconds.
            look_every_s: seconds between two looks for an order.
        """
        self._endpoint, self._posting, self._log, self._replays = endpoint, posting, log, replays
        self._settings, self._metrics, self._clock = settings, metrics, clock
        self._look_every_s = look_every_s
        # Reading blocks, and must not take the threads of others.
        self._thread = ThreadPoolExecutor(1, f"replays-{endpoint.name}")
        self._stopping = asyncio.Event()
        self._noted_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for orders."""
        self._task = asyncio.create_task(self._look_for_ever(), name=f"replays-{self._endpoint.name}")

    async def stop(self) -> None:
        """End the post in hand; an order that is not over is taken up by the next worker, from its beginning."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_WITHIN_S)
            await end_tasks([self._task])
        self._thread.shutdown(wait=False)

    async def wait_broken(self) -> None:
        """Return only by raising, which nothing here does but a bug."""
        if self._task is not None:
            await asyncio.shield(self._task)
        await asyncio.Event().wait()

    async def _look_for_ever(self) -> None:
        name = self._endpoint.name
        while not self._stopping.is_set():
            try:
                ordered = await self._replays.take(name, self._settings.worker_name, _HOLD_MS)
                if ordered is not None:
                    await self._carry_out(ordered)
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("replays to endpoint %s: %s; trying again", name, type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._look_every_s)

    async def _carry_out(self, ordered: Replay) -> None:
        """Carry out an order to its end, or as far as it stands and this worker lives."""
        try:
            await self._note(ReplayProgress(ordered))
            meant = await meant_by(ordered, self._endpoint.name, self._log)
            done = await (self._test(ordered) if ordered.of is ReplayOf.TEST else self._replay(ordered, meant))
        except _LeftError:
            return
        ended = msgspec.structs.replace(
            _progress(ordered, done), missing=meant.missing(done), ended_ms=max(1, self._clock())
        )
        await self._replays.end(self._endpoint.name, ended)
        counts = (self._endpoint.name, ordered.actor, done.told, done.refused, done.stopped_by or "at its end")
        logger.info("replay to endpoint %s for %s: %d told, %d refused, %s", *counts)

    async def _test(self, ordered: Replay) -> Replayed:
        """Send an event that tells nothing; it is not written down."""
        event = trial_webhook(f"test-{ordered.replay_id}", self._clock())
        answer, detail = await post_once(self._endpoint, self._posting, event, self._clock())
        return Replayed(told=1) if answer is Answer.DELIVERED else Replayed(stopped_by=detail)

    async def _replay(self, ordered: Replay, meant: Meant) -> Replayed:
        """Tell what is meant."""
        so_far = Replayed()

        async def tell(done: Replayed) -> None:
            nonlocal so_far
            so_far = done
            if self._stopping.is_set():
                raise _LeftError
            if asyncio.get_running_loop().time() - self._noted_s >= _NOTE_EVERY_S:
                await self._note(_progress(ordered, done))

        records = read_since(self._settings, TOLD_TOPICS, meant.since_ms)
        try:
            batches = in_batches(records, self._blocking)
            return await replay(self._endpoint, self._posting, self._log, batches, meant.is_meant, self._clock, tell)
        except BroadcastError:
            logger.exception("replay to endpoint %s", self._endpoint.name)
            return Replayed(so_far.told, so_far.refused, KAFKA_AWAY)
        finally:
            await self._blocking(records.close)

    async def _note(self, progress: ReplayProgress) -> None:
        """Note how far it has come.

        Raises:
            _LeftError: the order does not stand any more.
        """
        self._noted_s = asyncio.get_running_loop().time()
        if not await self._replays.note(self._endpoint.name, self._settings.worker_name, progress, _HOLD_MS):
            raise _LeftError

    async def _blocking(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _progress(ordered: Replay, done: Replayed) -> ReplayProgress:
    return ReplayProgress(ordered, done.told, done.refused, stopped_by=done.stopped_by)
