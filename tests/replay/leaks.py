"""A detector of leaks: checks that find a scorer which knows labels before their time.

A scorer takes payments and labels and gives each payment a score. It is honest if a score depends only on labels that
were known at its payment's time. Each check changes labels that no honest score can feel, or moves the time at which
all of them are felt, and says what it finds; an honest scorer leaves all of them silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cardwatch.replay.evaluation import average_precision
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.source import Transactions

DAY_MS = 86_400_000

Scores = NDArray[np.float64]
Scorer = Callable[[Transactions, KnownLabels], Scores]


@dataclass(frozen=True, slots=True)
class World:
    """Payments with the truth about each, and how long it takes to become known."""

    transactions: Transactions
    truth: NDArray[np.int64]
    delay_ms: int

    def labels(self, delay_ms: int | None = None) -> KnownLabels:
        """Labels of all payments after a delay, the world's own where none is given."""
        delay = self.delay_ms if delay_ms is None else delay_ms
        return KnownLabels(np.arange(len(self.truth)), self.truth, self.transactions.event_time_ms + delay)

    def moment(self, share: float) -> int:
        """The time at which a share of the payments has happened."""
        return int(self.transactions.event_time_ms[int(share * len(self.truth))])


def moved_before(world: World, moment_ms: int, honest: Scores, other: Scores) -> int:
    """How many payments up to a moment have another score; not a bit may differ."""
    before = world.transactions.event_time_ms <= moment_ms
    return int((honest[before] != other[before]).sum())


def felt_before_the_cut(world: World, scorer: Scorer, share: float = 0.6, seed: int = 0) -> int:
    """How many scores change though only labels that become known later were permuted."""
    cut_ms = world.moment(share)
    labels = world.labels()
    later = np.flatnonzero(labels.label_time_ms > cut_ms)
    shuffled = labels.label.copy()
    shuffled[later] = np.random.default_rng(seed).permutation(shuffled[later])
    return moved_before(
        world, cut_ms, scorer(world.transactions, labels), scorer(world.transactions, replace(labels, label=shuffled))
    )


def felt_before_the_delay(world: World, scorer: Scorer, share: float = 0.4) -> int:
    """How many scores before `t + delay` change though only labels of payments after `t` were removed."""
    moment_ms = world.moment(share)
    labels = world.labels()
    kept = world.transactions.event_time_ms <= moment_ms
    fewer = KnownLabels(labels.row[kept], labels.label[kept], labels.label_time_ms[kept])
    whole, without = scorer(world.transactions, labels), scorer(world.transactions, fewer)
    return moved_before(world, moment_ms + world.delay_ms, whole, without)


def lost_by_waiting(world: World, scorer: Scorer, later_ms: int = 7 * DAY_MS) -> float:
    """How much average precision is lost where every label comes a week later; without a loss, nobody waited."""
    soon = scorer(world.transactions, world.labels())
    late = scorer(world.transactions, world.labels(world.delay_ms + later_ms))
    return average_precision(world.truth, soon) - average_precision(world.truth, late)


def is_felt_at_all(world: World, scorer: Scorer) -> bool:
    """Whether labels change any score: of a scorer that never learns the other checks say nothing."""
    nothing = np.zeros(0, dtype=np.int64)
    without = scorer(world.transactions, KnownLabels(nothing, nothing, nothing))
    return bool((scorer(world.transactions, world.labels()) != without).any())
