"""Whether a score is what it says: frauds foreseen against frauds that were, by bands of the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Odds grow by about three from band to band.
BANDS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# Fewer frauds say little of a band, and the goal is not set for them.
FRAUDS_TO_JUDGE = 50


@dataclass(frozen=True, slots=True)
class Band:
    """Payments whose scores lie from `low` on and below `high`.

    Attributes:
        foreseen: the sum of their scores.
        frauds: how many of them were.
    """

    low: float
    high: float
    payments: int
    foreseen: float
    frauds: int

    @property
    def ratio(self) -> float:
        """Foreseen over real frauds; infinite where there were none."""
        return self.foreseen / self.frauds if self.frauds else float("inf")

    @property
    def is_judged(self) -> bool:
        """Whether it has frauds enough to be judged."""
        return self.frauds >= FRAUDS_TO_JUDGE


def bands(label: NDArray[np.int64], score: NDArray[np.float64]) -> list[Band]:
    """The bands that hold any payment."""
    number = np.clip(np.searchsorted(BANDS, score, side="right") - 1, 0, len(BANDS) - 2)
    payments, frauds = np.bincount(number, minlength=10), np.bincount(number, weights=label, minlength=10)
    foreseen = np.bincount(number, weights=score, minlength=10)
    return [
        Band(BANDS[index], BANDS[index + 1], int(payments[index]), float(foreseen[index]), int(frauds[index]))
        for index in range(len(BANDS) - 1)
        if payments[index]
    ]
