"""What has become slower is told, what has not is not, and both checkouts do the same work."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.check import CheckError, Compared, checkout_of
from benchmarks.pieces import Bank


def _compared(factor: float, seed: int) -> Compared:
    """A piece of 4 us whose times vary by some percent, and by far more where the machine was busy."""
    rng = np.random.default_rng(seed)

    def times(usual_us: float) -> list[float]:
        busy = np.where(rng.random(11) < 0.1, 1.0 + rng.random(11), 1.0)
        return [float(us) for us in usual_us * busy * rng.normal(1.0, 0.03, 11)]

    return Compared("a piece", times(4.0), times(4.0 * factor))


def test_what_is_slower_is_told() -> None:
    """A quarter slower is seen nearly always, on a noisy machine too."""
    assert sum(_compared(1.25, seed).is_slower for seed in range(200)) > 190


def test_what_is_not_slower_is_not() -> None:
    """The same speed is never taken for slower, nor is what is just within the limit but seldom."""
    assert not any(_compared(1.0, seed).is_slower for seed in range(200))
    assert sum(_compared(1.09, seed).is_slower for seed in range(200)) < 20


def test_a_commit_that_is_not_there_is_said() -> None:
    """With what to do."""
    with pytest.raises(CheckError, match="--base"):
        checkout_of("0" * 40)


@pytest.mark.compiled
@pytest.mark.slow
def test_every_piece_does_the_same_work_twice() -> None:
    """Two banks are the same after the same pieces, and each piece takes time."""
    banks = Bank(4_096), Bank(4_096)
    for bank in banks:
        assert all(bank.run(name) > 0.0 for name in bank.pieces)
    first, second = (bank.digest() for bank in banks)
    assert first == second
