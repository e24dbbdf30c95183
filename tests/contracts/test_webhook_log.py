"""The log of webhooks: every implementation keeps the same promises."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from casework.adapters import memory_webhooks, redis_webhooks
from casework.adapters.memory_webhooks import MemoryWebhooks
from casework.adapters.redis_webhooks import RedisWebhooks
from casework.webhook_log import STANDING_KEPT_MS, Disabled, Line, Outcome, Standing
from tests.casework.examples import NOW_MS
from tests.contracts.conftest import REDIS_KINDS, Run, Servers, connection_to

Log = MemoryWebhooks | RedisWebhooks


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in REDIS_KINDS)])
def log(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Log]:
    if request.param == "memory":
        yield MemoryWebhooks()
        return
    servers: Servers = request.getfixturevalue("servers")
    made = RedisWebhooks(connection_to(servers.url(request.param), request.param), f"cardwatch:test-{uuid.uuid4().hex}")
    yield made
    runner.run(made.close())


def line(number: int, outcome: Outcome = Outcome.DELIVERED) -> Line:
    event_ms = NOW_MS + number
    return Line(f"event-{number}", "case.closed", event_ms, event_ms + 50, 1, outcome, "HTTP 200", "topic", 2, number)


def test_lines_come_the_last_written_first(log: Log, run: Run) -> None:
    """Each endpoint has its own."""
    assert run(log.newest("bank", 10)) == []
    for number in range(3):
        run(log.write("bank", line(number)))
    run(log.write("ledger", line(9)))
    assert run(log.newest("bank", 2)) == [line(2), line(1)]
    assert run(log.newest("ledger", 2)) == [line(9)]


def test_what_was_not_told_stays_until_it_was(log: Log, run: Run) -> None:
    """The earliest event first, each once with what became of it last."""
    for number, outcome in ((7, Outcome.REFUSED), (3, Outcome.EXPIRED), (5, Outcome.DELIVERED), (3, Outcome.REFUSED)):
        run(log.write("bank", line(number, outcome)))
    assert run(log.untold("bank")) == [line(3, Outcome.REFUSED), line(7, Outcome.REFUSED)]
    assert run(log.untold_span("bank")) == (2, NOW_MS + 3)
    assert run(log.untold("ledger")) == []
    assert run(log.untold_span("ledger")) == (0, None)
    run(log.write("bank", line(3)))
    assert run(log.untold("bank")) == [line(7, Outcome.REFUSED)]
    assert run(log.untold_span("bank")) == (1, NOW_MS + 7)
    assert run(log.newest("bank", 1)) == [line(3)]


def test_an_endpoint_that_takes_nothing_fills_nothing(log: Log, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are bounded, the oldest go; so are events that were not told."""
    for module in (memory_webhooks, redis_webhooks):
        monkeypatch.setattr(module, "LINES_KEPT", 5)
        monkeypatch.setattr(module, "UNTOLD_KEPT", 3)
    for number in range(8):
        run(log.write("bank", line(number, Outcome.REFUSED)))
    assert run(log.newest("bank", 100)) == [line(number, Outcome.REFUSED) for number in (7, 6, 5, 4, 3)]
    assert run(log.untold("bank")) == [line(number, Outcome.REFUSED) for number in (5, 6, 7)]


def test_one_that_is_disabled_stays_so_until_it_is_enabled(log: Log, run: Run) -> None:
    """For all who ask, and of no other endpoint."""
    assert run(log.disabled("bank")) is None
    run(log.disable("bank", Disabled(NOW_MS, "gone")))
    assert run(log.disabled("bank")) == Disabled(NOW_MS, "gone")
    assert run(log.disabled("ledger")) is None
    run(log.enable("bank"))
    run(log.enable("bank"))
    assert run(log.disabled("bank")) is None


def test_each_worker_says_how_it_goes(log: Log, run: Run) -> None:
    """The last that each said; who has said nothing for long is forgotten."""
    assert run(log.standings("bank")) == []
    early = Standing(NOW_MS, NOW_MS - 5_000, NOW_MS - 10, "HTTP 503")
    run(log.say("bank", "worker-1", early))
    run(log.say("bank", "worker-2", Standing(NOW_MS + 1)))
    run(log.say("bank", "worker-2", Standing(NOW_MS + 2)))
    run(log.say("ledger", "worker-1", Standing(NOW_MS)))
    assert sorted(run(log.standings("bank")), key=lambda each: each.time_ms) == [early, Standing(NOW_MS + 2)]
    later = Standing(NOW_MS + 1 + STANDING_KEPT_MS)
    run(log.say("bank", "worker-3", later))
    assert sorted(run(log.standings("bank")), key=lambda each: each.time_ms) == [Standing(NOW_MS + 2), later]
