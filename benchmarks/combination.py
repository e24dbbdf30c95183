"""What it is worth that the model with labels weighs what the trees say: each alone and both, week by week.

Prequential: every score was told before the payment's label was known. Trees and features are those of one replay; the
model with labels is taught again in its order, once with the trees' score among its features and once without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Truth
from benchmarks.recorded import Recorded, teach
from cardwatch.replay.evaluation import auc_roc, average_precision
from detector.catalogue import ANOMALY, FEATURE_INDEX
from detector.models import ModelsConfig

# Weeks of the file, the first week being 1: of labels that come after seven days none is known in the first.
PERIODS: tuple[tuple[str, int, int | None], ...] = (
    ("week 2", 2, 2), ("week 3", 3, 3), ("week 4", 4, 4), ("from week 5 on", 5, None)
)  # fmt: skip
_SURE = 1e-9


@dataclass(frozen=True, slots=True)
class Expert:
    """How well one of them did.

    Attributes:
        name: for people.
        average_precision: in each of `PERIODS`; NaN where one has no frauds.
        auc, log_loss: from the second week on; the log loss in nats a payment, None of what is no probability.
    """

    name: str
    average_precision: tuple[float, ...]
    auc: float
    log_loss: float | None


def experts(recorded: Recorded, truth: Truth, models: ModelsConfig) -> list[Expert]:
    """The trees, the model with labels, and the model that weighs both."""
    alone = np.arange(recorded.features.shape[1]) == FEATURE_INDEX[ANOMALY]
    return [
        _expert("the trees alone", truth, recorded.anomaly, is_probability=False),
        _expert("the model with labels alone", truth, teach(recorded, models, alone).score),
        _expert("the model with labels that weighs the trees' score", truth, teach(recorded, models).score),
    ]


def _expert(name: str, truth: Truth, score: NDArray[np.float64], *, is_probability: bool = True) -> Expert:
    """Measure one of them."""
    week = (truth.day - truth.day[0]) // 7 + 1
    chosen = [(week >= first) & (week <= (last or week[-1])) for _, first, last in PERIODS]
    later = week > 1
    label, told = truth.label[later], np.clip(score[later], _SURE, 1.0 - _SURE)
    loss = -np.log(np.where(label == 1, told, 1.0 - told)).mean()
    return Expert(
        name,
        tuple(average_precision(truth.label[rows], score[rows]) if truth.label[rows].any() else float("nan")
              for rows in chosen),
        auc_roc(label, score[later]),
        float(loss) if is_probability else None,
    )  # fmt: skip
