"""One replay with everything written down: features as they were scored, scores, actions, and when labels were known.

On what was recorded a model can be taught again in the order in which the replay taught it (`teach`), which takes a
small part of the time of a replay: other features left out, or another library's model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import cardwatch.replay.runner
from cardwatch.backtest.judge import Decisions
from cardwatch.replay import Configuration, make_replay
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.source import Transactions
from detector.assessments import Assessments
from detector.catalogue import FEATURE_COUNT, HOUR_MS
from detector.examples import Examples
from detector.models import ModelsConfig, Trainer
from detector.state import StateConfig
from detector.vocabulary import Kind, Label

# As `cardwatch replay` scores and publishes.
_BATCH_ROWS = 512
_VERSION_EVERY_MS = HOUR_MS
_UNLABELLED_ONE_IN = StateConfig(bytes(16)).unlabelled_one_in

Float64 = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one replay did, a row a payment, in time order.

    Attributes:
        features: float32 (n, F), as they were scored.
        score, anomaly: float64.
        action, flags: int64, codes and bits of the vocabulary.
        learnable: bool, whether a label of the payment teaches: it is no reversal or outcome, and not a repetition.
        unlabelled: bool, whether the payment taught the models that need no labels.
        labels: as they became known, in order.
        event_time_ms: int64.
        seconds: of the whole loop.
    """

    features: Features
    score: Float64
    anomaly: Float64
    action: NDArray[np.int64]
    flags: NDArray[np.int64]
    learnable: NDArray[np.bool_]
    unlabelled: NDArray[np.bool_]
    labels: KnownLabels
    event_time_ms: NDArray[np.int64]
    seconds: float

    def decisions(self, configured: Configuration) -> Decisions:
        """As a backtest judges them; reasons are not kept."""
        reasons = pa.array([[]] * len(self.score), pa.list_(pa.string()))
        return Decisions("current", configured.policy, self.action, self.flags, self.score, reasons)


@contextmanager
def _watching(take: Callable[[Assessments], None]) -> Iterator[None]:
    """Hand on everything that the replay assesses."""
    place: Any = cardwatch.replay.runner
    assess = place.assess_batch

    def assess_and_take(*arguments: Any) -> Assessments:
        assessments: Assessments = assess(*arguments)
        take(assessments)
        return assessments

    place.assess_batch = assess_and_take
    try:
        yield
    finally:
        place.assess_batch = assess


def record(
    transactions: Transactions, labels: KnownLabels, configured: Configuration, alerted_ms: int | None = None
) -> Recorded:
    """Replay a file and write everything down; `alerted_ms` as `Replay` takes it."""
    count = len(transactions)
    features = np.empty((count, FEATURE_COUNT), dtype=np.float32)
    score, anomaly = np.empty((2, count))
    action, flags = np.empty((2, count), dtype=np.int64)
    learnable, unlabelled = np.zeros((2, count), dtype=bool)
    done = 0

    def take(assessments: Assessments) -> None:
        nonlocal done
        rows = slice(done, done + len(assessments))
        features[rows], score[rows], anomaly[rows] = assessments.features, assessments.score, assessments.anomaly
        action[rows], flags[rows] = assessments.action, assessments.flags
        batch = assessments.batch
        learnable[rows] = ~np.isin(batch.kind, (int(Kind.REVERSAL), int(Kind.OUTCOME))) & ~assessments.duplicate
        unlabelled[rows] = learnable[rows] & (batch.identity[:, 0] % np.uint64(_UNLABELLED_ONE_IN) == 0)
        done = rows.stop

    replay = make_replay(transactions, labels, configured, alerted_ms)
    started_s = time.perf_counter()
    with _watching(take):
        for _ in replay.run(lambda _: None):
            pass
    seconds = time.perf_counter() - started_s
    waiting = np.maximum(labels.label_time_ms, transactions.event_time_ms[labels.row] + 1)
    return Recorded(
        features=features,
        score=score,
        anomaly=anomaly,
        action=action,
        flags=flags,
        learnable=learnable,
        unlabelled=unlabelled,
        labels=KnownLabels(labels.row, labels.label, waiting).in_order(),
        event_time_ms=transactions.event_time_ms,
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class Taught:
    """Scores of a model that was taught again, and its time a payment in microseconds."""

    score: Float64
    scoring_us: float
    learning_us: float


def batches(recorded: Recorded) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
    """The replay's own order: before each batch of rows the rows and labels that have become known."""
    total, known = len(recorded.score), 0
    for slab in range(0, total, cardwatch.replay.runner.SLAB_ROWS):
        end = min(slab + cardwatch.replay.runner.SLAB_ROWS, total)
        for start in range(slab, end, _BATCH_ROWS):
            now_ms = int(recorded.event_time_ms[start])
            stop = int(np.searchsorted(recorded.labels.label_time_ms, now_ms, side="right"))
            cut = slice(known, max(stop, known))
            known = cut.stop
            rows, labels = recorded.labels.row[cut], recorded.labels.label[cut]
            teaching = recorded.learnable[rows]
            yield slice(start, min(start + _BATCH_ROWS, end)), rows[teaching], labels[teaching]


def teach(recorded: Recorded, models: ModelsConfig, leave_out: NDArray[np.bool_] | None = None) -> Taught:
    """Teach cardwatch's own models again from what was recorded.

    Args:
        recorded: of a replay.
        models: how they are built and learn.
        leave_out: bool by feature: columns that are missing from every payment.
    """
    trainer = Trainer(models)
    model, published_ms = trainer.scorer("m-0"), -_VERSION_EVERY_MS
    score = np.empty(len(recorded.score))
    scoring_s = learning_s = 0.0
    for rows, known, labels in batches(recorded):
        started_s = time.perf_counter()
        if len(known):
            trainer.learn(_examples(trainer.binner.bins(_seen(recorded.features[known], leave_out)), labels))
        now_ms = int(recorded.event_time_ms[rows.start])
        if now_ms - published_ms >= _VERSION_EVERY_MS:
            model, published_ms = trainer.scorer("m-1"), now_ms
        learned_s = time.perf_counter()
        bins = trainer.binner.bins(_seen(recorded.features[rows], leave_out))
        score[rows] = np.where(recorded.learnable[rows], model.probabilities(bins), recorded.score[rows])
        scored_s = time.perf_counter()
        chosen = bins[recorded.unlabelled[rows]]
        trainer.learn(_examples(chosen, np.full(len(chosen), int(Label.UNLABELLED), dtype=np.int64)))
        learning_s += learned_s - started_s + time.perf_counter() - scored_s
        scoring_s += scored_s - learned_s
    return Taught(score, scoring_s / len(score) * 1e6, learning_s / max(len(recorded.labels), 1) * 1e6)


def _seen(features: Features, leave_out: NDArray[np.bool_] | None) -> Features:
    """The features that a model is shown."""
    if leave_out is None:
        return features
    shown = features.copy()
    shown[:, leave_out] = np.nan
    return shown


def _examples(bins: NDArray[np.uint8], labels: NDArray[np.int64]) -> Examples:
    """Rows to learn from, all of one weight."""
    return Examples.of_nobody(bins, labels, np.ones(len(labels)), np.zeros(len(labels), dtype=np.int64))
