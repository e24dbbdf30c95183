"""A role under watch, and Redis' clock beside ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from cardwatch import store_clock
from cardwatch.settings import load_settings
from cardwatch.store_clock import StoreClock
from cardwatch.vitals import Watched, certificate_files
from streams.metrics import StreamMetrics
from telemetry.vitals import Vitals


class Role:
    """A role that notes what it is asked for."""

    def __init__(self, vitals: Vitals) -> None:
        self.vitals = vitals
        self.seen: list[tuple[str, bool, bool]] = []

    def _note(self, step: str) -> None:
        self.seen.append((step, self.vitals.startup().is_good, self.vitals.ready().is_good))

    async def start(self) -> None:
        self._note("start")

    async def stop(self) -> None:
        self._note("stop")

    async def wait_broken(self) -> None:
        self._note("wait")


def test_probes_follow_a_role() -> None:
    """Not started while it starts, ready in between, not ready while it stops; and its loop turns."""
    beats = 0

    class Counting(Vitals):
        def beat(self) -> None:
            nonlocal beats
            beats += 1
            super().beat()

    async def story() -> Role:
        vitals = Counting()
        role = Role(vitals)
        watched = Watched(role, vitals)
        await watched.start()
        await asyncio.sleep(0)
        await watched.wait_broken()
        await watched.stop()
        return role

    role = asyncio.run(story())
    assert role.seen == [("start", False, False), ("wait", True, True), ("stop", True, False)]
    assert beats >= 3


def test_files_with_certificates_are_those_that_settings_name() -> None:
    """Whose end is shown as a metric."""
    client = {"ssl.ca.location": "/tmp/ca.pem", "sasl.username": "u"}  # noqa: S108 - a name, nothing is written
    url = "rediss://u:p@redis:6379/0?ssl_ca_certs=/tmp/redis.pem"
    settings = load_settings(flags={"kafka": {"client": client}, "redis": {"url": url}})
    assert {name: str(path) for name, path in certificate_files(settings).items()} == {
        "kafka.client.ssl.ca.location": "/tmp/ca.pem",  # noqa: S108 - as above, and the next
        "redis.url ssl_ca_certs": "/tmp/redis.pem",  # noqa: S108
    }
    assert certificate_files(load_settings()) == {}


class Redis:
    """A Redis with a clock of its own, that may be away or slow."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self.asked = asyncio.Event()
        self.closed = False

    async def execute_command(self, command: str) -> Any:
        assert command == "TIME"
        self.asked.set()
        return self._answer()

    async def aclose(self) -> None:
        self.closed = True


def _away() -> Any:
    message = "refused"
    raise RedisConnectionError(message)


@pytest.mark.parametrize(
    ("answer", "expected_s"), [(lambda: [int(time.time()) + 100, 0], 100.0), (_away, 0.0)], ids=["ahead", "away"]
)
def test_the_clock_of_redis_is_shown(
    answer: Callable[[], Any], expected_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead by as much as it is; one that does not answer shows nothing and ends nothing."""
    registry = CollectorRegistry()

    async def story() -> Redis:
        redis = Redis(answer)
        monkeypatch.setattr(store_clock, "redis_client", lambda _settings: redis)
        clock = StoreClock(load_settings(), StreamMetrics(registry))
        clock.start()
        await redis.asked.wait()
        await asyncio.sleep(0)
        await clock.stop()
        return redis

    assert asyncio.run(story()).closed
    shown = registry.get_sample_value("cardwatch_store_clock_offset_seconds")
    assert shown == pytest.approx(expected_s, abs=2.0)
