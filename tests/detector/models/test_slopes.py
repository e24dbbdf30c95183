"""Slopes: equal to their naive twin, the same in scorers, and telling something of bins that nobody has met."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.errors import ModelError
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.models.logistic import USUAL_ONE_IN, BinnedLogisticRegression
from detector.models.slopes import CENTRE, RENEWED_EVERY, SLOPE, SPREAD, folded
from tests.detector.models.helpers import DIGEST, GRIDS, binner, fields, models_mapping, random_bins, random_examples

_RATE = 0.05


def _labelled(rows: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Rows of which those with a high rate are mostly frauds."""
    bins, rng = random_bins(31, rows), np.random.default_rng(31)
    return bins, ((bins[:, 3] >= 2) & (rng.random(rows) < 0.7)).astype(np.int64)


class _Naive:
    """Weights, slopes and what is usual, one number at a time."""

    def __init__(self) -> None:
        self.fields, self.missing = fields(), binner().missing_bins.tolist()
        self.weights: dict[int, float] = {}
        self.squares: dict[int, float] = {}
        self.slopes = [0.0] * len(self.missing)
        self.usual: list[tuple[float, float] | None] = [None] * len(self.missing)
        self.met: list[dict[int, float]] = [{} for _ in self.missing]
        self.intercept = 0.0
        self.rows = 0

    def standing(self, column: int, bin_: int) -> float:
        usual = self.usual[column]
        if bin_ == self.missing[column] or usual is None:
            return 0.0
        return max(-10.0, min(10.0, (bin_ - usual[0]) / usual[1]))

    def learn(self, bins: list[int], slots: list[int], label: int) -> float:
        if self.rows % RENEWED_EVERY == 0:
            for column, met in enumerate(self.met):
                known = [(bin_, count) for bin_, count in met.items() if bin_ != self.missing[column]]
                if known:
                    count = sum(each for _, each in known)
                    mean = sum(bin_ * each for bin_, each in known) / count
                    variance = sum(bin_ * bin_ * each for bin_, each in known) / count - mean * mean
                    self.usual[column] = mean, max(math.sqrt(max(variance, 0.0)), 0.1)
        if self.rows % USUAL_ONE_IN == 0:
            for met, bin_ in zip(self.met, bins, strict=True):
                met[bin_] = met.get(bin_, 0.0) + 1.0
        self.rows += 1
        # Only the features that are a field by themselves have slopes: all of them here.
        standings = [self.standing(column, bin_) for column, bin_ in enumerate(bins)]
        log_odds = sum(self.weights.get(slot, 0.0) for slot in slots) + self.intercept
        log_odds += sum(slope * standing for slope, standing in zip(self.slopes, standings, strict=True))
        gradient = 1.0 / (1.0 + math.exp(-log_odds)) - label
        self.intercept -= 0.01 * gradient
        for slot in slots:
            self.squares[slot] = self.squares.get(slot, 0.0) + gradient**2
            step = 0.1 / math.sqrt(self.squares[slot] + 1e-8)
            self.weights[slot] = self.weights.get(slot, 0.0) - step * gradient
        for column, standing in enumerate(standings):
            self.slopes[column] -= _RATE * gradient * standing
        return log_odds


def test_equal_to_the_naive_twin() -> None:
    """Beliefs, slopes and what is usual, over rows enough for it to be renewed."""
    bins, labels = _labelled(RENEWED_EVERY + 300)
    model, naive = BinnedLogisticRegression(fields(), slope_rate=_RATE), _Naive()
    believed = model.learn_many(bins, labels)
    slots = model.fields.slots(bins)
    rows = zip(bins.tolist(), slots.tolist(), labels.tolist(), strict=True)
    assert believed == pytest.approx([naive.learn(*row) for row in rows], abs=1e-9)
    assert model.learned.slopes[SLOPE] == pytest.approx(naive.slopes, abs=1e-9)
    usual = [each or (0.0, 0.0) for each in naive.usual]
    assert model.learned.slopes[CENTRE] == pytest.approx([each for each, _ in usual], abs=1e-9)
    assert model.learned.slopes[SPREAD] == pytest.approx([each for _, each in usual], abs=1e-9)


