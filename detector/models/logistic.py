"""Logistic regression on binned, one-hot fields with AdaGrad, behind river's interface and learned in Numba.

It is river's `LogisticRegression(optimizer=AdaGrad(lr, eps), l2=0)` on one-hot dictionaries of slots: the same gradient
with its cut-offs, the same order of intercept and weights, one update a row. Tests hold the two equal to 1e-9. A row of
one-hot fields touches one weight a field, which is what makes learning a microsecond's work.

Beside the weights each feature may have a slope over its bins; see `slopes`.

One more thing may differ: a row whose gradient is smaller than a threshold is passed over, since most payments are
plain and teach nothing; the threshold 0 learns all.

How far the labels of one source may move the model is capped: of each labeller, merchant and card, the gradients that
it caused are added up, and what goes beyond its cap within a window of label time is cut off. A thousand false labels
of one agent then weigh no more than as many as the cap allows.

Slots of a block of rows are found together and their weights asked for ahead of use. Weights are float64: as float32
they scored a row of 60 fields in 82 ns instead of 91, which is not worth scores that differ from the learner's.

Source: Duchi, Hazan, Singer: *Adaptive subgradient methods for online learning and stochastic optimization* (2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river import base

from detector.jit import constants, kernel, prefetch
from detector.models.bins import BIN_CODES, Binner
from detector.models.fields import BLOCK, Fields, Layout, slots_of_block
from detector.models.slopes import RENEWED_EVERY, SLOPE, SLOPE_WORDS, note_standings, renew_usual

# river's: where its sigmoid and its gradient stop computing exponentials.
_SIGMOID_LIMIT = 30.0
_GRADIENT_LIMIT = 18.0
# Of learned rows, one in so many goes into what is usual: enough for means, and a sixteenth of the work.
USUAL_ONE_IN = 16
# What is usual is counted by half each time so many rows have gone in: it speaks of the last hundred thousand rows.
USUAL_ROWS = 8192.0
# Weights on one cache line: touched together, copied together.
LINE_BITS = 3
# Both copies of the weights lack what was just learned; see `Weights`.
STALE = 3
RATE, INTERCEPT_RATE, CLIP, EPSILON, SMALLEST, SLOPE_RATE = constants(6)
# Sources of a label: who gave it, and the merchant and card of its payment.
SOURCES = 3
LABELLER = 0
# Sums are kept by a hash of the source; two that share a place share its cap, which errs on the safe side.
CAP_PLACES = 1 << 14


class Caps(NamedTuple):
    """How far one source may move the model: sums of absolute gradients within a window.

    Attributes:
        window_ms: of label time; when one has passed, every source begins anew.
        labeller, merchant, card: the caps; infinite for none.
    """

    window_ms: int = 24 * 3_600_000
    labeller: float = math.inf
    merchant: float = math.inf
    card: float = math.inf


class Learned(NamedTuple):
    """What the kernel changes in place.

    Attributes:
        weights, squared_gradients: float64, one a slot.
        slopes: float64[3, F], of each feature; see `slopes`.
        standings: float64[F], room for those of a row.
        intercept: float64[1].
        means: float64[K], mean log-odds that each field gave lately, as it was before each row was learned.
        usual_rows: float64[1], example weight that means and counts rest on, below 8,192.
        bin_counts: float64[F, 256], how often lately each bin of a feature was met.
        rows: int64[1], rows met so far.
        stale: uint8, a line of 8 slots each, `STALE` where one was changed.
        spent: float64[3, 16384], absolute gradients of each place of each kind of source within `spent_window`.
        spent_window: int64[3, 16384], which window that is.
        clock: int64[1], the latest window.
    """

    weights: NDArray[np.float64]
    squared_gradients: NDArray[np.float64]
    slopes: NDArray[np.float64]
    standings: NDArray[np.float64]
    intercept: NDArray[np.float64]
    means: NDArray[np.float64]
    usual_rows: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    rows: NDArray[np.int64]
    stale: NDArray[np.uint8]
    spent: NDArray[np.float64]
    spent_window: NDArray[np.int64]
    clock: NDArray[np.int64]


@kernel
def sigmoid(log_odds: float) -> float:
    """Probability of a log-odds, exactly 0 or 1 beyond 30 as river has it."""
    if log_odds < -_SIGMOID_LIMIT:
        return 0.0
    if log_odds > _SIGMOID_LIMIT:
        return 1.0
    return 1.0 / (1.0 + math.exp(-log_odds))


@kernel
def log_odds_of_block(
    rows: int, slots: NDArray[np.int32], weights: NDArray[np.float64], intercept: float, out: NDArray[np.float64]
) -> None:
    """Log-odds of a block's rows: each row's weights added in the order of the fields, then the intercept."""
    for row in range(rows):
        out[row] = 0.0
    for field in range(slots.shape[0]):
        for row in range(rows):
            out[row] += weights[np.uint32(slots[field, row])]
    for row in range(rows):
        out[row] += intercept


@kernel
def _loss_gradient(label: int, log_odds: float) -> float:
    """Derivative of the log loss by the log-odds."""
    sign = 1.0 if label != 0 else -1.0
    margin = log_odds * sign
    if margin > _GRADIENT_LIMIT:
        return -math.exp(-margin) * sign
    if margin < -_GRADIENT_LIMIT:
        return -sign
    return -sign / (math.exp(margin) + 1.0)


@kernel
def predict_rows(
    bins: NDArray[np.uint8],
    layout: Layout,
    learned: Learned,
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Probability of fraud of each row; `columns` and `slots` are room for a block."""
    for start in range(0, bins.shape[0], BLOCK):
        rows = min(BLOCK, bins.shape[0] - start)
        slots_of_block(bins, start, rows, layout, columns, slots)
        for place in range(rows):
            note_standings(bins[start + place], layout, learned.slopes, learned.standings)
            out[start + place] = sigmoid(_log_odds(slots, place, layout, learned))


