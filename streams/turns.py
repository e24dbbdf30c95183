"""A role's turns: what its group member brings reaches the `BatchHandler` one thing at a time, and whole.

The rules of the batch seam that know nothing of Faust (docs/decisions/0001): which records are delivered, that a batch
which has begun is finished, that a revocation waits for it, and that the first failure ends the role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Protocol, TypeVar

from streams.errors import WorkerError
from streams.records import RawRecord, TopicPartition
from telemetry.logs import log_context

Result = TypeVar("Result")


class BatchHandler(Protocol):
    """What a role does with its partitions. Calls never overlap: one ends before the next begins."""

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Take over exactly these partitions, all others are gone; return where to go on reading each.

        None goes on at the group's committed offset, or at the beginning where there is none.
        """
        ...

    async def batch(self, partition: TopicPartition, records: list[RawRecord]) -> None:
        """Handle the records of one fetch, in offset order. An exception ends the worker."""
        ...

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Bring in safety what belongs to these partitions; another worker may have them next."""
        ...

    async def stopping(self) -> None:
        """The worker ends on request: the last chance to save and commit."""
        ...

    def interrupt(self) -> None:
        """Somebody waits for the batch in hand: one that waits for a service that is down must give up now."""
        ...


class Membership(Protocol):
    """The group as its member sees it at this moment."""

    def flows(self) -> bool:
        """Whether records may be delivered: not while a rebalance is under way."""
        ...

    def generation(self) -> int:
        """The group's generation, as far as this member knows."""
        ...

    def delivered(self, partition: TopicPartition, offset: int) -> None:
        """Records up to this offset have been delivered."""
        ...


class Turns:
    """Hands a role what its group member brings.

    Attributes:
        progress_s: when something was last delivered or taken over, by the event loop's clock.
        taken: the partitions of this role now.
    """

    def __init__(self, role: str, handler: BatchHandler) -> None:
        """Take turns of `handler`."""
        self.role = role
        self.progress_s = 0.0
        self.taken: frozenset[TopicPartition] = frozenset()
        self._handler = handler
        self._one_at_a_time = asyncio.Lock()
        self._broken = asyncio.Event()
        self._failure: BaseException | None = None

    def note_progress(self) -> None:
        """Nothing is stuck."""
        self.progress_s = asyncio.get_running_loop().time()

    async def wait_broken(self) -> None:
        """Return only by raising: when the handler or its group has failed.

        Raises:
            WorkerError: names the role; the cause is attached.
        """
        await self._broken.wait()
        message = f"role {self.role} failed: {type(self._failure).__name__}"
        raise WorkerError(message) from self._failure

    async def break_down(self, error: BaseException) -> None:
        """Record a failure that ends the role; the first one counts."""
        if self._failure is None:
            self._failure = error
            self._broken.set()

    async def hand_over(self, fetched: Mapping[TopicPartition, list[RawRecord]], member: Membership) -> None:
        """Deliver what one fetch brought, one partition after the other.

        The generation is read after the fetch. One that waited through a whole rebalance brings records of the new
        assignment, from where its seek went; nobody would seek back to them. What came before that seek finds the flow
        stopped.
        """
        generation = member.generation()
        for partition, records in fetched.items():
            if not member.flows() or generation != member.generation():
                return  # the seek of the rebalance under way goes back to what is dropped here
            await self.deliver(partition, records)
            member.delivered(partition, records[-1].offset)

    async def deliver(self, partition: TopicPartition, records: list[RawRecord]) -> None:
        """Give one partition's records to the handler. A cancelled fetcher waits for the batch to be whole."""
        if partition not in self.taken:
            return
        with log_context(topic=partition.topic, partition=partition.partition, offset=records[0].offset):
            await self.alone(self._handler.batch(partition, records))
        self.note_progress()

    async def take_over(
        self, assignment: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Let the handler take an assignment over."""
        self.taken = frozenset()
        positions = await self.alone(self._handler.assigned(assignment, generation))
        self.taken = assignment
        self.note_progress()
        return positions

    async def give_up(self, partitions: frozenset[TopicPartition]) -> None:
        """Wait for the batch in hand, then let the handler save what it loses."""
        lost = partitions & self.taken
        self.taken -= lost
        if lost:
            self._handler.interrupt()
            try:
                await self.alone(self._handler.revoked(lost))
            except Exception as error:  # noqa: BLE001 - Faust would swallow it
                await self.break_down(error)

    def interrupt(self) -> None:
        """Somebody waits for the batch in hand."""
        self._handler.interrupt()

    async def stop(self) -> None:
        """Nothing signals a revocation on a graceful stop: this is where the last checkpoint happens."""
        if self._failure is None:
            await self.alone(self._handler.stopping())

    async def alone(self, work: Awaitable[Result]) -> Result:
        """Run work of the role while no call of the handler runs, and to its end even when the caller is cancelled."""

        async def locked() -> Result:
            async with self._one_at_a_time:
                return await work

        task = asyncio.ensure_future(locked())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                await self.break_down(error)
            raise
