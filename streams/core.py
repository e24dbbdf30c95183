"""What the score role needs of the engine. `streams.detector_core` is the engine behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.examples import Examples
from detector.labels import Matured
from detector.sources import Applied, SharedRows
from detector.transactions import TransactionBatch
from streams.checkpoint_objects import Arrays, Room
from streams.encoding import AssessmentsLike, Versions
from streams.recovery import StandingDecision


class UnusableBroadcastError(ValueError):
    """A model, directive or card state that cannot be used."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition's state has come.

    Attributes:
        is_replaying: shared entities contain more of its logs than it has applied itself.
    """

    next_offset: int
    label_next_offset: int
    watermark_ms: int
    is_replaying: bool = False


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """What became of a batch of labels.

    Attributes:
        examples: for the learner, of the labels that were new or corrected an earlier one.
        outcomes: per label one of applied, unknown, repeated, corrected, late.
        payment_time_ms: int64, per label the time of its payment, where that is known.
        actions: int64, per label what was answered to its payment, where that is known.
        shared: what the labels change in shared entities.
    """

    examples: Examples
    outcomes: list[str]
    payment_time_ms: NDArray[np.int64]
    actions: NDArray[np.int64]
    shared: SharedRows


@dataclass(frozen=True, slots=True)
class StateUse:
    """How full state is.

    Attributes:
        tables: rows in use, room for rows, and bytes in use, by kind of table.
        frozen_cards: cards known not to be active.
    """

    tables: Mapping[str, tuple[int, int, int]]
    frozen_cards: int


class AssessedBatch(AssessmentsLike, Protocol):
    """Assessments, with the sample of examples that comes with them."""

    @property
    def unlabelled(self) -> Examples:
        """Examples for models that need no label."""
        ...

    @property
    def shared(self) -> SharedRows:
        """What the batch changes in shared entities."""
        ...


class Taken(Protocol):
    """Changes that were taken to be written."""

    def arrays(self) -> Arrays:
        """By name, whole until they are released or put back; asked once, by the thread that writes."""
        ...


class StateChanges(Protocol):
    """What has changed in one state since it was last taken. Called between two batches, but for `base_arrays`."""

    @property
    def layout(self) -> str:
        """What lies where: changes mean something only on top of a base of the same layout."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of copies that were not taken yet."""
        ...

    def drain(self, most_lines: int) -> bool:
        """Copy changes aside, about so many lines of 64 bytes at the most; returns whether nothing is left to copy."""
        ...

    def take(self) -> Any:
        """Everything copied since the last call, as `Taken`; the last `drain`, at this moment, has left nothing."""
        ...

    def release(self, taken: Any) -> None:
        """What was taken is written: its room may be used again."""
        ...

    def put_back(self, taken: Any) -> None:
        """What was taken could not be written: it has changed still."""
        ...

    def base_arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Everything, to be read by another thread while batches go on; changes taken later put it right."""
        ...


class ScoringCore(Protocol):
    """The engine as the score role sees it: state by source partition, and what is done with it."""

    def warm_up(self) -> None:
        """Compile whatever the first batch would otherwise wait for; called before any partition is taken over."""
        ...

    def config_digest(self) -> str:
        """Digest of the configuration that shapes state."""
        ...

    def new_room(self, layout: str) -> Room:
        """Room to read a saved state of this layout into; safe to call and to fill in another thread."""
        ...

    def open(self, partition: int, saved: Room | None) -> None:
        """Open a partition, empty or with saved state."""
        ...

    def drop(self, partition: int) -> None:
        """Forget a partition."""
        ...

    def progress(self, partition: int) -> Progress:
        """How far an open partition has come."""
        ...

    def changes(self, subject: int | None) -> StateChanges:
        """What has changed in an open partition, or, for None, in the shared entities."""
        ...

    def open_shared(self, saved: Room | None) -> None:
        """Take over saved shared entities, or forget all."""
        ...

    def build(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> TransactionBatch:
        """Make a batch of columns."""
        ...

    def assess(self, batch: TransactionBatch) -> AssessedBatch:
        """Assess a batch; an error leaves state as it was."""
        ...

    def adopt(self, assessed: AssessedBatch, row: int, standing: StandingDecision) -> None:
        """Put the decision that stands in place of the one just made again."""
        ...

    def label(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> LabelOutcome:
        """Take in labels; an error leaves state as it was."""
        ...

    def mature(self, partition: int, now_ms: int) -> Matured:
        """Let old unlabelled payments become genuine, some at a time; none while the partition is replayed."""
        ...

    def follow(self, partitions: Iterable[int]) -> None:
        """Say that other workers bring rows of these partitions' shared entities."""
        ...

    def apply_rows(self, rows: SharedRows) -> Applied:
        """Take rows of another worker into the shared entities, once; an error leaves state as it was."""
        ...

    def will_be_replayed(self, rows: SharedRows) -> bool:
        """Whether rows of an open partition leave out some before them, which its replay is about to make anew."""
        ...

    def rows_position(self, partition: int) -> int:
        """Up to where the shared entities contain a partition of the topic of rows."""
        ...

    def rows_read(self, partition: int, position: int) -> None:
        """Note that the shared entities contain a partition of the topic of rows up to there."""
        ...

    def close_gap(self, partition: int) -> int:
        """Go on without rows of an open partition that nobody can bring; returns how many offsets are missed."""
        ...

    def usage(self) -> StateUse:
        """How full state is now."""
        ...

    def versions(self) -> Versions:
        """What decisions are made with now."""
        ...

    def bequests(self) -> list[tuple[str, bytes]]:
        """What cards that were replaced leave to the new ones, as far as it is here and nobody has told it yet.

        Pairs of the new card's token and the record in which all workers are told.
        """
        ...

    def take_over(self, topic: str, value: bytes | None) -> None:
        """Take over a record of a broadcast topic.

        Raises:
            UnusableBroadcastError: it cannot be used; nothing has changed.
        """
        ...
