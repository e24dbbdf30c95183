"""Payments that wait for labels on disk, of a real score worker that is killed: none is lost, none comes twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from detector.catalogue import HOUR_MS
from detector.examples import Examples
from detector.vocabulary import Label
from streams.topics import DECISIONS, EXAMPLES
from tests.streams.engine_process import CONFIG
from tests.streams.kafka_world import PARTITIONS, World, eventually
from tests.streams.processes import Worker

_CARDS = 20
_PAYMENTS = 3_000
# Until a worker answers; it may have to compile the kernels, on a busy machine.
_START_S = 180.0


def _learned(world: World) -> Counter[int]:
    """Labelled examples by their label."""
    labels: Counter[int] = Counter()
    for record in world.read(EXAMPLES):
        labels.update(Examples.from_bytes(record.value or b"").label.tolist())
    return labels


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_loses_and_doubles_no_payment_on_disk(world: World) -> None:
    """Killed at random moments while payments leave memory; later every label meets its payment, once."""
    rng = random.Random(20261127)
    begin_ms = int(time.time() * 1000) - _PAYMENTS // 2 * HOUR_MS
    sent = 0

    def pay(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            at_ms = begin_ms + sent * HOUR_MS // 2
            world.pay(f"t-{sent}", f"card-{sent % _CARDS}", event_time_ms=at_ms, merchant_id=f"mer-{sent % 7}")
            sent += 1
        world.writer.flush()

    def decided() -> int:
        return len({decision["transaction_id"] for decision in world.values(DECISIONS)})

    def is_decided(count: int) -> bool:
        return decided() >= count

    async def story(worker: Worker) -> None:
        for life in range(1, 3):
            some = decided() + 1
            pay(_PAYMENTS // 3)
            await eventually(partial(is_decided, some), "it answers", deadline_s=_START_S)
            await asyncio.sleep(rng.uniform(0.0, 0.6))
            worker.kill()
            worker.start(f"w{life}")
        pay(_PAYMENTS - sent)
        await eventually(lambda: decided() == _PAYMENTS, "all decisions", deadline_s=_START_S)
        for number in range(_PAYMENTS):
            world.label(f"t-{number}", f"card-{number % _CARDS}", "fraud" if number % 10 == 0 else "genuine")
        world.writer.flush()
        await eventually(lambda: _learned(world).total() >= _PAYMENTS, "all labels", deadline_s=_START_S)
        assert worker.end() == 0

    worker = Worker(world, "tests.streams.engine_process")
    try:
        asyncio.run(story(worker))
    finally:
        worker.kill()
    assert _learned(world) == {int(Label.FRAUD): _PAYMENTS // 10, int(Label.GENUINE): _PAYMENTS * 9 // 10}
    on_disk = list(Path(world.settings.checkpoint_url.removeprefix("file://"), "kept").rglob("*.*"))
    assert len(on_disk) * CONFIG.segment_rows > _PAYMENTS - 2 * PARTITIONS * (CONFIG.payments + CONFIG.segment_rows)
