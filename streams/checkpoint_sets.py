"""What goes into a checkpoint store and comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streams.chains import ChainState, ReadyBase
from streams.checkpoint_format import PartitionManifest, Position, SharedManifest, position_name
from streams.checkpoint_objects import Arrays, Room


@dataclass(frozen=True, slots=True)
class StateCopy:
    """What has changed in one state up to a batch boundary.

    Attributes:
        chain: what they are added to.
        arrays: makes arrays of the changes; whoever writes them calls it once.
        base: one that was read to its end before, and that no manifest names yet.
    """

    chain: ChainState
    arrays: Callable[[], Arrays]
    base: ReadyBase | None


@dataclass(frozen=True, slots=True)
class PartitionCopy:
    """A partition as it stood at a batch boundary."""

    partition: int
    position: Position
    watermark_ms: int
    output_positions: Mapping[str, int]
    state: StateCopy


@dataclass(frozen=True, slots=True)
class CheckpointSet:
    """All partitions of a worker, and its shared entities, at one batch boundary.

    Attributes:
        changed: partitions whose position differs from the checkpoint written last; only they are written.
        positions: of all partitions, the unchanged ones included.
        written: filled as it goes: the partitions, and None for the shared entities, whose changes are in the store.
    """

    generation: int
    created_ms: int
    changed: tuple[PartitionCopy, ...]
    positions: Mapping[int, Position]
    shared: StateCopy
    written: set[int | None] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition's checkpoint, read back and verified."""

    manifest: PartitionManifest
    state: Room


@dataclass(frozen=True, slots=True)
class RestoredSet:
    """What a worker starts from.

    Attributes:
        partitions: those that have a checkpoint.
        shared: the shared entities; None where no checkpoint has any.
        shared_covers: partitions whose history the shared entities contain.
        epoch: that what is written from here on belongs to.
    """

    partitions: Mapping[int, Restored]
    shared: Room | None
    shared_covers: frozenset[int]
    epoch: int


def contained_in(shared: SharedManifest, found: Mapping[int, list[str]]) -> dict[int, list[str]]:
    """Per partition that shared entities contain, its checkpoints at just their position."""
    contained: dict[int, list[str]] = {}
    for partition, names in found.items():
        position = shared.positions.get(str(partition))
        if position is not None:
            fitting = [name for name in names if name.endswith(position_name(position))]
            if fitting:
                contained[partition] = fitting
    return contained
