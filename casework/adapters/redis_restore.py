"""The store on Redis, with what is needed after a loss: whether it may be written to, what it holds, putting back."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from casework.adapters.redis_connection import Script
from casework.adapters.redis_store import RedisStore
from casework.breaker import Breaker
from casework.cards import CardRecord
from casework.cases import CaseState, queue_position
from casework.errors import StoreError
from casework.ids import alert_step_id, shard_of_card
from casework.lists import ListEntry
from casework.picture import Held
from casework.store import NO_STEP, Recorded, StoredCase
from casework.ticking import alarm_ms
from casework.traits import traits_of
from casework.views import Outcome

_SCAN_KEYS = 1_000
_CARDS_AT_ONCE = 200
_encoder = msgspec.json.Encoder()
# A command of `restore.lua`: its name, its key, and further arguments.
_Write = tuple[str, str, tuple[str | int, ...]]


class RestorableRedisStore(RedisStore):
    """The store port on Redis, and the port of `streams.reconciliation`."""

    _restore_script = Script.shipped("restore.lua")

    async def is_set_up(self) -> bool:
        """Whether Redis was ever set up for cardwatch; a Redis that lost everything was not."""
        return bool(await self._redis.command("EXISTS", f"{self._settings.prefix}:setup"))

    async def wipe(self) -> int:
        """Remove everything of ours but the set-up; how many keys that were. Without fences nobody writes meanwhile."""
        removed = 0
        for shard in range(self.shards):
            removed += int(await self._redis.command("UNLINK", self._fence_key(shard)))
        async for key in self._keys(f"{self._settings.prefix}:{{*}}:*"):
            removed += int(await self._redis.command("UNLINK", key))
        return removed

    async def set_up_fenced(self) -> None:
        """Set an empty Redis up so that it takes no writes yet.

        Raises:
            StoreSetupError: it is set up for another number of shards or in another format.
        """
        await self._redis.command("SET", *self._setup(), "NX")
        await self.open(create=False)

    async def fenced_shards(self) -> list[int]:
        """Shards that take no writes until they are reconciled."""
        commands = [(1, self._fence_key(shard), "look") for shard in range(self.shards)]
        answers = await self._redis.evaluate(self._fence_script, commands)
        return [shard for shard, answer in enumerate(answers) if answer != b"open"]

    async def newest_ms(self, shard: int) -> int:
        """When a shard's outbox got its last entry, by Redis' clock; 0 where that is not known."""
        try:
            found = await self._redis.command("XINFO", "STREAM", self._outbox_key(shard))
        except StoreError as error:
            if isinstance(error.__cause__, ResponseError):
                return 0
            raise
        last_id: bytes = found[b"last-generated-id"] if b"last-generated-id" in found else found["last-generated-id"]
        return int(last_id.decode().partition("-")[0])

    async def held(self, card_tokens: Sequence[str]) -> list[Held]:
        """What is held of cards."""
        snapshots = await self.load([(card_token, NO_STEP) for card_token in card_tokens])
        return [await self._with_cases(snapshot.card) for snapshot in snapshots]

    async def all_held(self) -> AsyncIterator[Held]:
        """What is held of every card, in any order; one that is written to meanwhile may come twice."""
        waiting: set[str] = set()
        async for key in self._keys(f"{self._settings.prefix}:{{*}}:card:*"):
            waiting.add(key.split(":card:", 1)[1])
            if len(waiting) == _CARDS_AT_ONCE:
                for held in await self.held(list(waiting)):
                    yield held
                waiting.clear()
        for held in await self.held(list(waiting)):
            yield held

    async def all_case_ids(self) -> set[str]:
        """Ids of every case that has a document, whatever card or list knows of it."""
        pattern = f"{self._settings.prefix}:{{*}}:case:*"
        return {key.rpartition(":")[2] async for key in self._keys(pattern)}

    async def listed_case_ids(self) -> dict[str, CaseState]:
        """The list in which each case is."""
        places = [(shard, state) for shard in range(self.shards) for state in CaseState]
        commands = [("ZRANGE", self._key(shard, "cases", state), 0, -1) for shard, state in places]
        answers = await self._redis.pipelined(commands)
        return {
            position.decode().rpartition(":")[2]: state
            for (_, state), positions in zip(places, answers, strict=True)
            for position in positions
        }

    async def known_outcomes(self, card_and_alert_ids: Iterable[tuple[str, str]]) -> set[str]:
        """Those of some alerts, given with their cards, whose outcome is recorded."""
        asked = list(card_and_alert_ids)
        commands = [
            ("EXISTS", self._key(shard_of_card(token, self.shards), "step", alert_step_id(alert_id)))
            for token, alert_id in asked
        ]
        answers = await self._redis.pipelined(commands)
        return {alert_id for (_, alert_id), answer in zip(asked, answers, strict=True) if int(answer)}

    async def put_back(
        self, held: Held, before: Mapping[str, StoredCase], outcomes: Iterable[Outcome], memories_ms: tuple[int, int]
    ) -> bool:
        """Put a card, its cases and its alerts' outcomes back; False where the shard takes writes again.

        Args:
            held: what is to be held.
            before: the cases as they are held now.
            outcomes: to be known under their alerts' ids.
            memories_ms: for how long outcomes, and closed cases, are kept from now on.
        """
        outcome_memory_ms, closed_memory_ms = memories_ms
        card = held.card
        shard = shard_of_card(card.card_token, self.shards)
        document = _encoder.encode(card).decode()
        # No step has this id, so whatever was planned on the card as it was is refused.
        version = f"restored-{hashlib.sha256(document.encode()).hexdigest()[:24]}"
        writes: list[_Write] = [
            ("HSET", self._key(shard, "card", card.card_token), ("version", version, "card", document))
        ]
        for case_id, stored in held.cases.items():
            if before.get(case_id) != stored:
                writes += self._case_writes(shard, stored, before.get(case_id), closed_memory_ms)
        for outcome in outcomes:
            recorded = _encoder.encode(Recorded(request=outcome.alert_id, outcome=outcome)).decode()
            key = self._key(shard, "step", alert_step_id(outcome.alert_id))
            writes.append(("SET", key, (recorded, "PX", outcome_memory_ms, "NX")))
        return await self._restore(shard, writes)

    async def put_back_breaker(self, breaker: Breaker) -> bool:
        """Put a circuit breaker back; False where its shard takes writes again."""
        return await self._put_back_entry("breakers", breaker.policy_version, breaker)

    async def put_back_list_entry(self, entry: ListEntry) -> bool:
        """Put an entry of the desk's lists back; False where its shard takes writes again."""
        return await self._put_back_entry("lists", entry.name, entry)

    async def _put_back_entry(self, kind: str, name: str, entry: Breaker | ListEntry) -> bool:
        shard = shard_of_card(name, self.shards)
        document = f"{entry.revision} {_encoder.encode(entry).decode()}"
        return await self._restore(shard, [("HSET", self._shard_key(shard, kind), (name, document))])

    async def note_again(self, shard: int, since_ms: int) -> bool:
        """Note that a shard's alerts since then are to be handled again; False where it takes writes again."""
        return await self._restore(shard, [("SET", self._shard_key(shard, "again"), (str(since_ms),))])

    async def noted_again(self) -> dict[int, int]:
        """By shard, since when alerts are still to be handled again."""
        commands = [("GET", self._shard_key(shard, "again")) for shard in range(self.shards)]
        answers = await self._redis.pipelined(commands)
        return {shard: int(answer) for shard, answer in enumerate(answers) if answer is not None}

    async def done_again(self, shards: Iterable[int]) -> None:
        """Alerts of these shards were handled again."""
        await self._redis.pipelined([("DEL", self._shard_key(shard, "again")) for shard in shards])

    def _case_writes(
        self, shard: int, stored: StoredCase, before: StoredCase | None, closed_memory_ms: int
    ) -> list[_Write]:
        """Document, events, list, alarm and relations of a case."""
        key, case, alarms = self._case_key(stored.case.case_id), stored.case, self._shard_key(shard, "alarms")
        alarm = alarm_ms(case)
        fields = [part for event in stored.events for part in (str(event.sequence), _encoder.encode(event).decode())]
        writes: list[_Write] = [("HSET", key, ("case", _encoder.encode(case).decode(), *fields))]
        if before is not None:
            writes.append(("ZREM", self._key(shard, "cases", before.case.state), (queue_position(before.case),)))
        writes.append(("ZADD", self._key(shard, "cases", case.state), (0, queue_position(case))))
        writes.append(("ZREM", alarms, (case.case_id,)) if alarm is None else ("ZADD", alarms, (alarm, case.case_id)))
        traits = self._shard_key(shard, "traits")
        line = traits_of(case).line if case.is_open else None
        writes.append(("HDEL", traits, (case.case_id,)) if line is None else ("HSET", traits, (case.case_id, line)))
        for entity in case.entities:
            related = self._key(shard, "related", entity)
            writes.append(("ZADD", related, (case.opened_ms, case.case_id)))
            writes.append(("PEXPIRE", related, (closed_memory_ms,)))
        writes.append(("PERSIST", key, ()) if case.is_open else ("PEXPIRE", key, (closed_memory_ms,)))
        return writes

    async def _restore(self, shard: int, writes: Sequence[_Write]) -> bool:
        keys = list(dict.fromkeys(key for _, key, _ in writes))
        place_of = {key: place for place, key in enumerate(keys, start=2)}
        commands = [_encoder.encode([name, place_of[key], *further]) for name, key, further in writes]
        script_arguments = (1 + len(keys), self._fence_key(shard), *keys, *commands)
        answers = await self._redis.evaluate(self._restore_script, [script_arguments])
        return answers == [b"applied"]

    async def _with_cases(self, card: CardRecord) -> Held:
        stored = [await self.load_case(case_id) for case_id in card.case_ids]
        return Held(card, {each.case.case_id: each for each in stored if each is not None})

    async def _keys(self, pattern: str) -> AsyncIterator[str]:
        """All keys of a pattern; on a cluster, of all its masters."""
        client: Any = self._redis.client
        async for key in client.scan_iter(match=pattern, count=_SCAN_KEYS):
            yield key.decode()
