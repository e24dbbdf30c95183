"""Telling an endpoint again what stands in the topics: what it was not told, some events, or a span of time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from casework.replays import Picked, Replay, ReplayOf
from casework.webhook_log import Line, Outcome, WebhookLog
from casework.webhooks import Answer, Endpoint
from streams.clock import Clock
from streams.records import ReadRecord
from streams.webhooks import Posting, event_in, line_of, post_once

# Some 500 kB: what is read between two looks at whether the order still stands.
_RECORDS_AT_ONCE = 500


class Place(NamedTuple):
    """Where an event stands."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Replayed:
    """How a replay went.

    Attributes:
        told, refused: how many events the endpoint took, and did not take.
        stopped_by: what its answer was when it was away; nothing behind that was told. Empty: it went to its end.
    """

    told: int = 0
    refused: int = 0
    stopped_by: str = ""


@dataclass(frozen=True, slots=True)
class Meant:
    """Which records a replay means.

    Attributes:
        since_ms: none of them is older, by Kafka's timestamps.
        is_meant: whether a record is one.
        places: how many single ones there are; 0 where a span of time is meant.
    """

    since_ms: int
    is_meant: Callable[[ReadRecord], bool]
    places: int = 0

    def missing(self, done: Replayed) -> int:
        """How many of the single ones were not there: a later state of the card replaced it, or it is not wanted."""
        return 0 if done.stopped_by else max(self.places - done.told - done.refused, 0)


async def meant_by(replay: Replay, endpoint: str, log: WebhookLog) -> Meant:
    """What an order means; a test means nothing that stands in a topic.

    Raises:
        StoreUnavailableError: the log does not answer.
    """
    if replay.of is ReplayOf.SPAN:
        before_ms = replay.before_ms or replay.asked_ms
        return Meant(replay.since_ms, lambda record: _is_within(record, replay.since_ms, before_ms))
    lines: list[Line] | tuple[Picked, ...] = replay.picked
    if replay.of is ReplayOf.UNTOLD:
        lines = await log.untold(endpoint)
    places = {Place(line.topic, line.partition, line.offset) for line in lines}
    since_ms = min((line.event_time_ms for line in lines), default=replay.asked_ms)
    return Meant(since_ms, lambda record: Place(record.topic, record.partition, record.offset) in places, len(places))


def _is_within(record: ReadRecord, since_ms: int, before_ms: int) -> bool:
    event = event_in(record)
    return event is not None and since_ms <= event.time_ms < before_ms


async def in_batches(
    records: Iterator[ReadRecord], blocking: Callable[[Callable[[], list[ReadRecord]]], Awaitable[list[ReadRecord]]]
) -> AsyncIterator[list[ReadRecord]]:
    """Records some at a time, read by `blocking`, which runs a call that blocks in a thread."""
    while batch := await blocking(lambda: list(islice(records, _RECORDS_AT_ONCE))):
        yield batch


async def _silently(_done: Replayed) -> None:
    """Tell nobody how far it has come."""


async def replay(
    endpoint: Endpoint,
    posting: Posting,
    log: WebhookLog,
    batches: AsyncIterable[list[ReadRecord]],
    is_meant: Callable[[ReadRecord], bool],
    clock: Clock,
    tell: Callable[[Replayed], Awaitable[None]] = _silently,
) -> Replayed:
    """Tell the endpoint what some records tell, each once, in their order and with the ids that they always had.

    Args:
        endpoint: who is told; kinds that it does not want are passed over.
        posting: reaches it.
        log: keeps what became of each.
        batches: records of the topics.
        is_meant: which of them.
        clock: UTC epoch milliseconds.
        tell: told how far it has come, with each batch and before each event; what it raises ends the replay.

    Raises:
        StoreUnavailableError: the log does not answer.
    """
    done = Replayed()
    async for batch in batches:
        await tell(done)
        for record in filter(is_meant, batch):
            event = event_in(record)
            if event is None or event.kind not in endpoint.kinds:
                continue
            await tell(done)
            answer, detail = await post_once(endpoint, posting, event, clock())
            if answer in {Answer.UNAVAILABLE, Answer.GONE}:
                done.stopped_by = detail
                return done
            is_told = answer is Answer.DELIVERED
            done.told += is_told
            done.refused += not is_told
            outcome = Outcome.DELIVERED if is_told else Outcome.REFUSED
            await log.write(endpoint.name, line_of(event, record, outcome, 1, detail, clock()))
    return done
