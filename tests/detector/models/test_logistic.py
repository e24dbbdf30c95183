"""The compiled logistic regression is river's, only faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import linear_model, optim

from detector.models.bins import Binner
from detector.models.fields import Fields
from detector.models.logistic import BinnedLogisticRegression, Learned
from tests.detector.models.helpers import as_dict, fields, random_features

_TOLERANCE = 1e-9


def _one_hot(slots: NDArray[np.int32]) -> dict[Any, Any]:
    return {int(slot): 1 for slot in slots}


def _river(learning_rate: float, intercept_rate: float, intercept: float, clip: float, epsilon: float) -> Any:
    return linear_model.LogisticRegression(
        optimizer=optim.AdaGrad(learning_rate, eps=epsilon),
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
    "settings",
    [
        (0.1, 0.01, 0.0, 1e12, 1e-8), (0.5, 0.0, -5.0, 1.0, 1e-8), (5.0, 1.0, 0.0, 1e12, 1e-8),
        (0.05, 0.001, 25.0, 0.3, 1e-8), (0.1, 0.01, -5.3, 20.0, 1.0),
    ],
)  # fmt: skip
def test_equals_river(settings: tuple[float, float, float, float, float]) -> None:
    """Predictions before each update and weights after all are river's to 1e-9, saturated and clipped ones too."""
    features, labels, weights = _data(11, 1500)
    model = BinnedLogisticRegression(fields(), *settings)
    peer = _river(*settings)
    bins = model.fields.binner.bins(features)
    for row, slots in enumerate(model.fields.slots(bins)):
        x = _one_hot(slots)
        cut = slice(row, row + 1)
        assert model.predict_proba_many(bins[cut])[0] == pytest.approx(peer.predict_proba_one(x)[True], abs=_TOLERANCE)
        model.learn_many(bins[cut], labels[cut], weights[cut])
        peer.learn_one(x, bool(labels[row]), w=float(weights[row]))
    learned = model.slot_weights()
    assert set(learned) == set(peer.weights)
    assert max(abs(learned[slot] - weight) for slot, weight in peer.weights.items()) <= _TOLERANCE
    assert model.intercept == pytest.approx(peer.intercept, abs=_TOLERANCE)


def _bins(seed: int, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]]:
    features, labels, weights = _data(seed, rows)
    return fields().binner.bins(features), labels, weights


@pytest.mark.parametrize("seed", range(5))
def test_cuts_do_not_change_a_bit(seed: int) -> None:
    """Learning and predicting row by row, in random pieces or all at once gives the same bits."""
    bins, labels, weights = _bins(seed, 300)
    whole = BinnedLogisticRegression(fields())
    believed = whole.learn_many(bins, labels, weights)
    pieces = BinnedLogisticRegression(fields())
    cuts = np.split(np.arange(300), np.sort(np.random.default_rng(seed).integers(0, 300, 12)))
    in_pieces = [pieces.learn_many(bins[rows], labels[rows], weights[rows]) for rows in cuts]
    assert np.concatenate(in_pieces).tobytes() == believed.tobytes()
    for name in Learned._fields:
        assert getattr(pieces.learned, name).tobytes() == getattr(whole.learned, name).tobytes()
    alone = np.concatenate([whole.predict_proba_many(bins[row : row + 1]) for row in range(300)])
    assert alone.tobytes() == whole.predict_proba_many(bins).tobytes()


def test_one_and_many_are_the_same_model() -> None:
    """`learn_one` and `predict_proba_one` on dictionaries are `learn_many` and `predict_proba_many` of one row."""
    features, labels, weights = _data(2, 200)
    bins = fields().binner.bins(features)
    many, one = BinnedLogisticRegression(fields()), BinnedLogisticRegression(fields())
    many.learn_many(bins, labels, weights)
    for row in range(len(features)):
        one.learn_one(as_dict(features[row]), bool(labels[row]), w=float(weights[row]))
    assert one.weights.tobytes() == many.weights.tobytes()
    fraud = many.predict_proba_many(bins)
    for row in range(len(features)):
        assert one.predict_proba_one(as_dict(features[row])) == {False: 1.0 - fraud[row], True: fraud[row]}


