"""The notify role: each notice of `fraud.notifications.v1` is sent once, or put aside as a dead letter.

What is not sent, put off or put aside is not committed. Notices of a card go out in their order, those of different
cards beside each other. What was put off is looked at again by the worker that owns its partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from casework.courier import QUIET_HOURS, Delivered
from casework.deliveries import Deliveries, Delivery, DeliveryState, PutOff
from casework.errors import CaseworkError, StoreError
from casework.notices import Notice, decode_notice
from streams.clock import Clock, epoch_ms
from streams.committing import CommittingRole, InterruptedBatchError
from streams.dead_letters import put_aside
from streams.doors import Doors, KafkaDoors
from streams.metrics import StreamMetrics
from streams.records import Headers, RawRecord, TopicPartition
from streams.rejections import Reason, Rejected
from streams.settings import StreamSettings
from streams.topics import DEAD_LETTERS, NOTIFICATIONS

# A batch must end before the worker counts as stalled, also where every sender's answer takes its time.
NOTICES_AT_ONCE = 64
_SENDING_AT_ONCE = 16
_DUE_AT_ONCE = 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_COMMIT_INTERVAL_S = 1.0
_LATER_INTERVAL_S = 1.0

logger = logging.getLogger(__name__)


class Delivering(Protocol):
    """What the role needs of `casework.courier.Courier`."""

    async def deliver(self, asked: Notice, tries: int = 0) -> Delivered:
        """Deliver a notice, unless it was sent before."""
        ...


class CallingDesk(Protocol):
    """What the role needs of `casework.desk.Desk`."""

    async def call_due(self, case_id: str, notification_id: str, note: str, *, since_ms: int, now_ms: int) -> bool:
        """Have somebody call the cardholder about a notice, unless they were heard since."""
        ...


@dataclass(frozen=True, slots=True)
class _Stood:
    """A notice, and where its record stood."""

    partition: TopicPartition
    notice: Notice
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    tries: int = 0
    call_since_ms: int = 0


class NotifyRole(CommittingRole):
    """A notify worker."""

    def __init__(
        self,
        courier: Delivering,
        desk: CallingDesk,
        deliveries: Deliveries,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Clock = epoch_ms,
        doors: Doors | None = None,
    ) -> None:
        """Send through `courier`; nothing connects before `start`.

        Args:
            courier: sends and remembers.
            desk: is told where somebody must call.
            deliveries: keeps what was put off.
            settings: of the streams.
            metrics: what is counted.
            clock: UTC epoch milliseconds.
            doors: to Kafka; the real ones if not given.
        """
        super().__init__("notify", (NOTIFICATIONS,), doors or KafkaDoors(settings, metrics.vitals))
        self._courier, self._desk, self._deliveries = courier, desk, deliveries
        self._metrics, self._clock = metrics, clock
        self._owned: frozenset[TopicPartition] = frozenset()
        self._sending = asyncio.Semaphore(_SENDING_AT_ONCE)

    async def start(self) -> None:
        """Check the cluster, then join the group.

        Raises:
            TopicError: a topic is missing or has the wrong number of partitions.
        """
        await asyncio.to_thread(self._doors.look_at, (NOTIFICATIONS, DEAD_LETTERS), self._producer)
        await self._shell.start()
        self._begin_task(self._commit_for_ever(), "notify commits")
        self._begin_task(self._later_for_ever(), "notices put off")

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        """Go on at the committed offsets; see `BatchHandler`."""
        logger.info("notices of partitions %s in generation %d", sorted(p.partition for p in partitions), generation)
        self._begin()
        self._owned = partitions
        return dict.fromkeys(partitions)

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        """Send the notices of one fetch; see `BatchHandler`."""
        by_card: defaultdict[str, list[_Stood]] = defaultdict(list)
        for record in records:
            try:
                notice = decode_notice(record.value or b"")
            except CaseworkError:
                await self._put_aside(partition, record, Reason.NOTICE_UNREADABLE, "not a notice")
                continue
            stood = _Stood(
                partition, notice, record.offset, record.timestamp, record.key, record.value, record.headers
            )  # fmt: skip
            by_card[notice.card_token].append(stood)
        try:
            await self._in_order(list(by_card.values()))
        except InterruptedBatchError:
            logger.warning("notices of partition %d are left for the next owner", partition.partition)
            return
        await self._producer.drained()
        self._done[partition] = records[-1].offset + 1

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Commit what is done; see `BatchHandler`."""
        logger.info("partitions revoked: %s", sorted(partition.partition for partition in partitions))
        self._owned = frozenset()
        await self._commit()

    async def _in_order(self, cards: Sequence[Sequence[_Stood]]) -> None:
        """Deliver notices, those of a card one after the other; what failed is raised once all others are done."""
        results = await asyncio.gather(*(self._one_card(notices) for notices in cards), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _one_card(self, notices: Sequence[_Stood]) -> None:
        async with self._sending:
            for stood in notices:
                await self._patiently(stood)

    async def _patiently(self, stood: _Stood) -> None:
        """Deliver a notice, waiting for the memory as long as it takes; what breaks our own code is put aside."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._deliver(stood)
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("the memory of notices: %s; trying again", error)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Exception as error:  # noqa: BLE001  one notice must not stop the others
                # By its class alone: an exception's text may repeat what was to be said.
                place = (stood.partition.partition, stood.offset, type(error).__name__)
                logger.error("a notice failed, partition %d, offset %d: %s", *place)  # noqa: TRY400
                await self._give_up(stood, "our own code failed on this notice")
                # One that was put off would fail again and again; where it stays, the memory is away.
                with contextlib.suppress(StoreError):
                    await self._deliveries.settle(stood.partition.partition, stood.notice.notification_id)
                return
            else:
                self._metrics.store_answered()
                return

    async def _deliver(self, stood: _Stood) -> None:
        """Deliver a notice, or have somebody call about it; what is put off is kept, what failed is put aside."""
        if stood.call_since_ms:
            await self._call(stood)
            return
        delivery, is_new = await self._courier.deliver(stood.notice, stood.tries)
        if delivery.state is DeliveryState.FAILED:
            await self._give_up(stood, delivery.detail)
        elif is_new and delivery.state is DeliveryState.SENT:
            self._metrics.notice_delay.observe(max(0, delivery.time_ms - delivery.requested_ms) / 1000)
        await self._keep(stood, delivery)
        self._metrics.notices.labels(delivery.state.value if is_new else "repeated", delivery.channel).inc()

    async def _keep(self, stood: _Stood, delivery: Delivery) -> None:
        """Keep what is still to be done about a notice, or forget it."""
        partition = stood.partition.partition
        if delivery.state is DeliveryState.PUT_OFF:
            # Quiet hours are nobody's failure.
            tries = stood.tries + (delivery.detail != QUIET_HOURS)
            later = PutOff(stood.notice, delivery.due_ms, tries, stood.offset, stood.timestamp)
            await self._deliveries.put_off(partition, later)
        elif delivery.call_due_ms:
            since_ms = delivery.time_ms
            later = PutOff(stood.notice, delivery.call_due_ms, 0, stood.offset, stood.timestamp, since_ms)
            await self._deliveries.put_off(partition, later)
        else:
            await self._deliveries.settle(partition, stood.notice.notification_id)

    async def _call(self, stood: _Stood) -> None:
        """Have somebody call, unless the cardholder was heard meanwhile."""
        notice, now_ms = stood.notice, self._clock()
        if notice.case_id is not None and await self._desk.call_due(
            notice.case_id, notice.notification_id, notice.template, since_ms=stood.call_since_ms, now_ms=now_ms
        ):
            self._metrics.notice_calls.inc()
        await self._deliveries.settle(stood.partition.partition, notice.notification_id)

    async def _give_up(self, stood: _Stood, detail: str) -> None:
        record = _Record(stood.offset, stood.timestamp, stood.key, stood.value, stood.headers)
        await self._put_aside(stood.partition, record, Reason.NOTICE_FAILED, detail)
        await self._producer.drained()

    async def _put_aside(self, partition: TopicPartition, record: RawRecord, reason: Reason, detail: str) -> None:
        rejected = [Rejected(record, reason, detail)]
        await put_aside(rejected, partition, set(), self._producer, self._metrics, self._clock())

    async def _later_for_ever(self) -> None:
        """Send what was put off and is due, while no batch is in hand: a notice is then never in two hands here."""
        while True:
            await asyncio.sleep(_LATER_INTERVAL_S)
            try:
                await self._shell.alone(self._send_due())
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("notices put off: %s; trying again", type(error).__name__)
            except InterruptedBatchError:
                logger.info("notices that were put off are left for the next owner")

    async def _send_due(self) -> None:
        """Send what is due of each partition of ours."""
        for partition in sorted(self._owned):
            due = await self._deliveries.due(partition.partition, self._clock(), _DUE_AT_ONCE)
            by_card: defaultdict[str, list[_Stood]] = defaultdict(list)
            for later in due:
                by_card[later.notice.card_token].append(_stood_again(partition, later))
            await self._in_order(list(by_card.values()))

    async def _commit_for_ever(self) -> None:
        """Commit now and then."""
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            await self._shell.alone(self._commit())
            self._metrics.show_lags(self._shell.lag())
            self._metrics.show_producer(self._producer.waiting, self._producer.errors)


@dataclass(frozen=True, slots=True)
class _Record:
    """A record as a dead letter takes it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def _stood_again(partition: TopicPartition, later: PutOff) -> _Stood:
    """A notice that was put off, as its record said it."""
    body: dict[str, Any] = msgspec.to_builtins(later.notice)
    value = msgspec.json.encode({name: field for name, field in body.items() if field is not None})
    key = later.notice.card_token.encode()
    return _Stood(
        partition, later.notice, later.offset, later.timestamp_ms, key, value, (), later.tries, later.call_since_ms
    )
