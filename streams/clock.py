"""The wall clock, which the roles take as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""UTC epoch milliseconds, asked anew each time."""


def epoch_ms() -> int:
    """The wall clock, UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000
