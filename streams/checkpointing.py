"""When and how a score worker checkpoints: the steps of `streams.checkpoints` around a running engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from streams.checkpoints import CheckpointSet, CheckpointStore, PartitionCopy, Position
from streams.core import ScoringCore
from streams.errors import CheckpointError
from streams.metrics import StreamMetrics
from streams.ownership import OwnedPartition, Ownership
from streams.producer import Fence, Producer
from streams.records import TopicPartition
from streams.topics import LABELS, TRANSACTIONS

Commit = Callable[[Mapping[TopicPartition, int]], Awaitable[bool]]
logger = logging.getLogger(__name__)


class Checkpointer:
    """Copies at batch boundaries; waits for acknowledgements, writes and commits in the background."""

    def __init__(
        self,
        core: ScoringCore,
        producer: Producer,
        store: CheckpointStore,
        commit: Commit,
        metrics: StreamMetrics,
    ) -> None:
        """Checkpoint what `core` holds into `store`, then call `commit`."""
        self._core = core
        self._producer = producer
        self._store = store
        self._commit = commit
        self._metrics = metrics
        self._writing: asyncio.Task[None] | None = None

    @property
    def store(self) -> CheckpointStore:
        """Where checkpoints are."""
        return self._store

    async def checkpoint(self, ownership: Ownership, now_ms: int, *, complete: bool) -> None:
        """Take a checkpoint of every partition that has moved; the caller stands at a batch boundary.

        Args:
            ownership: what to copy.
            now_ms: names the checkpoint.
            complete: wait until it is written and committed. Otherwise that goes on in the background, and a call
                meanwhile does nothing.

        Raises:
            ProducerError: an output was not acknowledged.
        """
        if self._writing is not None:
            if not (complete or self._writing.done()):
                return
            await self._writing
            self._writing = None
        changed = [owned for owned in ownership.partitions.values() if owned.position != owned.checkpointed]
        if not changed:
            return
        copies = CheckpointSet(
            generation=ownership.generation,
            created_ms=now_ms,
            changed=tuple(self._copy(owned) for owned in changed),
            positions={owned.number: owned.position for owned in ownership.partitions.values()},
            shared=self._core.snapshot_shared(),
        )
        work = self._write(copies, changed, self._producer.fence())
        self._writing = asyncio.create_task(work, name="checkpoint")
        if complete:
            await self._writing
            self._writing = None

    def _copy(self, owned: OwnedPartition) -> PartitionCopy:
        """Copy one partition."""
        watermark_ms = self._core.progress(owned.number).watermark_ms
        outputs = owned.output_positions(self._producer)
        return PartitionCopy(owned.number, owned.position, watermark_ms, outputs, self._core.snapshot(owned.number))

    async def _write(self, copies: CheckpointSet, changed: list[OwnedPartition], outputs: Fence) -> None:
        """Write once every output up to the copy is acknowledged, then commit.

        A store that fails costs time after a crash, not correctness: the next one is tried.

        Raises:
            ProducerError: an output was not acknowledged.
        """
        started_s = time.monotonic()
        await self._producer.settled(outputs)
        try:
            size = await asyncio.to_thread(self._store.write, copies)
        except CheckpointError:
            logger.exception("checkpoint failed; the last one stays")
            return
        offsets: dict[TopicPartition, int] = {}
        positions: dict[int, Position] = {copy.partition: copy.position for copy in copies.changed}
        for owned in changed:
            position = owned.checkpointed = positions[owned.number]
            offsets[TopicPartition(TRANSACTIONS, owned.number)] = position.next_offset
            offsets[TopicPartition(LABELS, owned.number)] = position.label_next_offset
        await self._commit(offsets)
        self._metrics.checkpoint_done(size, time.monotonic() - started_s)
