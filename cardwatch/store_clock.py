"""Redis' clock beside ours: commands of people and of alerts are ordered by time, so the two must agree."""

from __future__ import annotations

import asyncio
import time

from redis.exceptions import RedisError

from cardwatch.settings import Settings
from cardwatch.wiring import redis_client
from streams.metrics import StreamMetrics
from streams.tasks import end_tasks

_INTERVAL_S = 15.0
_PROMPT_S = 0.25


class StoreClock:
    """Looks now and then at how far Redis' clock is from ours."""

    def __init__(self, settings: Settings, metrics: StreamMetrics) -> None:
        """Connect lazily; one look takes one command."""
        self._client = redis_client(settings)
        self._is_cluster = settings.redis.cluster
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on; the nodes of a cluster have clocks of their own, and are not looked at."""
        if self._is_cluster:
            return
        self._task = asyncio.create_task(self._run(), name="store clock")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end_tasks([self._task])
        await self._client.aclose()

    async def _run(self) -> None:
        while True:
            try:
                began_s = time.time()
                seconds, micros = await self._client.execute_command("TIME")
                ended_s = time.time()
                # An answer that took long says nothing of when in between it was given.
                if ended_s - began_s < _PROMPT_S:
                    theirs_s = int(seconds) + int(micros) / 1e6
                    self._metrics.store_clock_offset.set(theirs_s - (began_s + ended_s) / 2)
            except RedisError:
                # That Redis does not answer is told by those who need it.
                pass
            await asyncio.sleep(_INTERVAL_S)
