"""Poisoning: one labeller, merchant or card cannot move the model far, and honest labels are learned as ever."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.examples import Examples
from detector.models import ModelsConfig, Trainer
from detector.models.logistic import BinnedLogisticRegression, Caps
from tests.detector.models.helpers import DIGEST, GRIDS, fields, models_mapping

_DAY_MS = 86_400_000
_LABELLER, _MERCHANT, _CARD = range(3)
# What the attacker wants to see stopped, or let through: payments with these bins.
_TARGET = np.array([[2, 3, 1, 1]], dtype=np.uint8)


def _model(caps: Caps) -> BinnedLogisticRegression:
    """A model that has learned 20,000 honest labels: 2% frauds that have a high rate, the target's share among them."""
    model = BinnedLogisticRegression(fields(), 0.1, 0.01, -4.0, 20.0, 1.0, 0.01, caps)
    rng = np.random.default_rng(1)
    bins = np.column_stack([rng.integers(0, edges + 2, 20_000) for edges in (4, 5, 1, 3)]).astype(np.uint8)
    labels = (rng.random(20_000) < np.where(bins[:, 3] == 3, 0.06, 0.003)).astype(np.int64)
    sources = rng.integers(1, 2**62, (20_000, 3))
    model.learn_many(bins, labels, None, sources, np.sort(rng.integers(0, 20 * _DAY_MS, 20_000)))
    return model


def _attack(model: BinnedLogisticRegression, rows: int, kind: int, days: int = 1, label: int = 1) -> float:
    """So many false labels of the target a day, all of one source; what the target is believed to be afterwards."""
    for day in range(days):
        sources = np.random.default_rng(day).integers(1, 2**62, (rows, 3))
        sources[:, kind] = 777
        times = np.full(rows, (30 + day) * _DAY_MS, dtype=np.int64)
        labels = np.full(rows, label, dtype=np.int64)
        model.learn_many(np.repeat(_TARGET, rows, axis=0), labels, None, sources, times)
    return float(model.predict_proba_many(_TARGET)[0])


@pytest.mark.compiled
@pytest.mark.parametrize("kind", [_LABELLER, _MERCHANT, _CARD])
def test_false_labels_of_one_source_are_capped(kind: int) -> None:
    """An attacker who calls 2,000 genuine payments fraud has the model believe it; with a cap it hardly moves."""
    tight = Caps(labeller=5.0, merchant=5.0, card=5.0)
    before = float(_model(tight).predict_proba_many(_TARGET)[0])
    open_to_it, capped = _attack(_model(Caps()), 2_000, kind), _attack(_model(tight), 2_000, kind)
    assert before < 0.02
    assert open_to_it > 0.9
    assert capped < 0.2


@pytest.mark.compiled
def test_more_labels_move_no_further() -> None:
    """Behind the cap nothing is gained by persistence within the window: ten times the labels, the same belief."""
    caps = Caps(labeller=5.0)
    assert _attack(_model(caps), 20_000, _LABELLER) == _attack(_model(caps), 2_000, _LABELLER)


@pytest.mark.compiled
def test_many_honest_sources_are_learned_as_ever() -> None:
    """The same labels by many labellers, at many merchants, of many cards teach the model what is new."""
    model = _model(Caps(labeller=5.0, merchant=5.0, card=5.0))
    sources = np.random.default_rng(3).integers(1, 2**62, (2_000, 3))
    model.learn_many(
        np.repeat(_TARGET, 2_000, axis=0), np.ones(2_000), None, sources, np.full(2_000, 30 * _DAY_MS, dtype=np.int64)
    )
    assert float(model.predict_proba_many(_TARGET)[0]) > 0.9


@pytest.mark.compiled
def test_caps_that_nobody_reaches_change_nothing() -> None:
    """Below the caps every bit is as without them."""
    loose, none = _model(Caps(labeller=1e3, merchant=1e3, card=1e3)), _model(Caps())
    assert loose.weights.tobytes() == none.weights.tobytes()


def _one(model: BinnedLogisticRegression, source: int, time_ms: int) -> float:
    """Learn one false label of a source; how far it moved the intercept."""
    sources: NDArray[np.int64] = np.array([[source, 0, 0]])
    before = model.intercept
    model.learn_many(_TARGET, np.array([1]), None, sources, np.array([time_ms]))
    return model.intercept - before


def test_a_cap_holds_for_its_window() -> None:
    """What goes beyond is cut off, at the very gradient; the next window begins anew, and an older one never."""
    model = BinnedLogisticRegression(fields(), 0.1, 0.01, -4.0, caps=Caps(labeller=1.5))
    first, second, third = (_one(model, 5, 10 * _DAY_MS) for _ in range(3))
    assert first == pytest.approx(0.01 / (1.0 + np.exp(-4.0)))
    assert first + second == pytest.approx(0.01 * 1.5)
    assert third == 0.0
    assert _one(model, 5, 9 * _DAY_MS) == 0.0
    assert _one(model, 6, 10 * _DAY_MS) > 0.0
    assert _one(model, 0, 10 * _DAY_MS) > 0.0
    assert _one(model, 5, 11 * _DAY_MS) > 0.0


@pytest.mark.parametrize(("kind", "cap"), [(_LABELLER, 2.0), (_MERCHANT, 0.5), (_CARD, 0.5)])
def test_a_drawn_row_is_charged_with_its_weight_to_its_labeller_alone(kind: int, cap: float) -> None:
    """A row that stands for ten counts once for its merchant and card, who had no say in what chance drew."""
    values = [cap if place == kind else np.inf for place in (_LABELLER, _MERCHANT, _CARD)]
    caps = Caps(_DAY_MS, *values)
    model = BinnedLogisticRegression(fields(), 0.1, 0.01, -4.0, caps=caps)
    sources: NDArray[np.int64] = np.zeros((1, 3), dtype=np.int64)
    sources[0, kind] = 5
    before = model.intercept
    model.learn_many(_TARGET, np.array([1]), np.array([10.0]), sources, np.array([10 * _DAY_MS]))
    assert model.intercept - before == pytest.approx(0.01 * (cap if kind == _LABELLER else 10.0 * cap))


def test_it_says_how_much_of_each_row_was_learned() -> None:
    """All of it, what was left of the cap, and then nothing."""
    model = BinnedLogisticRegression(fields(), 0.1, 0.01, 0.0, caps=Caps(labeller=0.75))
    sources: NDArray[np.int64] = np.array([[5, 0, 0]] * 3 + [[0, 0, 0]])
    _, shares = model.learn_counted(np.repeat(_TARGET, 4, axis=0), np.ones(4), None, sources, np.zeros(4, np.int64))
    assert shares[[0, 2, 3]].tolist() == [1.0, 0.0, 1.0]
    assert 0.0 < shares[1] < 1.0


def test_calibration_counts_what_was_learned() -> None:
    """Labels that the model was not allowed to take in do not say what its scores are worth either."""
    mapping = models_mapping()
    mapping["caps"]["labeller"] = 5.0
    trainer = Trainer(ModelsConfig.from_mapping(mapping), GRIDS, DIGEST)
    count = 1_000
    sources = np.tile(np.array([7, 0, 0]), (count, 1))
    labels, times = np.ones(count, dtype=np.int64), np.full(count, 10 * _DAY_MS)
    flood = Examples(np.repeat(_TARGET, count, axis=0), labels, np.ones(count), times, sources, np.ones(count))
    trainer.learn(flood)
    assert trainer.evidence["champion"].frauds < 50.0
    flood.sources[:] = 0
    trainer.learn(flood)
    assert trainer.evidence["champion"].frauds > 900.0