@kernel
def _given(field: int, slot: int, layout: Layout, learned: Learned) -> float:
    """What a field adds to the log-odds: its weight, and the slope of the feature that it is all by itself."""
    column = layout.alone[field]
    if column < 0:
        return learned.weights[np.uint32(slot)]
    return learned.weights[np.uint32(slot)] + learned.slopes[SLOPE, column] * learned.standings[column]


@kernel
def _log_odds(slots: NDArray[np.int32], place: int, layout: Layout, learned: Learned) -> float:
    """Log-odds of a row of a block, whose standings are noted: what scorers add up, in the same order."""
    total = 0.0
    for field in range(slots.shape[0]):
        total += _given(field, slots[field, place], layout, learned)
    return total + learned.intercept[0]


@kernel
def _note_usual(
    bins: NDArray[np.uint8], slots: NDArray[np.int32], place: int, example_weight: float, layout: Layout,
    learned: Learned,
) -> None:  # fmt: skip
    """Take a row into what is usual: `bins` is the row, `slots[:, place]` its slots."""
    if example_weight <= 0.0:
        return
    learned.usual_rows[0] += example_weight
    share = example_weight / learned.usual_rows[0]
    for field in range(slots.shape[0]):
        learned.means[field] += share * (_given(field, slots[field, place], layout, learned) - learned.means[field])
    for column in range(bins.shape[0]):
        learned.bin_counts[column, bins[column]] += example_weight
    if learned.usual_rows[0] >= USUAL_ROWS:
        learned.usual_rows[0] *= 0.5
        for column in range(bins.shape[0]):
            for bin_ in range(learned.bin_counts.shape[1]):
                learned.bin_counts[column, bin_] *= 0.5


@kernel
def _descend(
    slots: NDArray[np.int32], place: int, gradient: float, rates: NDArray[np.float64], layout: Layout,
    learned: Learned,
) -> None:  # fmt: skip
    """One step of AdaGrad in the slots of a row, and one of plain descent in the slopes."""
    learned.intercept[0] -= rates[INTERCEPT_RATE] * gradient
    for field in range(slots.shape[0]):
        slot = np.uint32(slots[field, place])
        learned.squared_gradients[slot] += gradient * gradient
        scale = math.sqrt(learned.squared_gradients[slot] + rates[EPSILON])
        learned.weights[slot] -= rates[RATE] / scale * gradient
        learned.stale[slot >> LINE_BITS] = STALE
        column = layout.alone[field]
        if column >= 0:
            learned.slopes[SLOPE, column] -= rates[SLOPE_RATE] * gradient * learned.standings[column]


@kernel
def _within_caps(
    gradient: float, weight: float, sources: NDArray[np.int64], window: int, caps: NDArray[np.float64],
    learned: Learned,
) -> float:  # fmt: skip
    """What of a gradient its sources may still cause; it is noted as caused. A source 0 is not known, and free.

    Where chance chose a row to stand for others, its weight is charged to who labelled it, not to the merchant or the
    card: they have no say in what is drawn.
    """
    learned.clock[0] = max(learned.clock[0], window)
    allowed = abs(gradient)
    for kind in range(SOURCES):
        if sources[kind] == 0:
            continue
        place = np.uint64(sources[kind]) % np.uint64(CAP_PLACES)
        if learned.spent_window[kind, place] != learned.clock[0]:
            learned.spent_window[kind, place] = learned.clock[0]
            learned.spent[kind, place] = 0.0
        unit = 1.0 if kind == LABELLER else weight
        allowed = min(allowed, max(caps[kind] - learned.spent[kind, place], 0.0) * unit)
    for kind in range(SOURCES):
        if sources[kind] != 0:
            unit = 1.0 if kind == LABELLER else weight
            learned.spent[kind, np.uint64(sources[kind]) % np.uint64(CAP_PLACES)] += allowed / unit
    return allowed if gradient > 0.0 else -allowed


