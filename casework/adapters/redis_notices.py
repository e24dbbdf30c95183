"""The memory of notices and the records of cardholders in Redis, beside the cards.

Keys, each with the prefix and, for a cluster, a hash tag of its own: `notice:{id}` what became of a notice,
`notices:{case}` the same by notice for a case, `later:{partition}` a sorted set of ids by when they are due with
`later-notices:{partition}` what they are, `contact:{card}` a cardholder's record.
"""

from __future__ import annotations

import msgspec

from casework.adapters.redis_connection import RedisConnection
from casework.contacts import ContactRecord
from casework.deliveries import MEMORY_MS, Delivery, PutOff

_encode = msgspec.json.Encoder().encode
_decode_delivery = msgspec.json.Decoder(Delivery).decode
_decode_later = msgspec.json.Decoder(PutOff).decode
_decode_contact = msgspec.json.Decoder(ContactRecord).decode


class RedisNotices:
    """`Deliveries` and `Contacts` on Redis."""

    def __init__(self, redis: RedisConnection, prefix: str = "cardwatch") -> None:
        """Work through `redis`, on keys that begin with `prefix`."""
        self._redis = redis
        self._prefix = prefix

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def find(self, notification_id: str) -> Delivery | None:
        """See `Deliveries`."""
        found = await self._redis.command("GET", self._key("notice", notification_id))
        return None if found is None else _decode_delivery(found)

    async def remember(self, delivery: Delivery) -> None:
        """See `Deliveries`. The case's list comes first: what is known by its id is in the list as well."""
        body = _encode(delivery)
        if delivery.case_id is not None:
            key = self._key("notices", delivery.case_id)
            await self._redis.pipelined(
                [("HSET", key, delivery.notification_id, body), ("PEXPIRE", key, MEMORY_MS)]
            )  # fmt: skip
        await self._redis.command("SET", self._key("notice", delivery.notification_id), body, "PX", MEMORY_MS)

    async def of_case(self, case_id: str) -> list[Delivery]:
        """See `Deliveries`."""
        found = await self._redis.command("HVALS", self._key("notices", case_id))
        deliveries = [_decode_delivery(body) for body in found]
        return sorted(deliveries, key=lambda delivery: (delivery.requested_ms, delivery.notification_id))

    async def put_off(self, partition: int, later: PutOff) -> None:
        """See `Deliveries`. What it is comes before when it is due: a crash in between leaves nothing that is due."""
        notification_id = later.notice.notification_id
        await self._redis.pipelined(
            [
                ("HSET", self._key("later-notices", str(partition)), notification_id, _encode(later)),
                ("ZADD", self._key("later", str(partition)), later.due_ms, notification_id),
            ]
        )

    async def due(self, partition: int, now_ms: int, count: int) -> list[PutOff]:
        """See `Deliveries`."""
        key = self._key("later", str(partition))
        ids = await self._redis.command("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, count)
        if not ids:
            return []
        found = await self._redis.command("HMGET", self._key("later-notices", str(partition)), *ids)
        return [_decode_later(body) for body in found if body is not None]

    async def settle(self, partition: int, notification_id: str) -> None:
        """See `Deliveries`."""
        await self._redis.pipelined(
            [
                ("ZREM", self._key("later", str(partition)), notification_id),
                ("HDEL", self._key("later-notices", str(partition)), notification_id),
            ]
        )

    async def contact(self, card_token: str) -> ContactRecord | None:
        """See `Contacts`."""
        found = await self._redis.command("GET", self._key("contact", card_token))
        return None if found is None else _decode_contact(found)

    async def put_contact(self, card_token: str, contact: ContactRecord) -> None:
        """See `Contacts`."""
        await self._redis.command("SET", self._key("contact", card_token), _encode(contact))

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}:{kind}:{{{name}}}"
