"""The trainer: lets the models learn from examples in order and publishes versions of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import ANOMALY, CATALOGUE, catalogue_digest
from detector.errors import ConfigurationError, ModelError
from detector.examples import Examples
from detector.models.bins import Binner, Grids
from detector.models.calibration import Calibrator, Evidence
from detector.models.challengers import Model, challenger, logistic_of
from detector.models.checks import ANOMALY_SAMPLE
from detector.models.config import CHAMPION, ModelsConfig
from detector.models.contest import Contest, log_losses
from detector.models.copies import Copies
from detector.models.drift import DriftMonitor
from detector.models.fields import EVERY_FEATURE
from detector.models.half_space import FIRST_WINDOW, CompiledHalfSpaceTrees
from detector.models.learned import LinearState, SharedState, Standing, TreesState
from detector.models.logistic import BinnedLogisticRegression, Learned
from detector.models.slopes import folded
from detector.models.version import ModelVersion
from detector.vocabulary import Label


@dataclass(slots=True)
class _Lineage:
    """What a trainer has learned so far."""

    created_from: str = ""
    examples_learned: int = 0
    frauds_learned: int = 0
    trained_from_ms: int = 0
    trained_to_ms: int = 0
    anomalies_sampled: int = 0


@dataclass(slots=True)
class _Contender:
    """A model with labels, and what is known of its scores."""

    name: str
    model: Model
    calibrator: Calibrator
    copies: Copies

    @property
    def learned(self) -> Learned | None:
        """What a compiled model has learned; None of one that is only compared."""
        return self.model.learned if isinstance(self.model, BinnedLogisticRegression) else None


class Trainer:
    """Learns; one thread owns it. The same examples in the same order give the same version, bit for bit.

    Attributes:
        contest: who of the models with labels is champion, and why.
        half_space: the model without labels.
        monitor: what watches for drift, if anything does; it changes nothing of what is learned.
    """

    def __init__(
        self, config: ModelsConfig, features: Grids | None = None, digest: str | None = None, *, has_trees: bool = True
    ) -> None:
        """Start with models that know nothing.

        Args:
            config: how the models are built and learn.
            features: (name, grid) of each column; the catalogue's if not given.
            digest: of the catalogue that `features` come from; given if `features` is.
            has_trees: False for one that will never learn: its trees have no splits.

        Raises:
            ConfigurationError: a field, or what trees look at, names no feature.
        """
        grids = [(feature.name, feature.grid) for feature in CATALOGUE] if features is None else features
        self._config = config
        self._config_digest = config.digest()
        self._digest = catalogue_digest() if digest is None else digest
        self._lineage = _Lineage()
        self.monitor: DriftMonitor | None = None
        self._anomaly_sample = np.full(ANOMALY_SAMPLE, np.nan, dtype=np.float32)
        binner = Binner(grids)
        rivals = [(rival.name, challenger(rival, binner, config.caps)) for rival in config.challengers]
        contenders = [(CHAMPION, logistic_of(config.logistic, binner, config.caps)), *rivals]
        window = config.calibration
        self._contenders = [
            _Contender(name, model, Calibrator(window.window, window.least_frauds), Copies())
            for name, model in contenders
        ]
        electable = [isinstance(model, BinnedLogisticRegression) for _, model in contenders]
        self.contest = Contest([name for name, _ in contenders], electable, config.contest)
        trees = config.half_space
        self.half_space = CompiledHalfSpaceTrees(
            binner, n_trees=trees.trees, height=trees.height, window_size=trees.window, seed=trees.seed,
            features=_looked_at(trees.features, binner), is_grown=has_trees,
        )  # fmt: skip

    @property
    def _champion(self) -> _Contender:
        """The contender that acts."""
        return self._contenders[self.contest.champion]

    @property
    def logistic(self) -> BinnedLogisticRegression:
        """The champion: the model with labels that versions are made of."""
        return _compiled(self._champion)

    @property
    def calibrator(self) -> Calibrator:
        """What calibrates the champion's scores."""
        return self._champion.calibrator

    @property
    def evidence(self) -> dict[str, Evidence]:
        """How good each contender was on the window of the calibration, before it learned each example."""
        return {contender.name: contender.calibrator.evidence() for contender in self._contenders}

    @property
    def binner(self) -> Binner:
        """What finds the bins of features."""
        return self.half_space.binner

    def belief(self, contender: str, bins: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What one of the contenders says of rows now: uncalibrated probabilities of fraud.

        Raises:
            ModelError: there is no such contender.
        """
        if contender not in self.contest.names:
            message = f"there is no contender {contender}"
            raise ModelError(message)
        return self._contenders[self.contest.names.index(contender)].model.predict_proba_many(bins)

    @property
    def has_uncompiled(self) -> bool:
        """Whether some contender is river's, which no version holds: it is made again by `relive`."""
        return any(contender.learned is None for contender in self._contenders)

    def resume(self, version: ModelVersion) -> Self:
        """Go on from a version, as if this trainer had learned what it has learned; returns itself.

        Challengers that are no longer configured are let go; those that are new, or have other fields than they had,
        begin with nothing. Of river's only what is known of their scores is gone on from; see `relive`.

        Raises:
            ModelError: made for other features, fields or trees than configured, or for scoring alone.
        """
        version.require_catalogue(self._digest)
        names = self.contest.names
        if version.model not in names:
            message = f"model {version.name} is of {version.model}, which is not configured"
            raise ModelError(message)
        shared = version.shared
        if shared is None:
            message = f"model {version.name} is for scoring alone: nobody can go on from it"
            raise ModelError(message)
        acting = self._contenders[names.index(version.model)]
        if version.fields != _compiled(acting).fields or not _has_trees(self.half_space, shared.trees):
            message = f"model {version.name} has other features, fields or trees than are configured"
            raise ModelError(message)
        self.contest.champion = names.index(version.model)
        self.contest.verdicts = list(version.verdicts)
        for held in (version, *version.challengers):
            self._go_on(held)
        for place, contender in enumerate(self._contenders):
            if contender.learned is None and contender.name in shared.compared:
                self._go_on_comparing(place, shared.compared[contender.name])
        trees = self.half_space
        for name in ("current_mass", "reference_mass", "progress"):
            getattr(trees, name)[:] = getattr(shared.trees, name)
        trees.forget_window()
        self._anomaly_sample = version.anomaly_sample.copy()
        self._lineage = _Lineage(
            version.name,
            version.examples_learned,
            version.frauds_learned,
            version.trained_from_ms,
            version.trained_to_ms,
            version.anomalies_sampled,
        )
        return self

    def _go_on(self, held: ModelVersion) -> None:
        """Let the contender of this name go on, if there still is one with these fields."""
        for place, contender in enumerate(self._contenders):
            learned, state = contender.learned, held.state
            if contender.name != held.model or learned is None or state is None:
                continue
            if held.fields != _compiled(contender).fields:
                continue
            for name in ("intercept", "means", "bin_counts"):
                getattr(learned, name)[:] = getattr(held, name)
            for name in ("weights", "slopes", "squared_gradients", "usual_rows", "rows", "spent", "clock"):
                getattr(learned, name)[:] = getattr(state, name)
            learned.spent_window[:] = state.clock[0]
            contender.copies = Copies()
            self._go_on_comparing(place, state.standing)

    def _go_on_comparing(self, place: int, standing: Standing) -> None:
        """Take over what is known of a contender's scores."""
        calibrator = self._contenders[place].calibrator
        calibrator.window[:] = standing.window
        calibrator.place[:] = standing.place
        calibrator.told[:] = standing.told
        self.contest.table[place] = standing.contest

    def relive(self, examples: Examples) -> None:
        """Let the contenders that no version holds learn again what they had learned; nothing else changes.

        Raises:
            ModelError: other bins.
        """
        known = examples.labelled()
        bins = self._bins(known)
        for contender in self._contenders:
            if contender.learned is None:
                contender.model.learn_counted(bins, known.label, self._weights(known))

    def learn(self, examples: Examples, *, again: bool = False, given: bool = True) -> None:
        """Learn examples in order: labelled ones with their weight, unlabelled ones for the anomaly score alone.

        Args:
            examples: what became known.
            again: whether the labelled ones were learned before; then they say nothing about calibration.
            given: whether somebody gave the labels; not where payments became genuine because nobody complained.

        Raises:
            ModelError: other bins, a label out of the vocabulary, a weight that is negative or not finite, or a
                propensity that is none; nothing has been learned then.
        """
        if ((examples.label < Label.UNLABELLED) | (examples.label > Label.FRAUD)).any():
            message = "examples: labels must be -1, 0 or 1"
            raise ModelError(message)
        if not (np.isfinite(examples.weight) & (examples.weight >= 0)).all():
            message = "examples: weights must be finite and not negative"
            raise ModelError(message)
        if not ((examples.propensity > 0) & (examples.propensity <= 1)).all():
            message = "examples: propensities must be above 0 and at most 1"
            raise ModelError(message)
        bins = self._bins(examples)
        labelled = examples.label != Label.UNLABELLED
        if labelled.any():
            rows = slice(None) if labelled.all() else labelled
            known = (bins[rows], examples.label[rows], self._weights(examples)[rows])
            self._learn_labelled(*known, examples.sources[rows], examples.label_time_ms[rows], again=again, given=given)
        if not labelled.all():
            self._watch_payments(bins[~labelled], examples.label_time_ms[~labelled])
            self._learn_unlabelled(bins[~labelled])

    def _weights(self, examples: Examples) -> NDArray[np.float64]:
        """What examples count for in the loss: those that chance had reviewed for all of which they were drawn."""
        return examples.weight * np.minimum(1.0 / examples.propensity, self._config.largest_review_weight)

    def _bins(self, examples: Examples) -> NDArray[np.uint8]:
        """The bins of examples.

        Raises:
            ModelError: they are of other features.
        """
        try:
            return self.binner.matrix(examples.bins)
        except ValueError as error:
            message = f"examples: {error}"
            raise ModelError(message) from error

    def _learn_labelled(
        self,
        bins: NDArray[np.uint8],
        label: NDArray[np.int64],
        weight: NDArray[np.float64],
        sources: NDArray[np.int64],
        label_time_ms: NDArray[np.int64],
        *,
        again: bool,
        given: bool,
    ) -> None:
        """Let all contenders learn what is known to be fraud or genuine."""
        log_odds = np.empty((len(label), len(self._contenders)))
        for place, contender in enumerate(self._contenders):
            believed, shares = contender.model.learn_counted(bins, label, weight, sources, label_time_ms)
            if not again:
                # What acts is calibrated, so that is what contenders are compared by; and who may not move the model
                # beyond his cap may not move what its scores are taken for either.
                log_odds[:, place] = contender.calibrator.take(believed, label, weight * shares)
        if not again and self.monitor is not None:
            losses = log_losses(log_odds[:, self.contest.champion], label)
            self.monitor.take_labels(losses, label_time_ms, self.logistic.predict_proba_many, given=given)
        if not again and len(self._contenders) > 1:
            self.contest.take(log_odds, label, weight, label_time_ms)
        lineage = self._lineage
        lineage.examples_learned += len(label)
        lineage.frauds_learned += int((label == Label.FRAUD).sum())
        earliest, latest = int(label_time_ms.min()), int(label_time_ms.max())
        lineage.trained_from_ms = min(lineage.trained_from_ms or earliest, earliest)
        lineage.trained_to_ms = max(lineage.trained_to_ms, latest)

    def _watch_payments(self, bins: NDArray[np.uint8], time_ms: NDArray[np.int64]) -> None:
        """Show a sample of payments to the monitor."""
        if self.monitor is not None:
            self.monitor.take_payments(bins, time_ms, self.logistic.predict_proba_many)

    def _learn_unlabelled(self, bins: NDArray[np.uint8]) -> None:
        """Note what the rows score, then learn them; window by window, so that cuts between calls change nothing."""
        trees, lineage = self.half_space, self._lineage
        while len(bins):
            rows = bins[: trees.left_in_window]
            bins = bins[len(rows) :]
            if not trees.progress[FIRST_WINDOW]:
                places = (lineage.anomalies_sampled + np.arange(len(rows))) % ANOMALY_SAMPLE
                # Beyond one turn of the ring the latest score of a place counts, as it does for rows one by one.
                self._anomaly_sample[places[-ANOMALY_SAMPLE:]] = trees.score_as_of_window(rows)[-ANOMALY_SAMPLE:]
                lineage.anomalies_sampled += len(rows)
            trees.learn_many(rows)

    def version(self, name: str, examples_offset: int) -> ModelVersion:
        """Publish all that has been learned: a copy that later learning does not touch, and that can be gone on from.

        Args:
            name: of the version, as "m-000001".
            examples_offset: next offset on `cardwatch.examples.v1`.
        """
        trees = self.half_space
        compared = {
            contender.name: self._standing(place)
            for place, contender in enumerate(self._contenders)
            if contender.learned is None
        }
        kept = TreesState(
            columns=trees.columns.copy(),
            limits=trees.limits.copy(),
            current_mass=trees.current_mass.copy(),
            reference_mass=trees.reference_mass.copy(),
            progress=trees.progress.copy(),
            window=trees.window_size,
        )
        drift = None if self.monitor is None else self.monitor.state.copy()
        common = self._common(name, examples_offset)
        challengers = [
            self._version_of(place, common)
            for place, contender in enumerate(self._contenders)
            if place != self.contest.champion and contender.learned is not None
        ]
        return replace(
            self._version_of(self.contest.champion, common), verdicts=tuple(self.contest.verdicts),
            challengers=tuple(challengers), shared=SharedState(kept, compared, drift),
        )  # fmt: skip

    def scorer(self, name: str, examples_offset: int = 0) -> ModelVersion:
        """A version of the champion for scoring alone: made in microseconds, cannot be written or gone on from.

        Args:
            name: of the version.
            examples_offset: next offset on `cardwatch.examples.v1`.
        """
        champion = self._champion
        weights = champion.copies.take(self.logistic.learned, self.logistic.fields.layout)
        made = _linear_of(champion, weights, None) | self._common(name, examples_offset)
        return ModelVersion(**made, verdicts=tuple(self.contest.verdicts))

    def _standing(self, place: int) -> Standing:
        """What is known of a contender's scores."""
        calibrator = self._contenders[place].calibrator
        return Standing(
            calibrator.window.copy(), calibrator.place.copy(), calibrator.told.copy(), self.contest.table[place].copy()
        )

    def _version_of(self, place: int, common: dict[str, Any]) -> ModelVersion:
        """The version of one contender, with what is needed to go on with it."""
        contender = self._contenders[place]
        learned = _compiled(contender).learned
        state = LinearState(
            weights=learned.weights.copy(),
            slopes=learned.slopes.copy(),
            squared_gradients=learned.squared_gradients.copy(),
            usual_rows=learned.usual_rows.copy(),
            rows=learned.rows.copy(),
            spent=np.where(learned.spent_window == learned.clock[0], learned.spent, 0.0),
            clock=learned.clock.copy(),
            standing=self._standing(place),
        )
        weights = folded(learned.weights, _compiled(contender).fields.layout, learned.slopes)
        return ModelVersion(**_linear_of(contender, weights, state), **common)

    def _common(self, name: str, examples_offset: int) -> dict[str, Any]:
        """What the versions of all contenders share."""
        lineage = self._lineage
        return {
            "name": name,
            "catalogue_digest": self._digest,
            "configuration_digest": self._config_digest,
            "created_from": lineage.created_from,
            "examples_offset": examples_offset,
            "examples_learned": lineage.examples_learned,
            "frauds_learned": lineage.frauds_learned,
            "trained_from_ms": lineage.trained_from_ms,
            "trained_to_ms": lineage.trained_to_ms,
            "cold_start_frauds": self._config.cold_start_frauds,
            "forest": self.half_space.forest(),
            "anomaly_sample": self._anomaly_sample.copy(),
            "anomalies_sampled": lineage.anomalies_sampled,
        }


def nothing_learned(config: ModelsConfig, name: str) -> ModelVersion:
    """Make the version that scores until one was published: the same scores as a new trainer's, seconds sooner.

    Args:
        config: how the models are built.
        name: of the version.

    Raises:
        ConfigurationError: a field, or what trees look at, names no feature.
    """
    return Trainer(config, has_trees=False).version(name, 0)


def _compiled(contender: _Contender) -> BinnedLogisticRegression:
    """The compiled model of a contender.

    Raises:
        ModelError: it is one of river's.
    """
    if not isinstance(contender.model, BinnedLogisticRegression):
        message = f"model {contender.name} cannot act"
        raise ModelError(message)
    return contender.model


def _looked_at(features: tuple[str, ...], binner: Binner) -> list[str]:
    """The features that trees look at: theirs, but not their own answer.

    Raises:
        ConfigurationError: their own answer is among those named.
    """
    if ANOMALY in features:
        message = f'half_space.features: trees cannot look at their own score, "{ANOMALY}"; take it out'
        raise ConfigurationError(message)
    named = binner.names if EVERY_FEATURE in features else features
    return [name for name in named if name != ANOMALY]


def _has_trees(trees: CompiledHalfSpaceTrees, state: TreesState) -> bool:
    """Whether trees are those of a state."""
    same = np.array_equal(state.columns, trees.columns) and np.array_equal(state.limits, trees.limits)
    return same and state.window == trees.window_size


def _linear_of(contender: _Contender, weights: NDArray[np.float64], state: LinearState | None) -> dict[str, Any]:
    """What a version says of one contender."""
    model, evidence = _compiled(contender), contender.calibrator.evidence()
    return {
        "model": contender.name,
        "log_loss": evidence.log_loss,
        "average_precision": evidence.average_precision,
        "fields": model.fields,
        "weights": weights,
        "intercept": model.learned.intercept.copy(),
        "offsets": contender.calibrator.offsets(),
        "means": model.learned.means.copy(),
        "bin_counts": model.learned.bin_counts.copy(),
        "state": state,
    }
