"""Peers of cardwatch's models, on the very features that cardwatch computed.

Online ones learn as cardwatch does: each label when it becomes known, one pass. Batch ones are trained anew for every
fold, on all payments whose labels have come when its test week begins. The packages of the batch peers are the extra
`peers`; nothing else needs them.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing
from river.forest import ARFClassifier

from benchmarks.protocol import Fold, Truth
from benchmarks.recorded import Features, Float64, Recorded, batches

_SEED = 20180401
# Genuine payments of which the forest learns one: it takes a hundred times as long as the others, and its trees do not
# split below one per cent of fraud unless they are told to.
_FOREST_LEARNS_ONE_IN = 10
_BOOSTER = {
    "n_estimators": 200, "max_depth": 5, "learning_rate": 0.1, "min_child_weight": 5, "subsample": 0.8,
    "colsample_bytree": 0.8, "tree_method": "hist", "random_state": _SEED,
}  # fmt: skip


class MissingPeerError(Exception):
    """A package of the extra `peers` is not installed."""


@dataclass(frozen=True, slots=True)
class PeerScores:
    """What a peer made of the payments.

    Attributes:
        name: for the table.
        score: float64, NaN where it was not asked.
        scoring_us, learning_us: time a payment; of a batch peer, of one training divided by its rows.
        note: how it learned.
    """

    name: str
    score: Float64
    scoring_us: float
    learning_us: float
    note: str


def require_peers() -> None:
    """Fail at once where a batch peer is not installed.

    Raises:
        MissingPeerError: with what to do.
    """
    for module in ("sklearn.linear_model", "xgboost"):
        _module(module)


def _module(name: str) -> Any:
    """A module of the extra `peers`, imported when it is needed.

    Raises:
        MissingPeerError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = (
            f"{name.partition('.')[0]} is not installed: `pip install 'cardwatch[peers]'`, or run the benchmark with "
            "--no-peers"
        )
        raise MissingPeerError(message) from error


def run_peers(recorded: Recorded, truth: Truth, folds: Sequence[Fold], say: Callable[[str], None]) -> list[PeerScores]:
    """Let all peers learn and score the test weeks of the folds."""
    asked = np.zeros(len(truth.day), dtype=bool)
    for fold in folds:
        asked |= fold.test_rows(truth)
    found = run_online_peers(recorded, asked, say)
    evened = _evened(recorded.features)
    for name, make_batch in (
        ("scikit-learn, logistic regression, retrained", _batch_logistic),
        ("XGBoost, retrained", _booster),
    ):
        say(f"peer: {name}")
        found.append(_batch(name, make_batch, evened, truth, folds))
    return found


def run_online_peers(recorded: Recorded, asked: NDArray[np.bool_], say: Callable[[str], None]) -> list[PeerScores]:
    """Let river's models learn each label when it becomes known, and score the payments that are true in `asked`."""
    evened = _evened(recorded.features)
    found = []
    for name, make, one_in in (
        ("river, scaled logistic regression", _logistic, 1),
        ("river, adaptive random forest (10)", _forest, _FOREST_LEARNS_ONE_IN),
    ):
        say(f"peer: {name}")
        found.append(_online(name, make(), recorded, evened, asked, one_in))
    return found


def _evened(features: Features) -> Features:
    """Signed logarithms: amounts and counts have long tails, which linear peers could not use; trees do not care."""
    return np.sign(features) * np.log1p(np.abs(features))


def _logistic() -> Any:
    """The logistic regression of river behind its scaler."""
    return compose.Pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.05))
    )


def _forest() -> Any:
    """The adaptive random forest of river, allowed to split where fraud is rare."""
    return ARFClassifier(n_models=10, seed=_SEED, max_share_to_split=1.0)


def _online(
    name: str, model: Any, recorded: Recorded, features: Features, asked: NDArray[np.bool_], one_in: int
) -> PeerScores:
    """Let one of river's models learn each label when it becomes known, and score what is asked."""
    names = [f"f{number}" for number in range(features.shape[1])]
    score = np.full(len(asked), np.nan)
    learning_s = scoring_s = 0.0
    learned = 0
    for rows, known, labels in batches(recorded):
        started_s = time.perf_counter()
        for row, label in zip(known.tolist(), labels.tolist(), strict=True):
            if label or row % one_in == 0:
                model.learn_one(_as_dict(names, features[row]), bool(label))
                learned += 1
        learned_s = time.perf_counter()
        learning_s += learned_s - started_s
        for row in (np.flatnonzero(asked[rows]) + rows.start).tolist():
            score[row] = model.predict_proba_one(_as_dict(names, features[row])).get(True, 0.0)
        scoring_s += time.perf_counter() - learned_s
    note = "online" if one_in == 1 else f"online, all frauds and one in {one_in} genuine payments"
    return PeerScores(name, score, scoring_s / max(int(asked.sum()), 1) * 1e6, learning_s / max(learned, 1) * 1e6, note)


def _as_dict(names: list[str], row: NDArray[np.float32]) -> dict[str, float]:
    """A payment as river takes it; what is missing is left out."""
    return {name: value for name, value in zip(names, row.tolist(), strict=True) if value == value}  # noqa: PLR0124  not NaN


def _batch(name: str, make: Callable[[], Any], features: Features, truth: Truth, folds: Sequence[Fold]) -> PeerScores:
    """Train anew for every fold on what is known when its test week begins, and score the week."""
    score = np.full(len(truth.day), np.nan)
    training_s = scoring_s = 0.0
    trained = scored = 0
    for fold in folds:
        known, test = np.flatnonzero(fold.known_rows(truth)), np.flatnonzero(fold.test_rows(truth))
        started_s = time.perf_counter()
        model = make()
        model.fit(features[known], truth.label[known])
        fitted_s = time.perf_counter()
        score[test] = model.predict_proba(features[test])[:, 1]
        training_s += fitted_s - started_s
        scoring_s += time.perf_counter() - fitted_s
        trained, scored = trained + len(known), scored + len(test)
    return PeerScores(
        name, score, scoring_s / max(scored, 1) * 1e6, training_s / max(trained, 1) * 1e6, "batch, once a fold"
    )


def _batch_logistic() -> Any:
    """scikit-learn's logistic regression: missing values are the mean, and a column that says so where any are."""
    impute, pipeline = _module("sklearn.impute"), _module("sklearn.pipeline")
    scale, linear = _module("sklearn.preprocessing"), _module("sklearn.linear_model")
    imputer = impute.SimpleImputer(add_indicator=True, keep_empty_features=True)
    return pipeline.make_pipeline(imputer, scale.StandardScaler(), linear.LogisticRegression(C=0.1, max_iter=200))


def _booster() -> Any:
    """XGBoost; it knows what missing values are."""
    return _module("xgboost").XGBClassifier(**_BOOSTER)
