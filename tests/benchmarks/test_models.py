"""The benchmark of what a payment costs the models: the same work beside river, and a table that says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import models
from benchmarks.models import EQUAL_WITHIN, Line, Rows, compare, text_of
from benchmarks.small_bank import shipped_models
from detector.models import ModelsConfig, Trainer


def _small() -> ModelsConfig:
    """The shipped models with few and low trees, whose windows are soon full."""
    config = shipped_models()
    return replace(config, half_space=replace(config.half_space, trees=5, height=4, window=100))


def _rows(config: ModelsConfig) -> Rows:
    """Random bins, some of them missing; frauds are those with a high first feature."""
    binner = Trainer(config).binner
    rng = np.random.default_rng(3)
    bins = (rng.random((400, binner.feature_count)) * (binner.missing_bins + 1)).astype(np.uint8)
    return Rows(binner, bins, (bins[:, 0] > binner.missing_bins[0] / 2).astype(np.int64), 250)


@pytest.mark.compiled
def test_the_same_work_is_timed() -> None:
    """River's models say what the compiled ones say, before and after the timed rows; the rest has no peer."""
    config = _small()
    said: list[str] = []
    lines = compare(_rows(config), config, said.append, rounds=1)
    beside = [line for line in lines if line.peer is not None]
    assert len(beside) == 2
    assert len(said) == len(lines) + len(beside)
    for line in beside:
        assert line.difference is not None
        assert line.difference <= EQUAL_WITHIN
    assert all(line.scoring_us >= 0 and line.learning_us >= 0 for line in lines)


@pytest.mark.compiled
def test_a_model_that_says_something_else_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of other work would be worth nothing."""
    config = _small()
    monkeypatch.setattr(models._RiversLogistic, "score", lambda _, rows: np.zeros(rows.stop - rows.start))
    with pytest.raises(models.UnequalModelError, match="logistic regression"):
        compare(_rows(config), config, lambda _: None, rounds=1)


def test_the_table_says_how_much_quicker() -> None:
    """Ratios where river has the model, dashes where it has none."""
    text = text_of(0.5, [Line("a", 0.5, 2.0, "river", 50.0, 100.0, 1e-12), Line("b", 0.1, 0.2)], 88, _rows(_small()))
    assert "| a | 0.50 | 2.00 | 50.0 | 100.0 | 100 | 50 | 1e-12 |" in text
    assert "| b | 0.10 | 0.20 | – | – | – | – | – |" in text
