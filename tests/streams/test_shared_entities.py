"""Three score workers with the real engine that are killed and replaced: all end with what one alone would know."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from detector.state import EngineState
from streams.card_numbers import CardNumberCheck
from streams.codecs import LabelCodec, TransactionCodec
from streams.topics import DECISIONS, ENTITY_ROWS, LABELS, TRANSACTIONS
from tests.streams.engine_roles import core_of
from tests.streams.kafka_world import PARTITIONS, World, eventually, running
from tests.streams.processes import Worker
from tests.streams.sharing_process import new_state, sharing_role

WORKERS = 3
_BOUND_MS = 5 * 60 * 1000

pytestmark = [pytest.mark.compiled, pytest.mark.slow]


class Load:
    """Payments of cards that meet at few places, and labels of what was decided long enough ago."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = random.Random(20261128)
        self.sent = 0

    async def pay(self, payments: int) -> None:
        for _ in range(payments):
            number, rng = self.sent, self._rng
            card = f"card-{number % 40}"
            places = {"terminal_id": f"trm-{rng.randrange(6)}"} if rng.random() < 0.7 else {}
            self._world.pay(
                f"t-{number}", card, 100 + rng.randrange(9_000), merchant_id=f"mer-{rng.randrange(9)}", mcc="5411",
                device_id=f"dev-{rng.randrange(12)}", **places,
            )  # fmt: skip
            if number % 25 == 24:
                self._world.pay(f"r-{number}", card, 1, kind="reversal", refers_to=f"t-{number}")
            self.sent += 1
            if number % 20 == 0:
                await asyncio.sleep(0.02)
        await asyncio.to_thread(self._world.writer.flush)

    def label(self, first: int) -> None:
        """Label every third payment from one on, each fifth of them twice."""
        for number in range(first, self.sent, 3):
            self._world.label(f"t-{number}", f"card-{number % 40}", "fraud" if number % 2 else "genuine")
            if number % 5 == 0:
                self._world.label(f"t-{number}", f"card-{number % 40}", "genuine" if number % 2 else "fraud")
        self._world.writer.flush()

    def is_decided(self) -> bool:
        return len(self._world.read(DECISIONS)) >= self.sent + self.sent // 25


def alone(world: World) -> str:
    """The digest of a worker that reads both logs from their beginning to their end."""
    state, now_ms = new_state(), int(time.time() * 1000)
    core, check = core_of(state), CardNumberCheck(None)
    for topic in (TRANSACTIONS, LABELS):
        for number in range(PARTITIONS):
            state.open_partition(number)
            records = [record for record in world.read(topic) if record.partition == number]
            if records and topic == TRANSACTIONS:
                decoded = TransactionCodec(check, _BOUND_MS).decode(records, now_ms)
                core.assess(core.build(decoded.columns, number, decoded.offset))
            elif records:
                decoded = LabelCodec(check, _BOUND_MS).decode(records, now_ms)
                core.label(decoded.columns, number, decoded.offset)
    return state.shared_digest()


async def all_know(states: Mapping[str, EngineState], expected: str, deadline_s: float = 40.0) -> None:
    """Wait until the shared entities of all workers are as expected."""
    deadline = time.monotonic() + deadline_s
    while True:
        digests = {name: state.shared_digest() for name, state in states.items()}
        if set(digests.values()) == {expected}:
            return
        assert time.monotonic() < deadline, f"{digests}, alone {expected}"
        await asyncio.sleep(0.1)


def owns_some(registry: CollectorRegistry) -> bool:
    """Whether a worker shows partitions as its own."""
    return any(
        sample.name == "cardwatch_partition_next_offset" for family in registry.collect() for sample in family.samples
    )


def test_three_workers_that_die_and_move_know_what_one_alone_would(world: World) -> None:
    """Partitions wander between workers that are killed, stopped and started: the same shared entities on all.

    Librdkafka's mock cluster leaves a group of many members, some of them dead, no rest: there two workers move only.
    """
    sharing = replace(world, settings=replace(world.settings, share_entities=True))
    rng, load = random.Random(3), Load(world)

    async def with_processes(workers: list[Worker]) -> None:
        await load.pay(100)
        await eventually(load.is_decided, "the first payments are decided")
        for life in range(2):
            loading = asyncio.create_task(load.pay(200))
            await asyncio.sleep(rng.uniform(0.1, 2.0))
            victim = rng.choice(workers)
            victim.kill()
            await loading
            load.label(load.sent - 250)
            victim.start(f"again-{life}")
        await eventually(load.is_decided, "all is decided by those that are left")

    async def with_roles(names: str) -> None:
        states: dict[str, EngineState] = {}
        registries = {}
        async with AsyncExitStack() as stack:
            stops = {}
            for name in names:
                states[name], registries[name] = new_state(), CollectorRegistry()
                role = sharing_role(states[name], sharing.worker(name), registries[name])
                stops[name] = await stack.enter_async_context(running(role))
                await load.pay(60)
            if len(names) == WORKERS:
                await stops["b"]()
                del states["b"]
            await eventually(lambda: all(owns_some(registries[name]) for name in states), "all have partitions")
            load.label(load.sent - 200)
            await load.pay(100)
            await eventually(load.is_decided, "all is decided")
            await all_know(states, await asyncio.to_thread(alone, world))
            counts = {
                name: [each.get_sample_value(f"cardwatch_entity_rows_{name}_total") for each in registries.values()]
                for name in ("missed", "applied")
            }
            assert counts["missed"] == [0.0] * len(registries)
            assert sum(count or 0 for count in counts["applied"]) > 0

    if not world.settings.embedded:
        workers = [Worker(sharing, "tests.streams.sharing_process", f"w{number}") for number in range(WORKERS)]
        try:
            asyncio.run(with_processes(workers))
            for worker in workers:
                worker.end()
        finally:
            for worker in workers:
                worker.kill()
    asyncio.run(with_roles("ab" if world.settings.embedded else "abc"))
    assert {record.partition for record in world.read(ENTITY_ROWS)} == set(range(PARTITIONS))
