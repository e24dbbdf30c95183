"""Drift: whether payments, scores, labels or the loss are no longer what they were.

Time is cut into half days. Payments differ between night and day and from weekday to weekend, so each of the fourteen
half days of a week is compared with itself in the weeks before, the last one counting most. For each feature, and for
the score, the bins of the reference are put together into groups of a twentieth at least, with missing values as their
own; then the population stability index says how far the half day is from it, less what chance alone makes of as few
rows. Labels are compared by their number. The loss goes to river's ADWIN, a block of examples at a time.

An alarm is raised when something begins to be wrong, not again while it stays so; a new normal becomes the reference in
some weeks by itself.

Sources: Siddiqi: *Credit risk scorecards* (2006) for the index and its threshold; Bifet, Gavalda: *Learning from
time-changing data with adaptive windowing* (SDM 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from river import drift

from detector.catalogue import HOUR_MS
from detector.models.bins import BIN_CODES, Binner

SLOT_MS = 12 * HOUR_MS
SLOTS = 14
SCORE, LABELS, LOSS = "score", "labels", "loss"
# The usual reading of the index: below 0.1 nothing, above 0.2 to 0.25 act.
PSI_THRESHOLD = 0.2
# What one more week makes of the weeks before.
_KEPT = 0.5
# Weight of the reference's weeks before it is trusted: two weeks of them, aged.
_WEEKS_NEEDED = 1.4
_LEAST_ROWS = 250
_SMALLEST_GROUP = 0.05
# A half day with less than this share of its usual labels, if it usually has some.
_LABELS_SHARE, _LEAST_LABELS = 0.2, 10.0
# ADWIN looks at means of so many examples, and expects values from 0 to 1: a mean loss of an eighth nat is 1.
_LOSS_BLOCK, _LOSS_SCALE, _LOSS_DELTA = 32, 8.0, 1e-4
# Scores as bins: log-odds in steps of a half.
_SCORE_STEP, _SCORE_BINS = 0.5, 64


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """Something has begun to be other than it was.

    Attributes:
        name: of a feature, or "score", "labels" or "loss".
        value: the index, the share of the usual labels, or the mean loss.
        time_ms: event time at which it was seen.
    """

    name: str
    value: float
    time_ms: int


class DriftObserver(Protocol):
    """Who is told: metrics, or a test."""

    def drift_seen(self, name: str, value: float) -> None:
        """Take the index of a feature or of the score, or the share of the usual labels, of the last half day."""
        ...

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        """Take an alarm."""
        ...


def groups_of(reference: NDArray[np.float64], missing_bin: int) -> NDArray[np.int64]:
    """Put neighbouring bins together.

    Args:
        reference: float64[256], counts by bin.
        missing_bin: which stays its own.

    Returns:
        int64[256], the group of each bin: but for the last group and the missing bin's, a twentieth of the counts each.
    """
    least = _SMALLEST_GROUP * reference.sum()
    groups = np.zeros(len(reference), dtype=np.int64)
    group, held = 0, 0.0
    for bin_ in range(missing_bin):
        groups[bin_] = group
        held += reference[bin_]
        if held >= least:
            group, held = group + 1, 0.0
    groups[missing_bin:] = group + 1
    return groups


def stability_index(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Population stability index, less what chance makes of it where nothing has changed.

    Args:
        counts: of each group now.
        reference: of each group before.
    """
    rows, before = counts.sum(), reference.sum()
    # Half a row in each group, so that none is empty.
    now = (counts + 0.5) / (rows + 0.5 * len(counts))
    then = (reference + 0.5) / (before + 0.5 * len(counts))
    by_chance = (np.count_nonzero(counts + reference) - 1) * (1.0 / rows + 1.0 / before)
    return float(((now - then) * np.log(now / then)).sum() - by_chance)


