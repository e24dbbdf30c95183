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
from streams.records import RawRecord, TopicPartition
from streams.recovery import NO_CHECKPOINT, Answered, OpenTails, Start, output_name, outputs_of, read_answered
from streams.sources import Sources, place_sources
from streams.topics import LABELS, TRANSACTIONS

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class OwnedPartition:
    """One source partition of this worker: what lies beside the engine's state of it.

    Attributes:
        number: the partition.
        position: the next offsets to apply; bad records are behind it too, which the engine never saw.
        answered: what the output topics already held when it was taken over.
        checkpointed: the position of its last complete checkpoint.
        outputs_before: output positions of the checkpoint that it was opened with.
        waiting_labels: labels that wait for their transactions to be read.
        seen_to_ms: the latest Kafka timestamp among its transactions.
    """

    number: int
    position: Position
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


@dataclass(frozen=True, slots=True)
class Found:
    """What a worker takes partitions over with.

    Attributes:
        partitions: those that have a checkpoint.
        shared: the shared entities, where a checkpoint has some.
        sources: where to go on reading.
        answered: what the outputs hold already.
        epoch: of what is written from here on.
    """

    partitions: Mapping[int, Restored]
    shared: Room | None
    sources: Sources
    answered: Mapping[int, Answered]
    epoch: int


def _sources_of(partitions: frozenset[int]) -> dict[TopicPartition, int]:
    """The sources of partitions, from their beginning."""
    return {TopicPartition(topic, partition): 0 for topic in (TRANSACTIONS, LABELS) for partition in partitions}


class Ownership:
    """Opens and drops partitions in step with the group's assignments."""

    def __init__(self, core: ScoringCore, open_tails: OpenTails, *, hears_others: bool = False) -> None:
        """Own nothing at first; read what was answered by `open_tails`.

        Shared entities that hear of other workers' partitions stay when there is nothing left to own.
        """
        self._hears_others = hears_others
        self._knows_shared = False
        self._core = core
        self._open_tails = open_tails
        self.generation = -1
        self.partitions: dict[int, OwnedPartition] = {}

    def keep(self, wanted: frozenset[int], generation: int) -> frozenset[int]:
        """Drop what is gone; returns what must be opened.

        State stays only where the group's generation has moved on by one at most: then nobody else can have owned the
        partition in between.
        """
        kept = wanted & self.partitions.keys() if self.is_next(generation) else frozenset()
        for partition in self.partitions.keys() - kept:
            self._core.drop(partition)
        self.partitions = {partition: self.partitions[partition] for partition in kept}
        self.generation = generation
        for owned in self.partitions.values():
            # The fetcher starts again from `position`, and brings these once more.
            owned.waiting_labels.clear()
        return wanted - kept

    def is_next(self, generation: int) -> bool:
        """Whether nobody else can have owned what is owned, between the generation now and this one."""
        return self.generation >= 0 and generation - self.generation in {0, 1}

    def read(self, partitions: frozenset[int], generation: int, store: CheckpointStore) -> Found:
        """Read checkpoints, what the logs hold, and the tails of outputs; blocks, touches nothing of this worker.

        Nobody may own the partitions any more. Others of this worker may be worked on meanwhile.

        Raises:
            StreamsError: the store or Kafka did not answer, or checkpoints belong elsewhere.
        """
        found = store.load(
            partitions, generation, self._core.new_room, with_shared=not (self._hears_others and self._knows_shared)
        )
        starts, wanted = dict.fromkeys(partitions, NO_CHECKPOINT), _sources_of(partitions)
        for partition, restored in found.partitions.items():
            position = restored.manifest.position
            starts[partition] = Start(position.next_offset, restored.manifest.output_positions)
            wanted[TopicPartition(TRANSACTIONS, partition)] = position.next_offset
            wanted[TopicPartition(LABELS, partition)] = position.label_next_offset
        with self._open_tails(wanted) as (spans, _):
            sources = place_sources(wanted, spans)
        return Found(found.partitions, found.shared, sources, read_answered(self._open_tails, starts), found.epoch)

    def open(self, opened: frozenset[int], found: Found, store: CheckpointStore) -> None:
        """Take over what `read` found; checkpoints go on from it in `store`."""
        restored, answered = found.partitions, found.answered
        store.go_on_from(found.epoch)
        if not self.partitions and not (self._hears_others and self._knows_shared):
            self._knows_shared = True
            self._core.open_shared(found.shared)
            store.open_chain(None, self._core.changes(None).layout, None)
        for partition in opened:
            checkpoint = restored.get(partition)
            self._core.open(partition, None if checkpoint is None else checkpoint.state)
            chain = None if checkpoint is None else checkpoint.manifest.chain
            store.open_chain(partition, self._core.changes(partition).layout, chain)
            position = found.sources.position(partition)
            self.partitions[partition] = OwnedPartition(
                partition,
                position,
                answered=answered[partition],
                checkpointed=None if checkpoint is None else position,
                outputs_before={} if checkpoint is None else checkpoint.manifest.output_positions,
            )
            logger.info(
                "partition %d opened at %s, %s, %d decisions stand",
                partition, position, "from a checkpoint" if checkpoint else "the beginning of its log",
                len(answered[partition].decisions),
            )  # fmt: skip
