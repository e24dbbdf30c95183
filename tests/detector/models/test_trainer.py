"""The trainer learns in order, goes on where a version stopped, and publishes what it learned."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cardwatch.settings import shipped_toml
from detector.catalogue import CATALOGUE, DAY_MS, catalogue_digest
from detector.errors import ConfigurationError, ModelError
from detector.examples import Examples
from detector.models import ModelsConfig, ModelVersion, Trainer, nothing_learned
from detector.models.drift import DriftAlarm, DriftMonitor
from tests.detector.models.helpers import (
    DIGEST,
    GRIDS,
    models_config,
    models_mapping,
    random_bins,
    random_examples,
    told,
)


def _cut(examples: Examples, rows: slice) -> Examples:
    return Examples(
        *(
            getattr(examples, name)[rows]
            for name in ("bins", "label", "weight", "label_time_ms", "sources", "propensity")
        )
    )


def _trainer() -> Trainer:
    return Trainer(models_config(), GRIDS, DIGEST)


def test_each_model_sees_its_own_examples() -> None:
    """Labelled rows teach only the model with labels, unlabelled ones only the one without."""
    examples = random_examples(1, 300)
    labelled = examples.label >= 0
    trainer, supervised, unsupervised = _trainer(), _trainer(), _trainer()
    trainer.learn(examples)
    supervised.logistic.learn_many(
        *(getattr(examples, name)[labelled] for name in ("bins", "label", "weight", "sources", "label_time_ms"))
    )
    unsupervised.half_space.learn_many(examples.bins[~labelled])
    assert trainer.logistic.weights.tobytes() == supervised.logistic.weights.tobytes()
    assert trainer.half_space.reference_mass.tobytes() == unsupervised.half_space.reference_mass.tobytes()


@pytest.mark.parametrize(("propensity", "weight"), [(1.0, 1.0), (0.1, 10.0), (0.01, 100.0), (1e-6, 100.0)])
def test_what_chance_has_found_counts_inversely_to_its_chance(propensity: float, weight: float) -> None:
    """A row of a propensity is learned like one of the inverse weight, up to the largest that is configured."""
    examples = random_examples(4, 300)
    drawn, weighted = _trainer(), _trainer()
    drawn.learn(replace(examples, propensity=np.full(300, propensity)))
    weighted.learn(replace(examples, weight=examples.weight * weight))
    assert drawn.logistic.weights.tobytes() == weighted.logistic.weights.tobytes()
    assert drawn.evidence == weighted.evidence


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.5, float("nan")])
def test_a_propensity_that_is_none_is_refused(propensity: float) -> None:
    """Nothing is learned of examples that would count for nothing, or for endlessly much."""
    examples, trainer = random_examples(4, 30), _trainer()
    before = trainer.logistic.weights.tobytes()
    with pytest.raises(ModelError, match="propensities"):
        trainer.learn(replace(examples, propensity=np.full(30, propensity)))
    assert trainer.logistic.weights.tobytes() == before


def test_lineage_counts_what_was_learned() -> None:
    """A version says how much it has learned, to when, and from what it came."""
    examples = random_examples(2, 300)
    labelled = examples.label >= 0
    trainer = _trainer()
    trainer.learn(examples)
    version = trainer.version("m-000001", 300)
    assert (version.examples_learned, version.frauds_learned) == (labelled.sum(), (examples.label == 1).sum())
    assert version.trained_to_ms == examples.label_time_ms[labelled].max()
    assert (version.name, version.examples_offset, version.created_from) == ("m-000001", 300, "")
    assert version.is_cold is (version.frauds_learned < 10)


def test_resumed_trainer_goes_on_bit_for_bit() -> None:
    """A trainer that restarts from its last version ends where one that never stopped ends."""
    examples = random_examples(3, 500)
    whole = _trainer()
    whole.learn(examples)
    first = _trainer()
    first.learn(_cut(examples, slice(0, 233)))
    stored = first.version("m-000001", 233).to_bytes()
    second = _trainer().resume(ModelVersion.from_bytes(stored))
    second.learn(_cut(examples, slice(233, None)))
    expected = replace(whole.version("m-000002", 500), created_from="m-000001")
    assert second.version("m-000002", 500).to_bytes() == expected.to_bytes()


@pytest.mark.compiled
def test_cuts_do_not_change_a_bit() -> None:
    """However a log of examples is cut into calls, across windows and turns of the ring, the version is the same."""
    examples = random_examples(4, 40_000)
    whole, pieces = _trainer(), _trainer()
    whole.learn(examples)
    for start, stop in itertools.pairwise([0, 1, 2, 700, 703, 20_000, 39_999, 40_000]):
        pieces.learn(_cut(examples, slice(start, stop)))
    version = whole.version("m-000001", 0)
    assert version.anomalies_sampled > len(version.anomaly_sample)
    assert pieces.version("m-000001", 0).to_bytes() == version.to_bytes()


def test_resume_refuses_models_built_otherwise() -> None:
    """Changed fields, trees or catalogue make another model: weights are not carried over silently."""
    version = _trainer().version("m-000001", 0)
    config = models_config()
    for other in (
        Trainer(models_config(seed=8), GRIDS, DIGEST),
        Trainer(models_config(window=33), GRIDS, DIGEST),
        Trainer(replace(config, logistic=replace(config.logistic, fields=("*",))), GRIDS, DIGEST),
        Trainer(config, GRIDS, "another"),
    ):
        with pytest.raises(ModelError):
            other.resume(version)


def test_learning_rate_may_change_between_versions() -> None:
    """How fast to learn is not part of what was learned."""
    config = models_config()
    faster = Trainer(replace(config, logistic=replace(config.logistic, learning_rate=0.5)), GRIDS, DIGEST)
    assert faster.resume(_trainer().version("m-000001", 0)).logistic.learning_rate == 0.5


def test_versions_for_scoring_do_not_change() -> None:
    """However many are kept or let go, each scores for ever as the whole version of its moment does."""
    examples, bins = random_examples(6, 4_000), random_bins(7, 64)
    trainer, kept = _trainer(), []
    for number, start in enumerate(range(0, 4_000, 200)):
        trainer.learn(_cut(examples, slice(start, start + 200)))
        scorer, whole = trainer.scorer("m"), trainer.version("m", 0)
        expected = [column.tobytes() for column in told(whole, bins)]
        assert [column.tobytes() for column in told(scorer, bins)] == expected
        if number % 3:
            kept.append((scorer, expected))
    for scorer, expected in kept:
        assert [column.tobytes() for column in told(scorer, bins)] == expected


def test_what_scores_before_any_version_is_a_trainer_that_learned_nothing() -> None:
    """With the shipped settings, to the bit; only its trees were never grown, and all their scores are 0."""
    config = ModelsConfig.from_mapping(shipped_toml("models.toml"))
    begun, nothing = Trainer(config).version("m-000000", 0), nothing_learned(config, "m-000000")
    bins = np.random.default_rng(5).integers(0, 3, (200, len(CATALOGUE))).astype(np.uint8)
    assert [column.tobytes() for column in told(nothing, bins)] == [column.tobytes() for column in told(begun, bins)]
    assert not nothing.anomalies(bins).any()
    assert nothing.configuration_digest == begun.configuration_digest


def test_versions_for_scoring_take_turns_in_two_copies() -> None:
    """Where old versions are let go, no memory is asked for: a replay publishes thousands."""
    trainer, examples = _trainer(), random_examples(6, 1_000)
    places = []
    scorer = None
    for start in range(0, 1_000, 100):
        trainer.learn(_cut(examples, slice(start, start + 100)))
        scorer = trainer.scorer("m")
        places.append(scorer.weights.ctypes.data)
    assert scorer is not None
    assert len(set(places)) == 2


def test_versions_for_scoring_cannot_be_gone_on_from() -> None:
    """They lack what learning needs, and say so."""
    scorer = _trainer().scorer("m-000001")
    with pytest.raises(ModelError, match="scoring alone"):
        scorer.to_bytes()
    with pytest.raises(ModelError, match="scoring alone"):
        _trainer().resume(scorer)
    with pytest.raises(ValueError, match="read-only"):
        scorer.weights[0] = 1.0


def test_examples_read_again_do_not_speak_of_calibration() -> None:
    """A model is sure of what it has seen before; only the first time counts."""
    examples = random_examples(8, 600)
    once, twice = _trainer(), _trainer()
    once.learn(examples)
    twice.learn(examples)
    twice.learn(examples, again=True)
    assert once.calibrator.window.tobytes() == twice.calibrator.window.tobytes()
    assert once.logistic.weights.tobytes() != twice.logistic.weights.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"bins": np.zeros((3, 9), dtype=np.uint8)},
        {"bins": np.full((3, 4), 7, dtype=np.uint8)},
        {"label": np.array([0, 1, 2])},
        {"weight": np.array([1.0, -1.0, 1.0])},
        {"weight": np.array([1.0, np.nan, 1.0])},
    ],
)
def test_bad_examples_are_refused_unlearned(change: dict[str, np.ndarray]) -> None:
    """A run of examples is learned whole or not at all."""
    trainer = _trainer()
    before = trainer.version("m-000001", 0).to_bytes()
    with pytest.raises(ModelError):
        trainer.learn(replace(_cut(random_examples(1, 3), slice(None)), **change))
    assert trainer.version("m-000001", 0).to_bytes() == before


def test_catalogue_is_the_default() -> None:
    """Without features of its own a trainer learns those of the catalogue; an unknown one is named."""
    config = models_config()
    trainer = Trainer(replace(config, logistic=replace(config.logistic, fields=("*", "amount x hour"))))
    version = trainer.version("m-000000", 0)
    version.require_catalogue(catalogue_digest())
    assert version.binner.names == tuple(feature.name for feature in CATALOGUE)
    with pytest.raises(ConfigurationError, match="no feature"):
        Trainer(config)


class _Told:
    """Who is told of drift."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.alarms: list[DriftAlarm] = []

    def drift_seen(self, name: str, _value: float, *, is_wrong: bool) -> None:  # noqa: ARG002 - a port's
        self.names.add(name)

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        self.alarms.append(alarm)


