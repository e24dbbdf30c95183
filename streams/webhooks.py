"""Webhooks to one endpoint: events of cases and cards, from a consumer group of its own, each until it has the event.

Kafka is the queue (docs/decisions/0029): what an endpoint was not told yet stands in the topics behind the offset that
its group has committed; at most 64 of it are in hand. One that is away holds up nobody but itself.

    step                                        a crash afterwards leaves
    1. read events while there is room          nothing: they are read again
    2. post those that are due, by card         events that were told: they are told again, with the same webhook-id
    3. write what became of each into the log   the same
    4. commit before the first that is left     nothing
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec
from confluent_kafka import KafkaException

from casework.errors import PostError, StoreError
from casework.webhook_log import Disabled, Line, Outcome, Standing, WebhookLog
from casework.webhooks import TOLD_TOPICS, Answer, Endpoint, WebhookEvent, answer_of, headers_of, pause_s, webhook_of
from streams.clock import Clock, epoch_ms
from streams.cluster import look_at
from streams.errors import WorkerError
from streams.events import ID_HEADER
from streams.group_consumer import GroupConsumer
from streams.metrics import StreamMetrics
from streams.producer import open_producer
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.tasks import end_tasks
from streams.untold import Chain, Untold, Waiting

_EVENTS_AT_ONCE = 64
_POSTS_AT_ONCE = 16
UNREADABLE = "unreadable"
_HOLD_S = 1.0
_LOOK_AGAIN_S = 5.0
_STOP_WITHIN_S = 20.0
_SAY_EVERY_S = 5.0
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


def event_in(record: ReadRecord) -> WebhookEvent | None:
    """What a record tells; None where it is none of ours."""
    event_id = dict(record.headers).get(ID_HEADER)
    try:
        return webhook_of(record.topic, (event_id or b"").decode("ascii"), record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def post_once(endpoint: Endpoint, posting: Posting, event: WebhookEvent, now_ms: int) -> tuple[Answer, str]:
    """One attempt: what the answer means, and the answer in a word."""
    try:
        status = await posting.post(event.body, headers_of(event, endpoint.secrets, now_ms))
    except PostError as error:
        return Answer.UNAVAILABLE, error.problem
    except Exception as error:  # noqa: BLE001 - one post must stop neither other endpoints nor notices
        # By its class alone: an exception's text may repeat what was to be said.
        logger.error("a post to endpoint %s failed in our own code: %s", endpoint.name, type(error).__name__)  # noqa: TRY400
        return Answer.UNAVAILABLE, type(error).__name__
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
        pause_of: Callable[[int], float] = lambda failures: pause_s(failures, random.random()),  # noqa: S311 - no secret
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
        self._settings, self._metrics, self._clock = settings, metrics, clock
        self._name = f"webhooks-{endpoint.name}"
        # librdkafka's calls block, and an endpoint that waits must not take the threads of others.
        self._thread = ThreadPoolExecutor(1, self._name)
        self._posts = asyncio.Semaphore(_POSTS_AT_ONCE)
        self._untold = Untold(pause_of)
        self._committed: dict[TopicPartition, int] = {}
        self._away_since_ms: int | None = None
        self._failed_ms: int | None = None
        self._failure = ""
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._saying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find the topics, and begin.

        Raises:
            TopicError: a topic is missing, or no broker answers.
        """
        await asyncio.to_thread(_check_topics, self._settings)
        self._show_zeros()
        self._task = asyncio.create_task(self._tell_for_ever(), name=self._name)
        self._saying = asyncio.create_task(self._say_for_ever(), name=f"{self._name}-standing")

    async def stop(self) -> None:
        """End the posts in hand, commit, and leave the group."""
        self._stopping.set()
        if self._task is not None and self._saying is not None:
            await asyncio.wait([self._task], timeout=_STOP_WITHIN_S)
            await end_tasks([self._task, self._saying])
        self._thread.shutdown(wait=False)

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        if self._task is not None:
            await asyncio.shield(self._task)
        await asyncio.Event().wait()

    async def _tell_for_ever(self) -> None:
        consumer = await self._blocking(lambda: GroupConsumer(self._settings, self._name, TOLD_TOPICS))
        try:
            with contextlib.suppress(_StoppingError):
                await self._until_enabled(consumer)
                while not self._stopping.is_set():
                    await self._read(consumer)
                    await self._ask_those_due(consumer)
                    await self._commit(consumer)
                    self._show_waiting()
        except KafkaException as error:
            message = f"webhooks to {self._endpoint.name}: Kafka cannot be read: {error}"
            raise WorkerError(message) from error
        finally:
            await self._blocking(consumer.close)

    async def _read(self, consumer: GroupConsumer) -> None:
        """Take in hand what there is room for; where there is none, wait until somebody is due."""
        loop = asyncio.get_running_loop()
        room = _EVENTS_AT_ONCE - len(self._untold)
        records = await self._blocking(lambda: consumer.read(room)) if room > 0 else []
        if room <= 0:
            await self._wait(consumer, min(max(self._untold.next_s() - loop.time(), 0.0), _HOLD_S))
        lost = consumer.take_lost()
        self._untold.forget(lost)
        self._committed = {partition: at for partition, at in self._committed.items() if partition not in lost}
        for record in records:
            event = event_in(record)
            if event is None:
                self._metrics.webhook_events.labels(self._endpoint.name, UNREADABLE).inc()
                logger.warning("a record of %s tells nothing: %d/%d", record.topic, record.partition, record.offset)
            is_wanted = event is not None and event.kind in self._endpoint.kinds
            self._untold.add(record, event if is_wanted else None, loop.time())

    async def _ask_those_due(self, consumer: GroupConsumer) -> None:
        """Post what is due, and judge by the answers."""
        loop = asyncio.get_running_loop()
        due = self._untold.due(loop.time())
        if not due:
            return
        answers = [answer for answer in await asyncio.gather(*map(self._one_card, due)) if answer is not None]
        self._untold.round_over(answers, loop.time())
        now_ms = self._clock()
        if not self._untold.is_away:
            self._away_since_ms = None
        elif self._away_since_ms is None:
            self._away_since_ms = now_ms
        if Answer.GONE in answers:
            await self._disable("it answered 410 Gone")
        elif answers and self._away_since_ms is not None and now_ms - self._away_since_ms > self._give_up_ms:
            await self._disable("it has not answered for too long")
        await self._until_enabled(consumer)

    async def _one_card(self, chain: Chain) -> Answer | None:
        """Tell events of a card until one is not taken, which then is still the first; the last answer, if any."""
        answer: Answer | None = None
        async with self._posts:
            while chain.events:
                waiting = chain.events[0]
                if self._clock() - waiting.event.time_ms > self._give_up_ms:
                    await self._end(chain, Outcome.EXPIRED)
                    continue
                answer = await self._post(waiting)
                if answer is Answer.DELIVERED:
                    await self._end(chain, Outcome.DELIVERED)
                    continue
                self._untold.failed(chain, answer, asyncio.get_running_loop().time())
                if not waiting.is_hopeless:
                    return answer
                await self._end(chain, Outcome.REFUSED)
        return answer

    async def _post(self, waiting: Waiting) -> Answer:
        """One attempt."""
        waiting.attempts += 1
        answer, waiting.detail = await post_once(self._endpoint, self._posting, waiting.event, self._clock())
        self._metrics.webhook_attempts.labels(self._endpoint.name, answer.value).inc()
        if answer is not Answer.DELIVERED:
            self._failed_ms, self._failure = self._clock(), waiting.detail
        return answer

    async def _end(self, chain: Chain, outcome: Outcome) -> None:
        """Note what became of an event. One that was too old when it was read is counted, and not written down."""
        waiting, name, now_ms = chain.events[0], self._endpoint.name, self._clock()
        event, is_taken = waiting.event, outcome is Outcome.DELIVERED
        if waiting.attempts:
            line = line_of(event, waiting.record, outcome, waiting.attempts, waiting.detail, now_ms)
            await self._patiently(lambda: self._log.write(name, line))
        self._untold.ended(chain, is_taken=is_taken)
        self._metrics.webhook_events.labels(name, outcome.value).inc()
        if is_taken:
            self._metrics.webhook_delay.labels(name).observe(max(0, now_ms - event.time_ms) / 1000)
        elif waiting.attempts:
            place = (name, event.webhook_id, outcome.value, waiting.detail)
            logger.error("endpoint %s was not told event %s: %s, %s", *place)

    async def _until_enabled(self, consumer: GroupConsumer) -> None:
        """Wait while the endpoint is disabled."""
        name = self._endpoint.name
        while await self._patiently(lambda: self._log.disabled(name)) is not None:
            self._metrics.webhook_disabled.labels(name).set(1)
            self._away_since_ms = None
            until_s = asyncio.get_running_loop().time() + _LOOK_AGAIN_S
            while (left_s := until_s - asyncio.get_running_loop().time()) > 0:
                await self._wait(consumer, min(left_s, _HOLD_S))
                self._show_waiting()
        self._metrics.webhook_disabled.labels(name).set(0)

    async def _disable(self, why: str) -> None:
        name = self._endpoint.name
        logger.error("endpoint %s is disabled: %s; `cardwatch webhooks enable %s` tells it again", name, why, name)
        await self._patiently(lambda: self._log.disable(name, Disabled(self._clock(), why)))

    async def _say_for_ever(self) -> None:
        """Say now and then how it goes, for those who look, also while an endpoint hangs.

        Where the log does not answer it is said the next time.
        """
        while True:
            standing = Standing(self._clock(), self._untold.oldest_failed_ms(), self._failed_ms, self._failure)
            try:
                await self._log.say(self._endpoint.name, self._settings.worker_name, standing)
            except StoreError as error:
                self._metrics.store_failed(error)
            await asyncio.sleep(_SAY_EVERY_S)

    async def _commit(self, consumer: GroupConsumer) -> None:
        """Commit how far everything has ended."""
        ends = self._untold.ends()
        new = {partition: at for partition, at in ends.items() if self._committed.get(partition) != at}
        if new:
            is_committed = await self._blocking(lambda: consumer.commit(new))
            if is_committed:
                self._committed |= new

    async def _wait(self, consumer: GroupConsumer, seconds: float) -> None:
        """Wait a moment, a member of the group all the while.

        Raises:
            _StoppingError: the role ends.
        """
        await self._blocking(consumer.hold)
        await self._sleep(seconds)

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
                await self._sleep(_HOLD_S)
            else:
                self._metrics.store_answered()
                return answer

    async def _blocking(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _show_zeros(self) -> None:
        """Show what has not been counted yet: a rate over a counter that appears with its first event misses it."""
        for outcome in (*Outcome, UNREADABLE):
            self._metrics.webhook_events.labels(self._endpoint.name, str(outcome))
        for answer in Answer:
            self._metrics.webhook_attempts.labels(self._endpoint.name, answer.value)
        self._metrics.webhook_delay.labels(self._endpoint.name)
        self._show_waiting()

    def _show_waiting(self) -> None:
        """Show the age of the oldest event in hand that was not taken."""
        now_ms = self._clock()
        oldest_ms = self._untold.oldest_failed_ms()
        age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
        self._metrics.webhook_waiting.labels(self._endpoint.name).set(age_s)


def _check_topics(settings: StreamSettings) -> None:
    producer = open_producer(settings)
    try:
        look_at(TOLD_TOPICS, producer, settings)
    finally:
        producer.close()
