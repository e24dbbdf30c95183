"""What the score role needs of the engine. `streams.detector_core` is the engine behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.examples import Examples
from detector.transactions import TransactionBatch
from streams.checkpoints import Arrays
from streams.encoding import AssessmentsLike, Versions
from streams.recovery import StandingDecision


class UnusableBroadcastError(ValueError):
    """A model, directive or card state that cannot be used."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition's state has come."""

    next_offset: int
    label_next_offset: int
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """What became of a batch of labels.

    Attributes:
        examples: for the learner, of the labels that were new or corrected an earlier one.
        outcomes: per label one of applied, unknown, repeated, corrected, late.
        payment_time_ms: int64, per label the time of its payment, where that is known.
        actions: int64, per label what was answered to its payment, where that is known.
    """

    examples: Examples
    outcomes: list[str]
    payment_time_ms: NDArray[np.int64]
    actions: NDArray[np.int64]


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


class ScoringCore(Protocol):
    """The engine as the score role sees it: state by source partition, and what is done with it."""

    def warm_up(self) -> None:
        """Compile whatever the first batch would otherwise wait for; called before any partition is taken over."""
        ...

    def config_digest(self) -> str:
        """Digest of the configuration that shapes state."""
        ...

    def open(self, partition: int, arrays: Arrays | None) -> None:
        """Open a partition, empty or with saved state."""
        ...

    def drop(self, partition: int) -> None:
        """Forget a partition."""
        ...

    def progress(self, partition: int) -> Progress:
        """How far an open partition has come."""
        ...

    def snapshot(self, partition: int) -> Arrays:
        """Copies of a partition's arrays, whole until the next snapshot of it."""
        ...

    def snapshot_shared(self) -> Arrays:
        """Copies of the shared entities' arrays, whole until the next snapshot of them."""
        ...

    def restore_shared(self, arrays: Arrays) -> None:
        """Take over saved shared entities."""
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

    def mature(self, partition: int, now_ms: int) -> Examples:
        """Let old unlabelled payments become genuine, some at a time."""
        ...

    def usage(self) -> StateUse:
        """How full state is now."""
        ...

    def versions(self) -> Versions:
        """What decisions are made with now."""
        ...

    def take_over(self, topic: str, value: bytes | None) -> None:
        """Take over a record of a broadcast topic.

        Raises:
            UnusableBroadcastError: it cannot be used; nothing has changed.
        """
        ...
