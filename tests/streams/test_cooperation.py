"""Rebalances on a real Kafka: who keeps a partition goes on with it, whatever the others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from streams import seam
from streams.murmur2 import partition_of
from streams.score import ScoreRole, score_role
from streams.topics import DECISIONS, LABELS, TRANSACTIONS
from tests.services.kafka_broker import KafkaBroker
from tests.streams.kafka_world import PARTITIONS, World, eventually, real_world, running
from tests.streams.stand_in import StandInCore

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

# Longer than anything here takes until the member that died is to be given up.
_SESSION_S = 60.0
_BLIND_LOOKS = 2


@pytest.fixture
def world(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[World]:
    """A real Kafka only: on the embedded broker everything is given up, as before."""
    with real_world(kafka_broker.bootstrap_servers, f"file://{tmp_path}/checkpoints") as made:
        yield made


class Nobody:
    """A kind of handler that none is."""


def role(world: World, name: str) -> ScoreRole:
    return score_role(StandInCore(), world.worker(name), CollectorRegistry())


def cards_of(partitions: frozenset[int]) -> list[str]:
    """A card of each partition."""
    by_partition = {partition_of(f"card-{number}".encode(), PARTITIONS): f"card-{number}" for number in range(200)}
    return [by_partition[partition] for partition in sorted(partitions)]


def state_of(world: World) -> ConsumerGroupState:
    group = world.settings.group("score")
    admin = AdminClient({"bootstrap.servers": world.settings.bootstrap_servers})
    state: ConsumerGroupState = admin.describe_consumer_groups([group])[group].result().state
    return state


def decided(world: World) -> set[str]:
    return {decision["transaction_id"] for decision in world.values(DECISIONS)}


@asynccontextmanager
async def other_version(world: World) -> AsyncIterator[AIOKafkaConsumer]:
    """A member that knows nothing of claims, as versions before; it reads nothing."""
    consumer = AIOKafkaConsumer(
        TRANSACTIONS, LABELS,
        bootstrap_servers=world.settings.bootstrap_servers, group_id=world.settings.group("score"),
        partition_assignment_strategy=(RangePartitionAssignor,), session_timeout_ms=int(_SESSION_S * 1000),
        heartbeat_interval_ms=200, enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def die(consumer: AIOKafkaConsumer) -> None:
    """Let a member fall silent without a word, as kill -9 does."""
    coordinator = consumer._coordinator
    await coordinator._stop_heartbeat_task()
    coordinator._coordination_task.cancel()
    await asyncio.wait([coordinator._coordination_task])


def test_partitions_that_stay_are_answered_while_the_group_waits_for_a_dead_member(world: World) -> None:
    """One member has died, another joins: until the first is given up, its partitions alone are unanswered."""
    patient = replace(world, settings=replace(world.settings, session_timeout_s=_SESSION_S))

    async def run() -> None:
        async with AsyncExitStack() as stack:
            first = role(patient, "first")
            await stack.enter_async_context(running(first))
            dead = await stack.enter_async_context(other_version(patient))
            await eventually(lambda: len(first.owned()) == PARTITIONS // 2, "the second member has its share")
            await eventually(lambda: state_of(world) == ConsumerGroupState.STABLE, "the group is stable")
            await die(dead)
            await stack.enter_async_context(running(role(patient, "third")))
            await eventually(lambda: state_of(world) == ConsumerGroupState.PREPARING_REBALANCING, "the group waits")
            kept = first.owned()
            for number, card in enumerate(cards_of(kept)):
                world.pay(f"t-{number}", card)
            await asyncio.to_thread(world.writer.flush)
            expected = {f"t-{number}" for number in range(len(kept))}
            await eventually(lambda: decided(world) == expected, "payments of kept partitions are answered")
            assert state_of(world) == ConsumerGroupState.PREPARING_REBALANCING
            await dead._coordinator._maybe_leave_group()  # the others need not wait any longer to end

    asyncio.run(run())


def test_who_stays_keeps_its_partitions_and_who_comes_gets_what_they_give_up(world: World) -> None:
    """Three join one after the other, one leaves: nobody loses more than it must, and everything is answered."""

    def own_everything(several: list[ScoreRole]) -> bool:
        owned = sorted(number for each in several for number in each.owned())
        return owned == list(range(PARTITIONS)) and all(each.owned() for each in several)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            roles: list[ScoreRole] = []
            stops: list[Callable[[], Awaitable[None]]] = []
            seen: list[frozenset[int]] = []
            for name in "abc":
                roles.append(role(world, name))
                stops.append(await stack.enter_async_context(running(roles[-1])))
                await eventually(lambda: own_everything(roles), "all partitions have one owner")
                assert all(each.owned() <= before for each, before in zip(roles, seen, strict=False))
                seen = [each.owned() for each in roles]
            await stops[0]()
            await eventually(lambda: own_everything(roles[1:]), "two own everything")
            assert all(before <= each.owned() for each, before in zip(roles[1:], seen[1:], strict=True))
            for number, card in enumerate(cards_of(frozenset(range(PARTITIONS)))):
                world.pay(f"t-{number}", card)
            await asyncio.to_thread(world.writer.flush)
            expected = {f"t-{number}" for number in range(PARTITIONS)}
            await eventually(lambda: decided(world) == expected, "everything is answered")

    asyncio.run(run())


@pytest.mark.parametrize("goes_on", [True, False])
def test_who_leads_without_having_seen_the_topics_looks_again(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    goes_on: bool,  # noqa: FBT001
) -> None:
    """A worker that starts while its broker does may see no topics at first: it deals once it has."""
    sees, refused = AIOKafkaClient._metadata_update, 0

    async def sees_nothing_at_first(self: AIOKafkaClient, cluster: Any, topics: Any) -> Any:
        nonlocal refused
        if topics and refused < _BLIND_LOOKS:
            refused += 1
            return False
        return await sees(self, cluster, topics)

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", sees_nothing_at_first)
    if not goes_on:
        # As all roles that have no state to read.
        monkeypatch.setattr(seam, "PreparingHandler", Nobody)

    async def run() -> None:
        first = role(world, "first")
        async with running(first):
            await eventually(lambda: len(first.owned()) == PARTITIONS, "all partitions are dealt out")

    asyncio.run(run())
    assert refused == _BLIND_LOOKS
