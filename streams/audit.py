"""Whether Redis holds what the topics tell: everything is read on both sides and compared. Nothing is changed.

The system may run meanwhile: what differs is looked at again, and counts only if it differs every time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from casework.cards import CardRecord
from casework.cases import CaseState
from casework.picture import TOLD_TOPICS, Difference, Held, Told, differences
from streams.clock import Clock
from streams.reconciliation import EVERYTHING, SLACK_MS, ReadSince, RestorableStore, add_outbox, time_of_record

_LOOKS = 4
_BETWEEN_LOOKS_S = 2.0

Sleep = Callable[[float], Awaitable[None]]


class AuditedStore(RestorableStore, Protocol):
    """What is needed of the store; see `casework.adapters.redis_restore.RestorableRedisStore`."""

    def all_held(self) -> AsyncIterator[Held]:
        """What is held of every card."""
        ...

    async def listed_case_ids(self) -> dict[str, CaseState]:
        """The list in which each case is."""
        ...


@dataclass(slots=True)
class AuditReport:
    """What was compared, and in what the two sides differ.

    Attributes:
        records: of the topics, and on their way to them, by topic.
        cards, cases: in Redis.
        fenced_shards: that take no writes until they are reconciled.
        differences: that were there at every look.
    """

    records: Counter[str] = field(default_factory=Counter)
    cards: int = 0
    cases: int = 0
    fenced_shards: list[int] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


async def audit(
    store: AuditedStore, read_since: ReadSince, memories_ms: tuple[int, int], clock: Clock, sleep: Sleep = asyncio.sleep
) -> AuditReport:
    """Compare everything.

    Args:
        store: one side.
        read_since: reads the other.
        memories_ms: for how long outcomes of alerts, and closed cases, are kept.
        clock: UTC epoch milliseconds.
        sleep: waits for some seconds between two looks.

    Raises:
        StoreError: Redis does not answer.
        BroadcastError: Kafka does not.
    """
    began_ms = clock()
    held = {each.card.card_token: each async for each in store.all_held()}
    told = Told()
    await _read(told, store, read_since, EVERYTHING)
    report = AuditReport(Counter(told.counts), len(held), sum(len(each.cases) for each in held.values()))
    report.fenced_shards = await store.fenced_shards()
    found = await _compare(store, held, told, held.keys() | told.cards.keys(), memories_ms, clock())
    for _ in range(_LOOKS - 1):
        if not found:
            break
        await sleep(_BETWEEN_LOOKS_S)
        tokens = sorted({difference.card_token for difference in found})
        held |= {each.card.card_token: each for each in await store.held(tokens)}
        await _read(told, store, read_since, max(EVERYTHING, began_ms - SLACK_MS))
        again = await _compare(store, held, told, tokens, memories_ms, clock())
        found = [difference for difference in again if difference in found]
    report.differences = found
    return report


async def _read(told: Told, store: AuditedStore, read_since: ReadSince, since_ms: int) -> None:
    """Add what topics say since a moment, and what is on its way to them."""

    def read() -> None:
        for record in read_since(TOLD_TOPICS, since_ms):
            told.add(record.topic, record.value, time_of_record(record))

    # What leaves the outbox while it is read is in the topics by the time that they are read.
    for shard in range(store.shards):
        await add_outbox(told, store, shard)
    await asyncio.to_thread(read)


async def _compare(
    store: AuditedStore,
    held: dict[str, Held],
    told: Told,
    tokens: Iterable[str],
    memories_ms: tuple[int, int],
    now_ms: int,
) -> list[Difference]:
    """In what the two sides differ about some cards."""
    outcome_memory_ms, closed_memory_ms = memories_ms
    listed = await store.listed_case_ids()
    found: list[Difference] = []
    wanted: dict[str, str] = {}
    for token in sorted(tokens):
        present = held.get(token, Held(CardRecord(token)))
        found += differences(present, told.cards[token], now_ms - closed_memory_ms)
        for case_id, stored in present.cases.items():
            is_listed = listed.get(case_id) is stored.case.state
            if not is_listed and stored.case.is_open:
                found.append(Difference(token, "list", f"{case_id} is not in the list of {stored.case.state} cases"))
            wanted |= {
                event.alert.alert_id: token
                for event in stored.events
                if event.alert is not None and event.time_ms > now_ms - outcome_memory_ms
            }
    known = await store.known_outcomes((token, alert_id) for alert_id, token in wanted.items())
    found += [
        Difference(token, "outcome", f"alert {alert_id} is in a case, but its outcome is not recorded")
        for alert_id, token in wanted.items()
        if alert_id not in known
    ]
    return found
