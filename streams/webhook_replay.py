"""Telling an endpoint again what stands in the topics: what it was not told, or everything of a span of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from casework.webhook_log import Outcome, WebhookLog
from casework.webhooks import Answer, Endpoint
from streams.records import ReadRecord
from streams.scoring import Clock
from streams.webhooks import Posting, event_in, line_of, post_once


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


def of_places(records: Iterable[ReadRecord], places: set[Place]) -> Iterator[ReadRecord]:
    """The records that stand at these places."""
    return (record for record in records if Place(record.topic, record.partition, record.offset) in places)


def of_span(records: Iterable[ReadRecord], is_within: Callable[[int], bool]) -> Iterator[ReadRecord]:
    """The records whose event happened within a span of time, by UTC epoch milliseconds."""
    return (record for record in records if (event := event_in(record)) is not None and is_within(event.time_ms))


async def replay(
    endpoint: Endpoint, posting: Posting, log: WebhookLog, records: Iterable[ReadRecord], clock: Clock
) -> Replayed:
    """Tell the endpoint what some records tell, each once, in their order and with the ids that they always had.

    Args:
        endpoint: who is told; kinds that it does not want are passed over.
        posting: reaches it.
        log: keeps what became of each.
        records: of the topics.
        clock: UTC epoch milliseconds.

    Raises:
        StoreUnavailableError: the log does not answer.
    """
    done = Replayed()
    for record in records:
        event = event_in(record)
        if event is None or event.kind not in endpoint.kinds:
            continue
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
