"""Shadows: what challengers and a tried policy would have decided, by the code that decides, without a trace of it."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pytest

from detector.assessments import Assessments
from detector.catalogue import CATALOGUE, FEATURE_COUNT
from detector.engine import assess_batch
from detector.examples import Examples
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.policy import Policy
from detector.vocabulary import Action
from tests.detector.models.helpers import models_mapping
from tests.detector.test_engine import new_state, payments

pytestmark = pytest.mark.compiled
_CHALLENGERS = [
    {"name": "faster", "logistic": {"learning_rate": 0.5}},
    {"name": "slower", "logistic": {"learning_rate": 0.01}},
    {"name": "bayes", "river": [{"name": "naive_bayes.GaussianNB"}]},
]


@cache
def version() -> ModelVersion:
    """A version with two challengers that believe otherwise, as a scorer reads it."""
    mapping = models_mapping()
    mapping["logistic"]["fields"] = ["*"]
    trainer = Trainer(ModelsConfig.from_mapping(mapping | {"challengers": _CHALLENGERS}))
    rng = np.random.default_rng(1)
    bins = rng.integers(0, trainer.binner.missing_bins, (600, FEATURE_COUNT)).astype(np.uint8)
    labels = (bins[:, 0] > len(CATALOGUE[0].grid) // 2).astype(np.int64)
    trainer.learn(Examples.of_nobody(bins, labels, np.ones(600), np.full(600, 1_767_225_600_000)))
    return ModelVersion.from_bytes(trainer.version("m-000007", 0).to_bytes()).for_scoring()


def _policy(**changed: Any) -> Policy:
    content = tomllib.loads((resources.files("configs") / "policy.toml").read_text(encoding="utf-8"))
    return Policy.from_mapping(content | changed)


def _assess(model: ModelVersion, tried: Policy | None = None, cuts: int = 1) -> list[Assessments]:
    state, batch = new_state(), payments(300)
    rows = np.array_split(np.arange(len(batch)), cuts)
    return [assess_batch(state, batch[part[0] : part[-1] + 1], model, _policy(), tried) for part in rows]


def test_a_challenger_decides_as_if_it_acted() -> None:
    """Its score and action are those that the engine would have given had it been the champion."""
    (assessed,) = _assess(version())
    assert [shadow.name for shadow in assessed.shadows] == ["model faster", "model slower"]
    for shadow, challenger in zip(assessed.shadows, version().challengers, strict=True):
        (alone,) = _assess(replace(challenger, challengers=()))
        assert shadow.score.tobytes() == alone.score.tobytes()
        assert shadow.action.tobytes() == alone.action.tobytes()
        assert (shadow.score != assessed.score).any()
    assert any((shadow.action != assessed.action).any() for shadow in assessed.shadows)


def test_shadows_change_nothing_of_what_is_decided() -> None:
    """With or without them: the same answers, evidence and state, to the bit."""
    alone, watched = new_state(), new_state()
    batch, tried = payments(300), _policy(version="tried", random_review_share=1.0)
    plain = assess_batch(alone, batch, replace(version(), challengers=()), _policy())
    beside = assess_batch(watched, batch, version(), _policy(), tried)
    for name in ("score", "anomaly", "action", "flags", "expected_loss_minor", "rule_hits"):
        assert getattr(plain, name).tobytes() == getattr(beside, name).tobytes()
    assert alone.digest() == watched.digest()
    assert plain.evidence == beside.evidence
    assert plain.shadows == ()


def test_a_tried_policy_decides_on_the_same_scores() -> None:
    """It is named by its version; what it would have done is what it does where it acts."""
    tried = _policy(version="tried", random_review_share=1.0)
    (assessed,) = _assess(replace(version(), challengers=()), tried)
    (shadow,) = assessed.shadows
    assert (shadow.name, shadow.model, shadow.policy) == ("policy tried", "champion", "tried")
    assert shadow.score.tobytes() == assessed.score.tobytes()
    assert (shadow.action != Action.ALLOW).all()
    acting = assess_batch(new_state(), payments(300), version(), tried)
    assert shadow.action.tobytes() == acting.action.tobytes()


@pytest.mark.parametrize("cuts", [2, 37])
def test_cuts_do_not_change_a_shadow(cuts: int) -> None:
    """A row's shadows do not depend on the rows beside it."""
    (whole,) = _assess(version())
    pieces = _assess(version(), cuts=cuts)
    for number, shadow in enumerate(whole.shadows):
        assert np.concatenate([piece.shadows[number].score for piece in pieces]).tobytes() == shadow.score.tobytes()
        assert np.concatenate([piece.shadows[number].action for piece in pieces]).tobytes() == shadow.action.tobytes()


def test_shadows_of_pieces_are_joined() -> None:
    """A batch that spans weeks is assessed in pieces; its shadows are whole."""
    batch = payments(60, apart_ms=20 * 3_600_000)
    assessed = assess_batch(new_state(), batch, version(), _policy())
    assert [len(shadow.score) for shadow in assessed.shadows] == [60, 60]
    assert [len(shadow.action) for shadow in assessed.shadows] == [60, 60]


def test_differences_are_counted_by_pairs() -> None:
    """How often which action stood beside which."""
    (assessed,) = _assess(version())
    shadow = assessed.shadows[0]
    pairs = shadow.differences(assessed.action, len(Action))
    assert pairs.sum() == len(assessed)
    assert pairs[Action.ALLOW, Action.ALLOW] == ((assessed.action == 0) & (shadow.action == 0)).sum()
    some = np.arange(0, len(assessed), 3)
    assert shadow.at(some).differences(assessed.action[some], len(Action)).sum() == len(some)
