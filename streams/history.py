"""The history role: every event of `fraud.cases.v1` goes into the memory of closed cases, in the order of its log.

It belongs to no group: how far it has read stands beside what it has read, in the same transaction. So two of them
disturb nobody, a crash between reading and writing changes nothing, and a memory that was thrown away is read anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from casework.errors import HistoryConflictError, HistoryOriginError, HistoryUnavailableError
from casework.history import HistoryWriter, Told
from casework.records import case_event_of
from streams.clock import epoch_ms
from streams.cluster import look_at
from streams.errors import TopicError, WorkerError
from streams.metrics import StreamMetrics
from streams.plain_consumer import ends_of, plain_consumer, read_record
from streams.producer import open_producer
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.tasks import end_tasks
from streams.topics import CASES

_READ_AT_ONCE = 1_000
_POLL_S = 0.2
_ASK_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_CAUGHT_UP_RECORDS = 1_000
_UNTOUCHED_INTERVAL_MS = 5_000
_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class CaseLog:
    """The topic of case events, read from chosen positions; every call blocks."""

    def __init__(self, settings: StreamSettings) -> None:
        """Look at the cluster.

        Raises:
            TopicError: there is no such topic, or no broker answers.
        """
        producer = open_producer(settings)
        try:
            facts = look_at((CASES,), producer, settings)
        finally:
            producer.close()
        # Of the embedded broker neither id means anything for longer than it lives: its records are gone as well.
        self.origin = f"{facts.cluster_id}/{facts.topic_ids.get(CASES, CASES)}"
        self._partitions = range(facts.partitions)
        self._consumer = plain_consumer(settings, "history")
        self._ends: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}

    def assign(self, positions: dict[int, int]) -> None:
        """Read from these positions on; partitions without one from their beginning.

        Raises:
            KafkaException: the broker does not answer.
            WorkerError: a position is behind the log's end, or before its beginning: the log is another one.
        """
        wanted = {TopicPartition(CASES, number): positions.get(number, 0) for number in self._partitions}
        spans = ends_of(self._consumer, wanted, _ASK_TIMEOUT_S)
        for partition, position in wanted.items():
            if position and spans[partition].start != position:
                message = (
                    f"partition {partition.partition} of {CASES} no longer holds what comes next for the history: "
                    "run `cardwatch rebuild history`"
                )
                raise WorkerError(message)
        self.positions = {partition: span.start for partition, span in spans.items()}
        self._ends = {partition: span.stop for partition, span in spans.items()}
        self._consumer.assign([KafkaPartition(*partition, at) for partition, at in self.positions.items()])

    def read(self) -> list[ReadRecord]:
        """What has come; waits a moment for it.

        Raises:
            KafkaException: a record could not be read.
        """
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return []
        return [read_record(message) for message in (first, *self._consumer.consume(_READ_AT_ONCE, timeout=0))]

    def moved(self, records: list[ReadRecord]) -> None:
        """These are taken in."""
        for record in records:
            self.positions[TopicPartition(record.topic, record.partition)] = record.offset + 1

    def lag_records(self) -> int:
        """How many records wait, by what the broker said last."""
        for partition in self.positions:
            _, end = self._consumer.get_watermark_offsets(KafkaPartition(*partition), cached=True)
            self._ends[partition] = max(end, self._ends.get(partition, 0))
        return sum(max(self._ends[partition] - at, 0) for partition, at in self.positions.items())

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()


def told_by(record: ReadRecord) -> Told:
    """What a record tells; what is no event of ours is passed over."""
    try:
        event = case_event_of(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        logger.warning(
            "a record of %s that is no event: partition %d, offset %d", CASES, record.partition, record.offset
        )
        event = None
    return Told(record.partition, record.offset, event)


class HistoryRole:
    """Keeps the memory up to date; a database that does not answer is waited for."""

    def __init__(self, history: HistoryWriter, settings: StreamSettings, metrics: StreamMetrics) -> None:
        """Write into `history` what the topic tells."""
        self._history, self._settings, self._metrics = history, settings, metrics
        self._untouched_shown_ms = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find the topic, and begin to follow it.

        Raises:
            TopicError: there is no such topic, or no broker answers.
        """
        log = await asyncio.to_thread(CaseLog, self._settings)
        self._task = asyncio.create_task(self._follow(log), name="history")

    async def stop(self) -> None:
        """Take in what was read, and leave."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_ASK_TIMEOUT_S)
            await end_tasks([self._task])

    async def wait_broken(self) -> None:
        """Return only by raising."""
        if self._task is not None:
            await asyncio.shield(self._task)
        await self._stopping.wait()

    async def _follow(self, log: CaseLog) -> None:
        """Read and take in until told to stop."""
        try:
            positions = await self._patiently(lambda: self._history.positions(log.origin))
            await asyncio.to_thread(log.assign, positions)
            while not self._stopping.is_set():
                await self._show_untouched(log)
                records = await asyncio.to_thread(log.read)
                if records and not await self._take_in(records):
                    positions = await self._patiently(lambda: self._history.positions(log.origin))
                    await asyncio.to_thread(log.assign, positions)
                    continue
                log.moved(records)
                self._show(log, records)
        except HistoryOriginError as error:
            raise WorkerError(str(error)) from error
        except (KafkaException, TimeoutError) as error:
            message = f"{CASES} cannot be read: {error}"
            raise WorkerError(message) from error
        finally:
            await asyncio.to_thread(log.close)

    async def _take_in(self, records: list[ReadRecord]) -> bool:
        """Whether the records were taken in by us."""
        told = [told_by(record) for record in records]
        try:
            taken = await self._patiently(lambda: self._history.apply(told))
        except HistoryConflictError as error:
            logger.info("history: %s; going on from where they are", error)
            return False
        self._metrics.history_events.inc(taken.new)
        self._metrics.prompt(taken.done, epoch_ms())
        # What was known before comes first: the memory's positions only go forward.
        for it in told[len(told) - taken.new :]:
            if it.event is not None:
                self._metrics.case_events.labels(it.event.type.value).inc()
        return True

    async def _patiently(self, work: Callable[[], _Result]) -> _Result:
        """Do some work in a thread, again and again while the database does not answer."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                result = await asyncio.to_thread(work)
            except HistoryUnavailableError as error:
                self._metrics.vitals.waits_for("history", "the database does not answer")
                logger.warning("history: %s; trying again", error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._metrics.vitals.waits_for("history", None)
                return result

    async def _show_untouched(self, log: CaseLog) -> None:
        """Show now and then which urgent cases wait for the desk: no event tells of what nobody does.

        Not while much is still to be read: what was done about them long ago stands there.
        """
        now_ms = epoch_ms()
        is_due = now_ms - self._untouched_shown_ms >= _UNTOUCHED_INTERVAL_MS
        if is_due and log.lag_records() <= _CAUGHT_UP_RECORDS:
            self._untouched_shown_ms = now_ms
            self._metrics.show_untouched(await self._patiently(self._history.untouched_since_ms), now_ms)

    def _show(self, log: CaseLog, records: list[ReadRecord]) -> None:
        """Bring the metrics up to date."""
        waiting = log.lag_records()
        behind_s = max(time.time() - records[-1].timestamp / 1000, 0.0) if waiting and records else 0.0
        self._metrics.history_lag.set(behind_s)
        self._metrics.vitals.behind(waiting, _CAUGHT_UP_RECORDS)


def rebuild(history: HistoryWriter, settings: StreamSettings, say: Callable[[int, int], None]) -> int:
    """Read the whole topic into an empty memory; blocks. Returns how many events were taken in.

    Args:
        history: just cleared.
        settings: how to reach Kafka.
        say: told how many records were read, and how many there are.

    Raises:
        TopicError: there is no such topic, or it cannot be read.
    """
    log = CaseLog(settings)
    try:
        log.assign(history.positions(log.origin))
        whole, events = log.lag_records(), 0
        while left := log.lag_records():
            records = log.read()
            if records:
                events += history.apply([told_by(record) for record in records]).new
                log.moved(records)
            say(whole - left, whole)
    except (KafkaException, TimeoutError) as error:
        message = f"{CASES} cannot be read: {error}"
        raise TopicError(message) from error
    else:
        return events
    finally:
        log.close()
