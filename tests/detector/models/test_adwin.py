"""ADWIN: its window is what it says, chance hardly ever passes for a change, and river sees changes no sooner."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from river import drift

from detector.models.adwin import BUCKETS, LEVELS, Adwin


class NaiveAdwin:
    """The same with a list of buckets of plain values, the oldest first."""

    def __init__(self, delta: float) -> None:
        self.delta = delta
        self.buckets: list[list[float]] = []

    def update(self, value: float) -> bool:
        self.buckets.append([value])
        size = 1
        while [len(bucket) for bucket in self.buckets].count(size) > BUCKETS:
            first = next(place for place, bucket in enumerate(self.buckets) if len(bucket) == size)
            self.buckets[first : first + 2] = [self.buckets[first] + self.buckets[first + 1]]
            size *= 2
        changed = False
        while len(self.values) > 10 and self._differs():
            del self.buckets[0]
            changed = True
        return changed

    @property
    def values(self) -> list[float]:
        return [value for bucket in self.buckets for value in bucket]

    def _differs(self) -> bool:
        values = np.array(self.values)
        doubt = math.log(2.0 * math.log(len(values)) / self.delta)
        for cut in np.cumsum([len(bucket) for bucket in self.buckets])[:-1]:
            before, behind = values[:cut], values[cut:]
            if min(len(before), len(behind)) < 5:
                continue
            share = 1.0 / (len(before) - 4) + 1.0 / (len(behind) - 4)
            limit = math.sqrt(2.0 * share * values.var() * doubt) + 2.0 / 3.0 * doubt * share
            if abs(before.mean() - behind.mean()) > limit:
                return True
        return False


def _shifting(seed: int, rows: int = 600) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.beta(2, 30, rows), rng.beta(2, 8, rows // 3), rng.beta(2, 40, rows)])


@pytest.mark.parametrize("seed", range(4))
def test_equals_its_naive_twin(seed: int) -> None:
    """The same windows and changes as with every value kept."""
    values = _shifting(seed, 90)
    adwin, naive = Adwin(0.002), NaiveAdwin(0.002)
    assert adwin.mean == 0.0
    for value in values.tolist():
        assert adwin.update(value) == naive.update(value)
        assert adwin.width == len(naive.values)
        assert adwin.mean == pytest.approx(np.mean(naive.values), abs=1e-9)


@pytest.mark.compiled
def test_sees_what_river_sees_as_soon() -> None:
    """A change is found within a few values of river's finding it, and where river finds none there is none."""
    for seed in range(5):
        own, rivers = Adwin(1e-4), drift.ADWIN(delta=1e-4, clock=1)
        found: tuple[list[int], list[int]] = [], []
        for place, value in enumerate(_shifting(seed).tolist()):
            rivers.update(value)
            if own.update(value):
                found[0].append(place)
            if rivers.drift_detected:
                found[1].append(place)
        assert abs(found[0][0] - found[1][0]) <= 3
        assert min(found[0]) >= 600


@pytest.mark.compiled
def test_chance_hardly_ever_passes_for_a_change() -> None:
    """Without a change, of 200 streams of 2,000 skewed values a few at most are cut."""
    cut = 0
    for seed in range(200):
        adwin = Adwin(1e-4)
        cut += any(adwin.update(value) for value in np.random.default_rng(seed).beta(0.5, 20, 2_000).tolist())
    assert cut <= 4


@pytest.mark.compiled
def test_room_does_not_run_out() -> None:
    """A hundred thousand values without a change are held in a few sizes of buckets."""
    adwin = Adwin(1e-4)
    assert not any(adwin.update(0.25) for _ in range(100_000))
    assert adwin.width == 100_000
    assert (adwin.window[:LEVELS, 0] > 0).sum() < 20
    assert adwin.mean == pytest.approx(0.25)
