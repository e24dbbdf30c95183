"""The score role: transactions and labels in, decisions, alerts and examples out, state and checkpoints between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from streams import fetched
from streams.card_numbers import CardNumberCheck
from streams.checkpoint_format import Origin
from streams.checkpointing import Checkpointer
from streams.checkpoints import CheckpointStore
from streams.clock import Clock, epoch_ms
from streams.cluster import ClusterFacts
from streams.codecs import LabelCodec, TransactionCodec
from streams.core import ScoringCore, UnusableBroadcastError
from streams.doors import Doors, KafkaDoors
from streams.entity_rows import EntityRows
from streams.errors import SettingsError, TopicError
from streams.events import Outgoing
from streams.labelling import Labeller
from streams.metrics import StreamMetrics
from streams.ownership import Found, Ownership
from streams.producer import Gap
from streams.records import RawRecord, TopicPartition
from streams.recovery import has_decisions, output_name
from streams.scoring import Scorer
from streams.settings import StreamSettings
from streams.sources import require_unchanged
from streams.tasks import end_tasks
from streams.topics import (
    ALERTS,
    CARD_STATES,
    CONTROL,
    DEAD_LETTERS,
    DECISIONS,
    ENTITY_ROWS,
    EXAMPLES,
    HISTORIES,
    LABELS,
    MODELS,
    TRANSACTIONS,
)

_BROADCASTS = (MODELS, CONTROL, CARD_STATES, HISTORIES)
_TOPICS = (TRANSACTIONS, LABELS, DECISIONS, ALERTS, DEAD_LETTERS, EXAMPLES, *_BROADCASTS)
_TOPICS_SHARING = (*_TOPICS, ENTITY_ROWS)
# Between fetches: how often labels are released, directives applied and lags shown.
_TICK_S = 0.1
# How often the cluster is asked whether it is still the same.
_LOOK_S = 30.0

logger = logging.getLogger(__name__)


class _Prepared(NamedTuple):
    """What some partitions can be taken over with in a generation of the group."""

    partitions: frozenset[int]
    generation: int
    found: Found


class ScoreRole:
    """A score worker: one consumer group member with the state of its partitions."""

    def __init__(
        self,
        core: ScoringCore,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Clock = epoch_ms,
        doors: Doors | None = None,
    ) -> None:
        """Score with `core`; nothing connects before `start`. The doors are those to Kafka unless others are given."""
        self._core = core
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._doors = doors or KafkaDoors(settings, metrics.vitals)
        self._producer = self._doors.producer()
        self._broadcast = self._doors.broadcasts(_BROADCASTS)
        check = CardNumberCheck(settings.issuer_token_pattern)
        transactions = TransactionCodec(check, settings.future_bound_ms)
        self._topics = _TOPICS_SHARING if settings.share_entities else _TOPICS
        self._rows: EntityRows | None = None
        if settings.share_entities:
            self._rows = EntityRows(core, self._producer, self._doors.follower(), metrics, clock)
        self._scorer = Scorer(core, transactions, self._producer, metrics, clock, self._rows)
        labels = LabelCodec(check, settings.future_bound_ms)
        self._labeller = Labeller(core, labels, self._producer, metrics, clock, self._rows)
        self._ownership = Ownership(core, self._doors.open_tails, hears_others=settings.share_entities)
        self._shell = self._doors.shell("score", (TRANSACTIONS, LABELS), self)
        self._checkpointer: Checkpointer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        # Between a revocation and the next assignment nothing may be done for the partitions still in memory.
        self._is_active = False
        self._prepared: _Prepared | None = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Check the cluster, then join the group.

        Raises:
            TopicError: a topic is missing or has the wrong number of partitions.
        """
        await asyncio.to_thread(fetched.install)
        await asyncio.to_thread(self._scorer.warm_up)
        facts = await asyncio.to_thread(self._doors.look_at, self._topics, self._producer)
        self._scorer.partition_count = facts.partitions
        self._metrics.source_partitions.set(facts.partitions)
        sources = {topic: facts.topic_ids[topic] for topic in (TRANSACTIONS, LABELS) if topic in facts.topic_ids}
        store = CheckpointStore(
            self._settings.checkpoint_url,
            Origin(facts.cluster_id, sources, self._core.config_digest(), self._settings.group("score")),
            kept=self._settings.checkpoints_kept,
            pass_over_foreign=self._settings.embedded,
            any_shared=self._settings.share_entities,
            on_damaged=lambda _: self._metrics.checkpoints_damaged.inc(),
        )
        self._checkpointer = Checkpointer(self._core, self._producer, store, self._shell.commit, self._metrics)
        self._metrics.model_in_use(self._core.versions().model)
        self._broadcast.start()
        if self._rows is not None:
            self._rows.start(facts.partitions)
        await self._shell.start()
        self._tasks = [
            asyncio.create_task(self._tick_for_ever(), name="score tick"),
            asyncio.create_task(self._watch_cluster(facts), name="score cluster watch"),
        ]

    async def stop(self) -> None:
        """Finish the batch in hand, checkpoint, commit and leave the group."""
        await end_tasks(self._tasks)
        await self._shell.stop()
        await asyncio.to_thread(self._broadcast.close)
        if self._rows is not None:
            await asyncio.to_thread(self._rows.close)
        await asyncio.to_thread(self._producer.close)

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        await self._shell.wait_broken()

    def owned(self) -> frozenset[int]:
        """Source partitions that this worker scores now."""
        return frozenset(self._ownership.partitions)

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Read what partitions are to be taken over with; see `PreparingHandler`."""
        numbers = frozenset(partition.partition for partition in partitions)
        self._prepared = None
        if numbers:
            await asyncio.to_thread(self._broadcast.wait_caught_up)
            found = await self._read(numbers, generation)
            if generation > self._ownership.generation:
                self._prepared = _Prepared(numbers, generation, found)

    async def _read(self, numbers: frozenset[int], generation: int) -> Found:
        """Read what partitions are to be taken over with; one reading at a time."""
        async with self._reading:
            return await asyncio.to_thread(self._ownership.read, numbers, generation, self._writer().store)

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Take partitions over: from memory, from checkpoints, or empty; see `BatchHandler`."""
        wanted = frozenset(partition.partition for partition in partitions)
        both = {TopicPartition(topic, partition) for topic in (TRANSACTIONS, LABELS) for partition in wanted}
        if both != partitions:
            message = (
                f"{TRANSACTIONS} and {LABELS} must be assigned by the same partitions: check that their counts agree"
            )
            raise TopicError(message)
        for number in self._ownership.partitions.keys() - wanted:
            self._metrics.forget_partition(number)
        if self._ownership.partitions and not self._ownership.is_next(generation):
            # What is dropped now was not given up, and what it said may be on its way still: it is to be read back.
            await self._producer.drained()
        opened = self._ownership.keep(wanted, generation)
        prepared, self._prepared = self._prepared, None
        if opened:
            await asyncio.to_thread(self._broadcast.wait_caught_up)
            self._take_broadcast()
            if prepared is not None and (prepared.partitions, prepared.generation) == (opened, generation):
                found = prepared.found
            else:
                found = await self._read(opened, generation)
            self._ownership.open(opened, found, self._writer().store)
            await self._complete_shared(opened)
            for topic, records in found.sources.lost.items():
                self._metrics.skipped_records.labels(topic).inc(records)
            for partition in opened:
                answered = self._ownership.partitions[partition].answered
                decisions = TopicPartition(DECISIONS, partition)
                self._producer.write_alone(decisions, answered.positions[output_name(decisions)], self._is_foreign)
                for record in answered.missing_copies:
                    await self._producer.send(record)
        positions: dict[TopicPartition, int | None] = {}
        for number, owned in self._ownership.partitions.items():
            at = owned.position
            positions[TopicPartition(TRANSACTIONS, number)] = at.next_offset
            positions[TopicPartition(LABELS, number)] = at.label_next_offset
        if self._rows is not None:
            self._rows.follow_others(wanted)
        self._is_active = True
        return positions

    async def _complete_shared(self, opened: frozenset[int]) -> None:
        """Let shared entities contain what partitions just taken over did before, as far as anybody can say it."""
        if self._rows is not None:
            await self._rows.catch_up(opened, self._doors.open_tails)
        for number in sorted(opened):
            self._metrics.missed_rows(number, self._core.close_gap(number))

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        """Handle one fetch, in pieces that do not block other work for long; see `BatchHandler`."""
        owned = self._ownership.partitions[partition.partition]
        self._take_broadcast()
        if partition.topic == LABELS:
            self._labeller.take(owned, records)
            await self._labeller.release(owned, self._transactions_read)
            return
        size = self._settings.batch_rows
        for start in range(0, len(records), size):
            piece = records[start : start + size]
            await self._scorer.score(owned, piece)
            self._writer().batch_done(self._ownership, len(piece))
            if self._rows is not None:
                self._rows.apply_after(len(piece))
            await asyncio.sleep(0)

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Checkpoint everything; see `BatchHandler`. State stays, in case the partitions come back at once."""
        logger.info("partitions revoked: %s", sorted({partition.partition for partition in partitions}))
        await self._checkpoint(complete=True)
        self._is_active = False

    async def stopping(self) -> None:
        """Checkpoint everything; see `BatchHandler`."""
        if self._is_active:
            await self._checkpoint(complete=True)

    def interrupt(self) -> None:
        """Scoring waits for nobody; see `BatchHandler`."""

    def _writer(self) -> Checkpointer:
        """The checkpointer, which `start` has made."""
        if self._checkpointer is None:
            message = "the score role was not started"
            raise RuntimeError(message)
        return self._checkpointer

    async def _checkpoint(self, *, complete: bool) -> bool:
        """Mature, then checkpoint; the caller stands at a batch boundary. False where it is to be tried again."""
        for owned in self._ownership.partitions.values():
            await self._labeller.mature(owned)
        if self._rows is not None:
            self._rows.note_positions(self._ownership.partitions)
        return await self._writer().checkpoint(self._ownership, self._clock(), complete=complete)

    def _take_broadcast(self) -> None:
        """Apply what was broadcast since the last batch."""
        for record in self._broadcast.take():
            before = self._core.versions().model
            try:
                self._core.take_over(record.topic, record.value)
            except UnusableBroadcastError as error:
                logger.warning("broadcast passed over: %s", error)
                self._metrics.broadcast_rejected.labels(record.topic).inc()
            if self._core.versions().model != before:
                self._metrics.model_in_use(self._core.versions().model)

    async def _tell_heirs(self) -> None:
        """Tell all workers what cards of ours that were replaced leave to the new ones, wherever those pay."""
        for card_token, value in self._core.bequests():
            await self._producer.send(Outgoing(HISTORIES, None, card_token.encode(), value))
            self._metrics.histories_told.inc()

    async def _is_foreign(self, gap: Gap) -> bool:
        """Whether another worker has written decisions between ours."""
        return await asyncio.to_thread(has_decisions, self._doors.open_tails, gap.partition, gap.offsets)

    def _transactions_read(self, partition: int) -> bool:
        """Whether all transactions of a partition have been read, as far as the last fetch knows."""
        return self._shell.lag().get(TopicPartition(TRANSACTIONS, partition)) == 0

    async def _watch_cluster(self, before: ClusterFacts) -> None:
        """End the role when the cluster or a topic becomes another one; a broker that is away is no such change."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                now = await asyncio.to_thread(self._doors.look_at, self._topics, self._producer)
            except TopicError as error:
                logger.warning("the cluster cannot be looked at: %s", error)
                continue
            try:
                require_unchanged(before, now)
            except SettingsError as error:
                await self._shell.break_down(error)
                return

    async def _tick_for_ever(self) -> None:
        """Do between fetches what is due."""
        interval_ms = int(self._settings.checkpoint_interval_s * 1000)
        due_ms = self._clock() + interval_ms
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                is_done = await self._shell.alone(self._tick(checkpoint_due=self._clock() >= due_ms))
                await self._hear_others()
            except Exception as error:  # noqa: BLE001 - told to the owner of the role
                await self._shell.break_down(error)
                return
            if is_done:
                due_ms = self._clock() + interval_ms

    async def _hear_others(self) -> None:
        """Apply what other workers tell, a few milliseconds at a time; batches come in between."""
        if self._rows is not None:
            while await self._shell.alone(self._hear_some(self._rows)):
                pass

    async def _hear_some(self, rows: EntityRows) -> bool:
        """Apply some; returns whether more may wait."""
        return self._is_active and rows.apply_waiting()

    async def _tick(self, *, checkpoint_due: bool) -> bool:
        """Between two fetches: directives, labels whose turn has come, lags, a checkpoint; whether it is taken."""
        if not self._is_active:
            return False
        await self._producer.examine_gaps()
        self._take_broadcast()
        await self._tell_heirs()
        for owned in self._ownership.partitions.values():
            await self._labeller.release(owned, self._transactions_read)
        self._show_lags()
        if not checkpoint_due or not await self._checkpoint(complete=False):
            return False
        self._metrics.show_state(self._core.usage())
        return True

    def _show_lags(self) -> None:
        """Bring the gauges of lag up to date."""
        self._metrics.show_lags(self._shell.lag())
        if self._rows is not None:
            self._metrics.show_rows_lag(self._rows.lag())
        self._metrics.show_producer(self._producer.waiting, self._producer.errors)
        now_ms = self._clock()
        for number, owned in self._ownership.partitions.items():
            self._metrics.next_offset.labels(str(number)).set(owned.position.next_offset)
            watermark_ms = self._core.progress(number).watermark_ms
            if watermark_ms:
                self._metrics.event_time_lag.labels(str(number)).set((now_ms - watermark_ms) / 1000)


def score_role(core: ScoringCore, settings: StreamSettings, registry: CollectorRegistry) -> ScoreRole:
    """A score worker whose metrics go to `registry`."""
    return ScoreRole(core, settings, StreamMetrics(registry))
