"""The queue's changes as server-sent events: one watch for all who listen, a bounded number of them, each for a while.

An event says no more than that the queue is another one than before; whoever hears it reads the queue again, by the
same rules as ever. So nothing is missed by who comes late or again, and a stream holds nothing that needs guarding.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from api.errors import TooManyListenersError
from api.ports import DeskPort
from casework.errors import StoreError

# Agents of a floor with a tab each, in one process; a tab in the background does not listen.
MOST_LISTENERS = 256
MOST_OF_ONE_PERSON = 4
_LOOKED_AT_CASES = 100
# What a browser waits before it comes again, in ms.
RETRY_MS = 3_000
BEAT = ": still here\n\n"

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what happens, in seconds.

    Attributes:
        look_s: between two looks at the queue.
        beat_s: after which a silent stream says that it is there, for proxies cut silent ones.
        life_s: after which a stream ends and the browser comes again: a session that has ended ends it then.
    """

    look_s: float = 2.0
    beat_s: float = 15.0
    life_s: float = 300.0


class QueueFeed:
    """Watches the queue while somebody listens."""

    def __init__(
        self,
        desk: DeskPort,
        pace: Pace | None = None,
        sleep: Sleep = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch nothing yet.

        Args:
            desk: whose queue.
            pace: how often; None is the shipped one.
            sleep: waits so many seconds.
            now_s: a clock that never goes back.
        """
        self._desk = desk
        self._pace = pace or Pace()
        self._sleep = sleep
        self._now_s = now_s
        self._listeners: Counter[str] = Counter()
        self._version = ""
        self._looked_s = -self._pace.look_s

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return self._listeners.total()

    def open(self, person: str, after: str) -> AsyncIterator[str]:
        """A stream for a person, from behind the event that they heard last.

        Raises:
            TooManyListenersError: as many listen as may; the page works without.
        """
        if self.listeners >= MOST_LISTENERS or self._listeners[person] >= MOST_OF_ONE_PERSON:
            message = "too many listen to the queue"
            raise TooManyListenersError(message)
        return self._stream(person, after)

    async def _stream(self, person: str, after: str) -> AsyncIterator[str]:
        # Counted here and not before: a stream that is never begun is never ended either.
        self._listeners[person] += 1
        try:
            yield f"retry: {RETRY_MS}\n\n"
            began_s = said_s = self._now_s()
            while self._now_s() - began_s < self._pace.life_s:
                version = await self._look()
                if version != after:
                    after, said_s = version, self._now_s()
                    yield f"id: {version}\nevent: queue\ndata: {version}\n\n"
                elif self._now_s() - said_s >= self._pace.beat_s:
                    said_s = self._now_s()
                    yield BEAT
                await self._sleep(self._pace.look_s)
        finally:
            self._listeners[person] -= 1
            if not self._listeners[person]:
                del self._listeners[person]

    async def _look(self) -> str:
        """What names the queue as it is; the store is asked once for all who listen."""
        if self._now_s() - self._looked_s < self._pace.look_s:
            return self._version
        self._looked_s = self._now_s()
        try:
            page = await self._desk.list_cases(limit=_LOOKED_AT_CASES)
            counts = await self._desk.count_cases()
        except StoreError:
            # Whoever listens learns of it when the store is back; pages say by themselves that it is away.
            return self._version
        seen = [(case.case_id, case.sequence) for case in page.cases], sorted(counts.items())
        self._version = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
        return self._version
