"""Logistic regression on binned, one-hot features with AdaGrad, behind river's interface and learned in Numba.

It is river's `LogisticRegression(optimizer=AdaGrad(lr), l2=0)` on one-hot dictionaries of slots: the same gradient with
its cut-offs, the same order of intercept and weights, one update a row. Tests hold the two equal to 1e-9. A row of
one-hot fields touches one weight a field, which is what makes learning a microsecond's work.

Source: Duchi, Hazan, Singer: *Adaptive subgradient methods for online learning and stochastic optimization* (2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from detector.jit import kernel
from detector.models.bins import Binner, bin_row, slot_row

# river's: added to the sum of squared gradients, and where its sigmoid and its gradient stop computing exponentials.
_ADAGRAD_EPSILON = 1e-8
_SIGMOID_LIMIT = 30.0
_GRADIENT_LIMIT = 18.0


@kernel
def sigmoid(log_odds: float) -> float:
    """Probability of a log-odds, exactly 0 or 1 beyond 30 as river has it."""
    if log_odds < -_SIGMOID_LIMIT:
        return 0.0
    if log_odds > _SIGMOID_LIMIT:
        return 1.0
    return 1.0 / (1.0 + math.exp(-log_odds))


@kernel
def log_odds_of(slots: NDArray[np.int32], weights: NDArray[np.float64], intercept: float) -> float:
    """Log-odds of one row: its slots' weights added in the order of the fields, then the intercept."""
    total = 0.0
    for field in range(slots.shape[0]):
        total += weights[slots[field]]
    return total + intercept


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
    features: NDArray[np.float32],
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    crosses: NDArray[np.int32],
    slot_starts: NDArray[np.int32],
    weights: NDArray[np.float64],
    intercept: float,
    bins: NDArray[np.int32],
    slots: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Probability of fraud of each row; `bins` and `slots` are room for one row."""
    for row in range(features.shape[0]):
        bin_row(features, row, edges, edge_starts, bins)
        slot_row(bins, crosses, slot_starts, slots)
        out[row] = sigmoid(log_odds_of(slots, weights, intercept))


@kernel
def learn_rows(
    slots: NDArray[np.int32],
    labels: NDArray[np.int64],
    example_weights: NDArray[np.float64],
    rates: NDArray[np.float64],
    weights: NDArray[np.float64],
    squared_gradients: NDArray[np.float64],
    seen: NDArray[np.float64],
    intercept: NDArray[np.float64],
) -> None:
    """Learn row by row; `rates` holds (learning rate, intercept's learning rate, largest absolute gradient).

    `weights`, `squared_gradients`, `seen` (per slot) and `intercept` (one element) are changed in place.
    """
    for row in range(slots.shape[0]):
        gradient = _loss_gradient(labels[row], log_odds_of(slots[row], weights, intercept[0])) * example_weights[row]
        gradient = min(max(gradient, -rates[2]), rates[2])
        intercept[0] -= rates[1] * gradient
        for field in range(slots.shape[1]):
            slot = slots[row, field]
            squared_gradients[slot] += gradient * gradient
            weights[slot] -= rates[0] / math.sqrt(squared_gradients[slot] + _ADAGRAD_EPSILON) * gradient
            seen[slot] += example_weights[row]


class BinnedLogisticRegression(base.Classifier):
    """Online logistic regression over one-hot bins, by AdaGrad.

    Args:
        binner: turns feature values into slots.
        learning_rate: AdaGrad's.
        intercept_learning_rate: the constant rate of the intercept.
        initial_intercept: log-odds before anything has been learned.
        clip_gradient: largest absolute gradient of the loss, after the example's weight.

    Attributes:
        weights, squared_gradients: float64, one a slot.
        seen: float64, sum of the example weights that each slot has learned from; the baseline of explanations.
        intercept: float64[1].
    """

    def __init__(
        self,
        binner: Binner,
        learning_rate: float = 0.1,
        intercept_learning_rate: float = 0.01,
        initial_intercept: float = 0.0,
        clip_gradient: float = 1e12,
    ) -> None:
        """Start with weights of zero."""
        self.binner = binner
        self.learning_rate = learning_rate
        self.intercept_learning_rate = intercept_learning_rate
        self.initial_intercept = initial_intercept
        self.clip_gradient = clip_gradient
        self.weights = np.zeros(binner.slot_count)
        self.squared_gradients = np.zeros(binner.slot_count)
        self.seen = np.zeros(binner.slot_count)
        self.intercept = np.array([float(initial_intercept)])

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        """Parameters for river's own checks, which make estimators by themselves."""
        yield {"binner": Binner([("amount", (1.0, 2.0))])}

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, w: float = 1.0) -> None:
        """Learn from one row of raw feature values.

        Args:
            x: values by feature name; an absent one is missing.
            y: true or 1 for fraud.
            w: what the row counts for in the loss.
        """
        self.learn_many(self.binner.row(x), np.array([int(bool(y))]), np.array([float(w)]))

    def predict_proba_one(self, x: dict[base.typing.FeatureName, Any], **_: Any) -> dict[base.typing.ClfTarget, float]:
        """Probabilities of genuine (False) and fraud (True) of one row."""
        fraud = float(self.predict_proba_many(self.binner.row(x))[0])
        return {False: 1.0 - fraud, True: fraud}

    def learn_many(
        self, features: NDArray[Any], labels: NDArray[Any], example_weights: NDArray[Any] | None = None
    ) -> None:
        """Learn rows in order, one update a row: `learn_one` over and over, only faster.

        Args:
            features: (n, F), NaN where missing.
            labels: 1 fraud, 0 genuine.
            example_weights: what each row counts for in the loss, finite and not negative; 1 if not given.

        Raises:
            ValueError: columns of unequal length, other labels, or a weight that is negative or not finite.
        """
        slots = self.binner.slots(features)
        weights = np.ones(len(slots)) if example_weights is None else np.asarray(example_weights, dtype=np.float64)
        codes = np.asarray(labels, dtype=np.int64)
        if codes.shape != (len(slots),) or weights.shape != (len(slots),):
            message = "labels and weights must have one element a row"
            raise ValueError(message)
        if ((codes != 0) & (codes != 1)).any() or not (np.isfinite(weights) & (weights >= 0)).all():
            message = "labels must be 0 or 1, weights finite and not negative"
            raise ValueError(message)
        rates = np.array([self.learning_rate, self.intercept_learning_rate, self.clip_gradient], dtype=np.float64)
        learn_rows(slots, codes, weights, rates, self.weights, self.squared_gradients, self.seen, self.intercept)

    def predict_proba_many(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of fraud of each row of a feature matrix."""
        matrix = self.binner.matrix(features)
        out = np.empty(len(matrix))
        binner = self.binner
        predict_rows(
            matrix, binner.edges, binner.edge_starts, binner.cross_columns, binner.slot_starts,
            self.weights, float(self.intercept[0]),
            np.empty(binner.feature_count, np.int32), np.empty(binner.field_count, np.int32), out,
        )  # fmt: skip
        return out

    def slot_weights(self) -> Mapping[int, float]:
        """Learned weights by slot, as river's `weights`; slots never learned from are left out."""
        return {int(slot): float(self.weights[slot]) for slot in np.flatnonzero(self.seen)}
