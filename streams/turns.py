"""A role's turns: what its group member brings reaches the `BatchHandler` one thing at a time, and whole.

The rules of the batch seam that know nothing of Faust (docs/decisions/0001): which records are delivered, that a batch
which has begun is finished, that a revocation waits for it, and that the first failure ends the role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from streams.errors import WorkerError
from streams.records import RawRecord, TopicPartition, from_offset
from telemetry.logs import log_context

Result = TypeVar("Result")
# A takeover, and a look for what seems to be missing, may leave one fetch that comes too late each.
_STALE_FETCHES = 4


class BatchHandler(Protocol):
    """What a role does with its partitions. Calls never overlap: one ends before the next begins."""

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Take over exactly these partitions, all others are gone; return where to go on reading each.

        None goes on at the group's committed offset, or at the beginning where there is none.
        """
        ...

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
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


@runtime_checkable
class PreparingHandler(BatchHandler, Protocol):
    """A handler that goes on with what it keeps while its group deals partitions out anew."""

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Get ready to take these over, which nobody owns; batches of others are handled meanwhile."""
        ...


class Membership(Protocol):
    """The group as its member sees it at this moment."""

    def flows(self) -> bool:
        """Whether records may be delivered: not while a rebalance is under way."""
        ...

    def generation(self) -> int:
        """The group's generation, as far as this member knows."""
        ...

    async def find(self, partition: TopicPartition, offset: int) -> int | None:
        """Up to where the log has no record from this offset on; the next fetch begins there.

        None where nobody can say it now; the next fetch begins at `offset`.
        """
        ...


class Turns:
    """Hands a role what its group member brings.

    Attributes:
        progress_s: when something was last delivered or taken over, by the event loop's clock.
        taken: the partitions of this role now.
        next_offsets: what is to be delivered next of each, where that is known.
        is_handing_over: records of a fetch are on their way to the handler.
    """

    def __init__(self, role: str, handler: BatchHandler) -> None:
        """Take turns of `handler`."""
        self.role = role
        self.progress_s = 0.0
        self.taken: frozenset[TopicPartition] = frozenset()
        self.next_offsets: dict[TopicPartition, int] = {}
        self.is_handing_over = False
        self._handler = handler
        # What the handler has; and what it is to give up, be it held already or still being taken over.
        self._held: frozenset[TopicPartition] = frozenset()
        self._leaving: frozenset[TopicPartition] = frozenset()
        # Fetches in a row that brought nothing new.
        self._stale: dict[TopicPartition, int] = {}
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

    async def hand_over(self, fetched: Mapping[TopicPartition, Sequence[RawRecord]], member: Membership) -> None:
        """Deliver what one fetch brought, one partition after the other.

        The generation is read after the fetch. One that waited through a whole rebalance brings records of the new
        assignment, from where its seek went; nobody would seek back to them. What came before that seek finds the flow
        stopped.
        """
        generation = member.generation()
        self.is_handing_over = True
        try:
            for partition, records in fetched.items():
                if not member.flows() or generation != member.generation():
                    return  # the seek of the rebalance under way goes back to what is dropped here
                if partition in self.taken and self._leaves_gap(partition, records):
                    await self._look_for(partition, generation, member)
                else:
                    await self.alone(self._deliver(partition, records, generation, member))
        finally:
            self.is_handing_over = False

    async def _deliver(
        self, partition: TopicPartition, records: Sequence[RawRecord], generation: int, member: Membership
    ) -> None:
        """Give one partition's records to the handler, in its turn, unless a rebalance has begun while they waited."""
        is_current = member.flows() and generation == member.generation()
        if is_current and partition in self.taken and not self._leaves_gap(partition, records):
            fresh = self._fresh(partition, records)
            if not fresh:
                self._note_stale(partition)
                return
            with log_context(topic=partition.topic, partition=partition.partition, offset=fresh[0].offset):
                await self._handler.batch(partition, fresh)
            self.next_offsets[partition] = fresh[-1].offset + 1
            self._stale.pop(partition, None)
            self.note_progress()

    def _note_stale(self, partition: TopicPartition) -> None:
        """Count a fetch of what was read before: one may come beside another, many are another log.

        Raises:
            WorkerError: the log has gone back, as when its topic was deleted and made anew.
        """
        self._stale[partition] = self._stale.get(partition, 0) + 1
        if self._stale[partition] > _STALE_FETCHES:
            topic, number = partition
            message = (
                f"{topic}/{number} was read up to offset {self.next_offsets[partition]} and now begins before that: "
                "its topic was made anew or has lost records. Reset the offsets of the group to read it"
            )
            raise WorkerError(message)

    def follows(self, fetched: Mapping[TopicPartition, Sequence[RawRecord]]) -> bool:
        """Whether a fetch goes on where the last one ended, so that nothing has to be looked for."""
        return not any(self._leaves_gap(partition, records) for partition, records in fetched.items())

    def _fresh(self, partition: TopicPartition, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        """What was not delivered before: a fetch that waited through a rebalance may come beside one from its seek."""
        return from_offset(records, self.next_offsets.get(partition, 0))

    def _leaves_gap(self, partition: TopicPartition, records: Sequence[RawRecord]) -> bool:
        """Whether a fetch begins behind what is to come next."""
        return records[0].offset > self.next_offsets.get(partition, records[0].offset)

    async def _look_for(self, partition: TopicPartition, generation: int, member: Membership) -> None:
        """Ask the log about offsets that seem to be missing; the next fetch brings what there is of them.

        Fetchers prefetch, wait through rebalances and are sent elsewhere by seeks: a fetch that is dropped anywhere on
        its way would be records that nobody answers. Transactions and compaction leave gaps where there is nothing.

        A rebalance may begin meanwhile, and does not wait for this; then it means nothing.
        """
        first = await member.find(partition, self.next_offsets[partition])
        if first is not None and member.flows() and generation == member.generation():
            self.next_offsets[partition] = first

    async def take_over(
        self, assignment: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Let the handler take an assignment over."""
        self.taken = frozenset()
        return await self.alone(self._take_over(assignment, generation))

    async def _take_over(
        self, assignment: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        self._held = frozenset()
        self._stale = {}
        positions = await self._handler.assigned(assignment, generation)
        self._held = assignment
        self.next_offsets = {partition: at for partition, at in positions.items() if at is not None}
        self.taken = assignment - self._leaving
        self.note_progress()
        return positions

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Let a handler that can get ready for partitions that it will be assigned."""
        if isinstance(self._handler, PreparingHandler):
            try:
                await self._handler.prepare(partitions, generation)
            except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
                await self.break_down(error)

    async def give_up(self, partitions: frozenset[TopicPartition]) -> None:
        """Wait for the batch in hand, or for a takeover, then let the handler save what it loses."""
        self._leaving |= partitions
        self.taken -= partitions
        if partitions & self._held:
            self._handler.interrupt()
        await self.alone(self._give_up(partitions))

    async def _give_up(self, partitions: frozenset[TopicPartition]) -> None:
        lost = partitions & self._held
        self._held -= lost
        self._leaving -= partitions
        if lost:
            try:
                await self._handler.revoked(lost)
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
