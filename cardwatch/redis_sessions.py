"""The memory of the console's sessions in Redis, where every process of the HTTP service finds it."""

from __future__ import annotations

from typing import cast

from casework.adapters.redis_connection import RedisConnection


class RedisSessions:
    """`api.ports.SessionMemory` on Redis: one key each, which ends by itself."""

    def __init__(self, redis: RedisConnection, prefix: str = "cardwatch") -> None:
        """Work through `redis`, on keys that begin with `prefix`."""
        self._redis = redis
        self._prefix = prefix

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def put_new(self, name: str, value: bytes, life_ms: int) -> bool:
        """See `SessionMemory`."""
        return await self._redis.command("SET", self._key(name), value, "PX", life_ms, "NX") is not None

    async def get(self, name: str) -> bytes | None:
        """See `SessionMemory`."""
        return cast("bytes | None", await self._redis.command("GET", self._key(name)))

    async def take(self, name: str) -> bytes | None:
        """See `SessionMemory`."""
        return cast("bytes | None", await self._redis.command("GETDEL", self._key(name)))

    def _key(self, name: str) -> str:
        return f"{self._prefix}:desk:{name}"
