"""The compiler is on when the tests believe it is.

A run in which it was silently absent would prove nothing about kernels.
"""

from __future__ import annotations

import os

import numba
import numpy as np
from numpy.typing import NDArray

from detector.jit import jit_enabled, kernel, prefetch


@kernel
def _count_up_to(stop: int) -> int:
    total = 0
    for _ in range(stop):
        total += 1
    return total


def test_the_compiler_is_on_unless_the_run_asked_for_plain_python() -> None:
    """`make test` says which of its two runs this is; without word from it, the compiler must be on."""
    asked_for_plain = os.environ.get("CARDWATCH_TEST_JIT", "on") == "off"
    assert jit_enabled() is not asked_for_plain


def test_a_kernel_is_machine_code() -> None:
    """A kernel that ran has a compiled signature; as plain Python it is just a function. Both count alike."""
    assert _count_up_to(5) == 5
    assert getattr(_count_up_to, "signatures", []) == ([(numba.int64,)] if jit_enabled() else [])


@kernel
def _prefetch_all(words: NDArray[np.int64], distance: int) -> None:
    for index in range(words.shape[0]):
        prefetch(words, index + distance)


def test_prefetching_changes_nothing_and_never_faults() -> None:
    """Not even far outside of the array, where a plain read would end the process."""
    words = np.arange(64, dtype=np.int64)
    for distance in (0, 1 << 40, -(1 << 40)):
        _prefetch_all(words, distance)
    assert words.tolist() == list(range(64))
