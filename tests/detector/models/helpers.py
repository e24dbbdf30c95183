"""A small catalogue and random rows for it, shared by the tests of the models."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.examples import Examples
from detector.models import ModelsConfig, ModelVersion
from detector.models.bins import Binner
from detector.models.fields import Fields

GRIDS: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("amount", (1.0, 2.5, 10.0, 100.0)),
    ("ratio", (0.1, 0.7, 1.0, 3.0, 8.0)),
    ("is_new", (0.5,)),
    ("rate", (0.001, 0.1, 0.5)),
)
FIELDS = ("*", "amount x ratio", "is_new x rate", "amount>1 x ratio>1 x rate", "ratio>2")
NAMES = tuple(name for name, _ in GRIDS)
DIGEST = "0123456789abcdef"


def told(version: ModelVersion, bins: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a version says of rows: probabilities of fraud and anomaly scores."""
    return version.probabilities(bins), version.anomalies(bins)


def models_config(**half_space: int) -> ModelsConfig:
    """Settings small enough for a test."""
    return ModelsConfig.from_mapping(models_mapping(**half_space))


def models_mapping(**half_space: int) -> dict[str, Any]:
    """The same as a file has them."""
    trees: dict[str, Any] = {"trees": 5, "height": 4, "window": 32, "seed": 7, "features": ["*"]} | half_space
    return {
        "cold_start_frauds": 10,
        "logistic": {
            "learning_rate": 0.1,
            "intercept_learning_rate": 0.01,
            "initial_intercept": -1.0,
            "clip_gradient": 5.0,
            "epsilon": 1e-8,
            "smallest_gradient": 0.0,
            "slope_rate": 0.01,
            "fields": list(FIELDS),
        },
        "calibration": {"window": 1_600, "least_frauds": 5},
        "half_space": trees,
        "caps": {"window_hours": 24, "labeller": 1e6, "merchant": 1e6, "card": 5.0},
        "reviews": {"largest_weight": 100.0},
        "contest": {"margin": 0.02, "least_frauds": 50, "error_rate": 0.05, "block_frauds": 10},
    }


def binner() -> Binner:
    return Binner(GRIDS)


def fields() -> Fields:
    return Fields(binner(), FIELDS)


def random_bins(seed: int, rows: int, missing_share: float = 0.2) -> NDArray[np.uint8]:
    """Bins of `random_features`."""
    return binner().bins(random_features(seed, rows, missing_share))


def random_features(seed: int, rows: int, missing_share: float = 0.2) -> NDArray[np.float32]:
    """Rows that meet edges exactly, lie beyond both ends and miss values."""
    rng = np.random.default_rng(seed)
    out = np.empty((rows, len(GRIDS)), dtype=np.float32)
    for column, (_, grid) in enumerate(GRIDS):
        candidates = np.array([-1.0, 0.0, *grid, *(edge * 1.5 for edge in grid), 1e9], dtype=np.float32)
        out[:, column] = rng.choice(candidates, rows)
    out[rng.random(out.shape) < missing_share] = np.nan
    return out


def random_examples(seed: int, rows: int) -> Examples:
    """Labelled and unlabelled rows with weights; frauds are recognisable by their rate."""
    rng = np.random.default_rng(seed)
    features = random_features(seed, rows)
    fraud = (np.nan_to_num(features[:, 3]) > 0.3) & (rng.random(rows) < 0.8)
    label = np.where(rng.random(rows) < 0.5, -1, fraud.astype(np.int64))
    return Examples(
        bins=binner().bins(features),
        label=label.astype(np.int64),
        weight=rng.choice([0.5, 1.0, 3.0], rows),
        label_time_ms=rng.integers(10**12, 10**12 + 10**9, rows),
        sources=rng.integers(0, 30, (rows, 3)),
        propensity=np.ones(rows),
    )


def as_dict(row: NDArray[np.float32]) -> dict[Hashable, Any]:
    """A row as river takes it: missing values are absent."""
    return {name: float(value) for name, value in zip(NAMES, row, strict=True) if not np.isnan(value)}
