"""The compiled logistic regression is river's, only faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import linear_model, optim

from detector.models.bins import Binner
from detector.models.logistic import BinnedLogisticRegression
from tests.detector.models.helpers import as_dict, binner, random_features

_TOLERANCE = 1e-9


def _one_hot(slots: NDArray[np.int32]) -> dict[Any, Any]:
    return {int(slot): 1 for slot in slots}


def _river(learning_rate: float, intercept_rate: float, intercept: float, clip: float) -> Any:
    return linear_model.LogisticRegression(
        optimizer=optim.AdaGrad(learning_rate),
        l2=0.0,
        intercept_lr=intercept_rate,
        intercept_init=intercept,
        clip_gradient=clip,
    )


def _data(seed: int, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    features = random_features(seed, rows)
    labels = ((np.nan_to_num(features[:, 1]) > 2.0) & (rng.random(rows) < 0.9)).astype(np.int64)
    return features, labels, rng.choice([0.25, 1.0, 7.0], rows)


@pytest.mark.parametrize(
    ("learning_rate", "intercept_rate", "intercept", "clip"),
    [(0.1, 0.01, 0.0, 1e12), (0.5, 0.0, -5.0, 1.0), (5.0, 1.0, 0.0, 1e12), (0.05, 0.001, 25.0, 0.3)],
)
def test_equals_river(learning_rate: float, intercept_rate: float, intercept: float, clip: float) -> None:
    """Predictions before each update and weights after all are river's to 1e-9, saturated and clipped ones too."""
    features, labels, weights = _data(11, 1500)
    model = BinnedLogisticRegression(binner(), learning_rate, intercept_rate, intercept, clip)
    peer = _river(learning_rate, intercept_rate, intercept, clip)
    for row, slots in enumerate(model.binner.slots(features)):
        x = _one_hot(slots)
        cut = slice(row, row + 1)
        assert model.predict_proba_many(features[cut])[0] == pytest.approx(
            peer.predict_proba_one(x)[True], abs=_TOLERANCE
        )
        model.learn_many(features[cut], labels[cut], weights[cut])
        peer.learn_one(x, bool(labels[row]), w=float(weights[row]))
    learned = model.slot_weights()
    assert set(learned) == set(peer.weights)
    assert max(abs(learned[slot] - weight) for slot, weight in peer.weights.items()) <= _TOLERANCE
    assert model.intercept[0] == pytest.approx(peer.intercept, abs=_TOLERANCE)


@pytest.mark.parametrize("seed", range(5))
def test_cuts_do_not_change_a_bit(seed: int) -> None:
    """Learning and predicting row by row, in random pieces or all at once gives the same bits."""
    features, labels, weights = _data(seed, 300)
    whole = BinnedLogisticRegression(binner())
    whole.learn_many(features, labels, weights)
    pieces = BinnedLogisticRegression(binner())
    cuts = np.sort(np.random.default_rng(seed).integers(0, 300, 12))
    for rows in np.split(np.arange(300), cuts):
        pieces.learn_many(features[rows], labels[rows], weights[rows])
    assert pieces.weights.tobytes() == whole.weights.tobytes()
    assert pieces.intercept.tobytes() == whole.intercept.tobytes()
    alone = np.concatenate([whole.predict_proba_many(features[row : row + 1]) for row in range(300)])
    assert alone.tobytes() == whole.predict_proba_many(features).tobytes()


def test_one_and_many_are_the_same_model() -> None:
    """`learn_one` and `predict_proba_one` on dictionaries are `learn_many` and `predict_proba_many` of one row."""
    features, labels, weights = _data(2, 200)
    many, one = BinnedLogisticRegression(binner()), BinnedLogisticRegression(binner())
    many.learn_many(features, labels, weights)
    for row in range(len(features)):
        one.learn_one(as_dict(features[row]), bool(labels[row]), w=float(weights[row]))
    assert one.weights.tobytes() == many.weights.tobytes()
    fraud = many.predict_proba_many(features)
    for row in range(len(features)):
        assert one.predict_proba_one(as_dict(features[row])) == {False: 1.0 - fraud[row], True: fraud[row]}


def test_seen_sums_the_weights_of_examples() -> None:
    """The baseline of explanations counts what was learned, by its weight, once a field."""
    features, labels, weights = _data(4, 250)
    model = BinnedLogisticRegression(binner())
    model.learn_many(features, labels, weights)
    starts = model.binner.slot_starts
    for field in range(model.binner.field_count):
        assert model.seen[starts[field] : starts[field + 1]].sum() == pytest.approx(weights.sum())


def test_weight_counts_like_the_loss() -> None:
    """A row of weight 0 teaches nothing; weights left out are 1."""
    features, labels, _ = _data(5, 50)
    untouched, plain, ones = (BinnedLogisticRegression(binner()) for _ in range(3))
    untouched.learn_many(features, labels, np.zeros(50))
    plain.learn_many(features, labels)
    ones.learn_many(features, labels, np.ones(50))
    assert not untouched.weights.any()
    assert plain.weights.tobytes() == ones.weights.tobytes()


@pytest.mark.parametrize(
    ("labels", "weights"),
    [([0, 2], [1.0, 1.0]), ([0, 1], [1.0, -1.0]), ([0, 1], [1.0, np.inf]), ([0], [1.0, 1.0]), ([0, 1], [1.0])],
)
def test_bad_examples_are_refused_unlearned(labels: list[int], weights: list[float]) -> None:
    """What would spoil the weights is refused before the first row is learned."""
    model = BinnedLogisticRegression(Binner([("x", (1.0,))]))
    with pytest.raises(ValueError):
        model.learn_many(np.zeros((2, 1)), np.array(labels), np.array(weights))
    assert not model.seen.any()
