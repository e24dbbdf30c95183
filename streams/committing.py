"""What roles share whose only progress is the committed offset of what they have done."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from streams.doors import Doors
from streams.records import RawRecord, TopicPartition
from streams.tasks import end_tasks


class InterruptedBatchError(Exception):
    """Somebody waits for the batch in hand, and a store does not answer: it will be read again."""


class CommittingRole(ABC):
    """A role that begins at the committed offsets, and commits what is done when it is told to, or now and then."""

    def __init__(self, name: str, topics: tuple[str, ...], doors: Doors) -> None:
        """Nothing connects before `start`.

        Args:
            name: of the role, and of its group.
            topics: that it reads.
            doors: to Kafka.
        """
        self._doors = doors
        self._producer = doors.producer()
        self._shell = doors.shell(name, topics, self)
        self._done: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._interrupted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def stop(self) -> None:
        """Finish the batch in hand, commit, deliver what is in flight, and leave the group."""
        await end_tasks(self._tasks)
        await self._shell.stop()
        await asyncio.to_thread(self._producer.close)

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        await self._shell.wait_broken()

    @abstractmethod
    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """See `BatchHandler`."""

    @abstractmethod
    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        """See `BatchHandler`."""

    @abstractmethod
    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """See `BatchHandler`."""

    async def stopping(self) -> None:
        """Commit what is done; see `BatchHandler`."""
        await self._commit()

    def interrupt(self) -> None:
        """Stop waiting for a store; see `BatchHandler`."""
        self._interrupted.set()

    def _begin(self) -> None:
        """Partitions were assigned: nothing of them is done yet."""
        self._interrupted.clear()
        self._done, self._committed = {}, {}

    async def _commit(self) -> None:
        """Commit what is done and not committed."""
        new = {
            partition: offset for partition, offset in self._done.items() if self._committed.get(partition) != offset
        }
        if new and await self._shell.commit(new):
            self._was_committed()
            self._committed |= new

    def _was_committed(self) -> None:  # noqa: B027 - most have nothing to do
        """Offsets have just been committed."""

    async def _pause(self, pause_s: float) -> None:
        """Wait, but not while somebody waits for us.

        Raises:
            InterruptedBatchError: somebody does.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._interrupted.wait(), pause_s)
            raise InterruptedBatchError

    def _begin_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task until the role stops; its failure is the role's."""
        self._tasks.append(asyncio.create_task(self._told(work), name=name))

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - told to the owner of the role
            await self._shell.break_down(error)
