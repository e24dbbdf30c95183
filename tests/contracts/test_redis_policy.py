"""Real servers that hang, lose their replicas, or are full; and commands that wait for Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_store import RedisStore
from casework.cards import OutcomeKind
from casework.desk import Desk
from casework.errors import StoreUnavailableError, UnconfirmedError
from casework.views import CardView
from detector.vocabulary import CardStatus
from tests.casework import examples
from tests.casework.examples import AGENT, NOW_MS, alert
from tests.contracts.test_desk import drain
from tests.services.process import wait_until
from tests.services.redis_replicas import Replicated, replicated_redis
from tests.services.redis_server import RedisServer, redis_program

pytestmark = [pytest.mark.redis, pytest.mark.skipif(redis_program() is None, reason="redis-server is not installed")]
# So short that a test of a hanging server ends soon, and still far above what a busy machine needs for an answer.
POLICY = ConnectionPolicy(timeout_s=1.0, retries=1, budget_s=3.0)


NewDesk = Callable[..., Desk]


@pytest.fixture
def new_desk(runner: asyncio.Runner) -> Iterator[NewDesk]:
    """Makes desks on one server, of one shard; their connections end with the test."""
    stores: list[RedisStore] = []

    def desk_on(url: str, *, replicas: int = 0, confirm_within_s: float | None = None, prefix: str = "policy") -> Desk:
        connection = RedisConnection(connect(RedisAddress(url), POLICY), POLICY, replicas=replicas)
        settings = RedisStoreSettings(shards=1, prefix=prefix, confirm_within_s=confirm_within_s)
        stores.append(RedisStore(connection, settings))
        desk = examples.desk_on(stores[-1])
        runner.run(desk.open())
        return desk

    yield desk_on
    for store in stores:
        runner.run(store.close())


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[Replicated]:
    with replicated_redis(tmp_path) as made:
        yield made


def test_a_server_that_hangs_is_no_answer_and_comes_back(
    replicated: Replicated, runner: asyncio.Runner, new_desk: NewDesk
) -> None:
    """Within the budget the call says so; once the server goes on, asking again does it once."""
    desk = new_desk(replicated.master.url)
    replicated.master.pause()
    try:
        with pytest.raises(StoreUnavailableError):
            runner.run(desk.respond([alert("a")], NOW_MS))
    finally:
        replicated.master.resume()
    outcome = runner.run(_until_answered(desk))
    assert outcome is OutcomeKind.FROZEN
    assert len(runner.run(drain(desk))) == 4


async def _until_answered(desk: Desk) -> OutcomeKind:
    while True:
        try:
            return (await desk.respond([alert("a")], NOW_MS))[0].kind
        except StoreUnavailableError:
            await asyncio.sleep(0.05)


def test_what_no_replica_has_does_not_count_as_done(
    replicated: Replicated, runner: asyncio.Runner, new_desk: NewDesk
) -> None:
    """With `replicas = 1` a step, and the record of one done before, count only when the replica has them."""
    desk = new_desk(replicated.master.url, replicas=1)
    assert runner.run(desk.respond([alert("a")], NOW_MS))[0].kind is OutcomeKind.FROZEN
    (replica,) = replicated.replicas
    replica.pause()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="replicas"):
                runner.run(desk.respond([alert("b", card_token="card-2")], NOW_MS))
    finally:
        replica.resume()
    wait_until(replicated.in_step, seconds=30, what="the replica follows again")
    assert runner.run(desk.respond([alert("b", card_token="card-2")], NOW_MS))[0].kind is OutcomeKind.FROZEN


def test_a_command_waits_for_kafka_where_that_is_configured(
    redis_server: RedisServer, runner: asyncio.Runner, new_desk: NewDesk
) -> None:
    """`confirm = "kafka"`: no "done" before the outbox is acknowledged, neither at first nor when asked again."""
    desk = new_desk(redis_server.url, confirm_within_s=0.2, prefix="confirm-1")

    async def freeze() -> CardView:
        return await desk.set_card_state(
            "card-1", CardStatus.FROZEN, "Lost.", AGENT, now_ms=NOW_MS, idempotency_key="k"
        )

    for _ in range(2):
        with pytest.raises(UnconfirmedError):
            runner.run(freeze())
    runner.run(desk.ack_outbox(0, runner.run(drain(desk))[-1].entry_id))
    view = runner.run(freeze())
    assert (view.state, view.sequence) == (CardStatus.FROZEN, 1)
    assert runner.run(drain(desk)) == []


def test_a_command_ends_as_soon_as_the_relay_has_told_kafka(
    redis_server: RedisServer, runner: asyncio.Runner, new_desk: NewDesk
) -> None:
    """What enters the outbox after the command is not waited for, and alerts wait for nobody."""
    desk = new_desk(redis_server.url, confirm_within_s=60.0, prefix="confirm-2")
    runner.run(desk.respond([alert("a", card_token="card-9")], NOW_MS))

    async def relay() -> None:
        async with asyncio.timeout(30):
            entries = await drain(desk)
            while len(entries) < 6:
                await asyncio.sleep(0.01)
                entries = await drain(desk)
        told = entries[-1].entry_id
        await desk.respond([alert("b", card_token="card-8")], NOW_MS)
        await desk.ack_outbox(0, told)

    async def both() -> CardView:
        command = desk.set_card_state("card-1", CardStatus.FROZEN, "Lost.", AGENT, now_ms=NOW_MS)
        return (await asyncio.gather(command, relay()))[0]

    assert runner.run(both()).state is CardStatus.FROZEN
    assert len(runner.run(drain(desk))) == 4
