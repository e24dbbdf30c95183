"""Windows of time in rules, as Prometheus writes them; all can be shortened together, to try alerts out in minutes."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


@dataclass(frozen=True, slots=True)
class Windows:
    """How long windows are.

    Attributes:
        scale: what every window is multiplied by; 1 in production.
        least_s: no window gets shorter, for it must hold some scrapes.
    """

    scale: float = 1.0
    least_s: float = 0.0

    def of(self, seconds: float) -> str:
        """A window as Prometheus writes it."""
        return duration(max(seconds * self.scale, self.least_s))

    def wait(self, seconds: float) -> str:
        """How long something must hold before somebody is told."""
        return duration(seconds * self.scale)


def duration(seconds: float) -> str:
    """A time in Prometheus' units: the largest that divides it."""
    millis = round(seconds * 1000)
    unit_ms, name = next((unit_ms, name) for unit_ms, name in _UNITS if millis % unit_ms == 0)
    return f"{millis // unit_ms}{name}"
