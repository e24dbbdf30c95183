"""Payments that come in Kafka's transactions, whose ends take offsets that no record has."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from streams.score import score_role
from streams.topics import DECISIONS, TRANSACTIONS
from tests.streams.kafka_world import World, eventually, running
from tests.streams.raw_records import raw_transaction
from tests.streams.stand_in import StandInCore

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

_STALL_S = 6.0
_PAYMENTS = 5


def in_transactions(world: World, name: str) -> tuple[World, Producer]:
    """The world with a watchdog that does not wait for long, and a writer of transactions."""
    settings = replace(world.settings, recovery_timeout_s=_STALL_S - 1, stall_timeout_s=_STALL_S)
    writer = Producer({"bootstrap.servers": world.settings.bootstrap_servers, "transactional.id": name})
    writer.init_transactions(30)
    return replace(world, settings=settings), writer


@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_a_topic_that_falls_silent_after_a_transaction_is_no_stall(world: World) -> None:
    """Each payment is answered once, and a worker that has read everything goes on for ever."""
    quick, writer = in_transactions(world, "payments")

    def pay(number: int) -> None:
        writer.begin_transaction()
        writer.produce(TRANSACTIONS, raw_transaction(transaction_id=f"t-{number}").value, b"card-a")
        writer.commit_transaction(30)

    async def run() -> None:
        role = score_role(StandInCore(), quick.worker("one"), CollectorRegistry())
        async with running(role):
            for number in range(_PAYMENTS):
                await asyncio.to_thread(pay, number)
                await eventually(lambda: len(world.values(DECISIONS)) > number, "it is answered")  # noqa: B023
            broken = asyncio.create_task(role.wait_broken())
            done, _ = await asyncio.wait([broken], timeout=3 * _STALL_S)
            assert not done
            broken.cancel()

    asyncio.run(run())
    assert [decision["transaction_id"] for decision in world.values(DECISIONS)] == [f"t-{n}" for n in range(_PAYMENTS)]


@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_what_was_aborted_was_never_paid(world: World) -> None:
    """It is not answered and does not count; what is open still waits for its end, and that is no stall."""
    quick, writer = in_transactions(world, "aborting")

    def write(name: str) -> None:
        writer.begin_transaction()
        writer.produce(TRANSACTIONS, raw_transaction(transaction_id=name).value, b"card-a")
        assert writer.flush(30) == 0

    async def run() -> None:
        role = score_role(StandInCore(), quick.worker("one"), CollectorRegistry())
        async with running(role):
            await asyncio.to_thread(write, "aborted")
            await asyncio.to_thread(writer.abort_transaction, 30)
            await asyncio.to_thread(write, "open")
            broken = asyncio.create_task(role.wait_broken())
            done, _ = await asyncio.wait([broken], timeout=2 * _STALL_S)
            assert not done
            assert not world.values(DECISIONS)
            await asyncio.to_thread(writer.commit_transaction, 30)
            await eventually(lambda: len(world.values(DECISIONS)) == 1, "it is answered")
            broken.cancel()

    asyncio.run(run())
    (decision,) = world.values(DECISIONS)
    assert (decision["transaction_id"], decision["score"]) == ("open", 0.001)
