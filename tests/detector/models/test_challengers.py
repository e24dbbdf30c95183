"""Challengers: they learn beside the champion, never act, and win by the contest alone; river's are only compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from river import linear_model, naive_bayes

from detector.errors import ConfigurationError, ModelError
from detector.examples import Examples
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.models.challengers import RiverModel, river_estimator
from detector.models.config import RiverStep
from detector.models.contest import PROMOTED
from tests.detector.models.helpers import (
    DIGEST,
    GRIDS,
    NAMES,
    binner,
    models_config,
    random_bins,
    random_examples,
    told,
)

_RIVER = {"name": "bayes", "river": [{"name": "naive_bayes.GaussianNB"}]}
_SLOW = {"name": "slow", "logistic": {"learning_rate": 1e-6}}
_PIPELINE = (RiverStep("preprocessing.StandardScaler", {}), RiverStep("linear_model.LogisticRegression", {"l2": 0.1}))


def _mapping(*challengers: dict[str, Any], **logistic: float) -> dict[str, Any]:
    return {
        "cold_start_frauds": 10,
        "logistic": {
            "learning_rate": 0.1, "intercept_learning_rate": 0.01, "initial_intercept": -1.0, "clip_gradient": 5.0,
            "epsilon": 1e-8, "smallest_gradient": 0.0, "slope_rate": 0.0, "fields": ["*"],
        } | logistic,
        "calibration": {"window": 1_600, "least_frauds": 5},
        "caps": {"window_hours": 24, "labeller": 1e6, "merchant": 1e6, "card": 1e6},
        "reviews": {"largest_weight": 100.0},
        "half_space": {"trees": 5, "height": 4, "window": 32, "seed": 7, "features": ["*"]},
        "contest": {"margin": 0.02, "least_frauds": 50, "error_rate": 0.05, "block_frauds": 10},
        "challengers": list(challengers),
    }  # fmt: skip


def _trainer(*challengers: dict[str, Any], **logistic: float) -> Trainer:
    return Trainer(ModelsConfig.from_mapping(_mapping(*challengers, **logistic)), GRIDS, DIGEST)


def _cut(examples: Examples, rows: slice) -> Examples:
    return Examples(
        *(
            getattr(examples, name)[rows]
            for name in ("bins", "label", "weight", "label_time_ms", "sources", "propensity")
        )
    )


def test_challengers_change_nothing_of_the_champion() -> None:
    """With challengers in shadow, scores are those of a champion alone, to the bit."""
    examples, bins = random_examples(1, 400), random_bins(2, 50)
    alone, compared = _trainer(), _trainer(_SLOW, _RIVER)
    for trainer in (alone, compared):
        trainer.learn(examples)
    assert [c.tobytes() for c in told(alone.scorer("m"), bins)] == [
        c.tobytes() for c in told(compared.scorer("m"), bins)
    ]
    shadows = [compared.belief(name, bins) for name in ("slow", "bayes")]
    assert all(((scores >= 0) & (scores <= 1)).all() for scores in shadows)
    with pytest.raises(ModelError, match="no contender"):
        compared.belief("another", bins)
    assert set(compared.evidence) == {"champion", "slow", "bayes"}
    assert compared.evidence["champion"].log_loss < compared.evidence["slow"].log_loss


@pytest.mark.compiled
def test_a_better_challenger_is_promoted_and_versions_say_so() -> None:
    """A champion that does not learn loses; the next version is the challenger's, with the verdict inside."""
    trainer = _trainer({"name": "learns", "logistic": {"learning_rate": 0.1}}, learning_rate=1e-6)
    assert trainer.version("m-000001", 0).model == "champion"
    trainer.learn(random_examples(3, 12_000))
    version = ModelVersion.from_bytes(trainer.version("m-000002", 0).to_bytes())
    (verdict,) = version.verdicts
    assert (version.model, verdict.kind, verdict.winner, verdict.loser) == ("learns", PROMOTED, "learns", "champion")
    assert verdict.frauds >= 50
    assert verdict.label_time_ms > 0
    resumed = _trainer({"name": "learns", "logistic": {"learning_rate": 0.1}}, learning_rate=1e-6).resume(version)
    bins = random_bins(4, 40)
    assert resumed.scorer("m").probabilities(bins).tobytes() == version.probabilities(bins).tobytes()
    with pytest.raises(ModelError, match="not configured"):
        _trainer().resume(version)


