"""Challengers: models that learn and are compared beside the champion, and never act.

A challenger is a binned logistic regression with other settings, compiled and able to become champion, or any
classifier or anomaly detector of river, slower and for comparison only. River's are named, never loaded: a name is
looked up among river's own public classes, parameters are plain values, and what it has learned is made again by
learning again. They are given a dictionary of feature name and middle of the bin, missing values left out.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from river import base, compose

from detector.errors import ConfigurationError
from detector.models.bins import Binner
from detector.models.config import ChallengerConfig, LogisticConfig, RiverStep
from detector.models.fields import Fields
from detector.models.logistic import BinnedLogisticRegression, Caps

_MAXIMUM_LOG_ODDS = 20.0


class Model(Protocol):
    """What is compared."""

    def learn_counted(
        self,
        bins: NDArray[Any],
        labels: NDArray[Any],
        example_weights: NDArray[Any] | None = None,
        sources: NDArray[np.int64] | None = None,
        label_time_ms: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Learn rows in order; the log-odds of each just before it was learned, and how much of it was learned."""
        ...

    def predict_proba_many(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of fraud of each row."""
        ...


def logistic_of(config: LogisticConfig, binner: Binner, caps: Caps) -> BinnedLogisticRegression:
    """The compiled logistic regression of a configuration.

    Raises:
        ConfigurationError: a field names no feature.
    """
    return BinnedLogisticRegression(
        Fields(binner, config.fields),
        learning_rate=config.learning_rate,
        intercept_learning_rate=config.intercept_learning_rate,
        initial_intercept=config.initial_intercept,
        clip_gradient=config.clip_gradient,
        epsilon=config.epsilon,
        smallest_gradient=config.smallest_gradient,
        caps=caps,
        slope_rate=config.slope_rate,
    )


def _river_class(name: str) -> type[base.Estimator]:
    """A public class of river by its module and name.

    Raises:
        ConfigurationError: there is none.
    """
    module_name, _, class_name = name.rpartition(".")
    found: Any = None
    if module_name and all(part.isidentifier() and not part.startswith("_") for part in module_name.split(".")):
        try:
            module = importlib.import_module(f"river.{module_name}")
        except ImportError:
            module = None
        if module is not None and class_name in getattr(module, "__all__", ()):
            found = getattr(module, class_name)
    if not (isinstance(found, type) and issubclass(found, base.Estimator)):
        message = f'challengers: river has no estimator "{name}"; write it as "linear_model.LogisticRegression"'
        raise ConfigurationError(message)
    return found


def river_estimator(steps: Sequence[RiverStep]) -> base.Estimator:
    """A model of river, or a pipeline that ends in one.

    Raises:
        ConfigurationError: a name is none of river's, parameters do not fit, or the last step neither classifies nor
            finds anomalies.
    """
    made: list[base.Estimator] = []
    for step in steps:
        try:
            made.append(_river_class(step.name)(**step.parameters))
        except (TypeError, ValueError) as error:
            message = f"challengers: {step.name}: {error}"
            raise ConfigurationError(message) from error
    if not made or not isinstance(made[-1], base.Classifier | base.AnomalyDetector):
        message = "challengers: the last of river's steps must be a classifier or an anomaly detector"
        raise ConfigurationError(message)
    return made[0] if len(made) == 1 else compose.Pipeline(*made)


class RiverModel:
    """One of river's models over bins."""

    def __init__(self, binner: Binner, steps: Sequence[RiverStep]) -> None:
        """Start with one that knows nothing.

        Raises:
            ConfigurationError: river has no such model.
        """
        self._estimator: Any = river_estimator(steps)
        last = self._estimator[-1] if isinstance(self._estimator, compose.Pipeline) else self._estimator
        self._classifies = isinstance(last, base.Classifier)
        self._binner = binner
        self._middles = [
            [binner.middle(column, bin_) for bin_ in range(int(missing) + 1)]
            for column, missing in enumerate(binner.missing_bins)
        ]

    def _row(self, bins: Sequence[int]) -> dict[str, float]:
        """A row as river takes it."""
        values = zip(self._binner.names, (self._middles[c][bin_] for c, bin_ in enumerate(bins)), strict=True)
        return {name: value for name, value in values if not math.isnan(value)}

    def _probability(self, x: dict[str, float]) -> float:
        """Probability of fraud, or how unusual a row is; 0 before anything has been learned."""
        if not self._classifies:
            return float(self._estimator.score_one(x))
        return float(self._estimator.predict_proba_one(x).get(True, 0.0))

    def learn_counted(
        self,
        bins: NDArray[Any],
        labels: NDArray[Any],
        example_weights: NDArray[Any] | None = None,
        sources: NDArray[np.int64] | None = None,  # noqa: ARG002 - river has no caps
        label_time_ms: NDArray[np.int64] | None = None,  # noqa: ARG002 - river has no caps
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Learn rows in order; the log-odds of each just before it was learned, and that all was learned. See `Model`.

        River's models do not all take weights: a row of weight 0 is not learned, every other once.
        """
        weights = np.ones(len(bins)) if example_weights is None else np.asarray(example_weights, dtype=np.float64)
        out = np.empty(len(bins))
        rows = zip(self._binner.matrix(bins).tolist(), labels.tolist(), weights.tolist(), strict=True)
        for row, (bins_of_row, label, weight) in enumerate(rows):
            x = self._row(bins_of_row)
            share = min(max(self._probability(x), 0.0), 1.0)
            odds = math.log(share) - math.log1p(-share) if 0.0 < share < 1.0 else math.copysign(1e9, share - 0.5)
            out[row] = min(max(odds, -_MAXIMUM_LOG_ODDS), _MAXIMUM_LOG_ODDS)
            if weight > 0.0 and self._classifies:
                self._estimator.learn_one(x, bool(label))
            elif weight > 0.0:
                self._estimator.learn_one(x)
        return out, np.ones(len(out))

    def predict_proba_many(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of fraud of each row, or how unusual it is. See `Model`."""
        return np.array([self._probability(self._row(row)) for row in self._binner.matrix(bins).tolist()])


def challenger(config: ChallengerConfig, binner: Binner, caps: Caps) -> Model:
    """Make a challenger.

    Raises:
        ConfigurationError: a field names no feature, or river has no such model.
    """
    if config.logistic is not None:
        return logistic_of(config.logistic, binner, caps)
    return RiverModel(binner, config.river)
