"""The outboxes on Redis: what steps make known waits in a stream a shard until Kafka has acknowledged it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from casework.adapters.redis_connection import RedisConnection
from casework.errors import UnconfirmedError
from casework.outbox import OutboxEntry

# The relay looks at an empty outbox twenty times a second.
_CONFIRM_INTERVAL_S = 0.02

_headers_decoder = msgspec.json.Decoder(dict[str, str])


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
    """The outboxes of all shards, and the keys that a shard has once."""

    def __init__(self, redis: RedisConnection, settings: RedisStoreSettings) -> None:
        """Work through `redis`."""
        self._redis = redis
        self._settings = settings

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._settings.shards

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox."""
        start = "-" if after is None else f"({after}"
        found = await self._redis.command("XRANGE", self._outbox_key(shard), start, "+", "COUNT", count)
        return [_entry(entry_id, fields) for entry_id, fields in found]

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """Read the outboxes of several shards."""
        commands = [("XRANGE", self._outbox_key(shard), "-", "+", "COUNT", count) for shard in shards]
        found = zip(shards, await self._redis.pipelined(commands), strict=True)
        return {shard: [_entry(*entry) for entry in entries] for shard, entries in found if entries}

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Trim a shard's outbox to what comes behind `up_to`."""
        time_ms, sequence = _place(up_to)
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
            if not oldest or _place(oldest[0][0]) > _place(newest[0][0]):
                return
            if time.monotonic() > deadline_s:
                message = "done in Redis, not yet acknowledged by Kafka"
                raise UnconfirmedError(message)
            await asyncio.sleep(_CONFIRM_INTERVAL_S)

    def _shard_key(self, shard: int, kind: str) -> str:
        """A key that a shard has once."""
        return f"{self._settings.prefix}:{{{shard}}}:{kind}"

    def _outbox_key(self, shard: int) -> str:
        """The key of a shard's outbox."""
        return self._shard_key(shard, "outbox")


def _text(raw: bytes | str) -> str:
    """A text of Redis."""
    return raw.decode() if isinstance(raw, bytes) else raw


def _place(entry_id: bytes | str) -> tuple[int, int]:
    """An id of a stream's entry, in the order of the stream."""
    time_part, _, sequence = _text(entry_id).partition("-")
    return int(time_part), int(sequence)


def _entry(entry_id: bytes | str, fields: Mapping[bytes, bytes]) -> OutboxEntry:
    """An entry of the outbox's stream."""
    return OutboxEntry(
        entry_id=_text(entry_id),
        time_ms=int(fields[b"time_ms"]),
        topic=_text(fields[b"topic"]),
        key=_text(fields[b"key"]),
        value=fields[b"value"],
        headers=_headers_decoder.decode(fields[b"headers"]),
    )