@pytest.mark.compiled
def test_a_monitor_is_shown_payments_labels_and_losses_and_changes_nothing() -> None:
    """Drift is watched beside learning: every feature, the score, the labels and the loss, and the same version."""
    told, weeks = _Told(), 5
    rows = 14 * weeks * 600
    examples = random_examples(5, rows)
    times = 1_767_225_600_000 + np.arange(rows) * (DAY_MS // 1_200)
    examples = replace(examples, label_time_ms=times.astype(np.int64))
    alone, watched = _trainer(), _trainer()
    watched.monitor = DriftMonitor(watched.binner, told)
    for trainer in (alone, watched):
        for start in range(0, rows, 600):
            trainer.learn(_cut(examples, slice(start, start + 600)))
    assert told.names >= {*(name for name, _ in GRIDS), "score", "labels"}
    assert not [alarm for alarm in told.alarms if alarm.name not in {"score", "loss"}]
    unwatched = watched.version("m", 0)
    assert unwatched.shared is not None
    unwatched = replace(unwatched, shared=replace(unwatched.shared, drift=None))
    assert unwatched.to_bytes() == alone.version("m", 0).to_bytes()


def test_trees_do_not_look_at_their_own_score() -> None:
    """What the trees say is a column of the bins, and none of their splits is on it, whatever "*" may mean."""
    mapping = models_mapping()
    grids = [*GRIDS, ("anomaly", (0.5,))]
    trainer = Trainer(ModelsConfig.from_mapping(mapping), grids, DIGEST)
    assert set(trainer.half_space.columns.ravel().tolist()) == set(range(len(GRIDS)))
    mapping["half_space"] |= {"features": ["amount", "anomaly"]}
    with pytest.raises(ConfigurationError, match=r"half_space\.features: trees cannot look at their own score"):
        Trainer(ModelsConfig.from_mapping(mapping), grids, DIGEST)
