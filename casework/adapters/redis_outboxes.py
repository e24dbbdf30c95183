"""The outboxes of the shards in Redis, and the fences before them: what every write goes by.

The store (`redis_store.py`) is built on it; its head lists all keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from casework.adapters.redis_connection import RedisConnection, Script
from casework.adapters.redis_documents import message_parts, outbox_entry, place_of
from casework.errors import OutboxFullError, StoreFencedError, StoreSetupError, UnconfirmedError
from casework.ids import MAXIMUM_SHARDS, shard_of_card
from casework.outbox import OutboxEntry, OutboxMessage

# The relay looks at an empty outbox twenty times a second.
_CONFIRM_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class RedisStoreSettings:
    """How the store lays out its keys.

    Attributes:
        shards: fixed when an empty Redis is set up: a power of two up to 4096. Sixteen spread over a cluster well
            enough; each adds a little to every listing.
        outbox_limit: entries a shard's outbox may hold before steps are refused; at some 1.5 kB an entry the default
            keeps all outboxes of 16 shards under 500 MB.
        prefix: first part of every key.
        confirm_within_s: where it is set, a person's command counts as done only when Kafka has acknowledged all that
            it made known, and after so many seconds without that the person is told to ask again. None: it counts as
            done when Redis has it.
    """

    shards: int = 16
    outbox_limit: int = 20_000
    prefix: str = "cardwatch"
    confirm_within_s: float | None = None


class RedisOutboxes:
    """What waits in Redis for Kafka, by shard."""

    def __init__(self, redis: RedisConnection, settings: RedisStoreSettings) -> None:
        """Work through `redis`.

        Raises:
            StoreSetupError: `shards` is not a power of two up to 4096.
        """
        if not 1 <= settings.shards <= MAXIMUM_SHARDS or settings.shards & (settings.shards - 1):
            message = f"shards must be a power of two up to {MAXIMUM_SHARDS}, not {settings.shards}"
            raise StoreSetupError(message)
        self._redis = redis
        self._settings = settings
        self._tell_script = Script.shipped("tell.lua")
        self._fence_script = Script.shipped("fence.lua")

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._settings.shards

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def lift_fences(self, shards: Iterable[int]) -> None:
        """Let shards take writes on the server that they are on now: it was set up, or compared with Kafka."""
        await self._redis.evaluate(self._fence_script, [(1, self._fence_key(shard), "lift") for shard in shards])

    async def tell(self, place: str, messages: Sequence[OutboxMessage], time_ms: int) -> None:
        """Let messages enter an outbox that is at most half full."""
        shard = shard_of_card(place, self.shards)
        most = self._settings.outbox_limit // 2
        command = (2, self._outbox_key(shard), self._fence_key(shard), most, time_ms, *message_parts(messages))
        self._applied(await self._redis.evaluate(self._tell_script, [command]))

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox."""
        start = "-" if after is None else f"({after}"
        found = await self._redis.command("XRANGE", self._outbox_key(shard), start, "+", "COUNT", count)
        return [outbox_entry(entry_id, fields) for entry_id, fields in found]

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """Read the outboxes of several shards."""
        commands = [("XRANGE", self._outbox_key(shard), "-", "+", "COUNT", count) for shard in shards]
        found = zip(shards, await self._redis.pipelined(commands), strict=True)
        return {shard: [outbox_entry(*entry) for entry in entries] for shard, entries in found if entries}

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Trim a shard's outbox to what comes behind `up_to`."""
        time_ms, sequence = place_of(up_to)
        behind = f"{time_ms}-{sequence + 1}"
        await self._redis.command("XTRIM", self._outbox_key(shard), "MINID", behind)

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry."""
        firsts = await self.first_entries(range(self.shards), 1)
        return min((entry.time_ms for (entry,) in firsts.values()), default=None)

    async def _confirm(self, shard: int) -> None:
        """Where it is configured, wait until Kafka has acknowledged what is in a shard's outbox now.

        Raises:
            UnconfirmedError: it has not in time; the relay goes on, and asking again is safe.
        """
        if self._settings.confirm_within_s is None:
            return
        key = self._outbox_key(shard)
        newest = await self._redis.command("XREVRANGE", key, "+", "-", "COUNT", 1)
        deadline_s = time.monotonic() + self._settings.confirm_within_s
        while newest:
            oldest = await self._redis.command("XRANGE", key, "-", "+", "COUNT", 1)
            if not oldest or place_of(oldest[0][0]) > place_of(newest[0][0]):
                return
            if time.monotonic() > deadline_s:
                message = "done in Redis, not yet acknowledged by Kafka"
                raise UnconfirmedError(message)
            await asyncio.sleep(_CONFIRM_INTERVAL_S)

    def _applied(self, answers: Sequence[bytes]) -> list[bool]:
        """Whether each step was carried out.

        Raises:
            OutboxFullError: one was not, for want of room.
            StoreFencedError: one was not, because Redis is yet to be compared with Kafka.
        """
        if b"fenced" in answers:
            message = "Redis was restarted or took over, and takes no writes until it was compared with Kafka"
            raise StoreFencedError(message)
        if b"full" in answers:
            message = f"an outbox holds {self._settings.outbox_limit} entries: is the relay running?"
            raise OutboxFullError(message)
        return [answer == b"applied" for answer in answers]

    def _key(self, shard: int, kind: str, name: str) -> str:
        """A key of a shard."""
        return f"{self._settings.prefix}:{{{shard}}}:{kind}:{name}"

    def _shard_key(self, shard: int, kind: str) -> str:
        """A key that a shard has once."""
        return f"{self._settings.prefix}:{{{shard}}}:{kind}"

    def _outbox_key(self, shard: int) -> str:
        """The key of a shard's outbox."""
        return self._shard_key(shard, "outbox")

    def _fence_key(self, shard: int) -> str:
        """The key that says on which server a shard takes writes."""
        return self._shard_key(shard, "fence")
