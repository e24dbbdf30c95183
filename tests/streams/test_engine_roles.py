"""The roles with the real engine and the real trainer: what is learned comes back to the scorer."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from detector.examples import Examples
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams.detector_core import DetectorCore
from streams.learn import LearnRole
from streams.metrics import StreamMetrics
from streams.model_log import last_version, model_key, name_of, number_of
from streams.score import ScoreRole
from streams.topics import CONTROL, DECISIONS, EXAMPLES, MODELS
from tests.streams.engine_roles import core_of, new_trainer, section
from tests.streams.kafka_world import World, eventually, running
from tests.streams.stand_in import KEY

SMALL = StateConfig(
    KEY, cards=2000, events=64000, payments=8000, entities=2000,
    buckets=160000, unlabelled_one_in=4,
)  # fmt: skip


def new_core() -> DetectorCore:
    return core_of(EngineState(SMALL, RateTable.from_mapping(section("rates.toml"))))


@pytest.mark.compiled
@pytest.mark.slow
def test_labels_come_back_as_a_model(world: World) -> None:
    """Payments are scored, their labels become examples, the learner publishes, the scorer scores with it."""
    now_ms = int(time.time() * 1000)

    async def story() -> None:
        registry = CollectorRegistry()
        metrics = StreamMetrics(registry)
        async with running(ScoreRole(new_core(), world.worker("score"), metrics)):
            async with running(LearnRole(new_trainer, world.worker("learn"), StreamMetrics(CollectorRegistry()))):
                for number in range(200):
                    world.pay(f"t-{number}", f"card-{number % 10}", event_time_ms=now_ms - 600_000 + number * 1000)
                world.writer.flush()
                await eventually(lambda: len(world.read(DECISIONS)) == 200, "200 decisions")
                for number in range(0, 200, 5):
                    world.label(f"t-{number}", f"card-{number % 10}", "fraud" if number % 2 else "genuine")
                world.write(CONTROL, "card-1", b'{"kind":"damp","card_token":"card-1","reasons":["x"],"until_ms":1}')
                world.writer.flush()
                await eventually(lambda: _learned(world) == 40, "a model that has learned 40 labels")
            newest = last_version(world.settings)
            assert newest is not None
            await eventually(lambda: _in_use(registry) == newest.name, "the scorer uses the newest model")
            world.pay("t-last", "card-1")
            world.writer.flush()
            await eventually(lambda: len(world.read(DECISIONS)) == 201, "another decision")
            last = next(d for d in world.values(DECISIONS) if d["transaction_id"] == "t-last")
            assert last["model_version"] == newest.name
            assert registry.get_sample_value("cardwatch_broadcast_rejected_total", {"topic": CONTROL}) is None

        # A learner that starts goes on from its last version and learns nothing twice; so does the scorer.
        async with (
            running(ScoreRole(new_core(), world.worker("score-2"), StreamMetrics(CollectorRegistry()))),
            running(LearnRole(new_trainer, world.worker("learn-2"), StreamMetrics(CollectorRegistry()))),
        ):
            world.pay("t-0", "card-0", event_time_ms=now_ms - 600_000)
            world.label("t-1", "card-1", "fraud")
            world.writer.flush()
            await eventually(lambda: _learned(world) == 41, "one more label")
            await eventually(lambda: len(world.read(DECISIONS)) == 202, "the duplicate answered")

    asyncio.run(story())
    twice = [decision for decision in world.values(DECISIONS) if decision["transaction_id"] == "t-0"]
    assert [decision["flags"].count("duplicate") for decision in twice] == [0, 1]
    assert twice[0]["score"] == twice[1]["score"]
    assert world.read(EXAMPLES)


@pytest.mark.compiled
@pytest.mark.slow
def test_the_learner_goes_on_from_what_a_person_put_in_place(world: World) -> None:
    """A version that was rolled back is not published over by what was not wanted."""

    async def story() -> None:
        metrics = StreamMetrics(metrics_registry)
        async with running(LearnRole(new_trainer, world.worker("learn"), metrics)):
            _write_examples(world, 40)
            await eventually(lambda: _learned(world) == 40, "a first version")
            first = last_version(world.settings)
            _write_examples(world, 50)
            await eventually(lambda: _learned(world) == 90, "a second version")
            second = last_version(world.settings)
            assert first is not None
            assert second is not None
            back = first.republished(name_of(number_of(second.name) + 1), second, "rolled_back_by_hand", 1, ("ana", ""))
            world.writer.produce(MODELS, back.to_bytes(), model_key(back.name), 0)
            world.writer.flush()
            await eventually(lambda: _learned(world) == 40, "the first version again")
            _write_examples(world, 7)  # given up with the second version: the learner sees that it was replaced
            await eventually(lambda: _in_use(metrics_registry) == back.name, "the learner has gone back")
            _write_examples(world, 9)
            await eventually(lambda: _learned(world) == 49, "the first version, nine labels later")

    metrics_registry = CollectorRegistry()
    asyncio.run(story())
    newest = last_version(world.settings)
    assert newest is not None
    assert [verdict.kind for verdict in newest.verdicts] == ["rolled_back_by_hand"]


def _write_examples(world: World, count: int) -> None:
    bins = np.zeros((count, new_trainer().binner.feature_count), dtype=np.uint8)
    codes = np.zeros(count, dtype=np.int64)
    world.writer.produce(EXAMPLES, Examples.of_nobody(bins, codes, np.ones(count), codes).to_bytes(), partition=0)
    world.writer.flush()


def _learned(world: World) -> int:
    version = last_version(world.settings)
    return 0 if version is None else version.examples_learned


def _in_use(registry: CollectorRegistry) -> str:
    for family in registry.collect():
        if family.name == "cardwatch_model":
            return str(family.samples[0].labels["version"])
    return ""
