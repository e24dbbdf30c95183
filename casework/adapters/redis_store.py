"""The store on Redis: the online system of record.

Keys, all of a shard under the hash tag `{shard}` so that a step is atomic on a cluster too:

    cardwatch:setup                        number of shards and format; written once
    cardwatch:{7}:card:<card token>        hash: version, card
    cardwatch:{7}:case:<case id>           hash: case, and every event under its sequence; closed ones expire
    cardwatch:{7}:cases:<state>            sorted set of queue positions, all with score 0: in order of their text
    cardwatch:{7}:traits                   hash by case id: an open case's traits (casework/traits.py), by which lists
                                           are narrowed; a case without them passes every filter
    cardwatch:{7}:step:<step id>           what is known of a step; expires
    cardwatch:{7}:alarms                   sorted set of case ids by when time has something to do with them
    cardwatch:{7}:related:<entity>         sorted set of the latest cases at a merchant, terminal or device
    cardwatch:{7}:outbox                   stream
    cardwatch:{7}:fence                    run id of the server whose data were compared with Kafka last
    cardwatch:{7}:again                    since when alerts are to be handled again, after the fence was lifted
    cardwatch:{7}:lists                    hash by entry of the desk's lists: revision, a blank, the entry
    cardwatch:{7}:breakers                 hash by policy version: revision, a blank, the circuit breaker

A card's version follows from the step that wrote it last and what it wrote, and a case changes only together with its
card, so comparing one text guards both. Redis must not evict (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from casework.adapters.redis_connection import RedisConnection, Script
from casework.adapters.redis_documents import (
    behind_revision,
    decoded,
    encoder,
    message_parts,
    narrowing,
    score_pairs,
    text_of,
)
from casework.adapters.redis_outboxes import RedisOutboxes, RedisStoreSettings
from casework.breaker import Breaker
from casework.cards import SYSTEM_ACTOR, CardRecord
from casework.cases import Case, CaseEvent, CaseState, closed_positions_before, opened_order, queue_position
from casework.errors import (
    StoreEmptyError,
    StoreSetupError,
)
from casework.ids import shard_of_card, shard_of_case
from casework.lists import ListEntry
from casework.store import (
    EVERY_CASE,
    BreakerStep,
    ListedCase,
    ListStep,
    Recorded,
    Snapshot,
    Step,
    StoredCase,
)
from casework.ticking import alarm_ms
from casework.traits import traits_of
from casework.views import CaseFilters

FORMAT = 1
_POSITION_PREFIX_CHARACTERS = len("0123456789abcdef:")

_card_decoder = msgspec.json.Decoder(CardRecord)
_case_decoder = msgspec.json.Decoder(Case)
_event_decoder = msgspec.json.Decoder(CaseEvent)
_recorded_decoder = msgspec.json.Decoder(Recorded)
_breaker_decoder = msgspec.json.Decoder(Breaker)
_list_entry_decoder = msgspec.json.Decoder(ListEntry)


class RedisStore(RedisOutboxes):
    """The store port on one Redis server, or on a Redis Cluster."""

    def __init__(self, redis: RedisConnection, settings: RedisStoreSettings) -> None:
        """Work through `redis`.

        Raises:
            StoreSetupError: `shards` is not a power of two up to 4096.
        """
        super().__init__(redis, settings)
        self._commit_script = Script.shipped("commit.lua")
        self._entry_script = Script.shipped("entry.lua")
        self._list_script = Script.shipped("list.lua")

    async def open(self, *, create: bool) -> None:
        """Check the set-up, and set up an empty Redis if asked to."""
        key, ours = self._setup()
        if create and await self._redis.command("SET", key, ours, "NX"):
            await self.lift_fences(range(self.shards))
        found = await self._redis.command("GET", key)
        if found is None:
            message = "Redis is not set up for cardwatch"
            raise StoreEmptyError(message)
        if found != ours:
            message = (
                f"Redis is set up for {found.decode()}, not {ours.decode()}: shards and format are fixed at set-up"
            )
            raise StoreSetupError(message)

    def _setup(self) -> tuple[str, bytes]:
        """The key of the set-up, and what it says where it is ours."""
        return f"{self._settings.prefix}:setup", encoder.encode({"format": FORMAT, "shards": self.shards})

    async def ping(self) -> None:
        """Return when Redis answers and is set up."""
        if not await self._redis.command("EXISTS", f"{self._settings.prefix}:setup"):
            message = "Redis is not set up for cardwatch"
            raise StoreEmptyError(message)

    # ------------------------------------------------------------------------------------------------ cards and steps

    async def load(self, asks: Sequence[tuple[str, str]]) -> list[Snapshot]:
        """Read cards as they are now, in two round trips: cards and steps, then the open cases.

        Between the two another step may pass; the snapshot is then out of date as a whole and a step planned on it is
        refused, because its version is the card's from the first trip.
        """
        commands: list[tuple[Any, ...]] = []
        for card_token, step_id in asks:
            shard = shard_of_card(card_token, self.shards)
            commands.extend(
                (
                    ("HMGET", self._key(shard, "card", card_token), "version", "card"),
                    ("GET", self._key(shard, "step", step_id)),
                )
            )
        answers = await self._redis.pipelined(commands)
        cards = [
            (text_of(version), decoded(_card_decoder, raw) or CardRecord(card_token))
            for (card_token, _), (version, raw) in zip(asks, answers[::2], strict=True)
        ]
        cases = await self._cases([card.open_case_id for _, card in cards if card.open_case_id is not None])
        recorded = [decoded(_recorded_decoder, raw) for raw in answers[1::2]]
        await self._require_kept(asks, recorded)
        return [
            Snapshot(card, version, self._open_case(cases, card), known)
            for (version, card), known in zip(cards, recorded, strict=True)
        ]

    async def _require_kept(self, asks: Sequence[tuple[str, str]], recorded: Sequence[Recorded | None]) -> None:
        """Before it is said again that a step was done: it is where it would have been had it been said at once."""
        known = [(ask[0], step) for ask, step in zip(asks, recorded, strict=True) if step is not None]
        if known:
            await self._redis.require_replicated(f"{self._settings.prefix}:replicated")
        for card_token, step in known:
            if _is_persons(step):
                await self._confirm(shard_of_card(card_token, self.shards))

    @staticmethod
    def _open_case(cases: Mapping[str, Case], card: CardRecord) -> Case | None:
        """The card's open case; none if it was closed between the round trips."""
        case = None if card.open_case_id is None else cases.get(card.open_case_id)
        return case if case is not None and case.is_open else None

    async def _cases(self, case_ids: Sequence[str]) -> dict[str, Case]:
        """Read cases without their events."""
        distinct = list(dict.fromkeys(case_ids))
        answers = await self._redis.pipelined([("HGET", self._case_key(case_id), "case") for case_id in distinct])
        cases = (decoded(_case_decoder, raw) for raw in answers)
        return {case_id: case for case_id, case in zip(distinct, cases, strict=True) if case is not None}

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        """Carry out steps in order, in one round trip; a second one where Redis does not know the script."""
        commands = [self._commit_command(step) for step in steps]
        done = self._applied(await self._redis.evaluate(self._commit_script, commands))
        for step, applied in zip(steps, done, strict=True):
            if applied and _is_persons(step.recorded):
                await self._confirm(shard_of_card(step.card.card_token, self.shards))
        return done

    def _commit_command(self, step: Step) -> tuple[Any, ...]:
        """Keys and arguments of `commit.lua` for a step."""
        shard = shard_of_card(step.card.card_token, self.shards)
        case, before = step.case, step.case_before
        state_before = CaseState.NEW if before is None else before.state
        state_now = CaseState.NEW if case is None else case.state
        closed = case is not None and not case.is_open
        alarm = None if case is None else alarm_ms(case)
        known = () if before is None else before.entities
        related = [] if case is None else [entity for entity in case.entities if entity not in known]
        return (
            9 + len(related),
            self._key(shard, "step", step.step_id),
            self._key(shard, "card", step.card.card_token),
            self._key(shard, "case", "" if case is None else case.case_id),
            self._outbox_key(shard),
            self._key(shard, "cases", state_before),
            self._key(shard, "cases", state_now),
            self._shard_key(shard, "alarms"),
            self._shard_key(shard, "traits"),
            *(self._key(shard, "related", entity) for entity in related),
            self._fence_key(shard),
            step.version_before,
            step.version_after,
            encoder.encode(step.card),
            encoder.encode(step.recorded),
            step.recorded_memory_ms,
            self._settings.outbox_limit,
            b"" if case is None else encoder.encode(case),
            "" if before is None else queue_position(before),
            "" if case is None else queue_position(case),
            step.closed_memory_ms if closed else 0,
            closed_positions_before(step.time_ms - step.closed_memory_ms) if closed else "",
            step.time_ms,
            "" if alarm is None else alarm,
            "" if case is None else case.case_id,
            step.closed_memory_ms,
            "" if case is None or not case.is_open else traits_of(case).line,
            len(step.events),
            *(part for event in step.events for part in (event.sequence, encoder.encode(event))),
            *message_parts(step.messages),
        )

    # ---------------------------------------------------------------------------------------------- circuit breakers

    async def load_breaker(self, policy_version: str) -> Breaker:
        """Read a breaker."""
        found = await self._redis.command("HGET", self._breakers_key(policy_version), policy_version)
        return behind_revision(_breaker_decoder, found) or Breaker(policy_version)

    async def commit_breaker(self, step: BreakerStep) -> bool:
        """Change a breaker."""
        policy_version, before = step.after.policy_version, step.before.revision
        applied = await self._commit_entry("breakers", policy_version, before, step)
        if applied and step.messages and step.after.actor != SYSTEM_ACTOR:
            await self._confirm(shard_of_card(policy_version, self.shards))
        return applied

    async def list_breakers(self) -> list[Breaker]:
        """Read the breakers of all shards."""
        keys = [self._shard_key(shard, "breakers") for shard in range(self.shards)]
        answers = await self._redis.pipelined([("HVALS", key) for key in keys])
        found = (behind_revision(_breaker_decoder, raw) for values in answers for raw in values)
        return [breaker for breaker in found if breaker is not None]

    # ---------------------------------------------------------------------------------------------------------- lists

    async def load_list_entry(self, name: str) -> ListEntry | None:
        """Read an entry."""
        found = await self._redis.command("HGET", self._lists_key(name), name)
        return behind_revision(_list_entry_decoder, found)

    async def commit_list_entry(self, step: ListStep) -> bool:
        """Change an entry."""
        before = 0 if step.before is None else step.before.revision
        applied = await self._commit_entry("lists", step.after.name, before, step)
        if applied:
            await self._confirm(shard_of_card(step.after.name, self.shards))
        return applied

    async def _commit_entry(self, kind: str, name: str, revision_before: int, step: BreakerStep | ListStep) -> bool:
        """Change an entry of one of a shard's hashes."""
        shard = shard_of_card(name, self.shards)
        command = (
            3,
            self._shard_key(shard, kind),
            self._outbox_key(shard),
            self._fence_key(shard),
            name,
            revision_before,
            step.after.revision,
            encoder.encode(step.after),
            self._settings.outbox_limit,
            step.time_ms,
            *message_parts(step.messages),
        )
        return self._applied(await self._redis.evaluate(self._entry_script, [command]))[0]

    async def list_entries(self) -> list[ListEntry]:
        """Read the entries of all shards."""
        keys = [self._shard_key(shard, "lists") for shard in range(self.shards)]
        answers = await self._redis.pipelined([("HVALS", key) for key in keys])
        found = (behind_revision(_list_entry_decoder, raw) for values in answers for raw in values)
        return [entry for entry in found if entry is not None]

    def _lists_key(self, name: str) -> str:
        """The key of the entries among which this one is."""
        return self._shard_key(shard_of_card(name, self.shards), "lists")

    # ---------------------------------------------------------------------------------------------------------- cases

    async def load_case(self, case_id: str) -> StoredCase | None:
        """Read a case with its events."""
        if shard_of_case(case_id, self.shards) is None:
            return None
        found = await self._redis.command("HGETALL", self._case_key(case_id))
        fields: dict[str, bytes] = {text_of(name): raw for name, raw in found.items()}
        case = decoded(_case_decoder, fields.pop("case", None))
        if case is None:
            return None
        events = (decoded(_event_decoder, fields[name]) for name in sorted(fields, key=int))
        return StoredCase(case, tuple(event for event in events if event is not None))

    async def list_cases(
        self, states: Sequence[CaseState], after: str, count: int, filters: CaseFilters = EVERY_CASE
    ) -> list[ListedCase]:
        """Merge the lists of all shards, one question a shard; then read the cases."""
        start = f"({after}" if after else "-"
        commands = [
            (
                1 + len(states),
                self._shard_key(shard, "traits"),
                *(self._key(shard, "cases", state) for state in states),
                start,
                count,
                *narrowing(filters),
            )
            for shard in range(self.shards)
        ]
        answers: Any = await self._redis.evaluate(self._list_script, commands)
        lists: list[list[bytes]] = [positions for answer in answers for positions in answer]
        positions = [text_of(raw) for raw in islice(heapq.merge(*lists), count)]
        case_ids = [position[_POSITION_PREFIX_CHARACTERS:] for position in positions]
        cases = await self._cases(case_ids)
        return [ListedCase(position, cases.get(case_id)) for position, case_id in zip(positions, case_ids, strict=True)]

    async def due_cases(self, shard: int, now_ms: int, count: int) -> list[str]:
        """Read the head of a shard's alarms."""
        command = ("ZRANGEBYSCORE", self._shard_key(shard, "alarms"), "-inf", now_ms, "LIMIT", 0, count)
        (found,) = await self._redis.pipelined([command])
        return [text_of(raw) for raw in found]

    async def related_cases(self, entities: Sequence[str], count: int) -> dict[str, list[Case]]:
        """Merge the latest of all shards by when they came to have to do with an entity; then read the cases."""
        places = [(entity, shard) for entity in entities for shard in range(self.shards)]
        keys = [self._key(shard, "related", entity) for entity, shard in places]
        answers = await self._redis.pipelined([("ZRANGE", key, -count, -1, "WITHSCORES") for key in keys])
        scored: dict[str, list[tuple[float, str]]] = {entity: [] for entity in entities}
        for (entity, _), answer in zip(places, answers, strict=True):
            scored[entity] += score_pairs(answer)
        names = {entity: [name for _, name in sorted(found)[-count:]] for entity, found in scored.items()}
        cases = await self._cases([name for found in names.values() for name in found])
        known = {entity: [cases[name] for name in found if name in cases] for entity, found in names.items()}
        return {entity: sorted(found, key=opened_order, reverse=True)[:count] for entity, found in known.items()}

    async def count_cases(self) -> dict[CaseState, int]:
        """Count the entries of all lists."""
        places = [(shard, state) for shard in range(self.shards) for state in CaseState]
        answers = await self._redis.pipelined([("ZCARD", self._key(shard, "cases", state)) for shard, state in places])
        counts = dict.fromkeys(CaseState, 0)
        for (_, state), answer in zip(places, answers, strict=True):
            counts[state] += int(answer)
        return counts

    # ----------------------------------------------------------------------------------------------------------- keys

    def _case_key(self, case_id: str) -> str:
        """The key of a case; ids that are none lead nowhere."""
        return self._key(shard_of_case(case_id, self.shards) or 0, "case", case_id)

    def _breakers_key(self, policy_version: str) -> str:
        """The key of the breakers among which that of a policy version is."""
        return self._shard_key(shard_of_card(policy_version, self.shards), "breakers")


def _is_persons(recorded: Recorded) -> bool:
    """Whether it is the answer to a person, who may have to be told later than Redis knows it."""
    return recorded.card is not None or recorded.case is not None
