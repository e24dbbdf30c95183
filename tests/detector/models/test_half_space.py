"""The compiled Half-Space Trees are river's, only faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import anomaly

from detector.errors import ConfigurationError
from detector.models.bins import Binner
from detector.models.half_space import CompiledHalfSpaceTrees, scaled_bin
from tests.detector.models.helpers import GRIDS, NAMES, as_dict, binner, random_bins, random_features


def _scaled(bins: NDArray[np.uint8]) -> dict[Any, Any]:
    """A row as river's trees take it: bins scaled to [0, 1], missing ones absent."""
    return {
        name: scaled_bin(int(value), len(grid))
        for (name, grid), value in zip(GRIDS, bins, strict=True)
        if value <= len(grid)
    }


def _river(**settings: Any) -> Any:
    """Make river's own, its trees built over all features even where the first row misses some."""
    peer: Any = anomaly.HalfSpaceTrees(**settings)
    peer.learn_one(dict.fromkeys(NAMES, 0.0))
    for nodes in peer._tree_nodes:
        for node in nodes:
            node.l_mass = node.r_mass = 0
    peer.counter, peer._first_window = 0, True
    return peer


@pytest.mark.parametrize(
    "settings",
    [
        {"n_trees": 7, "height": 4, "window_size": 25, "seed": 1},
        {"n_trees": 3, "height": 1, "window_size": 2, "seed": 2},
        {"n_trees": 2, "height": 8, "window_size": 100, "seed": 3},
    ],
)
@pytest.mark.parametrize("missing_share", [0.0, 0.3])
def test_equals_river_exactly(settings: dict[str, Any], missing_share: float) -> None:
    """Every score is river's to the bit: first window, pivots, early ends of a walk and missing values included."""
    model = CompiledHalfSpaceTrees(binner(), **settings)
    peer = _river(**settings)
    rows = random_bins(settings["seed"], 260, missing_share)
    scores = set()
    for row, bins in enumerate(rows):
        x = _scaled(bins)
        score = model.score_many(rows[row : row + 1])[0]
        assert score == peer.score_one(x)
        scores.add(float(score))
        model.learn_many(rows[row : row + 1])
        peer.learn_one(x)
    assert len(scores) > 3
    assert 0.0 in scores


def test_first_window_scores_nothing() -> None:
    """Until one window is full there is no picture of what is normal, and every score is 0."""
    model = CompiledHalfSpaceTrees(binner(), window_size=10)
    bins = random_bins(1, 10)
    model.learn_many(bins[:9])
    assert not model.score_many(bins).any()
    model.learn_many(bins[9:])
    assert model.score_many(bins).all()


@pytest.mark.parametrize("seed", range(3))
def test_cuts_do_not_change_a_bit(seed: int) -> None:
    """Row by row, in random pieces or all at once, across pivots: the same masses and scores."""
    bins = random_bins(seed, 300)
    whole, pieces = (CompiledHalfSpaceTrees(binner(), window_size=37, seed=seed) for _ in range(2))
    whole.learn_many(bins)
    for rows in np.split(np.arange(300), np.sort(np.random.default_rng(seed).integers(0, 300, 9))):
        pieces.learn_many(bins[rows])
    for name in ("current_mass", "reference_mass", "progress"):
        assert getattr(whole, name).tobytes() == getattr(pieces, name).tobytes()
    alone = np.concatenate([whole.score_many(bins[row : row + 1]) for row in range(300)])
    assert alone.tobytes() == whole.score_many(bins).tobytes()


def test_one_and_many_are_the_same_model() -> None:
    """`learn_one` and `score_one` on dictionaries are `learn_many` and `score_many` of one row."""
    features = random_features(9, 120)
    many, one = (CompiledHalfSpaceTrees(binner(), window_size=30) for _ in range(2))
    bins = many.binner.bins(features)
    many.learn_many(bins)
    for row in features:
        one.learn_one(as_dict(row))
    assert one.reference_mass.tobytes() == many.reference_mass.tobytes()
    assert [one.score_one(as_dict(row)) for row in features] == many.score_many(bins).tolist()


def test_unusual_row_scores_above_usual_ones() -> None:
    """A payment in a corner where nothing has been scores higher than any that was learned often."""
    rng = np.random.default_rng(0)
    usual = np.column_stack(
        [rng.choice([1.5, 3.0], 500), rng.choice([0.8, 1.2], 500), np.zeros(500), np.zeros(500)]
    ).astype(np.float32)
    model = CompiledHalfSpaceTrees(binner(), n_trees=25, height=6, window_size=250, seed=4)
    model.learn_many(model.binner.bins(usual))
    unusual = model.score_many(model.binner.bins(np.array([[1e6, 100.0, 1.0, 0.9]])))[0]
    assert unusual > model.score_many(model.binner.bins(usual)).max()


def test_same_seed_same_trees() -> None:
    """The seed is all the chance there is."""
    first, again, other = (CompiledHalfSpaceTrees(binner(), seed=seed) for seed in (5, 5, 6))
    assert first.columns.tobytes() == again.columns.tobytes()
    assert first.limits.tobytes() == again.limits.tobytes()
    assert first.columns.tobytes() != other.columns.tobytes()


def test_trees_look_at_chosen_features_alone() -> None:
    """Other features change no score, and the trees are those that river grows where there are no others."""
    chosen = (NAMES[2], NAMES[0])
    model = CompiledHalfSpaceTrees(binner(), n_trees=9, height=5, window_size=40, seed=11, features=chosen)
    alone = CompiledHalfSpaceTrees(
        Binner([(name, grid) for name, grid in GRIDS if name in chosen]), 9, 5, 40, 11, features=chosen
    )
    rows = random_bins(3, 200)
    columns = [NAMES.index(name) for name in alone.binner.names]
    model.learn_many(rows[:100])
    alone.learn_many(rows[:100][:, columns])
    scores = model.score_many(rows)
    assert scores.tobytes() == alone.score_many(rows[:, columns]).tobytes()
    assert len(np.unique(scores)) > 3
    others = [column for column in range(len(NAMES)) if column not in columns]
    rows[:, others] = 0
    assert model.score_many(rows).tobytes() == scores.tobytes()


def test_unknown_features_are_named() -> None:
    """A misspelt name is an error that says which."""
    with pytest.raises(ConfigurationError, match=r"half_space\.features: no such feature: speed"):
        CompiledHalfSpaceTrees(binner(), features=["amount", "speed"])


@pytest.mark.parametrize("settings", [{"height": 0}, {"height": 16}, {"n_trees": 0}, {"window_size": 0}])
def test_impossible_trees_are_refused(settings: dict[str, Any]) -> None:
    """Sizes that no array can have are refused at once."""
    with pytest.raises(ConfigurationError, match="half_space"):
        CompiledHalfSpaceTrees(binner(), **settings)