def test_cuts_do_not_change_a_bit() -> None:
    """However the rows are cut into batches, what is usual is looked at after the same ones."""
    bins, labels = _labelled(3 * RENEWED_EVERY)
    whole, pieces = (BinnedLogisticRegression(fields(), slope_rate=_RATE) for _ in range(2))
    whole.learn_many(bins, labels)
    for cut in np.array_split(np.arange(len(bins)), 37):
        pieces.learn_many(bins[cut], labels[cut])
    assert pieces.learned.slopes.tobytes() == whole.learned.slopes.tobytes()
    assert pieces.weights.tobytes() == whole.weights.tobytes()


def test_a_bin_that_nobody_has_met_is_told_from_those_beside_it() -> None:
    """Frauds have higher amounts than the rest; an amount beyond all of them is no safer than they are."""
    rng = np.random.default_rng(8)
    labels = (rng.random(6_000) < 0.05).astype(np.int64)
    bins = np.zeros((6_000, 4), dtype=np.uint8)
    bins[:, 0] = np.where(labels == 1, 3, rng.integers(0, 2, 6_000))
    rows = np.array([[4, 0, 0, 0], [1, 0, 0, 0]], dtype=np.uint8)
    steep, flat = (BinnedLogisticRegression(fields(), slope_rate=rate) for rate in (_RATE, 0.0))
    for model in (steep, flat):
        model.learn_many(bins, labels)
    beyond, usual = steep.predict_proba_many(rows)
    assert usual < 0.05
    assert beyond > 0.9 > flat.predict_proba_many(rows)[0]


def test_what_is_missing_stands_nowhere() -> None:
    """The slope of a feature says nothing of a payment that lacks it."""
    bins, labels = _labelled(2 * RENEWED_EVERY)
    model = BinnedLogisticRegression(fields(), slope_rate=_RATE)
    model.learn_many(bins, labels)
    layout = model.fields.layout
    with_slopes = folded(model.weights, layout, model.learned.slopes)
    for field, column in enumerate(layout.alone.tolist()):
        own = slice(int(layout.starts[field]), int(layout.starts[field + 1]))
        differs = with_slopes[own] != model.weights[own]
        if column < 0:
            assert not differs.any()
        else:
            assert not differs[binner().missing_bins[column]]
            assert differs.any()


@pytest.mark.parametrize(
    ("place", "value"),
    [((SLOPE, 0), np.nan), ((SLOPE, 1), 1e5), ((CENTRE, 0), -1.0), ((CENTRE, 2), 256.0), ((SPREAD, 0), 0.01),
     ((SPREAD, 0), -1.0), ((SPREAD, 3), np.inf)],
)  # fmt: skip
def test_slopes_that_no_trainer_makes_are_refused(place: tuple[int, int], value: float) -> None:
    """Before a kernel sees them."""
    trainer = Trainer(ModelsConfig.from_mapping(models_mapping()), GRIDS, DIGEST)
    trainer.learn(random_examples(3, 400))
    version = trainer.version("m-000001", 0)
    assert version.state is not None
    slopes = version.state.slopes.copy()
    slopes[place] = value
    with pytest.raises(ModelError, match=r"slopes|usual|spreads"):
        replace(version, state=replace(version.state, slopes=slopes))


def test_a_scorer_needs_no_slopes() -> None:
    """A version for scoring alone says, bit for bit, what the learner believes, from weights only."""
    trainer = Trainer(ModelsConfig.from_mapping(models_mapping()), GRIDS, DIGEST)
    for seed in range(6):
        trainer.learn(random_examples(seed, 700))
        bins = random_bins(seed, 50)
        scorer, whole = trainer.scorer("m"), trainer.version("m-000001", 0)
        assert trainer.logistic.learned.slopes[SLOPE].any() == (seed >= 2)
        assert scorer.weights.tobytes() == whole.weights.tobytes()
        assert ModelVersion.from_bytes(whole.to_bytes()).weights.tobytes() == whole.weights.tobytes()
        assert scorer.probabilities(bins).tobytes() == whole.probabilities(bins).tobytes()
