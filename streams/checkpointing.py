"""When and how a score worker checkpoints: the steps of `streams.checkpoints` around a running engine.

What changes is copied a little after every few thousand records, so that no pause is long; at a checkpoint only the
rest is left. Bases are read by a thread while the stream goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from streams import failpoints
from streams.chains import ChainState, ReadyBase
from streams.checkpoint_format import Position
from streams.checkpoint_sets import CheckpointSet, PartitionCopy, StateCopy
from streams.checkpoints import CheckpointStore
from streams.core import ScoringCore, StateChanges, Taken
from streams.errors import CheckpointError
from streams.metrics import StreamMetrics
from streams.ownership import OwnedPartition, Ownership
from streams.producer import Fence, Producer
from streams.records import TopicPartition
from streams.topics import LABELS, TRANSACTIONS

Commit = Callable[[Mapping[TopicPartition, int]], Awaitable[bool]]
# A payment changes some 2 KB of lines: so many records are 9 MB, copied in four milliseconds (docs/benchmarks.md).
_RECORDS_BETWEEN_COPIES = 4096
# What is copied at one boundary at most, in lines of 64 bytes: 8 MiB.
_LINES_AT_ONCE = 1 << 17
# Copies that wait for a store that is slow or away. Beyond it changes are only marked, which takes no room; the next
# checkpoint then comes a few boundaries later.
_MOST_HELD_BYTES = 512 << 20
_EVERYTHING = 1 << 62
logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """What was taken of one state to be written: the partition, or None for the shared entities."""

    subject: int | None
    changes: StateChanges
    taken: Taken
    chain: ChainState
    base: ReadyBase | None


class _Due(NamedTuple):
    """A base to be read, and the folder it goes to."""

    subject: int | None
    folder: str
    chain: ChainState
    changes: StateChanges


class Checkpointer:
    """Copies at batch boundaries; waits for acknowledgements, writes and commits in the background."""

    def __init__(
        self,
        core: ScoringCore,
        producer: Producer,
        store: CheckpointStore,
        commit: Commit,
        metrics: StreamMetrics,
        timer_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Checkpoint what `core` holds into `store`, then call `commit`; pauses are measured by `timer_s`."""
        self._timer_s = timer_s
        self._core = core
        self._producer = producer
        self._store = store
        self._commit = commit
        self._metrics = metrics
        self._writing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready: dict[int | None, tuple[ChainState, ReadyBase]] = {}
        self._records = 0

    @property
    def store(self) -> CheckpointStore:
        """Where checkpoints are."""
        return self._store

    def batch_done(self, ownership: Ownership, records: int) -> None:
        """Copy what has changed, once enough has; the caller stands at a batch boundary."""
        self._records += records
        if self._records >= _RECORDS_BETWEEN_COPIES:
            self._records = 0
            states = list(self._states(ownership))
            if sum(changes.held_bytes for _, changes in states) < _MOST_HELD_BYTES:
                self._copy_some(states, _LINES_AT_ONCE)

    def _states(self, ownership: Ownership) -> Iterator[tuple[int | None, StateChanges]]:
        """All states of this worker: its partitions, and None for the shared entities."""
        for subject in (*ownership.partitions, None):
            yield subject, self._core.changes(subject)

    def _copy_some(self, states: list[tuple[int | None, StateChanges]], most_lines: int) -> bool:
        """Copy changes of all states; returns whether nothing is left. How long the stream waits is measured."""
        started_s = self._timer_s()
        is_all = all([changes.drain(most_lines) for _, changes in states])  # noqa: C419 - every one is to be drained
        self._metrics.checkpoint_pause.observe_many(np.array([self._timer_s() - started_s]))
        return is_all

    async def checkpoint(self, ownership: Ownership, now_ms: int, *, complete: bool) -> bool:
        """Take a checkpoint of every partition that has moved; the caller stands at a batch boundary.

        Args:
            ownership: what to copy.
            now_ms: names the checkpoint.
            complete: wait until it is written and committed. Otherwise that goes on in the background.

        Returns:
            False where it has to be tried again at the next boundary: one is still being written, no base has been
            read to its end yet, or more has changed than is copied in one pause.

        Raises:
            ProducerError: an output was not acknowledged.
        """
        if self._writing is not None:
            if not (complete or self._writing.done()):
                return False
            await self._writing
            self._writing = None
        changed = [owned for owned in ownership.partitions.values() if owned.position != owned.checkpointed]
        if not changed:
            return True
        if not await self._have_bases(ownership, now_ms, complete=complete):
            return False
        states = list(self._states(ownership))
        if not self._copy_some(states, _EVERYTHING if complete else _LINES_AT_ONCE):
            return False
        numbers = {owned.number for owned in changed}
        parts = [
            _Part(subject, changes, changes.take(), self._store.chain(subject), self._take_ready(subject))
            for subject, changes in states
            if subject is None or subject in numbers
        ]
        work = self._write(self._copies(ownership, now_ms, changed, parts), changed, parts, self._producer.fence())
        self._writing = asyncio.create_task(work, name="checkpoint")
        if complete:
            await self._writing
            self._writing = None
        self._begin_bases(ownership, now_ms)
        return True

    async def settled(self) -> None:
        """Wait until what is being written, bases included, is written."""
        for task in (self._writing, self._reading):
            if task is not None:
                await task

    def _copies(
        self, ownership: Ownership, now_ms: int, changed: list[OwnedPartition], parts: list[_Part]
    ) -> CheckpointSet:
        """What is to be written."""
        states = {part.subject: StateCopy(part.chain, part.taken.arrays, part.base) for part in parts}
        return CheckpointSet(
            generation=ownership.generation,
            created_ms=now_ms,
            changed=tuple(self._copy_of(owned, states[owned.number]) for owned in changed),
            positions={owned.number: owned.position for owned in ownership.partitions.values()},
            shared=states[None],
        )

    def _copy_of(self, owned: OwnedPartition, state: StateCopy) -> PartitionCopy:
        """What is to be written of one partition."""
        watermark_ms = self._core.progress(owned.number).watermark_ms
        return PartitionCopy(owned.number, owned.position, watermark_ms, owned.output_positions(self._producer), state)

    async def _write(
        self, copies: CheckpointSet, changed: list[OwnedPartition], parts: list[_Part], outputs: Fence
    ) -> None:
        """Write once every output up to the copy is acknowledged, then commit.

        A store that fails costs time after a crash, not correctness: the next one is tried, with these changes.

        Raises:
            ProducerError: an output was not acknowledged.
        """
        started_s = time.monotonic()
        await self._producer.settled(outputs)
        failpoints.reach(failpoints.BEFORE_CHECKPOINT)
        try:
            size = await asyncio.to_thread(self._store.write, copies)
        except CheckpointError:
            logger.exception("checkpoint failed; the last one stays")
            self._metrics.checkpoints_failed.inc()
            self._put_back(copies, parts)
            return
        for part in parts:
            part.changes.release(part.taken)
        offsets: dict[TopicPartition, int] = {}
        positions: dict[int, Position] = {copy.partition: copy.position for copy in copies.changed}
        for owned in changed:
            position = owned.checkpointed = positions[owned.number]
            offsets[TopicPartition(TRANSACTIONS, owned.number)] = position.next_offset
            offsets[TopicPartition(LABELS, owned.number)] = position.label_next_offset
        failpoints.reach(failpoints.BEFORE_COMMIT)
        is_owner = await self._commit(offsets)
        failpoints.reach(failpoints.AFTER_COMMIT)
        self._metrics.checkpoint_done(size, time.monotonic() - started_s)
        if is_owner:
            await self._prune([owned.number for owned in changed])
        else:
            logger.warning("a commit was refused: partitions %s may have another owner", sorted(positions))
            self._metrics.commits_refused.inc()

    async def _prune(self, partitions: list[int]) -> None:
        """Remove what is not needed any more; what is left this time is removed the next."""
        try:
            await asyncio.to_thread(self._store.prune, partitions)
        except CheckpointError:
            logger.exception("old checkpoints stay for now")

    def _put_back(self, copies: CheckpointSet, parts: list[_Part]) -> None:
        """After a failed write: whatever is not safe in the store has changed still."""
        for part in parts:
            if part.subject in copies.written:
                part.changes.release(part.taken)
            else:
                part.changes.put_back(part.taken)
                if part.base is not None:
                    self._ready.setdefault(part.subject, (part.chain, part.base))

    # -- bases

    async def _have_bases(self, ownership: Ownership, now_ms: int, *, complete: bool) -> bool:
        """Whether every state has a base; begins, and on request awaits, those that are missing."""
        while any(self._lacks_base(subject) for subject, _ in self._states(ownership)):
            self._begin_bases(ownership, now_ms)
            if not complete or self._reading is None:
                return False
            await self._reading
            if any(self._lacks_base(subject) for subject, _ in self._states(ownership)):
                logger.error("no base could be written; there is no checkpoint")
                return False
        return True

    def _take_ready(self, subject: int | None) -> ReadyBase | None:
        """A base of this state that no manifest names yet; one of a life of the state that has ended is forgotten."""
        chain, base = self._ready.pop(subject, (None, None))
        return base if chain is self._store.chain(subject) else None

    def _is_ready(self, subject: int | None) -> bool:
        """Whether a base of this state was read that no manifest names yet."""
        return self._ready.get(subject, (None, None))[0] is self._store.chain(subject)

    def _lacks_base(self, subject: int | None) -> bool:
        """Whether a state has no base that a manifest could name."""
        return not self._store.chain(subject).bases and not self._is_ready(subject)

    def _begin_bases(self, ownership: Ownership, now_ms: int) -> None:
        """Read the bases that are due, one after the other, unless some are being read already."""
        if self._reading is not None and not self._reading.done():
            return
        due: list[_Due] = []
        for subject, changes in self._states(ownership):
            chain = self._store.chain(subject)
            if chain.is_base_due() and not self._is_ready(subject):
                position = Position(0, 0) if subject is None else ownership.partitions[subject].position
                folder = self._store.next_folder(subject, ownership.generation, position, now_ms)
                due.append(_Due(subject, folder, chain, changes))
        self._reading = asyncio.create_task(self._read_bases(due), name="bases") if due else None

    async def _read_bases(self, due: list[_Due]) -> None:
        """Read and write bases; one that fails is tried again with the next checkpoint."""
        for subject, folder, chain, changes in due:
            if self._store.chain(subject) is not chain:
                continue  # the state was opened anew meanwhile
            skips = chain.begin_base()
            try:
                stored = await asyncio.to_thread(self._store.write_base, chain, folder, changes.base_arrays())
            except CheckpointError:
                logger.exception("base failed; the last one stays")
                self._metrics.checkpoints_failed.inc()
                return
            self._metrics.checkpoint_base_bytes.set(stored.size_bytes)
            self._ready[subject] = (chain, ReadyBase(stored, skips))
