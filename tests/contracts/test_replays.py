"""Orders of replays: every implementation keeps the same promises."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import msgspec
import pytest

from casework.adapters.memory_replays import MemoryReplays
from casework.adapters.redis_replays import RedisReplays
from casework.replays import Picked, Replay, ReplayOf, ReplayProgress
from tests.casework.examples import NOW_MS
from tests.contracts.conftest import REDIS_KINDS, Run, Servers, connection_to

Orders = MemoryReplays | RedisReplays
HOLD_MS = 60_000


def redis_replays(kind: str, servers: Servers) -> RedisReplays:
    return RedisReplays(connection_to(servers.url(kind), kind), f"cardwatch:test-{uuid.uuid4().hex}")


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in REDIS_KINDS)])
def replays(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Orders]:
    if request.param == "memory":
        yield MemoryReplays()
        return
    made = redis_replays(request.param, request.getfixturevalue("servers"))
    yield made
    runner.run(made.close())


def order(number: int) -> Replay:
    picked = (Picked("event-7", NOW_MS, "fraud.cases.v1", 3, 12),)
    return Replay(f"replay-{number}", ReplayOf.PICKED, "ann", "They lost it: ünïcödé.", NOW_MS + number, picked)


def test_an_endpoint_has_one_order_at_a_time(replays: Orders, run: Run) -> None:
    """A second is not taken until the first is over, whoever ended it; another endpoint has its own."""
    assert run(replays.ordered("bank")) is None
    assert run(replays.order("bank", order(1)))
    assert not run(replays.order("bank", order(2)))
    assert run(replays.ordered("bank")) == order(1)
    assert run(replays.order("ledger", order(3)))
    ended = ReplayProgress(order(1), cancelled_by="bob", ended_ms=NOW_MS)
    assert run(replays.end("bank", ended))
    assert not run(replays.end("bank", ended))
    assert run(replays.ordered("bank")) is None
    assert run(replays.progress("bank")) == ended
    assert run(replays.order("bank", order(2)))
    assert run(replays.ordered("ledger")) == order(3)
    assert run(replays.progress("ledger")) is None


def test_one_worker_at_a_time_carries_an_order_out(replays: Orders, run: Run) -> None:
    """Whoever has it gets it again; when it has ended the next order is anybody's."""
    assert run(replays.take("bank", "worker-1", HOLD_MS)) is None
    run(replays.order("bank", order(1)))
    assert run(replays.take("bank", "worker-1", HOLD_MS)) == order(1)
    assert run(replays.take("bank", "worker-2", HOLD_MS)) is None
    assert run(replays.take("bank", "worker-1", HOLD_MS)) == order(1)
    assert run(replays.end("bank", ReplayProgress(order(1), told=4, ended_ms=NOW_MS)))
    assert run(replays.take("bank", "worker-2", HOLD_MS)) is None
    run(replays.order("bank", order(2)))
    assert run(replays.take("bank", "worker-2", HOLD_MS)) == order(2)


def test_progress_is_noted_while_the_order_stands(replays: Orders, run: Run) -> None:
    """A worker whose order was cancelled, or cancelled and followed by another, is told so and notes nothing."""
    run(replays.order("bank", order(1)))
    run(replays.take("bank", "worker-1", HOLD_MS))
    so_far = ReplayProgress(order(1), told=2, refused=1)
    assert run(replays.note("bank", "worker-1", so_far, HOLD_MS))
    assert run(replays.progress("bank")) == so_far
    ended = msgspec.structs.replace(so_far, cancelled_by="bob", ended_ms=NOW_MS)
    assert run(replays.end("bank", ended))
    later = msgspec.structs.replace(so_far, told=3)
    assert not run(replays.note("bank", "worker-1", later, HOLD_MS))
    assert run(replays.progress("bank")) == ended
    run(replays.order("bank", order(2)))
    assert not run(replays.note("bank", "worker-1", later, HOLD_MS))
    assert not run(replays.end("bank", later))
    assert run(replays.ordered("bank")) == order(2)


@pytest.mark.redis
def test_an_order_whose_worker_died_is_taken_by_another(servers: Servers, runner: asyncio.Runner) -> None:
    """Once it has not noted anything for as long as it said."""
    replays = redis_replays("bundled", servers)

    async def play() -> None:
        await replays.order("bank", order(1))
        assert await replays.take("bank", "worker-1", 50) == order(1)
        while await replays.take("bank", "worker-2", HOLD_MS) is None:  # noqa: ASYNC110 - it comes by time alone
            await asyncio.sleep(0.01)
        assert await replays.take("bank", "worker-1", HOLD_MS) is None
        await replays.close()

    runner.run(play())
