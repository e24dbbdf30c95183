"""A store in this process's memory: for tests, and for trying things out. It forgets everything on exit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from casework.breaker import Breaker
from casework.cards import CardRecord
from casework.cases import Case, CaseState, opened_order, queue_position
from casework.errors import OutboxFullError, StoreEmptyError
from casework.ids import shard_of_card
from casework.lists import ListEntry
from casework.outbox import OutboxEntry, OutboxMessage
from casework.store import (
    EVERY_CASE,
    UNWRITTEN,
    BreakerStep,
    ListedCase,
    ListStep,
    Recorded,
    Snapshot,
    Step,
    StoredCase,
)
from casework.ticking import alarm_ms
from casework.traits import admits
from casework.views import CaseFilters


class MemoryStore:
    """The store port on dictionaries. A step runs without awaiting anything, so it is atomic.

    Time is that of the steps: what is to be forgotten is forgotten when a later step comes.
    """

    def __init__(self, shards: int, outbox_limit: int) -> None:
        """Begin empty, with this many shards and at most `outbox_limit` entries in each shard's outbox."""
        self._shards = shards
        self._outbox_limit = outbox_limit
        self._cards: dict[str, tuple[str, CardRecord]] = {}
        self._cases: dict[str, StoredCase] = {}
        self._recorded: dict[str, Recorded] = {}
        self._breakers: dict[str, Breaker] = {}
        self._list_entries: dict[str, ListEntry] = {}
        self._forget_at: defaultdict[int, list[tuple[dict[str, Recorded] | dict[str, StoredCase], str]]] = defaultdict(
            list
        )
        self._outboxes: list[dict[int, OutboxEntry]] = [{} for _ in range(shards)]
        self._entries_written = 0
        self._is_set_up = False

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._shards

    async def open(self, *, create: bool) -> None:
        """Set up if asked to."""
        if not self._is_set_up and not create:
            message = "the store is not set up"
            raise StoreEmptyError(message)
        self._is_set_up = True

    async def ping(self) -> None:
        """Memory always answers."""

    async def load(self, asks: Sequence[tuple[str, str]]) -> list[Snapshot]:
        """Read cards as they are now."""
        return [self._snapshot(card_token, step_id) for card_token, step_id in asks]

    def _snapshot(self, card_token: str, step_id: str) -> Snapshot:
        """A card as it is now."""
        version, card = self._cards.get(card_token, (UNWRITTEN, CardRecord(card_token)))
        open_case = None if card.open_case_id is None else self._cases[card.open_case_id].case
        return Snapshot(card, version, open_case, self._recorded.get(step_id))

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        """Carry out steps in order."""
        results = [self._commit(step) for step in steps]
        if None in results:
            raise self._outbox_full()
        return [result is True for result in results]

    def _outbox_full(self) -> OutboxFullError:
        message = f"an outbox holds {self._outbox_limit} entries: is the relay running?"
        return OutboxFullError(message)

    def _commit(self, step: Step) -> bool | None:
        """Carry out a step; None where the outbox is full."""
        self._forget(step.time_ms)
        version, _ = self._cards.get(step.card.card_token, (UNWRITTEN, None))
        if step.step_id in self._recorded or version != step.version_before:
            return False
        outbox = self._outboxes[shard_of_card(step.card.card_token, self._shards)]
        if step.messages and len(outbox) >= self._outbox_limit:
            return None
        self._cards[step.card.card_token] = (step.version_after, step.card)
        self._recorded[step.step_id] = step.recorded
        self._forget_at[step.time_ms + step.recorded_memory_ms].append((self._recorded, step.step_id))
        if step.case is not None:
            known = self._cases.get(step.case.case_id)
            events = (*(() if known is None else known.events), *step.events)
            self._cases[step.case.case_id] = StoredCase(step.case, events)
            if not step.case.is_open:
                self._forget_at[step.time_ms + step.closed_memory_ms].append((self._cases, step.case.case_id))
        self._write_out(outbox, step.messages, step.time_ms)
        return True

    def _write_out(self, outbox: dict[int, OutboxEntry], messages: Sequence[OutboxMessage], time_ms: int) -> None:
        """Let messages enter an outbox."""
        for message in messages:
            self._entries_written += 1
            outbox[self._entries_written] = OutboxEntry(
                entry_id=str(self._entries_written),
                time_ms=time_ms,
                topic=message.topic,
                key=message.key,
                value=message.value,
                headers=message.headers,
            )

    async def load_breaker(self, policy_version: str) -> Breaker:
        """Read a breaker."""
        return self._breakers.get(policy_version, Breaker(policy_version))

    async def commit_breaker(self, step: BreakerStep) -> bool:
        """Change a breaker."""
        policy_version = step.after.policy_version
        if self._breakers.get(policy_version, Breaker(policy_version)).revision != step.before.revision:
            return False
        outbox = self._outboxes[shard_of_card(policy_version, self._shards)]
        if step.messages and len(outbox) >= self._outbox_limit:
            raise self._outbox_full()
        self._breakers[policy_version] = step.after
        self._write_out(outbox, step.messages, step.time_ms)
        return True

    async def load_list_entry(self, name: str) -> ListEntry | None:
        """Read an entry."""
        return self._list_entries.get(name)

    async def commit_list_entry(self, step: ListStep) -> bool:
        """Change an entry."""
        name = step.after.name
        if self._list_entries.get(name) != step.before:
            return False
        outbox = self._outboxes[shard_of_card(name, self._shards)]
        if len(outbox) >= self._outbox_limit:
            raise self._outbox_full()
        self._list_entries[name] = step.after
        self._write_out(outbox, step.messages, step.time_ms)
        return True

    async def tell(self, place: str, messages: Sequence[OutboxMessage], time_ms: int) -> None:
        """Let messages enter an outbox that is at most half full."""
        outbox = self._outboxes[shard_of_card(place, self._shards)]
        if len(outbox) >= self._outbox_limit // 2:
            raise self._outbox_full()
        self._write_out(outbox, messages, time_ms)

    async def list_entries(self) -> list[ListEntry]:
        """Every entry."""
        return list(self._list_entries.values())

    async def list_breakers(self) -> list[Breaker]:
        """Every breaker."""
        return list(self._breakers.values())

    def _forget(self, now_ms: int) -> None:
        """Forget what is due."""
        for time_ms in sorted(due for due in self._forget_at if due <= now_ms):
            for memory, name in self._forget_at.pop(time_ms):
                if not self._is_open(memory, name):
                    memory.pop(name, None)

    def _is_open(self, memory: object, name: str) -> bool:
        """Whether it is a case that was reopened since it was to be forgotten."""
        return memory is self._cases and name in self._cases and self._cases[name].case.is_open

    async def load_case(self, case_id: str) -> StoredCase | None:
        """Read a case with its events."""
        return self._cases.get(case_id)

    async def list_cases(
        self, states: Sequence[CaseState], after: str, count: int, filters: CaseFilters = EVERY_CASE
    ) -> list[ListedCase]:
        """List cases by position."""
        known = (stored.case for stored in self._cases.values() if stored.case.state in states)
        cases = (case for case in known if admits(filters, case))
        listed = ((queue_position(case), case) for case in cases)
        behind = sorted((position, case.case_id) for position, case in listed if position > after)
        return [ListedCase(position, self._cases[case_id].case) for position, case_id in behind[:count]]

    async def due_cases(self, shard: int, now_ms: int, count: int) -> list[str]:
        """List cases by their alarms."""
        cases = (stored.case for stored in self._cases.values())
        alarms = ((alarm_ms(case), case) for case in cases if shard_of_card(case.card_token, self._shards) == shard)
        due = sorted((time_ms, case.case_id) for time_ms, case in alarms if time_ms is not None and time_ms <= now_ms)
        return [case_id for _, case_id in due[:count]]

    async def related_cases(self, entities: Sequence[str], count: int) -> dict[str, list[Case]]:
        """Look through all cases."""
        found: dict[str, list[Case]] = {}
        for entity in entities:
            cases = [stored.case for stored in self._cases.values() if entity in stored.case.entities]
            found[entity] = sorted(cases, key=opened_order, reverse=True)[:count]
        return found

    async def count_cases(self) -> dict[CaseState, int]:
        """Count cases by state."""
        counts = dict.fromkeys(CaseState, 0)
        for stored in self._cases.values():
            counts[stored.case.state] += 1
        return counts

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox."""
        first = 0 if after is None else int(after)
        behind = (entry for number, entry in self._outboxes[shard].items() if number > first)
        return list(islice(behind, count))

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """Read the outboxes of several shards."""
        return {shard: await self.read_outbox(shard, None, count) for shard in shards if self._outboxes[shard]}

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Remove entries."""
        outbox = self._outboxes[shard]
        for number in [number for number in outbox if number <= int(up_to)]:
            del outbox[number]

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry."""
        firsts = (next(iter(outbox.values()), None) for outbox in self._outboxes)
        return min((entry.time_ms for entry in firsts if entry is not None), default=None)