class DriftMonitor:
    """Watches what a trainer sees: a sample of all payments as they were scored, and labels.

    Attributes:
        alarms: that are on now, by name.
    """

    def __init__(self, binner: Binner, observer: DriftObserver) -> None:
        """Know nothing yet.

        Args:
            binner: whose bins are watched.
            observer: who is told.
        """
        self._names = (*binner.names, SCORE)
        self._missing = np.append(binner.missing_bins, _SCORE_BINS)
        self._observer = observer
        columns = len(self._names)
        self._reference = np.zeros((SLOTS, columns, BIN_CODES), dtype=np.float64)
        self._weeks = np.zeros(SLOTS)
        self._usual_labels = np.zeros(SLOTS)
        self._counts = np.zeros((columns, BIN_CODES))
        self._labels = 0
        self._slot = -1
        self._losses: list[float] = []
        self._adwin = drift.ADWIN(delta=_LOSS_DELTA, clock=1)
        self.alarms: dict[str, DriftAlarm] = {}

    def take_payments(self, bins: NDArray[np.uint8], scores: NDArray[np.float64], time_ms: NDArray[np.int64]) -> None:
        """Take a sample of payments in the order of the log.

        Args:
            bins: uint8 (n, F).
            scores: float64 (n,), what they were given.
            time_ms: int64 (n,), event time.
        """
        odds = np.log(np.maximum(scores, 1e-300)) - np.log(np.maximum(1.0 - scores, 1e-300))
        score_bins = np.clip(odds / _SCORE_STEP + _SCORE_BINS // 2, 0, _SCORE_BINS - 1).astype(np.int64)
        codes = np.column_stack([bins.astype(np.int64), score_bins])
        for rows in self._slots_of(time_ms):
            self._count(codes[rows])

    def take_labels(self, losses: NDArray[np.float64], time_ms: NDArray[np.int64]) -> None:
        """Take labelled examples in the order they were learned.

        Args:
            losses: float64 (n,), log loss of what was believed of each before it was learned.
            time_ms: int64 (n,), when each became known.
        """
        for rows in self._slots_of(time_ms):
            self._labels += rows.stop - rows.start
        self._losses += losses.tolist()
        while len(self._losses) >= _LOSS_BLOCK:
            self._take_block(float(np.mean(self._losses[:_LOSS_BLOCK])), int(time_ms[-1]))
            del self._losses[:_LOSS_BLOCK]

    def _slots_of(self, time_ms: NDArray[np.int64]) -> Iterator[slice]:
        """Runs of rows of one half day, closing those that have ended; a late row counts where the others are."""
        slots = np.maximum.accumulate(np.maximum(time_ms // SLOT_MS, self._slot))
        start = 0
        while start < len(slots):
            slot = int(slots[start])
            stop = int(np.searchsorted(slots, slot, side="right"))
            if slot > self._slot >= 0:
                self._close(slot * SLOT_MS)
            self._slot = slot
            yield slice(start, stop)
            start = stop

    def _count(self, codes: NDArray[np.int64]) -> None:
        """Count bins of rows."""
        places = (codes + BIN_CODES * np.arange(codes.shape[1])).ravel()
        self._counts += np.bincount(places, minlength=self._counts.size).reshape(self._counts.shape)

    def _close(self, time_ms: int) -> None:
        """Compare the half day that has ended with itself in the weeks before, then make it part of those."""
        place = self._slot % SLOTS
        if self._weeks[place] >= _WEEKS_NEEDED:
            if self._counts[0].sum() >= _LEAST_ROWS:
                self._compare_columns(self._reference[place], time_ms)
            usual = self._usual_labels[place] / self._weeks[place]
            if usual >= _LEAST_LABELS:
                share = self._labels / usual
                self._tell(LABELS, share, time_ms, is_wrong=share < _LABELS_SHARE)
        self._reference[place] = _KEPT * self._reference[place] + self._counts
        self._usual_labels[place] = _KEPT * self._usual_labels[place] + self._labels
        self._weeks[place] = _KEPT * self._weeks[place] + 1.0
        self._counts[:] = 0.0
        self._labels = 0

    def _compare_columns(self, reference: NDArray[np.float64], time_ms: int) -> None:
        """Compare each feature and the score."""
        for column, name in enumerate(self._names):
            groups = groups_of(reference[column], int(self._missing[column]))
            size = int(groups.max()) + 1
            counts = np.bincount(groups, self._counts[column], minlength=size).astype(np.float64)
            before = np.bincount(groups, reference[column], minlength=size).astype(np.float64)
            if before.sum() >= _LEAST_ROWS:
                index = stability_index(counts, before)
                self._tell(name, index, time_ms, is_wrong=index > PSI_THRESHOLD)

    def _take_block(self, mean_loss: float, time_ms: int) -> None:
        """Let ADWIN see a block; only a loss that has grown is an alarm."""
        before = float(self._adwin.estimation)
        self._adwin.update(min(mean_loss * _LOSS_SCALE, 1.0))
        if self._adwin.drift_detected:
            self._tell(LOSS, mean_loss, time_ms, is_wrong=float(self._adwin.estimation) > before)

    def _tell(self, name: str, value: float, time_ms: int, *, is_wrong: bool) -> None:
        """Tell the observer a value, and of an alarm when it begins."""
        self._observer.drift_seen(name, value)
        if not is_wrong:
            self.alarms.pop(name, None)
        elif name not in self.alarms:
            self.alarms[name] = DriftAlarm(name, value, time_ms)
            self._observer.drift_alarm(self.alarms[name])
