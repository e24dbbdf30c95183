"""The respond role: alerts in, the desk's answer out. What the desk has not answered is not committed.

The desk's steps are idempotent by alert id, so there is no state here: after a crash the alerts since the last commit
are handled again and change nothing. While Redis is down the role waits and tries again; it never skips an alert.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from casework.alerts import Alert
from casework.breaker import Breaker
from casework.cards import OutcomeKind
from casework.cases import CaseState
from casework.errors import AlertError, StoreError, StoreSetupError
from casework.outbox import OutboxEntry
from casework.views import Outcome
from detector.vocabulary import Action
from streams import failpoints
from streams.alert_records import alert_of
from streams.card_numbers import redact_text
from streams.clock import Clock, epoch_ms
from streams.committing import CommittingRole, InterruptedBatchError
from streams.dead_letters import put_aside
from streams.doors import Doors, KafkaDoors
from streams.events import RECORD_TIME_HEADER, TRACE_HEADER
from streams.metrics import StreamMetrics
from streams.reconciliation import Reconciler
from streams.records import RawRecord, TopicPartition
from streams.rejections import Reason, Rejected
from streams.relay import Relay
from streams.settings import StreamSettings
from streams.topics import (
    ACCESS,
    ALERTS,
    AUDIT,
    CARD_ORDERS,
    CARD_STATES,
    CASES,
    CONTROL,
    DEAD_LETTERS,
    LABELS,
    NOTIFICATIONS,
)
from telemetry.tracing import trace_id_of

_TOPICS = (ALERTS, DEAD_LETTERS, CARD_STATES, CARD_ORDERS, CASES, NOTIFICATIONS, LABELS, CONTROL, AUDIT, ACCESS)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_COMMIT_INTERVAL_S = 1.0
# Within two ticks what time does to a case is done.
_TICK_INTERVAL_S = 0.5

logger = logging.getLogger(__name__)


class RespondingDesk(Protocol):
    """What the role and the relay need of `casework.desk.Desk`."""

    @property
    def shards(self) -> int:
        """Number of outboxes."""
        ...

    async def respond(self, alerts: Sequence[Alert], now_ms: int) -> list[Outcome]:
        """Answer alerts, each as one atomic step."""
        ...

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """The oldest entries of each of these shards that has any."""
        ...

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Forget entries that Kafka has acknowledged."""
        ...

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry over all shards."""
        ...

    async def count_cases(self) -> Mapping[CaseState, int]:
        """Cases by state."""
        ...

    async def tick(self, now_ms: int, shards: Collection[int] | None = None) -> int:
        """Do to cases of some shards what time does."""
        ...

    async def breakers(self) -> Sequence[Breaker]:
        """The circuit breakers for freezes."""
        ...


class RespondRole(CommittingRole):
    """A respond worker: alerts of its partitions, and the outboxes that go with them."""

    def __init__(
        self,
        desk: RespondingDesk,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Clock = epoch_ms,
        doors: Doors | None = None,
        reconciler: Reconciler | None = None,
    ) -> None:
        """Respond through `desk`; nothing connects before `start`.

        Args:
            desk: answers alerts.
            settings: of the streams.
            metrics: what is counted.
            clock: UTC epoch milliseconds.
            doors: to Kafka; the real ones if not given.
            reconciler: looks after a store that can fall behind what topics say.
        """
        super().__init__("respond", (ALERTS,), doors or KafkaDoors(settings, metrics.vitals))
        self._desk = desk
        self._metrics = metrics
        self._clock = clock
        self._reconciler = reconciler
        self._relay = Relay(desk, self._producer, settings, metrics, clock)
        self._open_breakers: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Check the cluster, then join the group.

        Raises:
            TopicError: a topic is missing or has the wrong number of partitions.
        """
        facts = await asyncio.to_thread(self._doors.look_at, _TOPICS, self._producer)
        self._relay.partitions = facts.partitions
        await self._shell.start()
        self._begin_task(self._commit_for_ever(), "respond commits")
        self._begin_task(self._relay.run(), "relay")
        self._begin_task(self._tick_for_ever(), "clock of cases")
        if self._reconciler is not None:
            self._reconciler.partitions = facts.partitions
            self._begin_task(self._reconciler.run(), "reconciler")

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Go on at the committed offsets; see `BatchHandler`."""
        logger.info("responding to partitions %s in generation %d", sorted(p.partition for p in partitions), generation)
        self._begin()
        self._own(frozenset(partition.partition for partition in partitions))
        return dict.fromkeys(partitions)

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        """Answer the alerts of one fetch; see `BatchHandler`."""
        alerts: list[Alert] = []
        sources: list[RawRecord] = []
        for record in records:
            try:
                alerts.append(alert_of(record))
                sources.append(record)
            except AlertError as error:
                await self._put_aside(partition, record, redact_text(str(error)))
        try:
            await self._respond(partition, alerts, sources)
        except InterruptedBatchError:
            logger.warning("alerts of partition %d are left for the next owner", partition.partition)
            return
        await self._producer.drained()
        self._done[partition] = records[-1].offset + 1

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Commit what is done; see `BatchHandler`."""
        logger.info("partitions revoked: %s", sorted(partition.partition for partition in partitions))
        self._own(frozenset())
        await self._commit()

    def _own(self, partitions: frozenset[int]) -> None:
        """Look after the outboxes, and the store's shards, that go with these partitions."""
        self._relay.owned = partitions
        if self._reconciler is not None:
            self._reconciler.owned = partitions

    async def _respond(self, partition: TopicPartition, alerts: list[Alert], sources: Sequence[RawRecord]) -> None:
        """Let the desk answer, waiting for its store as long as it takes, halving what breaks our own code."""
        waiting = [slice(0, len(alerts))]
        pause_s = _FIRST_PAUSE_S
        while waiting:
            at = waiting.pop()
            if at.start == at.stop:
                continue
            began_ns = time.time_ns()
            try:
                failpoints.reach(failpoints.BEFORE_STEP)
                outcomes = await self._desk.respond(alerts[at], self._clock())
                failpoints.reach(failpoints.AFTER_STEP)
            except StoreSetupError:
                raise
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("the desk's store: %s; trying again", error)
                waiting.append(at)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Exception:
                if at.stop - at.start > 1:
                    middle = (at.start + at.stop) // 2
                    waiting += [slice(middle, at.stop), slice(at.start, middle)]
                    continue
                logger.exception("an alert failed", extra=_place(partition, sources[at.start]))
                await self._put_aside(partition, sources[at.start], "our own code failed on this alert")
            else:
                pause_s = _FIRST_PAUSE_S
                self._metrics.store_answered()
                self._count(outcomes, sources[at])
                self._trace(partition, sources[at], began_ns)

    def _trace(self, partition: TopicPartition, sources: Sequence[RawRecord], began_ns: int) -> None:
        """Record the answer to alerts of payments that are traced."""
        if self._metrics.spans.is_on:
            for record in sources:
                place = {"partition": partition.partition, "offset": record.offset}
                self._metrics.spans.record("respond", _trace_of(record), began_ns, time.time_ns(), place)

    async def _put_aside(self, partition: TopicPartition, record: RawRecord, detail: str) -> None:
        """Send a dead letter for an alert."""
        rejected = [Rejected(record, Reason.ALERT_FAILED, detail)]
        await put_aside(rejected, partition, set(), self._producer, self._metrics, self._clock())

    def _count(self, outcomes: Sequence[Outcome], sources: Sequence[RawRecord]) -> None:
        """Count freezes by outcome, and time those that froze a card now."""
        now_ms = self._clock()
        for outcome, record in zip(outcomes, sources, strict=True):
            if outcome.action is Action.FREEZE:
                self._metrics.freezes.labels(outcome.kind.value).inc()
            if outcome.kind is OutcomeKind.FROZEN and now_ms - outcome.acted_ms < 1000:
                started = dict(record.headers).get(RECORD_TIME_HEADER) or b""
                started_ms = int(started) if started.isdigit() else record.timestamp
                self._metrics.freeze_latency.observe((now_ms - started_ms) / 1000)

    async def _commit_for_ever(self) -> None:
        """Commit now and then, and show how many cases there are."""
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            await self._shell.alone(self._commit())
            try:
                await self._show_store()
                self._metrics.store_answered()
            except StoreError as error:
                self._metrics.store_failed(error)
            self._metrics.show_lags(self._shell.lag())
            self._metrics.show_producer(self._producer.waiting, self._producer.errors)

    async def _show_store(self) -> None:
        """Show how many cases there are, and whether freezes are held; an opening is told to whoever reads logs.

        Raises:
            StoreError: the store does not answer.
        """
        for state, count in (await self._desk.count_cases()).items():
            self._metrics.cases.labels(state.value).set(count)
        breakers = await self._desk.breakers()
        for breaker in breakers:
            self._metrics.breaker_open.labels(breaker.policy_version).set(breaker.is_open)
        is_open = {breaker.policy_version: breaker for breaker in breakers if breaker.is_open}
        for policy_version in is_open.keys() - self._open_breakers:
            logger.error(
                "freezes of policy %s are held for people: %s; once understood: cardwatch breaker release",
                policy_version,
                is_open[policy_version].reason,
            )
        for policy_version in self._open_breakers - is_open.keys():
            logger.warning("freezes of policy %s go through again", policy_version)
        self._open_breakers = frozenset(is_open)

    async def _tick_for_ever(self) -> None:
        """Let time pass for the cases of the shards that this worker relays; a store that is away is asked again."""
        while True:
            await asyncio.sleep(_TICK_INTERVAL_S)
            try:
                await self._desk.tick(self._clock(), self._relay.owned_shards())
            except StoreError as error:
                logger.warning("the clock of cases: %s; trying again", type(error).__name__)

    def _was_committed(self) -> None:
        failpoints.reach(failpoints.AFTER_ALERTS_COMMIT)


def _trace_of(record: RawRecord) -> bytes | None:
    """The trace context of a record."""
    return dict(record.headers).get(TRACE_HEADER)


def _place(partition: TopicPartition, record: RawRecord) -> dict[str, Any]:
    """Where an alert came from, for log lines."""
    return {
        "partition": partition.partition,
        "offset": record.offset,
        "trace_id": trace_id_of(_trace_of(record)),
    }
