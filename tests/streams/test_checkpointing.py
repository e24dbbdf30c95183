"""Engine, checkpointer and store together: lives that end anywhere end in the state of one that does not."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from detector.state import EngineState
from streams.checkpoint_format import Origin, Position
from streams.checkpointing import Checkpointer
from streams.checkpoints import CheckpointStore
from streams.detector_core import DetectorCore
from streams.errors import CheckpointError
from streams.metrics import StreamMetrics
from streams.ownership import Found, OwnedPartition, Ownership
from streams.producer import Producer
from streams.records import TopicPartition
from streams.recovery import Answered
from streams.sources import Sources
from streams.topics import LABELS, TRANSACTIONS
from tests.detector.event_streams import STEPS, Event, build_events, random_steps
from tests.detector.test_changes import TIGHT
from tests.detector.test_engine import RATES
from tests.detector.test_features_against_naive import CONFIG, Run, model, policy
from tests.streams.stores import Died, cut_after

ORIGIN = Origin("cluster-a", {}, "digest-a", "cardwatch-score")


class Acknowledged:
    """A producer whose outputs are all acknowledged."""

    positions: Mapping[TopicPartition, int] = {}

    def fence(self) -> tuple[()]:
        return ()

    async def settled(self, _fence: object) -> None:
        await asyncio.sleep(0)


def _no_tails(starts: Any) -> Any:
    """Nothing is read back: `take_over` says that nothing was answered."""
    raise AssertionError(starts)


class WithoutHoles(Run):
    """Offsets that count events, so that a position is a place in the log."""

    def _offsets(self, event: Event, count: int) -> Any:
        first = self.offsets[event.partition, event.is_label]
        return np.arange(first, first + count)


@dataclass
class Life:
    """A worker from its start to its end, with one partition of a log."""

    url: str
    generation: int
    log: list[Event]
    rng: random.Random
    config: Any = CONFIG
    accepts: bool = True
    committed: list[Mapping[TopicPartition, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = StreamMetrics(self.registry)
        self.state = EngineState(self.config, RATES)
        self.core = DetectorCore(self.state, model(), policy())
        self.store = CheckpointStore(self.url, ORIGIN)
        self.ownership = Ownership(self.core, _no_tails)
        producer = cast("Producer", Acknowledged())
        self.checkpointer = Checkpointer(self.core, producer, self.store, self._commit, self.metrics)

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        self.committed.append(offsets)
        return self.accepts

    @property
    def owned(self) -> OwnedPartition:
        return self.ownership.partitions[0]

    def take_over(self) -> None:
        opened = self.ownership.keep(frozenset({0}), self.generation)
        found = self.store.load(opened, self.generation, self.core.new_room)
        at = found.partitions[0].manifest.position if found.partitions else Position(0, 0)
        starts = {TopicPartition(TRANSACTIONS, 0): at.next_offset, TopicPartition(LABELS, 0): at.label_next_offset}
        sources = Sources(starts, {})
        all_found = Found(found.partitions, found.shared, sources, {0: Answered()}, found.epoch)
        self.ownership.open(opened, all_found, self.store)

    def place(self) -> int:
        """How many events of the log are in state; offsets have no holes here."""
        return self.owned.position.next_offset + self.owned.position.label_next_offset

    def take(self) -> None:
        """Apply the next events of one kind, as the log has them."""
        at = self.place()
        stop = at + 1
        longest = at + self.rng.randint(1, 8)
        while stop < min(len(self.log), longest) and self.log[stop].is_label == self.log[at].is_label:
            stop += 1
        position = self.owned.position
        offsets = {(0, False): position.next_offset, (0, True): position.label_next_offset}
        WithoutHoles(self.state, offsets).take(self.log[at:stop])
        count = stop - at
        is_label = self.log[at].is_label
        self.owned.position = Position(
            position.next_offset + (0 if is_label else count), position.label_next_offset + (count if is_label else 0)
        )
        self.checkpointer.batch_done(self.ownership, self.rng.choice([1, 5000]))

    async def live(self, *, until: int) -> None:
        """Go on to a place of the log, with checkpoints at random moments, some awaited."""
        while self.place() < until:
            self.take()
            if self.rng.random() < 0.4:
                await self.checkpoint(complete=self.rng.random() < 0.3)
            await asyncio.sleep(0)

    async def checkpoint(self, *, complete: bool) -> bool:
        return await self.checkpointer.checkpoint(self.ownership, self.place(), complete=complete)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(f"cardwatch_{name}") or 0.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/checkpoints"


def lived_through(log: list[Event], config: Any = CONFIG) -> str:
    """The digest of a life without an end."""
    life = Life(f"memory://{uuid.uuid4().hex}", 1, log, random.Random(0), config)
    life.take_over()
    asyncio.run(_to_the_end(life))
    return life.state.digest()


async def _to_the_end(life: Life) -> None:
    while life.place() < len(life.log):
        life.take()
    await asyncio.sleep(0)


async def _die(life: Life, until: int, writes: int) -> None:
    """Live until the process is gone at a write, or at a place of the log; what is written in threads dies with it."""
    cut_after(life.store, writes, Died())
    work = asyncio.create_task(life.live(until=until))
    await asyncio.wait([work])
    failed = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in failed:
        task.cancel()
    await asyncio.gather(work, *failed, return_exceptions=True)


def _end_anywhere(log: list[Event], seed: int, config: Any) -> str:
    """Lives that die at random writes and places; the last one goes to the end and checkpoints. The final digest."""
    rng, url = random.Random(seed), f"memory://{uuid.uuid4().hex}"
    place = 0
    for generation in range(1, 6):
        life = Life(url, generation, log, rng, config)
        life.take_over()
        assert life.place() >= 0
        asyncio.run(_die(life, min(len(log), life.place() + rng.randint(0, 12)), rng.randrange(12)))
        place = max(place, life.place())
    last = Life(url, 9, log, rng, config)
    last.take_over()
    assert last.place() <= place
    asyncio.run(_finish(last))
    reader = Life(url, 10, log, rng, config)
    reader.take_over()
    assert reader.place() == len(log)
    return reader.state.digest()


async def _finish(life: Life) -> None:
    await life.live(until=len(life.log))
    assert await life.checkpoint(complete=True)


@given(steps=st.lists(STEPS, min_size=2, max_size=40), seed=st.integers(0, 9999))
# Shrinking a log of deaths takes longer than to read it.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_lives_that_die_at_any_write_end_like_one_that_never_does(steps: list[Any], seed: int) -> None:
    """Base and changes are the full state: random streams, deaths between any two writes, and what is left of them."""
    log = build_events(steps)
    assert _end_anywhere(log, seed, CONFIG) == lived_through(log)


@pytest.mark.parametrize("seed", range(3))
def test_it_holds_while_room_runs_out(seed: int) -> None:
    """The same where cards, payments and entities are evicted all the time: eviction is part of what is saved."""
    log = build_events(random_steps(seed, 240))
    assert _end_anywhere(log, seed, TIGHT) == lived_through(log, TIGHT)


def test_a_store_that_fails_costs_nothing_but_the_checkpoint(url: str) -> None:
    """Disk full, then not: what could not be written is in the next one, and the failures are counted."""
    log = build_events(random_steps(11, 120))

    async def story(life: Life) -> None:
        life.take_over()
        await life.live(until=60)
        assert await life.checkpoint(complete=True)
        files = life.store._files
        for writes in range(5):
            cut_after(life.store, writes, OSError(28, "No space left on device"))
            life.take()
            await life.checkpoint(complete=True)
        life.store._files = files
        failed = life.metric("checkpoints_failed_total")
        assert failed >= 3
        await life.live(until=len(log))
        assert await life.checkpoint(complete=True)
        assert life.metric("checkpoints_failed_total") == failed

    life = Life(url, 1, log, random.Random(1))
    asyncio.run(story(life))
    after = Life(url, 2, log, random.Random(2))
    after.take_over()
    assert after.place() == len(log)
    assert after.state.digest() == life.state.digest()


def test_who_is_refused_a_commit_removes_nothing(url: str) -> None:
    """A worker that lost its partitions finds out by its commit; what its successor builds on stays."""
    log = build_events(random_steps(12, 1_200))

    async def story(life: Life) -> None:
        life.take_over()
        for until in range(20, 1_200, 20):
            await life.live(until=until)
            await life.checkpoint(complete=True)

    folders = []
    for number, accepts in enumerate((True, False)):
        life = Life(f"{url}-{number}", 1, log, random.Random(3), replace(CONFIG), accepts=accepts)
        asyncio.run(story(life))
        assert bool(life.metric("commits_refused_total")) != accepts
        folders.append(len(list((Path(url.removeprefix("file://") + f"-{number}") / "0").iterdir())))
    assert folders[0] < folders[1]


def test_nothing_is_written_before_outputs_are_acknowledged(url: str) -> None:
    """A decision that Kafka has not acknowledged is in no checkpoint and behind no commit."""
    log = build_events(random_steps(13, 20))

    async def story(life: Life) -> None:
        life.take_over()
        life.checkpointer._producer = cast("Producer", SimpleNamespace(positions={}, fence=tuple, settled=_never))
        life.take()
        assert not await life.checkpoint(complete=False), "there is no base yet"
        await life.checkpointer._reading  # type: ignore[misc] # it is there
        assert await life.checkpoint(complete=False)
        life.take()
        assert not await life.checkpoint(complete=False)
        await asyncio.sleep(0.05)
        assert not life.committed
        life.checkpointer._writing.cancel()  # type: ignore[union-attr] # it is there

    life = Life(url, 1, log, random.Random(4))
    asyncio.run(story(life))
    reader = Life(url, 2, log, random.Random(5))
    reader.take_over()
    assert reader.place() == 0


async def _never(_fence: object) -> None:
    await asyncio.Event().wait()


def test_an_unreadable_store_is_named(url: str) -> None:
    """A folder that is a file is no folder without checkpoints."""
    path = Path(url.removeprefix("file://"))
    path.write_text("not a folder")
    life = Life(url, 1, build_events(random_steps(14, 5)), random.Random(6))

    async def story() -> None:
        life.take_over()
        life.take()
        await life.checkpoint(complete=True)

    asyncio.run(story())
    assert life.metric("checkpoints_failed_total") == 1
    with pytest.raises(CheckpointError):
        life.store.write_base(life.store.chain(0), "x", iter(()))