def test_belief_is_of_the_moment_before() -> None:
    """What learning returns is what would have been predicted: prequential evaluation costs nothing."""
    bins, labels, _ = _bins(3, 120)
    model = BinnedLogisticRegression(fields())
    for row in range(120):
        predicted = model.predict_proba_many(bins[row : row + 1])
        believed = model.learn_many(bins[row : row + 1], labels[row : row + 1])
        assert 1.0 / (1.0 + np.exp(-believed)) == pytest.approx(predicted, abs=1e-15)


def test_plain_rows_are_passed_over() -> None:
    """A row whose gradient is below the threshold changes no weight; the others are learned as ever."""
    bins, labels, _ = _bins(6, 1_000)
    threshold = 0.05
    model = BinnedLogisticRegression(fields(), smallest_gradient=threshold)
    passed_over = 0
    for row in range(1_000):
        before = model.weights.copy(), model.intercept
        fraud = float(model.predict_proba_many(bins[row : row + 1])[0])
        model.learn_many(bins[row : row + 1], labels[row : row + 1])
        is_plain = abs(fraud - labels[row]) < threshold
        passed_over += is_plain
        assert is_plain == (np.array_equal(before[0], model.weights) and before[1] == model.intercept)
    assert 100 < passed_over < 900


@pytest.mark.parametrize("rows", [40, 1_000])
def test_what_is_usual_equals_naive_twin(rows: int) -> None:
    """One row in sixteen, by its weight: bins counted, and the mean of what each field gave before it was learned."""
    bins, labels, weights = _bins(4, rows)
    model = BinnedLogisticRegression(fields())
    counts = np.zeros((4, 256))
    means, total = np.zeros(len(model.fields)), 0.0
    for row in range(rows):
        if row % 16 == 0:
            given = model.weights[model.fields.slots(bins[row : row + 1])[0]]
            means = (means * total + given * weights[row]) / (total + weights[row])
            total += weights[row]
            counts[np.arange(4), bins[row]] += weights[row]
        model.learn_many(bins[row : row + 1], labels[row : row + 1], weights[row : row + 1])
    assert model.learned.bin_counts.tolist() == counts.tolist()
    assert model.learned.means == pytest.approx(means, abs=1e-12)
    assert model.learned.usual_rows[0] == total


@pytest.mark.compiled
def test_what_is_usual_fades() -> None:
    """Counts are halved each time that 8,192 rows have gone in: what is usual is what was usual lately."""
    model = BinnedLogisticRegression(fields())
    bins = np.zeros((16 * 8_192, 4), dtype=np.uint8)
    model.learn_many(bins, np.zeros(len(bins)))
    assert model.learned.usual_rows.tolist() == [4_096.0]
    assert model.learned.bin_counts[:, 0].tolist() == [4_096.0] * 4


def test_weight_counts_like_the_loss() -> None:
    """A row of weight 0 teaches nothing; weights left out are 1."""
    bins, labels, _ = _bins(5, 50)
    untouched, plain, ones = (BinnedLogisticRegression(fields()) for _ in range(3))
    untouched.learn_many(bins, labels, np.zeros(50))
    plain.learn_many(bins, labels)
    ones.learn_many(bins, labels, np.ones(50))
    assert not untouched.weights.any()
    assert plain.weights.tobytes() == ones.weights.tobytes()


@pytest.mark.parametrize(
    ("labels", "weights"),
    [([0, 2], [1.0, 1.0]), ([0, 1], [1.0, -1.0]), ([0, 1], [1.0, np.inf]), ([0], [1.0, 1.0]), ([0, 1], [1.0])],
)
def test_bad_examples_are_refused_unlearned(labels: list[int], weights: list[float]) -> None:
    """What would spoil the weights is refused before the first row is learned."""
    model = BinnedLogisticRegression(Fields(Binner([("x", (1.0,))])))
    with pytest.raises(ValueError):
        model.learn_many(np.zeros((2, 1), dtype=np.uint8), np.array(labels), np.array(weights))
    assert not model.learned.squared_gradients.any()


@pytest.mark.parametrize("bins", [np.zeros((1, 2), np.uint8), np.zeros((1, 1)), np.full((1, 1), 3, np.uint8)])
def test_bins_of_other_features_are_refused(bins: Any) -> None:
    """Kernels never see a column too many, values instead of bins, or a bin that no grid has."""
    with pytest.raises(ValueError, match="bins must"):
        BinnedLogisticRegression(Fields(Binner([("x", (1.0,))]))).predict_proba_many(bins)
