"""The source partitions a score worker owns, and taking them over from whoever had them before."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.checkpoint_format import Position
from streams.checkpoint_objects import Room
from streams.checkpoint_sets import Restored
from streams.checkpoints import CheckpointStore
from streams.core import ScoringCore
from streams.producer import Producer
from streams.records import RawRecord
from streams.recovery import NO_CHECKPOINT, Answered, OpenTails, Start, output_name, outputs_of, read_answered

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class OwnedPartition:
    """One source partition of this worker: what lies beside the engine's state of it.

    Attributes:
        number: the partition.
        position: the next offsets to apply; bad records are behind it too, which the engine never saw.
        has_checkpoint: whether `position` says where to read; without, Kafka's committed offset does.
        answered: what the output topics already held when it was taken over.
        checkpointed: the position of its last complete checkpoint.
        outputs_before: output positions of the checkpoint that it was opened with.
        waiting_labels: labels that wait for their transactions to be read.
        seen_to_ms: the latest Kafka timestamp among its transactions.
    """

    number: int
    position: Position
    has_checkpoint: bool
    answered: Answered
    checkpointed: Position | None
    outputs_before: Mapping[str, int] = field(default_factory=dict)
    waiting_labels: deque[RawRecord] = field(default_factory=deque)
    seen_to_ms: int = 0

    def output_positions(self, producer: Producer) -> dict[str, int]:
        """The offset behind what is known to be said about what is in state; more of it may be under way.

        While what was answered before is still being replayed, that is where the replay's checkpoint began to read.
        """
        if not self.answered.is_behind(self.position.next_offset, self.position.label_next_offset):
            return dict(self.outputs_before)
        positions = dict(self.answered.positions)
        for output in outputs_of(self.number):
            written = producer.positions.get(output)
            if written is not None:
                positions[output_name(output)] = max(written, positions.get(output_name(output), 0))
        return positions


class Ownership:
    """Opens and drops partitions in step with the group's assignments."""

    def __init__(self, core: ScoringCore, open_tails: OpenTails) -> None:
        """Own nothing at first; read what was answered by `open_tails`."""
        self._core = core
        self._open_tails = open_tails
        self.generation = -1
        self.partitions: dict[int, OwnedPartition] = {}

    def keep(self, wanted: frozenset[int], generation: int) -> frozenset[int]:
        """Drop what is gone; returns what must be opened.

        State stays only where the group's generation has moved on by one at most: then nobody else can have owned the
        partition in between.
        """
        contiguous = self.generation >= 0 and generation - self.generation in {0, 1}
        kept = wanted & self.partitions.keys() if contiguous else frozenset()
        for partition in self.partitions.keys() - kept:
            self._core.drop(partition)
        self.partitions = {partition: self.partitions[partition] for partition in kept}
        self.generation = generation
        for owned in self.partitions.values():
            # The fetcher starts again from `position`, and brings these once more.
            owned.waiting_labels.clear()
            owned.has_checkpoint = True
        return wanted - kept

    def read(
        self, partitions: frozenset[int], store: CheckpointStore
    ) -> tuple[Mapping[int, Restored], Room | None, dict[int, Answered]]:
        """Read checkpoints and the tails of outputs; blocks, touches nothing of this worker.

        Raises:
            StreamsError: the store or Kafka did not answer, or checkpoints belong elsewhere.
        """
        found = store.load(partitions, self.generation, self._core.new_room)
        uncovered = sorted(found.partitions.keys() - found.shared_covers)
        if uncovered:
            logger.warning("shared entities lack what partitions %s did before their checkpoints", uncovered)
        starts = {
            partition: Start(restored.manifest.position.next_offset, restored.manifest.output_positions)
            for partition, restored in found.partitions.items()
        }
        starts |= dict.fromkeys(partitions - starts.keys(), NO_CHECKPOINT)
        return found.partitions, found.shared, read_answered(self._open_tails, starts)

    def open(
        self,
        opened: frozenset[int],
        restored: Mapping[int, Restored],
        shared: Room | None,
        answered: Mapping[int, Answered],
        store: CheckpointStore,
    ) -> None:
        """Take over what `read` found; checkpoints go on from it in `store`."""
        if not self.partitions:
            self._core.open_shared(shared)
            store.open_chain(None, self._core.changes(None).layout, None)
        for partition in opened:
            checkpoint = restored.get(partition)
            self._core.open(partition, None if checkpoint is None else checkpoint.state)
            chain = None if checkpoint is None else checkpoint.manifest.chain
            store.open_chain(partition, self._core.changes(partition).layout, chain)
            position = Position(0, 0) if checkpoint is None else checkpoint.manifest.position
            self.partitions[partition] = OwnedPartition(
                partition,
                position,
                has_checkpoint=checkpoint is not None,
                answered=answered[partition],
                checkpointed=None if checkpoint is None else position,
                outputs_before={} if checkpoint is None else checkpoint.manifest.output_positions,
            )
            logger.info(
                "partition %d opened at %s, %d decisions stand",
                partition, position if checkpoint else "the committed offset", len(answered[partition].decisions),
            )  # fmt: skip
