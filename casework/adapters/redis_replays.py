"""Orders of replays in Redis.

Keys of an endpoint, each with the prefix and, for a cluster, its name as the hash tag: `webhook-replay:{name}` the
order that is not over, `webhook-replay-progress:{name}` how far the last one has come, `webhook-replay-worker:{name}`
who carries it out, for a while.
"""

from __future__ import annotations

import msgspec

from casework.adapters.redis_connection import RedisConnection, Script
from casework.replays import Replay, ReplayProgress

_encode = msgspec.json.Encoder().encode
_decode_replay = msgspec.json.Decoder(Replay).decode
_decode_progress = msgspec.json.Decoder(ReplayProgress).decode
_TAKEN = b"taken"


class RedisReplays:
    """`Replays` on Redis."""

    def __init__(self, redis: RedisConnection, prefix: str = "cardwatch") -> None:
        """Work through `redis`, on keys that begin with `prefix`."""
        self._redis = redis
        self._prefix = prefix
        self._script = Script.shipped("replay.lua")

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def order(self, endpoint: str, replay: Replay) -> bool:
        """See `Replays`."""
        return await self._redis.command("SET", self._key("", endpoint), _encode(replay), "NX") is not None

    async def ordered(self, endpoint: str) -> Replay | None:
        """See `Replays`."""
        found = await self._redis.command("GET", self._key("", endpoint))
        return None if found is None else _decode_replay(found)

    async def progress(self, endpoint: str) -> ReplayProgress | None:
        """See `Replays`."""
        found = await self._redis.command("GET", self._key("-progress", endpoint))
        return None if found is None else _decode_progress(found)

    async def take(self, endpoint: str, worker: str, hold_ms: int) -> Replay | None:
        """See `Replays`."""
        if await self.ordered(endpoint) is None:
            return None
        key = self._key("-worker", endpoint)
        is_free = await self._redis.command("SET", key, worker, "NX", "PX", hold_ms)
        if not is_free and await self._redis.command("GET", key) != worker.encode():
            return None
        return await self.ordered(endpoint)

    async def note(self, endpoint: str, worker: str, progress: ReplayProgress, hold_ms: int) -> bool:
        """See `Replays`."""
        return await self._change(endpoint, progress, worker, hold_ms)

    async def end(self, endpoint: str, progress: ReplayProgress) -> bool:
        """See `Replays`."""
        return await self._change(endpoint, progress, "", 0)

    async def _change(self, endpoint: str, progress: ReplayProgress, worker: str, hold_ms: int) -> bool:
        """Note progress if its order still stands, and hold it for a worker, or end it where no worker is named."""
        keys = [self._key(kind, endpoint) for kind in ("", "-progress", "-worker")]
        command = (len(keys), *keys, _encode(progress.replay), _encode(progress), worker, hold_ms)
        (answer,) = await self._redis.evaluate(self._script, [command])
        return answer == _TAKEN

    def _key(self, kind: str, endpoint: str) -> str:
        return f"{self._prefix}:webhook-replay{kind}:{{{endpoint}}}"