@pytest.mark.compiled
def test_cuts_do_not_change_who_is_champion() -> None:
    """However the log is cut into calls, the same version comes out, verdicts included."""
    examples = random_examples(3, 6_000)
    whole, pieces = (_trainer({"name": "learns", "logistic": {"learning_rate": 0.1}}, learning_rate=1e-6) for _ in "ab")
    whole.learn(examples)
    for start in range(0, 6_000, 97):
        pieces.learn(_cut(examples, slice(start, start + 97)))
    assert whole.contest.verdicts
    assert whole.version("m", 0).to_bytes() == pieces.version("m", 0).to_bytes()


def test_river_is_fed_middles_of_bins() -> None:
    """One of river's models gives what river gives for a dictionary of bin middles, missing values left out."""
    bins, rng = random_bins(5, 200), np.random.default_rng(5)
    labels = rng.integers(0, 2, 200)
    model, peer = RiverModel(binner(), (RiverStep("naive_bayes.GaussianNB", {}),)), naive_bayes.GaussianNB()
    believed, _ = model.learn_counted(bins, labels)
    for row, label, log_odds in zip(bins, labels, believed, strict=True):
        values = {name: binner().middle(column, int(row[column])) for column, name in enumerate(NAMES)}
        x: dict[Any, Any] = {name: value for name, value in values.items() if not np.isnan(value)}
        share = peer.predict_proba_one(x).get(True, 0.0)
        assert 1.0 / (1.0 + np.exp(-log_odds)) == pytest.approx(share, abs=1e-8)
        peer.learn_one(x, bool(label))


def test_river_pipelines_and_anomaly_detectors_work() -> None:
    """A scaler before a model, and a detector that needs no label."""
    bins, labels = random_bins(6, 120), np.random.default_rng(6).integers(0, 2, 120)
    for steps in (_PIPELINE, (RiverStep("anomaly.HalfSpaceTrees", {"window_size": 20, "seed": 1}),)):
        model = RiverModel(binner(), steps)
        assert np.isfinite(model.learn_counted(bins, labels)[0]).all()
        scores = model.predict_proba_many(bins)
        assert len(set(scores.tolist())) > 5


def test_river_parameters_arrive() -> None:
    """Parameters of the configuration are river's."""
    made: Any = river_estimator((RiverStep("linear_model.LogisticRegression", {"l2": 0.25}),))
    assert isinstance(made, linear_model.LogisticRegression)
    assert made.l2 == 0.25


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (RiverStep("preprocessing.StandardScaler", {}),),
        (RiverStep("linear_model.Nothing", {}),),
        (RiverStep("linear_model.LogisticRegression", {"colour": 1}),),
        (RiverStep("os.system", {"command": "true"}),),
        (RiverStep("..os.system", {}),),
        (RiverStep("base.Classifier", {}),),
        (RiverStep("datasets.Phishing", {}),),
        (RiverStep("system", {}),),
        (RiverStep("linear_model.base.GLM", {}),),
    ],
)
def test_only_rivers_own_models_can_be_named(steps: tuple[RiverStep, ...]) -> None:
    """A name is looked up among river's public estimators; nothing else is imported or called."""
    with pytest.raises(ConfigurationError, match="challengers"):
        river_estimator(steps)


@pytest.mark.parametrize(
    ("challenger", "named"),
    [
        ({"name": "champion", "logistic": {}}, "different from those of the others"),
        ({"name": "x"}, "either logistic or river"),
        ({"name": "x" * 65, "logistic": {}}, "plain characters"),
        ({"name": "x\n", "logistic": {}}, "plain characters"),
        ({"name": "x", "logistic": {}, "river": []}, "either logistic or river"),
        ({"name": "x", "river": []}, "a list of one or more tables"),
        ({"name": "x", "logistic": {"learning_rate": 0}}, r"logistic.learning_rate: must be"),
        ({"name": "x", "river": [{"name": "naive_bayes.GaussianNB", "p": [1]}]}, "a number, a text"),
        ({"name": "x", "logistic": {}, "colour": 1}, "unknown"),
    ],
)
def test_wrong_challenger_is_named(challenger: dict[str, Any], named: str) -> None:
    """A challenger that cannot be built is refused with what would be right."""
    with pytest.raises(ConfigurationError, match=named):
        ModelsConfig.from_mapping(_mapping(challenger))


def test_settings_not_said_are_the_champions() -> None:
    """A challenger says what differs."""
    config = ModelsConfig.from_mapping(_mapping(_SLOW))
    assert config.challengers[0].logistic == replace(config.logistic, learning_rate=1e-6)
    assert models_config().challengers == ()
