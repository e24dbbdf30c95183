"""Calibration: what is told as a probability is the share that is found, and no ranking changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.errors import ConfigurationError
from detector.models.calibration import CELLS, LOWEST, PARTS, STEP, Calibrator, calibrated, identity_offsets

_WINDOW = 160_000


def _told(log_odds: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([calibrated(float(value), offsets) for value in log_odds])


def _share(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-log_odds))


def _taken(log_odds: NDArray[np.float64], labels: NDArray[np.int64], window: int = _WINDOW) -> Calibrator:
    made = Calibrator(window, 50)
    made.take(log_odds, labels, np.ones(len(labels)))
    return made


@pytest.mark.parametrize("wrong", [lambda z: z, lambda z: 2.0 * z + 1.0, lambda z: z - 2.0, lambda z: 0.4 * z - 3.0])
def test_told_is_found_in_every_band(wrong: object) -> None:
    """Whichever way a model is wrong about its log-odds, predicted frauds over those to be expected are near 1."""
    rng = np.random.default_rng(3)
    true = np.concatenate([rng.normal(-6.0, 1.5, _WINDOW), rng.normal(2.0, 2.0, _WINDOW // 100)])
    rng.shuffle(true)
    labels = (rng.random(len(true)) < _share(true)).astype(np.int64)
    believed = wrong(true)  # type: ignore[operator]
    offsets = _taken(believed, labels).offsets()
    told = _share(_told(believed, offsets))
    found = _share(true)
    for low, high in zip((0.0, 1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8), (1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8, 1.1), strict=True):
        band = (told >= low) & (told < high)
        if found[band].sum() >= 50:
            assert 0.8 <= told[band].sum() / found[band].sum() <= 1.25, (low, high)


def test_frauds_that_look_like_anything_are_foreseen() -> None:
    """Where a hundredth of all payments are frauds that nothing tells from the rest, no score promises fewer."""
    rng = np.random.default_rng(6)
    believed = rng.normal(-6.0, 1.0, _WINDOW)
    found = np.maximum(_share(believed), 0.01)
    offsets = _taken(believed, (rng.random(_WINDOW) < found).astype(np.int64)).offsets()
    told = _share(_told(believed, offsets))
    lowest = believed < np.quantile(believed, 0.05)
    assert 0.8 <= told[lowest].sum() / found[lowest].sum() <= 1.25


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5), st.integers(0, 3_000))
@settings(max_examples=60, deadline=None)
def test_ranking_stays_as_it_is(seed: int, share: float, rows: int) -> None:
    """Whatever the window holds, higher log-odds are told as higher ones."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0.0, 4.0, rows)
    made = Calibrator(1_000, 5)
    made.take(log_odds, (rng.random(rows) < share).astype(np.int64), rng.choice([0.5, 1.0, 3.0], rows))
    asked = np.sort(np.concatenate([rng.uniform(-25.0, 25.0, 400), LOWEST + STEP * np.arange(CELLS + 1)]))
    assert (np.diff(_told(asked, made.offsets())) >= 1e-3 * np.diff(asked)).all()


@given(st.integers(0, 2**32 - 1), st.integers(100, 400), st.integers(0, 30), st.floats(0.3, 3.0), st.floats(-3.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_told_of_all_is_found_in_all(seed: int, caught: int, missed: int, slope: float, shift: float) -> None:
    """Frauds nearly all far above the rest, however sure of it the model was: what is told adds up to what is found."""
    rng = np.random.default_rng(seed)
    genuine = rng.normal(-7.0, 1.0, 20_000)
    believed = slope * np.concatenate([genuine, rng.normal(6.0, 1.5, caught), rng.normal(-6.0, 2.0, missed)]) + shift
    labels = np.repeat([0, 1], [20_000, caught + missed])
    told = _share(_told(believed, _taken(believed, labels).offsets()))
    assert 0.8 <= told.sum() / labels.sum() <= 1.25
    assert told[:20_000].sum() <= missed + 0.25 * caught


def test_a_band_of_frauds_alone_makes_nobody_surer() -> None:
    """Where all were frauds and that was expected, nothing was learned of how sure one may be."""
    believed = np.concatenate([np.full(200, 7.0), np.full(20_000, -8.0)])
    offsets = _taken(believed, np.repeat([1, 0], [200, 20_000])).offsets()
    assert abs(calibrated(7.0, offsets) - 7.0) < 0.5


def test_without_frauds_it_changes_nothing() -> None:
    """An empty window, or one with too few frauds, tells what the model believes, to the bit."""
    made = Calibrator(_WINDOW, 50)
    assert made.offsets().tolist() == identity_offsets().tolist()
    made.take(np.full(10, -5.0), np.array([1] + [0] * 9), np.ones(10))
    assert made.offsets().tolist() == identity_offsets().tolist()
    assert calibrated(-5.3, identity_offsets()) == -5.3
    assert calibrated(40.0, identity_offsets()) == 40.0


def test_window_forgets() -> None:
    """What is older than the window does not count, however it was cut into calls."""
    rng = np.random.default_rng(8)
    log_odds, labels = rng.normal(-2.0, 2.0, 50_000), rng.integers(0, 2, 50_000)
    whole = _taken(log_odds, labels, 16_000)
    pieces = Calibrator(16_000, 50)
    for rows in np.split(np.arange(50_000), [1, 2, 999, 1_000, 1_001, 30_000]):
        pieces.take(log_odds[rows], labels[rows], np.ones(len(rows)))
    assert whole.window.tobytes() == pieces.window.tobytes()
    assert whole.place.tolist() == pieces.place.tolist()
    late = _taken(log_odds[-16_000:], labels[-16_000:], 16_000)
    assert late.window[:, :3].sum(axis=0) == pytest.approx(whole.window[:, :3].sum(axis=0))
    assert whole.window[:, 0].sum() == 16_000
    assert len(whole.window) == PARTS


def test_evidence_is_of_the_window() -> None:
    """Log loss is exact; average precision is so up to the width of a cell."""
    rng = np.random.default_rng(1)
    log_odds = rng.normal(-4.0, 2.0, 4_000)
    labels = (rng.random(4_000) < _share(log_odds)).astype(np.int64)
    made = Calibrator(_WINDOW, 50)
    told = made.take(log_odds, labels, np.ones(4_000))
    found = made.evidence()
    assert told[:1_024].tolist() == log_odds[:1_024].tolist()
    assert told[1_024:].tolist() != log_odds[1_024:].tolist()
    assert (found.examples, found.frauds) == (4_000, labels.sum())
    loss = -np.log(np.where(labels == 1, _share(told), 1.0 - _share(told))).mean()
    assert found.log_loss == pytest.approx(loss)
    order = np.argsort(-log_odds)
    precision = np.cumsum(labels[order]) / np.arange(1, 4_001)
    assert found.average_precision == pytest.approx(precision[labels[order] == 1].mean(), abs=0.03)
    assert Calibrator(_WINDOW, 50).evidence() == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("window", "least"), [(15, 50), (1_000, 0)])
def test_impossible_windows_are_refused(window: int, least: int) -> None:
    """A window without an example a part, or bands without a fraud, make no sense."""
    with pytest.raises(ConfigurationError, match="calibration"):
        Calibrator(window, least)
