"""Streams in time: never dated in the future, never above the rate."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.pacing import paced
from cardwatch.simulator.payments import concatenate

NOW_MS = 1_767_300_000_000


@dataclass
class Clock:
    """A clock that moves when somebody waits."""

    now_ms: float = NOW_MS
    stop_after_ms: float = float("inf")
    waits: list[float] = field(default_factory=list)

    def wait_s(self, seconds: float) -> bool:
        self.now_ms += max(seconds * 1000, 1.0)
        return self.now_ms >= NOW_MS + self.stop_after_ms


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(WorldSettings(seed=2, cards=20_000, merchants=500, payments_per_card_day=20.0))


def test_live_payments_are_sent_when_they_happen(simulator: Simulator) -> None:
    """On the live clock every payment is sent at its event time, to within a pause."""
    clock, delays, total = Clock(stop_after_ms=30_000), [], 0
    stream = simulator.stream(NOW_MS)
    for payments in paced(stream, rate_per_s=None, count=None, now_ms=lambda: clock.now_ms, wait_s=clock.wait_s):
        delays += (clock.now_ms - payments.event_time_ms).tolist()
        total += len(payments)
    assert total > 50
    assert min(delays) >= 0
    assert max(delays) <= 10


def test_an_accelerated_stream_keeps_to_its_rate(simulator: Simulator) -> None:
    """With the past to catch up, exactly the rate is sent."""
    clock, sent = Clock(stop_after_ms=2_000), 0
    stream = simulator.stream(NOW_MS - 86_400_000)
    for payments in paced(stream, rate_per_s=1_000, count=None, now_ms=lambda: clock.now_ms, wait_s=clock.wait_s):
        sent += len(payments)
        assert sent <= (clock.now_ms - NOW_MS) + 1
    assert sent > 1_980


def test_an_accelerated_stream_that_has_caught_up_goes_on_live(simulator: Simulator) -> None:
    """What is sent never lies in the future, however high the rate."""
    clock, parts = Clock(stop_after_ms=60_000), []
    stream = simulator.stream(NOW_MS - 60_000)
    for payments in paced(stream, rate_per_s=10_000, count=None, now_ms=lambda: clock.now_ms, wait_s=clock.wait_s):
        assert payments.event_time_ms[-1] <= clock.now_ms
        parts.append(payments)
    sent = concatenate(parts)
    assert len(sent) < 2_000
    assert (sent.event_time_ms == simulator.stream(NOW_MS - 60_000).take(len(sent)).event_time_ms).all()


def test_a_count_ends_it(simulator: Simulator) -> None:
    """No more payments than asked for."""
    clock = Clock()
    stream = simulator.stream(NOW_MS - 86_400_000)
    batches = paced(stream, rate_per_s=500, count=1_234, now_ms=lambda: clock.now_ms, wait_s=clock.wait_s)
    assert sum(map(len, batches)) == 1_234