@kernel
def learn_rows(
    bins: NDArray[np.uint8],
    labels: NDArray[np.int64],
    example_weights: NDArray[np.float64],
    sources: NDArray[np.int64],
    windows: NDArray[np.int64],
    caps: NDArray[np.float64],
    layout: Layout,
    rates: NDArray[np.float64],
    learned: Learned,
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
    log_odds: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> None:
    """Learn row by row; `log_odds` says what was believed of each row before, `shares` how much of it caps let through.

    `rates` holds the learning rate, the intercept's, the largest gradient, AdaGrad's epsilon, the smallest gradient and
    the slopes' rate;
    `sources` are those of each label and `windows` when it became known; `columns` and `slots` are room for a block.
    """
    # Without slopes all standings are 0 and stay so.
    has_slopes = rates[SLOPE_RATE] > 0.0 or learned.slopes.any()
    for start in range(0, bins.shape[0], BLOCK):
        rows = min(BLOCK, bins.shape[0] - start)
        slots_of_block(bins, start, rows, layout, columns, slots)
        for field in range(slots.shape[0]):
            for place in range(rows):
                prefetch(learned.weights, slots[field, place])
        for place in range(rows):
            row = start + place
            if learned.rows[0] % RENEWED_EVERY == 0 and rates[SLOPE_RATE] > 0.0:
                renew_usual(learned.bin_counts, layout, learned.slopes)
            if has_slopes:
                note_standings(bins[row], layout, learned.slopes, learned.standings)
            log_odds[row] = _log_odds(slots, place, layout, learned)
            if learned.rows[0] % USUAL_ONE_IN == 0:
                _note_usual(bins[row], slots, place, example_weights[row], layout, learned)
            learned.rows[0] += 1
            gradient = _loss_gradient(labels[row], log_odds[row]) * example_weights[row]
            gradient = min(max(gradient, -rates[CLIP]), rates[CLIP])
            if abs(gradient) >= rates[SMALLEST]:
                allowed = _within_caps(gradient, example_weights[row], sources[row], windows[row], caps, learned)
                _descend(slots, place, allowed, rates, layout, learned)
                shares[row] = allowed / gradient if gradient != 0.0 else 1.0


class BinnedLogisticRegression(base.Classifier):
    """Online logistic regression over one-hot fields of bins, by AdaGrad.

    Args:
        fields: turns bins into slots.
        learning_rate: AdaGrad's.
        intercept_learning_rate: the constant rate of the intercept.
        initial_intercept: log-odds before anything has been learned.
        clip_gradient: largest absolute gradient of the loss, after the example's weight.
        epsilon: AdaGrad's: squared gradients that every slot has before it learns.
        smallest_gradient: rows whose gradient is smaller, after the example's weight, are passed over.
        caps: how far one source may move it.
        slope_rate: the constant rate of the slopes; 0 for none, as in river's model of one-hot dictionaries.

    Attributes:
        learned: what it has learned.
    """

    def __init__(
        self,
        fields: Fields,
        learning_rate: float = 0.1,
        intercept_learning_rate: float = 0.01,
        initial_intercept: float = 0.0,
        clip_gradient: float = 1e12,
        epsilon: float = 1e-8,
        smallest_gradient: float = 0.0,
        caps: Caps = Caps(),  # noqa: B008 - immutable
        slope_rate: float = 0.0,
    ) -> None:
        """Start with weights of zero."""
        self.fields = fields
        self.learning_rate = learning_rate
        self.intercept_learning_rate = intercept_learning_rate
        self.initial_intercept = initial_intercept
        self.clip_gradient = clip_gradient
        self.epsilon = epsilon
        self.smallest_gradient = smallest_gradient
        self.caps = caps
        self.slope_rate = slope_rate
        slots = fields.slot_count
        self.learned = Learned(
            weights=np.zeros(slots),
            squared_gradients=np.zeros(slots),
            slopes=np.zeros((SLOPE_WORDS, fields.binner.feature_count)),
            standings=np.zeros(fields.binner.feature_count),
            intercept=np.array([float(initial_intercept)]),
            means=np.zeros(len(fields)),
            usual_rows=np.zeros(1),
            bin_counts=np.zeros((fields.binner.feature_count, BIN_CODES)),
            rows=np.zeros(1, dtype=np.int64),
            stale=np.zeros((slots >> LINE_BITS) + 1, dtype=np.uint8),
            spent=np.zeros((SOURCES, CAP_PLACES)),
            spent_window=np.zeros((SOURCES, CAP_PLACES), dtype=np.int64),
            clock=np.zeros(1, dtype=np.int64),
        )

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        """Parameters for river's own checks, which make estimators by themselves."""
        yield {"fields": Fields(Binner([("amount", (1.0, 2.0))]))}

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights by slot, as they are now."""
        return self.learned.weights

    @property
    def intercept(self) -> float:
        """The intercept as it is now."""
        return float(self.learned.intercept[0])

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, w: float = 1.0) -> None:
        """Learn from one row of raw feature values.

        Args:
            x: values by feature name; an absent one is missing.
            y: true or 1 for fraud.
            w: what the row counts for in the loss.
        """
        self.learn_many(self.fields.binner.row(x), np.array([int(bool(y))]), np.array([float(w)]))

    def predict_proba_one(self, x: dict[base.typing.FeatureName, Any], **_: Any) -> dict[base.typing.ClfTarget, float]:
        """Probabilities of genuine (False) and fraud (True) of one row."""
        fraud = float(self.predict_proba_many(self.fields.binner.row(x))[0])
        return {False: 1.0 - fraud, True: fraud}

    def learn_many(
        self,
        bins: NDArray[Any],
        labels: NDArray[Any],
        example_weights: NDArray[Any] | None = None,
        sources: NDArray[np.int64] | None = None,
        label_time_ms: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Learn rows in order, one update a row: `learn_one` over and over, only faster.

        Returns:
            float64 (n,), the log-odds of each row just before it was learned: what an honest evaluation takes. For
            arguments and errors see `learn_counted`.
        """
        return self.learn_counted(bins, labels, example_weights, sources, label_time_ms)[0]

    def learn_counted(
        self,
        bins: NDArray[Any],
        labels: NDArray[Any],
        example_weights: NDArray[Any] | None = None,
        sources: NDArray[np.int64] | None = None,
        label_time_ms: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Learn rows in order, and say how much of each was learned.

        Args:
            bins: uint8 (n, F).
            labels: 1 fraud, 0 genuine.
            example_weights: what each row counts for in the loss, finite and not negative; 1 if not given.
            sources: int64 (n, 3), whose label it is: of the labeller, the merchant and the card; 0 where not known.
            label_time_ms: int64 (n,), when each became known; given if `sources` are.

        Returns:
            (log-odds of each row just before it was learned, share of its gradient that the caps of its sources let
            through: 1 where none was reached), float64 (n,) each.

        Raises:
            ValueError: other bins, columns of unequal length, other labels, or a weight that is negative or not finite.
        """
        matrix = self.fields.binner.matrix(bins)
        weights = np.ones(len(matrix)) if example_weights is None else np.asarray(example_weights, dtype=np.float64)
        codes = np.asarray(labels, dtype=np.int64)
        whose = np.zeros((len(matrix), SOURCES), dtype=np.int64) if sources is None else sources
        times = np.zeros(len(matrix), dtype=np.int64) if label_time_ms is None else label_time_ms
        lengths = {column.shape for column in (codes, weights, times)}
        if lengths != {(len(matrix),)} or whose.shape != (len(matrix), SOURCES):
            message = "labels, weights, times and sources must have one element a row"
            raise ValueError(message)
        if ((codes != 0) & (codes != 1)).any() or not (np.isfinite(weights) & (weights >= 0)).all():
            message = "labels must be 0 or 1, weights finite and not negative"
            raise ValueError(message)
        rates = np.array(
            [
                self.learning_rate, self.intercept_learning_rate, self.clip_gradient, self.epsilon,
                self.smallest_gradient, self.slope_rate,
            ]
        )  # fmt: skip
        columns, slots = self.fields.room()
        log_odds, shares = np.empty(len(matrix)), np.ones(len(matrix))
        caps = np.array([self.caps.labeller, self.caps.merchant, self.caps.card])
        windows = times // self.caps.window_ms
        learn_rows(
            matrix, codes, weights, whose, windows, caps, self.fields.layout, rates, self.learned, columns, slots,
            log_odds, shares,
        )  # fmt: skip
        return log_odds, shares

    def predict_proba_many(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of fraud of each row of a matrix of bins."""
        matrix = self.fields.binner.matrix(bins)
        out = np.empty(len(matrix))
        columns, slots = self.fields.room()
        predict_rows(matrix, self.fields.layout, self.learned, columns, slots, out)
        return out

    def slot_weights(self) -> Mapping[int, float]:
        """Learned weights by slot, as river's `weights`; slots never learned from are left out."""
        return {int(slot): float(self.weights[slot]) for slot in np.flatnonzero(self.learned.squared_gradients)}
