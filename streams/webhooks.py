"""Webhooks to one endpoint: events of cases and cards, from a consumer group of its own, each until it has the event.

Kafka is the queue (docs/decisions/0029): what an endpoint was not told yet stands in the topics behind the offset that
its group has committed, and nowhere else. One that is away holds up nobody but itself, and needs no memory.

    step                                        a crash afterwards leaves
    1. read at most 64 events                   nothing: they are read again
    2. post each; those of a card in order      events that were told: they are told again, with the same webhook-id
    3. write what became of it into the log     the same
    4. commit behind all of them                nothing
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from confluent_kafka import KafkaException

from casework.errors import PostError, StoreError
from casework.webhook_log import Disabled, Line, Outcome, WebhookLog
from casework.webhooks import TOLD_TOPICS, Answer, Endpoint, WebhookEvent, answer_of, headers_of, pause_s, webhook_of
from streams.cluster import look_at
from streams.errors import WorkerError
from streams.events import ID_HEADER
from streams.group_consumer import GroupConsumer
from streams.metrics import StreamMetrics
from streams.producer import open_producer
from streams.records import ReadRecord, TopicPartition
from streams.scoring import Clock, epoch_ms
from streams.settings import StreamSettings
from streams.tasks import end_tasks

_EVENTS_AT_ONCE = 64
_POSTS_AT_ONCE = 16
# With the pauses between them two and a half minutes: a receiver that is deployed anew answers 404 for a while.
MOST_REFUSALS = 6
UNREADABLE = "unreadable"
_HOLD_S = 1.0
_LOOK_AGAIN_S = 5.0
_STOP_WITHIN_S = 20.0
_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class Posting(Protocol):
    """What the role needs of `casework.adapters.posting.Poster`."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post; returns the status of the answer.

        Raises:
            PostError: there was none.
        """
        ...


class _StoppingError(Exception):
    """The role ends: what is in hand is left to the next one."""


@dataclass(slots=True)
class _Waiting:
    """An event that is to be told, and how that has gone so far."""

    event: WebhookEvent
    record: ReadRecord
    attempts: int = 0
    refusals: int = 0
    detail: str = ""

    @property
    def partition(self) -> TopicPartition:
        """Where it stands."""
        return TopicPartition(self.record.topic, self.record.partition)


def event_in(record: ReadRecord) -> WebhookEvent | None:
    """What a record tells; None where it is none of ours."""
    event_id = dict(record.headers).get(ID_HEADER)
    if event_id is None:
        return None
    try:
        return webhook_of(record.topic, event_id.decode("ascii"), record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def post_once(endpoint: Endpoint, posting: Posting, event: WebhookEvent, now_ms: int) -> tuple[Answer, str]:
    """One attempt: what the answer means, and the answer in a word."""
    try:
        status = await posting.post(event.body, headers_of(event, endpoint.secrets, now_ms))
    except PostError as error:
        return Answer.UNAVAILABLE, error.problem
    return answer_of(status), f"HTTP {status}"


def line_of(event: WebhookEvent, record: ReadRecord, outcome: Outcome, attempts: int, detail: str, now_ms: int) -> Line:
    """What became of an event, as it is written down."""
    return Line(
        event.webhook_id,
        event.kind,
        event.time_ms,
        now_ms,
        attempts,
        outcome,
        detail,
        record.topic,
        record.partition,
        record.offset,
    )


class WebhookRole:
    """Tells one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        posting: Posting,
        log: WebhookLog,
        give_up_ms: int,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Clock = epoch_ms,
        pause_of: Callable[[int], float] = lambda failures: pause_s(failures, random.random()),  # noqa: S311
    ) -> None:
        """Nothing connects before `start`.

        Args:
            endpoint: who is told.
            posting: reaches it.
            log: keeps what became of events.
            give_up_ms: an older event is not told any more, and who fails for so long is disabled.
            settings: of the streams.
            metrics: what is counted.
            clock: UTC epoch milliseconds.
            pause_of: seconds to wait after so many failures in a row.
        """
        self._endpoint, self._posting, self._log, self._give_up_ms = endpoint, posting, log, give_up_ms
        self._settings, self._metrics, self._clock, self._pause_of = settings, metrics, clock, pause_of
        self._name = f"webhooks-{endpoint.name}"
        # librdkafka's calls block, and an endpoint that waits must not take the threads of others.
        self._thread = ThreadPoolExecutor(1, self._name)
        self._consumer: GroupConsumer | None = None
        self._posts = asyncio.Semaphore(_POSTS_AT_ONCE)
        self._failures = 0
        self._failing_since_ms: int | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find the topics, and begin.

        Raises:
            TopicError: a topic is missing, or no broker answers.
        """
        await asyncio.to_thread(_check_topics, self._settings)
        self._show_zeros()
        self._task = asyncio.create_task(self._tell_for_ever(), name=self._name)

    def _show_zeros(self) -> None:
        """Show what has not been counted yet: a rate over a counter that appears with its first event misses it."""
        for outcome in (*Outcome, UNREADABLE):
            self._metrics.webhook_events.labels(self._endpoint.name, str(outcome))
        for answer in Answer:
            self._metrics.webhook_attempts.labels(self._endpoint.name, answer.value)
        self._metrics.webhook_delay.labels(self._endpoint.name)
        self._show_waiting(())

    async def stop(self) -> None:
        """End the posts in hand, and leave the group."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_WITHIN_S)
            await end_tasks([self._task])
        self._thread.shutdown(wait=False)

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        if self._task is not None:
            await asyncio.shield(self._task)
        await asyncio.Event().wait()

    async def _tell_for_ever(self) -> None:
        consumer = self._consumer = await self._blocking(
            lambda: GroupConsumer(self._settings, self._name, TOLD_TOPICS)
        )  # fmt: skip
        try:
            await self._until_enabled(())
            while not self._stopping.is_set():
                records = await self._blocking(lambda: consumer.read(_EVENTS_AT_ONCE))
                if records:
                    await self._tell(records)
                    await self._blocking(lambda: consumer.commit(records))  # noqa: B023 - it is awaited at once
        except _StoppingError:
            logger.info("webhooks to %s: what is in hand is left for the next start", self._endpoint.name)
        except KafkaException as error:
            message = f"webhooks to {self._endpoint.name}: Kafka cannot be read: {error}"
            raise WorkerError(message) from error
        finally:
            await self._blocking(consumer.close)

    async def _tell(self, records: Sequence[ReadRecord]) -> None:
        """Tell everything, in rounds: those who fail wait together, and one asks for all whether it is back."""
        waiting = self._by_card(records)
        while waiting:
            await self._until_enabled(waiting)
            is_away = self._failing_since_ms is not None
            answers = await asyncio.gather(*(self._one_card(events) for events in waiting[: 1 if is_away else None]))
            await self._note_round({answer for answer in answers if answer is not None})
            waiting = [events for events in waiting if events]
            if self._failures and waiting:
                await self._pause(self._pause_of(self._failures), waiting)
            waiting = [events for events in waiting if self._owns(events[0].partition)]
        self._show_waiting(())

    async def _note_round(self, answers: set[Answer]) -> None:
        """Note whether the endpoint can be reached, and disable one that is gone or was away for too long.

        An answer of any kind but "away" says that it is there; what it refused is asked again after a pause as well.
        """
        self._failures = self._failures + 1 if answers - {Answer.DELIVERED} else 0
        now_ms = self._clock()
        if Answer.GONE in answers:
            await self._disable("it answered 410 Gone")
        elif Answer.UNAVAILABLE in answers and Answer.DELIVERED not in answers:
            self._failing_since_ms = now_ms if self._failing_since_ms is None else self._failing_since_ms
            if now_ms - self._failing_since_ms > self._give_up_ms:
                await self._disable("it has not answered for too long")
        elif answers:
            self._failing_since_ms = None

    def _by_card(self, records: Sequence[ReadRecord]) -> list[deque[_Waiting]]:
        """What this endpoint wants of some records, by card and in order."""
        by_card: defaultdict[str, deque[_Waiting]] = defaultdict(deque)
        for record in records:
            event = event_in(record)
            if event is None:
                self._metrics.webhook_events.labels(self._endpoint.name, UNREADABLE).inc()
                logger.warning("a record of %s tells nothing: %d/%d", record.topic, record.partition, record.offset)
            elif event.kind in self._endpoint.kinds:
                by_card[event.card_token].append(_Waiting(event, record))
        return list(by_card.values())

    async def _one_card(self, events: deque[_Waiting]) -> Answer | None:
        """Tell events of a card until one is not taken, which then is still the first; the last answer, if any."""
        answer: Answer | None = None
        async with self._posts:
            while events:
                waiting = events[0]
                if self._clock() - waiting.event.time_ms > self._give_up_ms:
                    await self._end(waiting, Outcome.EXPIRED)
                else:
                    answer = await self._post(waiting)
                    if answer is Answer.DELIVERED:
                        await self._end(waiting, Outcome.DELIVERED)
                    elif waiting.refusals >= MOST_REFUSALS:
                        await self._end(waiting, Outcome.REFUSED)
                    else:
                        return answer
                events.popleft()
        return answer

    async def _post(self, waiting: _Waiting) -> Answer:
        """One attempt."""
        waiting.attempts += 1
        answer, waiting.detail = await post_once(self._endpoint, self._posting, waiting.event, self._clock())
        waiting.refusals += answer is Answer.REFUSED
        self._metrics.webhook_attempts.labels(self._endpoint.name, answer.value).inc()
        return answer

    async def _end(self, waiting: _Waiting, outcome: Outcome) -> None:
        """Note what became of an event. One that was too old when it was read is counted, and not written down."""
        event, now_ms = waiting.event, self._clock()
        self._metrics.webhook_events.labels(self._endpoint.name, outcome.value).inc()
        if outcome is Outcome.DELIVERED:
            delay_s = max(0, now_ms - event.time_ms) / 1000
            self._metrics.webhook_delay.labels(self._endpoint.name).observe(delay_s)
        elif waiting.attempts:
            place = (self._endpoint.name, event.webhook_id, outcome.value, waiting.detail)
            logger.error("endpoint %s was not told event %s: %s, %s", *place)
        if waiting.attempts:
            line = line_of(event, waiting.record, outcome, waiting.attempts, waiting.detail, now_ms)
            await self._patiently(lambda: self._log.write(self._endpoint.name, line))

    async def _until_enabled(self, waiting: Sequence[deque[_Waiting]]) -> None:
        """Wait while the endpoint is disabled."""
        name = self._endpoint.name
        while await self._patiently(lambda: self._log.disabled(name)) is not None:
            self._metrics.webhook_disabled.labels(name).set(1)
            self._failing_since_ms, self._failures = None, 0
            await self._pause(_LOOK_AGAIN_S, waiting)
        self._metrics.webhook_disabled.labels(name).set(0)

    async def _disable(self, why: str) -> None:
        name = self._endpoint.name
        logger.error("endpoint %s is disabled: %s; `cardwatch webhooks enable %s` tells it again", name, why, name)
        await self._patiently(lambda: self._log.disable(name, Disabled(self._clock(), why)))

    async def _pause(self, seconds: float, waiting: Sequence[deque[_Waiting]]) -> None:
        """Wait, a member of the group all the while.

        Raises:
            _StoppingError: the role ends.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while (left_s := until_s - loop.time()) > 0:
            self._show_waiting(waiting)
            if self._consumer is not None:
                await self._blocking(self._consumer.hold)
            await self._sleep(min(left_s, _HOLD_S))

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            raise _StoppingError

    async def _patiently(self, ask: Callable[[], Awaitable[_Result]]) -> _Result:
        """Ask the log, again and again while it does not answer."""
        while True:
            try:
                answer = await ask()
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("the log of webhooks: %s; trying again", type(error).__name__)
                await self._pause(_HOLD_S, ())
            else:
                self._metrics.store_answered()
                return answer

    async def _blocking(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _owns(self, partition: TopicPartition) -> bool:
        return self._consumer is None or partition in self._consumer.taken

    def _show_waiting(self, waiting: Sequence[deque[_Waiting]]) -> None:
        """Show the age of the oldest event in hand that was not taken."""
        oldest_ms = min((events[0].event.time_ms for events in waiting if events), default=self._clock())
        self._metrics.webhook_waiting.labels(self._endpoint.name).set(max(0, self._clock() - oldest_ms) / 1000)


def _check_topics(settings: StreamSettings) -> None:
    producer = open_producer(settings)
    try:
        look_at(TOLD_TOPICS, producer, settings)
    finally:
        producer.close()
