"""The log of webhooks in Redis.

Keys of an endpoint, each with the prefix and, for a cluster, its name as the hash tag: `webhook-lines:{name}` a list,
`webhook-untold:{name}` a sorted set of ids by the time of their events with `webhook-untold-lines:{name}` what became
of them, `webhook-disabled:{name}` since when and why it is told nothing, `webhook-standings:{name}` a hash of what each
worker said last.
"""

from __future__ import annotations

import msgspec

from casework.adapters.redis_connection import RedisConnection
from casework.adapters.redis_documents import score_pairs
from casework.webhook_log import LINES_KEPT, STANDING_KEPT_MS, UNTOLD_KEPT, Disabled, Line, Outcome, Standing

_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(Line).decode
_decode_disabled = msgspec.json.Decoder(Disabled).decode
_decode_standing = msgspec.json.Decoder(Standing).decode


class RedisWebhooks:
    """`WebhookLog` on Redis."""

    def __init__(self, redis: RedisConnection, prefix: str = "cardwatch") -> None:
        """Work through `redis`, on keys that begin with `prefix`."""
        self._redis = redis
        self._prefix = prefix

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def write(self, endpoint: str, line: Line) -> None:
        """See `WebhookLog`. What became of it comes before that it is untold: a crash in between leaves no bare id."""
        lines, untold, bodies = (self._key(kind, endpoint) for kind in ("lines", "untold", "untold-lines"))
        body = _encode(line)
        noted: list[tuple[object, ...]] = [("LPUSH", lines, body), ("LTRIM", lines, 0, LINES_KEPT - 1)]
        if line.outcome is Outcome.DELIVERED:
            noted += [("ZREM", untold, line.webhook_id), ("HDEL", bodies, line.webhook_id)]
            await self._redis.pipelined(noted)
            return
        noted += [("HSET", bodies, line.webhook_id, body), ("ZADD", untold, line.event_time_ms, line.webhook_id)]
        await self._redis.pipelined(noted)
        too_many = await self._redis.command("ZRANGE", untold, 0, -(UNTOLD_KEPT + 1))
        if too_many:
            await self._redis.pipelined([("ZREM", untold, *too_many), ("HDEL", bodies, *too_many)])

    async def newest(self, endpoint: str, count: int) -> list[Line]:
        """See `WebhookLog`."""
        found = await self._redis.command("LRANGE", self._key("lines", endpoint), 0, count - 1)
        return [_decode_line(body) for body in found]

    async def untold(self, endpoint: str) -> list[Line]:
        """See `WebhookLog`."""
        found = await self._redis.command("HVALS", self._key("untold-lines", endpoint))
        return sorted(map(_decode_line, found), key=lambda line: (line.event_time_ms, line.webhook_id))

    async def untold_span(self, endpoint: str) -> tuple[int, int | None]:
        """See `WebhookLog`."""
        key = self._key("untold", endpoint)
        count, earliest = await self._redis.pipelined([("ZCARD", key), ("ZRANGE", key, 0, 0, "WITHSCORES")])
        return int(count), next((round(score) for score, _ in score_pairs(earliest)), None)

    async def say(self, endpoint: str, worker: str, standing: Standing) -> None:
        """See `WebhookLog`."""
        key = self._key("standings", endpoint)
        found = await self._standings(endpoint)
        oldest_ms = standing.time_ms - STANDING_KEPT_MS
        gone = [name for name, each in found.items() if each.time_ms < oldest_ms]
        forgetting: list[tuple[object, ...]] = [("HDEL", key, *gone)] if gone else []
        await self._redis.pipelined([*forgetting, ("HSET", key, worker, _encode(standing))])

    async def standings(self, endpoint: str) -> list[Standing]:
        """See `WebhookLog`."""
        return list((await self._standings(endpoint)).values())

    async def _standings(self, endpoint: str) -> dict[bytes, Standing]:
        found = await self._redis.command("HGETALL", self._key("standings", endpoint))
        return {name: _decode_standing(body) for name, body in found.items()}

    async def disable(self, endpoint: str, disabled: Disabled) -> None:
        """See `WebhookLog`."""
        await self._redis.command("SET", self._key("disabled", endpoint), _encode(disabled))

    async def disabled(self, endpoint: str) -> Disabled | None:
        """See `WebhookLog`."""
        found = await self._redis.command("GET", self._key("disabled", endpoint))
        return None if found is None else _decode_disabled(found)

    async def enable(self, endpoint: str) -> None:
        """See `WebhookLog`."""
        await self._redis.command("DEL", self._key("disabled", endpoint))

    def _key(self, kind: str, endpoint: str) -> str:
        return f"{self._prefix}:webhook-{kind}:{{{endpoint}}}"
