"""The learn role: examples in, model versions out. One worker is active, the owner of the examples' partition.

Its state is the last version it published: it holds the optimisers' state of champion and challengers, what is known of
who is better, of calibration and of drift, and the offset up to which it has learned. A learner that starts reads it
back and goes on from that offset, so nothing is learned twice and nothing is left out: it ends where one that never
stopped ends, to the bit. River's models alone are not in it; they learn the latest examples again.

A person may have put another version in place with `cardwatch models`. Before it publishes, the learner looks whether
the newest version is still its own; where it is not, it goes on from that one, and what it has learned since its last
own version is given up with the version that was not wanted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from detector.errors import ModelError
from detector.examples import Examples
from detector.models.contest import Verdict
from detector.models.drift import DriftMonitor
from detector.models.trainer import Trainer
from detector.vocabulary import Label
from streams.clock import Clock, epoch_ms
from streams.cluster import look_at
from streams.events import Outgoing, cloud_event
from streams.example_log import EXAMPLES_PARTITION, examples_before
from streams.examples import is_matured
from streams.metrics import StreamMetrics
from streams.model_log import MODELS_PARTITION, last_version, model_key, models_end, name_of, number_of
from streams.producer import open_producer
from streams.records import RawRecord, TopicPartition
from streams.seam import StreamShell
from streams.settings import StreamSettings
from streams.tasks import end_tasks
from streams.topics import EXAMPLES, MODELS

_TYPE = "cardwatch.model.v1"
_TICK_S = 0.2

logger = logging.getLogger(__name__)


class NewTrainer(Protocol):
    """Makes a trainer that knows nothing."""

    def __call__(self) -> Trainer:
        """Make it."""
        ...


class LearnRole:
    """The learner, or one that waits to become it."""

    def __init__(
        self, new_trainer: NewTrainer, settings: StreamSettings, metrics: StreamMetrics, clock: Clock = epoch_ms
    ) -> None:
        """Learn with what `new_trainer` makes; nothing connects before `start`."""
        self._new_trainer = new_trainer
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._producer = open_producer(settings)
        self._shell = StreamShell("learn", (EXAMPLES,), self, settings, metrics.vitals)
        self._trainer: Trainer | None = None
        self._next_offset = 0
        self._number = 0
        self._unpublished = 0
        self._models_end = 0
        self._told: Verdict | None = None
        self._published_s = 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check the cluster, then join the group.

        Raises:
            TopicError: a topic is missing.
        """
        await asyncio.to_thread(_warm_up, self._new_trainer())
        await asyncio.to_thread(look_at, (EXAMPLES, MODELS), self._producer, self._settings)
        await self._shell.start()
        self._ticking = asyncio.create_task(self._tick_for_ever(), name="learn tick")

    async def stop(self) -> None:
        """Publish what was learned, commit and leave the group."""
        if self._ticking is not None:
            await end_tasks([self._ticking])
        await self._shell.stop()
        await asyncio.to_thread(self._producer.close)

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        await self._shell.wait_broken()

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Become the learner, or stop being it; see `BatchHandler`."""
        self._trainer = None
        positions: dict[TopicPartition, int | None] = dict.fromkeys(partitions)
        if EXAMPLES_PARTITION in partitions:
            self._next_offset = await self._take_newest()
            positions[EXAMPLES_PARTITION] = self._next_offset
            logger.info("learning from offset %d in generation %d", self._next_offset, generation)
        return positions

    async def _take_newest(self) -> int:
        """Go on from the newest version; returns the offset up to which it has learned."""
        # Asked first: a version that comes between is looked at again before the next is published.
        self._models_end = await asyncio.to_thread(models_end, self._settings)
        last = await asyncio.to_thread(last_version, self._settings)
        trainer, self._number = self._new_trainer(), 0
        known = None
        if last is not None:
            trainer.resume(last)
            self._number = number_of(last.name)
            self._metrics.model_in_use(last.name)
            known = None if last.shared is None else last.shared.drift
            if trainer.has_uncompiled:
                await asyncio.to_thread(_relive, trainer, self._settings, last.examples_offset)
        trainer.monitor = DriftMonitor(trainer.binner, self._metrics, known)
        self._trainer = trainer
        self._unpublished, self._published_s = 0, time.monotonic()
        self._told = next(reversed(trainer.contest.verdicts), None)
        return 0 if last is None else last.examples_offset

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        """Learn the examples of one fetch; see `BatchHandler`."""
        if partition != EXAMPLES_PARTITION or self._trainer is None:
            return
        for record in records:
            if record.offset < self._next_offset:
                continue
            try:
                examples = Examples.from_bytes(record.value or b"")
                self._trainer.learn(examples, given=not is_matured(record.headers))
                self._unpublished += len(examples)
            except ModelError as error:
                logger.warning("examples at offset %d passed over: %s", record.offset, error)
                self._metrics.broadcast_rejected.labels(EXAMPLES).inc()
            self._next_offset = record.offset + 1
            await asyncio.sleep(0)
        if self._unpublished >= self._settings.examples_per_version:
            await self._publish()

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Publish what was learned; see `BatchHandler`."""
        if EXAMPLES_PARTITION in partitions:
            await self._publish()
            self._trainer = None

    async def stopping(self) -> None:
        """Publish what was learned; see `BatchHandler`."""
        await self._publish()

    def interrupt(self) -> None:
        """Learning waits for nobody; see `BatchHandler`."""

    async def _publish(self) -> None:
        """Publish a version, and commit what it has learned."""
        if self._trainer is None or not self._unpublished:
            return
        if await asyncio.to_thread(models_end, self._settings) != self._models_end:
            await self._take_newest()
            logger.info("going on from a version that was put in place: number %d", self._number)
            return
        self._number += 1
        version = self._trainer.version(name_of(self._number), self._next_offset)
        value = await asyncio.to_thread(version.to_bytes)
        headers = cloud_event(version.name, _TYPE, "/cardwatch/learn", self._clock())
        await self._producer.send(
            Outgoing(MODELS_PARTITION.topic, MODELS_PARTITION.partition, model_key(version.name), value, headers)
        )
        await self._producer.drained()
        self._models_end += 1
        self._unpublished, self._published_s = 0, time.monotonic()
        self._metrics.model_in_use(version.name)
        self._tell_changes(version.verdicts)
        for name, evidence in self._trainer.evidence.items():
            self._metrics.model_evidence(name, evidence)
        logger.info("published %s: %d frauds learned", version.name, version.frauds_learned)
        await self._shell.commit({EXAMPLES_PARTITION: self._next_offset})

    def _tell_changes(self, verdicts: Sequence[Verdict]) -> None:
        """Log and count the changes of champions that were not told yet."""
        fresh: list[Verdict] = []
        for verdict in reversed(verdicts):
            if verdict == self._told:
                break
            fresh.append(verdict)
        for verdict in reversed(fresh):
            logger.warning("model %s %s in place of %s: %s", verdict.winner, verdict.kind, verdict.loser, verdict)
            self._metrics.model_changes.labels(verdict.kind).inc()
        self._told = next(reversed(verdicts), None)

    async def _tick_for_ever(self) -> None:
        """Publish when it is time, even when no more examples come."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._metrics.show_lags(self._shell.lag())
            self._metrics.show_producer(self._producer.waiting, self._producer.errors)
            try:
                if time.monotonic() - self._published_s >= self._settings.model_interval_s:
                    await self._shell.alone(self._publish())
            except Exception as error:  # noqa: BLE001 - told to the owner of the role
                await self._shell.break_down(error)
                return


def _relive(trainer: Trainer, settings: StreamSettings, stop: int) -> None:
    """Let river's models learn the latest examples again; blocks."""
    for examples in examples_before(settings, stop):
        trainer.relive(examples)


def _warm_up(trainer: Trainer) -> None:
    """Compile what the first examples would otherwise wait for."""
    bins = np.zeros((3, trainer.binner.feature_count), dtype=np.uint8)
    labels = np.array([Label.UNLABELLED, Label.GENUINE, Label.FRAUD], dtype=np.int64)
    trainer.learn(Examples.of_nobody(bins, labels, np.ones(3), np.zeros(3, dtype=np.int64)))
