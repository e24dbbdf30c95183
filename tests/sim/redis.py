"""A simulated Redis: the memory store behind a connection that is slow, refuses, or loses its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from casework.adapters.memory_store import MemoryStore
from casework.errors import StoreUnavailableError
from casework.store import Step, Store
from tests.sim.world import Process

Result = TypeVar("Result")
# Watched all the time; failures of these say nothing that those of the others do not.
_LOOKING = frozenset({"count_cases", "list_breakers", "outbox_oldest_ms", "read_outbox", "first_entries"})


class RedisConnection:
    """The store port as one process reaches it. Each step is atomic; between two steps of a batch anything happens."""

    def __init__(self, shared: MemoryStore, process: Process) -> None:
        """Reach `shared` from `process`."""
        self.shared = shared
        self.process = process

    @property
    def shards(self) -> int:
        return self.shared.shards

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.shared, name)
        if name in _LOOKING:
            return cast("Callable[..., Awaitable[Any]]", method)
        return lambda *args, **options: self._call(lambda: method(*args, **options))

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        async def one_by_one() -> list[bool]:
            done: list[bool] = []
            for step in steps:
                done += await self.step(step)
                self.process.operation()
            return done

        return await self._call(one_by_one)

    async def step(self, step: Step) -> list[bool]:
        """One step, whole, as the script in Redis does it."""
        return await self.shared.commit([step])

    async def _call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """There, done, and back; each part may fail."""
        world = self.process.world
        self.process.operation()
        await asyncio.sleep(world.delay_s())
        if world.chance(world.chances.refused_answer):
            raise _no_answer()
        self.process.operation()
        result = await work()
        self.process.operation()
        await asyncio.sleep(world.delay_s())
        if world.chance(world.chances.lost_answer):
            raise _no_answer()
        return result


def reached_from(process: Process, shared: MemoryStore) -> Store:
    """The store as `process` reaches it."""
    return cast("Store", RedisConnection(shared, process))


def _no_answer() -> StoreUnavailableError:
    message = "the simulated Redis gave no answer"
    return StoreUnavailableError(message)
