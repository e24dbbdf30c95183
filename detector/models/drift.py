"""Drift: whether payments, scores, labels or the loss are no longer what they were.

Time is cut into half days. Payments differ between night and day and from weekday to weekend, so each of the fourteen
half days of a week is compared with itself in the two weeks before, of which a sample of rows is kept. For each feature
the bins of that reference are put together into groups of a twentieth at least, with missing values as their own; then
the population stability index says how far the half day is from it, less what chance alone makes of as few rows. The
score is compared by what today's model says of the rows of today and of those before: a model that has gone on learning
gives all of them other scores, which is no drift.

An index is wrong when it is above three limits, each for a reason of its own:

- 0.1, from which on the literature speaks of a change: what is smaller does not matter however sure it is. Where groups
  are many, chance alone comes near it, and the next limit is the higher one; the 0.2 and 0.25 of the literature, below
  which nobody is to be bothered, stand for it. Of a feature that is a yes or no, 0.1 is a lot;
- what chance makes of so few rows once in a hundred years. Without drift the index over `1/n + 1/m` follows a
  chi-squared distribution, and all features are looked at in every half day, so that is a quantile far out;
- three times the largest change that the same feature has shown from one week to the next within two weeks: running
  counts of what labels have said move all the time, while windows fill and at every label.

Labels are compared by their number, those that people gave. The loss goes to ADWIN, a block of examples at a time. An
alarm is raised when something begins to be wrong, not again while it stays so; a new normal has become the reference in
two weeks.

Sources: Siddiqi: *Credit risk scorecards* (2006) for the index and its threshold; Yurdakul, Naranjo: *Statistical
properties of the population stability index* (2020); Wilson, Hilferty: *The distribution of chi-square* (1931).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import DAY_MS, HOUR_MS
from detector.jit import constants
from detector.models import adwin
from detector.models.bins import BIN_CODES, Binner
from detector.vocabulary import DRIFT_OF_LABELS, DRIFT_OF_LOSS, DRIFT_OF_SCORE

SLOT_MS = 12 * HOUR_MS
SLOTS = 14
WEEKS = 2
ROWS = 512
PSI_THRESHOLD = 0.1
_YEARS_TO_A_FALSE_ALARM = 100.0
_LARGER_THAN_USUAL = 3.0
# Half days whose changes say what is usual.
CHANGES = 28
_SMALLEST_GROUP = 0.05
# Cochran's rule: five rows are expected in each twentieth.
LEAST_ROWS = 100
# A half day with less than this share of its usual labels. Of 25, chance leaves fewer than 5 once in three million.
_LABELS_SHARE, _LEAST_LABELS = 0.2, 25.0
# ADWIN looks at means of so many examples, and expects values from 0 to 1: a mean loss of an eighth nat is 1.
LOSS_BLOCK, _LOSS_SCALE, _LOSS_DELTA = 32, 8.0, 1e-4
# Scores as bins: log-odds in steps of a half.
_SCORE_STEP, _SCORE_BINS = 0.5, 64
# Of `DriftState.place`.
SLOT, KEPT, SEEN, STRIDE, LABELLED, CHANGED, PENDING = constants(7)
PLACES = 7
_NO_SLOT = -1

Scores = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """Something has begun to be other than it was.

    Attributes:
        name: of a feature, or "score", "labels" or "loss".
        value: the index, the share of the usual labels, or the mean loss in nats.
        time_ms: event time at which it was seen.
    """

    name: str
    value: float
    time_ms: int


class DriftObserver(Protocol):
    """Who is told: metrics, or a test."""

    def drift_seen(self, name: str, value: float, *, is_wrong: bool) -> None:
        """Take the index of a feature or of the score, the share of the usual labels, or the mean loss."""
        ...

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        """Take an alarm that begins."""
        ...


@dataclass(frozen=True, eq=False)
class DriftState:
    """All that a monitor knows, as arrays; see `DriftMonitor`.

    Attributes:
        rows: uint8 (14, 2, 512, F), payments of each half day of the week in the last week and in the one before.
        filled: int64 (14, 2), how many of them there are.
        present: uint8 (512, F), payments of this half day.
        labels: float64 (14, 2), labels of each half day; negative where there was no such half day.
        changes: float64 (28, F + 1), indices of one week against the next, a ring; 0 where not known.
        losses: float64[32], losses that wait until they make a block.
        window: float64 of `adwin.SHAPE`.
        told: float64[F + 3], what was told last of each feature, the score, labels and loss; NaN for nothing.
        since_ms: int64[F + 3], since when each is wrong; 0 where it is not.
        place: int64[7], the half day and what of it was seen.
    """

    rows: NDArray[np.uint8]
    filled: NDArray[np.int64]
    present: NDArray[np.uint8]
    labels: NDArray[np.float64]
    changes: NDArray[np.float64]
    losses: NDArray[np.float64]
    window: NDArray[np.float64]
    told: NDArray[np.float64]
    since_ms: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def empty(cls, features: int) -> DriftState:
        """What is known at first."""
        state = cls(
            rows=np.zeros((SLOTS, WEEKS, ROWS, features), dtype=np.uint8),
            filled=np.zeros((SLOTS, WEEKS), dtype=np.int64),
            present=np.zeros((ROWS, features), dtype=np.uint8),
            labels=np.full((SLOTS, WEEKS), -1.0),
            changes=np.zeros((CHANGES, features + 1)),
            losses=np.zeros(LOSS_BLOCK),
            window=np.zeros(adwin.SHAPE),
            told=np.full(features + 3, np.nan),
            since_ms=np.zeros(features + 3, dtype=np.int64),
            place=np.zeros(PLACES, dtype=np.int64),
        )
        state.place[SLOT], state.place[STRIDE] = _NO_SLOT, 1
        return state

    def copy(self) -> DriftState:
        """The same, apart."""
        return DriftState(*(getattr(self, field.name).copy() for field in fields(self)))


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


def chance_limit(groups: int, rows: float, before: float, columns: int) -> float:
    """What an index without drift exceeds in a hundred years once, if so many columns are looked at every half day.

    Args:
        groups: that the index is of.
        rows: how many were counted now.
        before: and before.
        columns: that are looked at.
    """
    freedom = max(groups - 1, 1)
    looks = columns * _YEARS_TO_A_FALSE_ALARM * 365.25 * DAY_MS / SLOT_MS
    part = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - part + NormalDist().inv_cdf(1.0 - 1.0 / looks) * part**0.5) ** 3
    return float((quantile - freedom) * (1.0 / rows + 1.0 / before))


def _score_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins of scores."""
    odds = np.log(np.maximum(scores, 1e-300)) - np.log(np.maximum(1.0 - scores, 1e-300))
    return np.clip(odds / _SCORE_STEP + _SCORE_BINS // 2, 0, _SCORE_BINS - 1).astype(np.int64)


class DriftMonitor:
    """Watches what a trainer sees: a sample of all payments as they were scored, and labels.

    Attributes:
        state: all that it knows; a monitor that is given it goes on as if it had never stopped.
        names: of the features, then "score", "labels" and "loss".
    """

    def __init__(self, binner: Binner, observer: DriftObserver, state: DriftState | None = None) -> None:
        """Know nothing yet, or go on.

        Args:
            binner: whose bins are watched.
            observer: who is told; of a state that is gone on from it is told at once what was told last.
            state: to go on from; it is copied.
        """
        self.names = (*binner.names, DRIFT_OF_SCORE, DRIFT_OF_LABELS, DRIFT_OF_LOSS)
        self._missing = [*binner.missing_bins.tolist(), _SCORE_BINS]
        self._observer = observer
        self._adwin = adwin.Adwin(_LOSS_DELTA)
        self.state = DriftState.empty(binner.feature_count) if state is None else state.copy()
        self._adwin.window = self.state.window
        for name, value, since_ms in zip(self.names, self.state.told, self.state.since_ms, strict=True):
            if not np.isnan(value):
                observer.drift_seen(name, float(value), is_wrong=bool(since_ms))

    @property
    def alarms(self) -> dict[str, int]:
        """What is wrong now, and the event time since when in milliseconds."""
        return {name: int(since) for name, since in zip(self.names, self.state.since_ms, strict=True) if since}

    def take_payments(self, bins: NDArray[np.uint8], time_ms: NDArray[np.int64], scores: Scores) -> None:
        """Take a sample of payments in the order of the log.

        Args:
            bins: uint8 (n, F).
            time_ms: int64 (n,), event time.
            scores: what the model says of rows now; asked when a half day ends.
        """
        for rows in self._slots_of(time_ms, scores):
            self._keep(bins[rows])

    def take_labels(
        self, losses: NDArray[np.float64], time_ms: NDArray[np.int64], scores: Scores, *, given: bool
    ) -> None:
        """Take labelled examples in the order they were learned.

        Args:
            losses: float64 (n,), log loss of what was believed of each before it was learned.
            time_ms: int64 (n,), when each became known.
            scores: as in `take_payments`.
            given: whether somebody gave the labels; not where payments became genuine because nobody complained.
        """
        for rows in self._slots_of(time_ms, scores):
            self.state.place[LABELLED] += (rows.stop - rows.start) if given else 0
        if not self._knows_labels():
            return
        start, place = 0, self.state.place
        while start < len(losses):
            taken = min(LOSS_BLOCK - int(place[PENDING]), len(losses) - start)
            self.state.losses[place[PENDING] : place[PENDING] + taken] = losses[start : start + taken]
            place[PENDING] += taken
            start += taken
            if place[PENDING] == LOSS_BLOCK:
                self._take_block(float(self.state.losses.mean()), int(time_ms[-1]))
                place[PENDING] = 0

    def _knows_labels(self) -> bool:
        """Whether some half day had labels in both weeks before: until then a model begins to learn."""
        return bool((self.state.labels > 0.0).all(axis=1).any())

    def _slots_of(self, time_ms: NDArray[np.int64], scores: Scores) -> Iterator[slice]:
        """Runs of rows of one half day, closing those that have ended; a late row counts where the others are."""
        place = self.state.place
        slots = np.maximum.accumulate(np.maximum(time_ms // SLOT_MS, place[SLOT]))
        start = 0
        while start < len(slots):
            slot = int(slots[start])
            stop = int(np.searchsorted(slots, slot, side="right"))
            if slot > place[SLOT] != _NO_SLOT:
                self._close(slot * SLOT_MS, scores)
            place[SLOT] = slot
            yield slice(start, stop)
            start = stop

    def _keep(self, bins: NDArray[np.uint8]) -> None:
        """Keep a sample of rows, spread evenly over the half day: when it is full, every second one goes."""
        place, present = self.state.place, self.state.present
        start = 0
        while start < len(bins):
            stride = int(place[STRIDE])
            first = start + int(-place[SEEN] % stride)
            taken = np.arange(first, len(bins), stride)[: ROWS - int(place[KEPT])]
            present[place[KEPT] : place[KEPT] + len(taken)] = bins[taken]
            place[KEPT] += len(taken)
            stop = len(bins) if place[KEPT] < ROWS else int(taken[-1]) + 1 if len(taken) else start
            place[SEEN] += stop - start
            start = stop
            if place[KEPT] == ROWS:
                present[: ROWS // 2] = present[::2].copy()
                place[KEPT], place[STRIDE] = ROWS // 2, 2 * stride

    def _close(self, time_ms: int, scores: Scores) -> None:
        """Compare the half day that has ended with itself in the weeks before, then make it one of those."""
        state = self.state
        own = int(state.place[SLOT]) % SLOTS
        kept = int(state.place[KEPT])
        if kept >= LEAST_ROWS:
            if (state.filled[own] >= LEAST_ROWS).all():
                self._compare(own, kept, time_ms, scores)
            state.rows[own, 1], state.filled[own, 1] = state.rows[own, 0], state.filled[own, 0]
            state.rows[own, 0, :kept], state.filled[own, 0] = state.present[:kept], kept
        self._compare_labels(own, time_ms)
        state.place[[KEPT, SEEN, LABELLED]] = 0
        state.place[STRIDE] = 1

    def _compare_labels(self, own: int, time_ms: int) -> None:
        """Compare the number of labels, and note it."""
        state = self.state
        labels = float(state.place[LABELLED])
        usual = float(state.labels[own].mean())
        if (state.labels[own] >= 0.0).all() and usual >= _LEAST_LABELS:
            share = labels / usual
            self._tell(len(self.names) - 2, share, time_ms, is_wrong=share < _LABELS_SHARE)
        state.labels[own] = labels, state.labels[own, 0]

    def _compare(self, own: int, kept: int, time_ms: int, scores: Scores) -> None:
        """Compare each feature and the score with the two weeks before, and note by how much those differed."""
        state = self.state
        rows = [state.present[:kept], *(state.rows[own, week, : state.filled[own, week]] for week in range(WEEKS))]
        known = [np.column_stack([part.astype(np.int64), _score_bins(scores(part))]) for part in rows]
        columns = len(self._missing)
        ring = int(state.place[CHANGED] % CHANGES)
        state.place[CHANGED] += 1
        for column in range(columns):
            now, last, earlier = (
                np.bincount(part[:, column], minlength=BIN_CODES).astype(np.float64) for part in known
            )
            change = _index(last, earlier, self._missing[column])[0]
            # What is wrong now is not to become usual by being compared with the week before it was.
            state.changes[ring, column] = 0.0 if state.since_ms[column] else change
            index, groups = _index(now, last + earlier, self._missing[column])
            limits = (
                PSI_THRESHOLD,
                chance_limit(groups, now.sum(), last.sum() + earlier.sum(), columns),
                _LARGER_THAN_USUAL * float(state.changes[:, column].max()),
            )
            # A week of changes must be known before one can be called large.
            is_known = state.place[CHANGED] > SLOTS
            self._tell(column, index, time_ms, is_wrong=is_known and index > max(limits))

    def _take_block(self, mean_loss: float, time_ms: int) -> None:
        """Let ADWIN see a block; only a loss that has grown is an alarm."""
        loss = len(self.names) - 1
        before = self._adwin.mean
        has_changed = self._adwin.update(min(mean_loss * _LOSS_SCALE, 1.0))
        is_wrong = bool(self.state.since_ms[loss])
        if has_changed:
            is_wrong = self._adwin.mean > before
        self._tell(loss, self._adwin.mean / _LOSS_SCALE, time_ms, is_wrong=is_wrong)

    def _tell(self, number: int, value: float, time_ms: int, *, is_wrong: bool) -> None:
        """Tell the observer a value, and of an alarm when it begins."""
        state, name = self.state, self.names[number]
        state.told[number] = value
        self._observer.drift_seen(name, value, is_wrong=is_wrong)
        if is_wrong and not state.since_ms[number]:
            self._observer.drift_alarm(DriftAlarm(name, value, time_ms))
            state.since_ms[number] = time_ms
        elif not is_wrong:
            state.since_ms[number] = 0


def _index(counts: NDArray[np.float64], reference: NDArray[np.float64], missing_bin: int) -> tuple[float, int]:
    """The index of counts by bin, and of how many groups it is."""
    groups = groups_of(reference, missing_bin)
    size = int(groups.max()) + 1
    now, then = (np.bincount(groups, part, minlength=size).astype(np.float64) for part in (counts, reference))
    return stability_index(now, then), int(np.count_nonzero(now + then))
