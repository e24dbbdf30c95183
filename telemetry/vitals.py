"""A process's vital signs: whether it makes progress, how far its start has come, and what it waits for.

The process writes, the threads that answer /livez, /readyz and /startupz read. All three show the same picture, so that
whoever looks sees why a long start takes long; they differ in what they say yes to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The event loop turns every second. So long without a turn means that the process hangs; while it starts, the compiler
# lets nothing else run for most of a minute.
LONGEST_SILENCE_S = 30.0
LONGEST_SILENCE_AT_START_S = 180.0
_STARTED = "started"


@dataclass(frozen=True, slots=True)
class Sign:
    """An answer to a probe: yes or no, and the picture behind it."""

    is_good: bool
    picture: dict[str, Any]


class Vitals:
    """Written by the process, read by its probes; every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start now, by a clock of seconds that never goes back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_s = clock()
        self._phase, self._share = "starting", 0.0
        self._conditions: dict[str, str] = {}
        self._behind_at_most = 0

    def beat(self) -> None:
        """The event loop has turned."""
        self._beat_s = self._clock()

    def phase(self, name: str, share: float) -> None:
        """The start has come to this step.

        Args:
            name: of the step, for people.
            share: how much of the start is done, 0 to 1.
        """
        with self._lock:
            self._phase, self._share = name, share
        self.beat()

    def started(self) -> None:
        """The start is over; what is left is work."""
        self.phase(_STARTED, 1.0)

    @property
    def has_started(self) -> bool:
        """Whether the start is over."""
        return self._phase == _STARTED

    @property
    def share(self) -> float:
        """How much of the start is done."""
        return self._share

    def waits_for(self, name: str, why: str | None) -> None:
        """Say what a condition of readiness waits for; None: it is met."""
        with self._lock:
            if why is None:
                self._conditions.pop(name, None)
            else:
                self._conditions[name] = why

    def behind(self, records: int, at_most: int) -> None:
        """So many records wait; above `at_most` the process is not caught up, and shows how far it has come."""
        with self._lock:
            self._behind_at_most = max(self._behind_at_most, records) if records > at_most else 0
            share = 1.0 - records / self._behind_at_most if self._behind_at_most else 1.0
        self.waits_for("caught up", f"{records} records behind, {share:.0%} of the way" if records > at_most else None)

    def live(self) -> Sign:
        """Whether the process makes progress."""
        limit_s = LONGEST_SILENCE_S if self.has_started else LONGEST_SILENCE_AT_START_S
        return self._sign(is_good=self._clock() - self._beat_s <= limit_s)

    def startup(self) -> Sign:
        """Whether the start is over."""
        return self._sign(is_good=self.has_started)

    def ready(self) -> Sign:
        """Whether it works: started, with its dependencies, its assignment, and caught up."""
        return self._sign(is_good=self.has_started and not self._conditions)

    def _sign(self, *, is_good: bool) -> Sign:
        with self._lock:
            picture: dict[str, Any] = {
                "status": "ok" if is_good else "not ok",
                "phase": self._phase,
                "progress": round(self._share, 3),
                "waits_for": dict(self._conditions),
                "silent_s": round(self._clock() - self._beat_s, 1),
            }
        return Sign(is_good, picture)
