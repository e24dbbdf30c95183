"""Bugs to plant into the production code for the time of a test: each is a mistake that somebody could make.

Each patches one place. The simulation must find each of them within some seeds; what it cannot find it cannot guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from casework.store import Step
from streams import recovery
from streams.checkpoint_format import Position
from streams.checkpoint_sets import CheckpointSet, PartitionCopy
from streams.checkpointing import Checkpointer
from streams.checkpoints import CheckpointStore
from streams.ownership import OwnedPartition
from streams.producer import Fence, Gap
from streams.records import ReadRecord
from streams.recovery import Answered, Start
from streams.score import ScoreRole
from streams.turns import Turns
from tests.sim.redis import RedisConnection

Plant = Callable[[pytest.MonkeyPatch], None]


def effect_before_id(patch: pytest.MonkeyPatch) -> None:
    """The card and its case are written first, and in a second round trip the id by which the step is known."""

    async def step(self: RedisConnection, step: Step) -> list[bool]:
        done = await self.shared.commit([step])
        if done == [True]:
            self.shared._recorded.pop(step.step_id, None)
            self.process.operation()
            await asyncio.sleep(self.process.world.delay_s())
            self.shared._recorded[step.step_id] = step.recorded
        return done

    patch.setattr(RedisConnection, "step", step)


def checkpoint_without_generation(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint does not say in which generation of the group it was made, and nobody sees who else has written."""

    def write(self: CheckpointStore, copies: CheckpointSet) -> int:
        return right(self, replace(copies, generation=1))

    async def is_foreign(self: ScoreRole, gap: Gap) -> bool:
        del self, gap
        return False

    right = CheckpointStore.write
    patch.setattr(CheckpointStore, "write", write)
    patch.setattr(ScoreRole, "_is_foreign", is_foreign)


def last_instead_of_first(patch: pytest.MonkeyPatch) -> None:
    """Of several decisions on an offset, the last one in the log is taken for the one that stands."""

    def collect(answered: dict[int, Answered], starts: Mapping[int, Start], records: Iterable[ReadRecord]) -> None:
        right(answered, starts, reversed(list(records)))

    right = recovery._collect
    patch.setattr(recovery, "_collect", collect)


def answers_are_not_read_back(patch: pytest.MonkeyPatch) -> None:
    """A worker that takes over looks where the answers end, but not at what they are."""

    def collect(answered: dict[int, Answered], starts: Mapping[int, Start], records: Iterable[ReadRecord]) -> None:
        del answered, starts
        for _ in records:
            pass

    patch.setattr(recovery, "_collect", collect)


def merged_twice(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint names the offset before the last record that it contains: that one's row is merged again."""

    def copy_of(self: Checkpointer, owned: OwnedPartition, *others: Any) -> PartitionCopy:
        made = right(self, owned, *others)
        position = Position(max(0, made.position.next_offset - 1), made.position.label_next_offset)
        return replace(made, position=position)

    right = Checkpointer._copy_of
    patch.setattr(Checkpointer, "_copy_of", copy_of)


def skipped(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint names an offset behind a record that it does not contain: that one's row is never merged."""

    def copy_of(self: Checkpointer, owned: OwnedPartition, *others: Any) -> PartitionCopy:
        made = right(self, owned, *others)
        position = Position(made.position.next_offset + 1, made.position.label_next_offset)
        return replace(made, position=position)

    right = Checkpointer._copy_of
    patch.setattr(Checkpointer, "_copy_of", copy_of)


def outputs_are_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint does not wait until Kafka has acknowledged what it stands for."""

    async def settled(self: Any, fence: Fence) -> None:
        del self, fence

    patch.setattr("streams.producer.Producer.settled", settled)


def fetches_are_believed(patch: pytest.MonkeyPatch) -> None:
    """What a fetch brings is taken for the next records, wherever it begins."""

    def leaves_gap(*_: Any) -> bool:
        return False

    patch.setattr(Turns, "_leaves_gap", leaves_gap)


PLANTED: tuple[Plant, ...] = (
    effect_before_id,
    checkpoint_without_generation,
    last_instead_of_first,
    answers_are_not_read_back,
    merged_twice,
    skipped,
    outputs_are_not_awaited,
    fetches_are_believed,
)
