"""The relay: what casework wrote into its outboxes goes to Kafka, in order, and is forgotten once acknowledged.

Each outbox (a shard) belongs to the respond worker that owns the alert partition `shard % partitions`, so that one
worker relays it. A crash between the acknowledgement and the trim sends entries again, with the same `ce_id`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Protocol

from casework.errors import StoreError
from casework.outbox import OutboxEntry
from streams import failpoints
from streams.events import Outgoing
from streams.metrics import StreamMetrics
from streams.producer import Producer
from streams.settings import StreamSettings

_ENTRIES_AT_ONCE = 500
_PAUSE_AFTER_FAILURE_S = 1.0
_AGE_INTERVAL_MS = 1_000

logger = logging.getLogger(__name__)


class Outboxes(Protocol):
    """What the relay needs of the desk."""

    @property
    def shards(self) -> int:
        """Number of outboxes."""
        ...

    def first_entries(self, shards: Sequence[int], count: int) -> Awaitable[dict[int, list[OutboxEntry]]]:
        """The oldest entries of each of these shards that has any."""
        ...

    def ack_outbox(self, shard: int, up_to: str) -> Awaitable[None]:
        """Forget a shard's entries up to this one."""
        ...

    def outbox_oldest_ms(self) -> Awaitable[int | None]:
        """Time of the oldest entry over all shards."""
        ...


class Relay:
    """Relays the outboxes of some shards.

    Attributes:
        owned: alert partitions of this worker; they say which shards are relayed.
        partitions: number of alert partitions.
    """

    def __init__(
        self,
        outboxes: Outboxes,
        producer: Producer,
        settings: StreamSettings,
        metrics: StreamMetrics,
        clock: Callable[[], int],
    ) -> None:
        """Relay from `outboxes` through `producer`; nothing is relayed before `owned` is set."""
        self._outboxes = outboxes
        self._producer = producer
        self._interval_s = settings.relay_interval_s
        self._metrics = metrics
        self._clock = clock
        self._age_shown_ms = 0
        self.owned: frozenset[int] = frozenset()
        self.partitions = settings.partitions

    async def run(self) -> None:
        """Relay until cancelled; a store that does not answer is asked again.

        Raises:
            ProducerError: Kafka refuses what is sent.
        """
        while True:
            try:
                relayed = await self.relay_once()
                await self._show_age()
            except StoreError as error:
                self._metrics.store_failed(error)
                logger.warning("the outbox: %s; trying again", error)
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
                continue
            if not relayed:
                await asyncio.sleep(self._interval_s)

    def owned_shards(self) -> list[int]:
        """The shards that are relayed here, and nowhere else."""
        return [shard for shard in range(self._outboxes.shards) if shard % self.partitions in self.owned]

    async def relay_once(self) -> int:
        """Relay what waits in every shard of ours, at most some entries each; returns how many were relayed.

        Raises:
            StoreError: the store does not answer.
            ProducerError: Kafka refuses what is sent.
        """
        waiting = await self._outboxes.first_entries(self.owned_shards(), _ENTRIES_AT_ONCE)
        for entry in chain.from_iterable(waiting.values()):
            failpoints.reach(failpoints.OUTBOX_READ)
            await self._producer.send(_record_of(entry))
        if waiting:
            await self._producer.drained()
            failpoints.reach(failpoints.OUTBOX_SENT)
            for shard, entries in waiting.items():
                await self._outboxes.ack_outbox(shard, entries[-1].entry_id)
        return sum(map(len, waiting.values()))

    async def _show_age(self) -> None:
        """Bring the gauge of the outbox's age up to date, now and then."""
        now_ms = self._clock()
        if now_ms - self._age_shown_ms >= _AGE_INTERVAL_MS:
            self._age_shown_ms = now_ms
            oldest_ms = await self._outboxes.outbox_oldest_ms()
            self._metrics.outbox_age.set(0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000)


def _record_of(entry: OutboxEntry) -> Outgoing:
    """The record for an entry; Kafka's partitioner of keys chooses its partition."""
    headers: list[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in entry.headers.items()]
    return Outgoing(entry.topic, None, entry.key.encode(), entry.value, headers)
