"""The trainer: lets the models learn from examples in order and publishes versions of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import CATALOGUE, catalogue_digest
from detector.errors import ModelError
from detector.examples import Examples
from detector.models.bins import Binner, Grids
from detector.models.config import ModelsConfig
from detector.models.half_space import FIRST_WINDOW, CompiledHalfSpaceTrees
from detector.models.logistic import BinnedLogisticRegression
from detector.models.version import ANOMALY_SAMPLE, ModelVersion
from detector.vocabulary import Label


@dataclass(slots=True)
class _Lineage:
    """What a trainer has learned so far."""

    created_from: str = ""
    examples_learned: int = 0
    frauds_learned: int = 0
    trained_to_ms: int = 0
    anomalies_sampled: int = 0


class Trainer:
    """Learns; one thread owns it. The same examples in the same order give the same version, bit for bit.

    Attributes:
        logistic: the model with labels.
        half_space: the model without.
    """

    def __init__(self, config: ModelsConfig, features: Grids | None = None, digest: str | None = None) -> None:
        """Start with models that know nothing.

        Args:
            config: how the models are built and learn.
            features: (name, grid) of each column; the catalogue's if not given.
            digest: of the catalogue that `features` come from; given if `features` is.

        Raises:
            ConfigurationError: a cross names no feature.
        """
        grids = [(feature.name, feature.grid) for feature in CATALOGUE] if features is None else features
        self._config = config
        self._digest = catalogue_digest() if digest is None else digest
        self._lineage = _Lineage()
        self._anomaly_sample = np.full(ANOMALY_SAMPLE, np.nan, dtype=np.float32)
        binner = Binner(grids, config.logistic.crosses)
        self.logistic = BinnedLogisticRegression(
            binner,
            learning_rate=config.logistic.learning_rate,
            intercept_learning_rate=config.logistic.intercept_learning_rate,
            initial_intercept=config.logistic.initial_intercept,
            clip_gradient=config.logistic.clip_gradient,
        )
        trees = config.half_space
        self.half_space = CompiledHalfSpaceTrees(
            binner, n_trees=trees.trees, height=trees.height, window_size=trees.window, seed=trees.seed
        )

    def resume(self, version: ModelVersion) -> Self:
        """Go on from a version, as if this trainer had learned what it has learned; returns itself.

        Raises:
            ModelError: made for other features, crosses or trees than configured.
        """
        version.require_catalogue(self._digest)
        logistic, trees = self.logistic, self.half_space
        same_trees = np.array_equal(version.columns, trees.columns) and np.array_equal(version.limits, trees.limits)
        if version.binner != logistic.binner or not same_trees or version.window != trees.window_size:
            message = f"model {version.name} has other features, crosses or trees than are configured"
            raise ModelError(message)
        logistic.weights = version.weights.copy()
        logistic.squared_gradients = version.squared_gradients.copy()
        logistic.seen = version.seen.copy()
        logistic.intercept = version.intercept.copy()
        trees.current_mass = version.current_mass.copy()
        trees.reference_mass = version.reference_mass.copy()
        trees.progress = version.progress.copy()
        self._anomaly_sample = version.anomaly_sample.copy()
        self._lineage = _Lineage(
            version.name,
            version.examples_learned,
            version.frauds_learned,
            version.trained_to_ms,
            version.anomalies_sampled,
        )
        return self

    def learn(self, examples: Examples) -> None:
        """Learn examples in order: labelled ones with their weight, unlabelled ones for the anomaly score alone.

        Raises:
            ModelError: a matrix of other features, a label out of the vocabulary, or a weight that is negative or not
                finite; nothing has been learned then.
        """
        if examples.features.shape != (len(examples), self.logistic.binner.feature_count):
            message = f"examples have {examples.features.shape[1:]} features, not {self.logistic.binner.feature_count}"
            raise ModelError(message)
        if ((examples.label < Label.UNLABELLED) | (examples.label > Label.FRAUD)).any():
            message = "examples: labels must be -1, 0 or 1"
            raise ModelError(message)
        if not (np.isfinite(examples.weight) & (examples.weight >= 0)).all():
            message = "examples: weights must be finite and not negative"
            raise ModelError(message)
        labelled = examples.label != Label.UNLABELLED
        self.logistic.learn_many(examples.features[labelled], examples.label[labelled], examples.weight[labelled])
        self._learn_unlabelled(examples.features[~labelled])
        lineage = self._lineage
        lineage.examples_learned += int(labelled.sum())
        lineage.frauds_learned += int((examples.label == Label.FRAUD).sum())
        if labelled.any():
            lineage.trained_to_ms = max(lineage.trained_to_ms, int(examples.label_time_ms[labelled].max()))

    def _learn_unlabelled(self, features: NDArray[np.float32]) -> None:
        """Note what the rows score, then learn them; window by window, so that cuts between calls change nothing."""
        trees, lineage = self.half_space, self._lineage
        while len(features):
            rows = features[: trees.left_in_window]
            features = features[len(rows) :]
            if not trees.progress[FIRST_WINDOW]:
                places = (lineage.anomalies_sampled + np.arange(len(rows))) % ANOMALY_SAMPLE
                # Beyond one turn of the ring the latest score of a place counts, as it does for rows one by one.
                self._anomaly_sample[places[-ANOMALY_SAMPLE:]] = trees.score_as_of_window(rows)[-ANOMALY_SAMPLE:]
                lineage.anomalies_sampled += len(rows)
            trees.learn_many(rows)

    def version(self, name: str, examples_offset: int) -> ModelVersion:
        """Publish what has been learned: a copy that later learning does not touch.

        Args:
            name: of the version, as "m-000001".
            examples_offset: next offset on `cardwatch.examples.v1`.
        """
        logistic, trees, lineage = self.logistic, self.half_space, self._lineage
        return ModelVersion(
            name=name,
            catalogue_digest=self._digest,
            created_from=lineage.created_from,
            examples_offset=examples_offset,
            examples_learned=lineage.examples_learned,
            frauds_learned=lineage.frauds_learned,
            trained_to_ms=lineage.trained_to_ms,
            cold_start_frauds=self._config.cold_start_frauds,
            binner=logistic.binner,
            weights=logistic.weights.copy(),
            squared_gradients=logistic.squared_gradients.copy(),
            seen=logistic.seen.copy(),
            intercept=logistic.intercept.copy(),
            columns=trees.columns.copy(),
            limits=trees.limits.copy(),
            current_mass=trees.current_mass.copy(),
            reference_mass=trees.reference_mass.copy(),
            progress=trees.progress.copy(),
            window=trees.window_size,
            anomaly_sample=self._anomaly_sample.copy(),
            anomalies_sampled=lineage.anomalies_sampled,
        )
