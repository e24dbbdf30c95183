"""Who leads a group on a real Kafka deals out what it knows, and waits until it does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

from streams.score import score_role
from tests.streams.kafka_world import PARTITIONS, World, eventually, running
from tests.streams.stand_in import StandInCore

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

_BLIND_LOOKS = 2


@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_who_leads_without_having_seen_the_topics_looks_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts while its broker does may see no topics at first: it deals once it has."""
    sees, refused = AIOKafkaClient._metadata_update, 0

    async def sees_nothing_at_first(self: AIOKafkaClient, cluster: Any, topics: Any) -> Any:
        nonlocal refused
        if topics and refused < _BLIND_LOOKS:
            refused += 1
            return False
        return await sees(self, cluster, topics)

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", sees_nothing_at_first)

    async def run() -> None:
        role = score_role(StandInCore(), world.worker("first"), CollectorRegistry())
        async with running(role):
            await eventually(lambda: len(role.owned()) == PARTITIONS, "all partitions are dealt out")

    asyncio.run(run())
    assert refused == _BLIND_LOOKS
