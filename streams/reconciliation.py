"""After a restart, a failover or a loss: what Kafka knows and Redis does not is put back before Redis takes writes.

Redis loses, if anything, its last steps: a replica that took over may lack what the master had just taken. Each shard's
fence says on which server its data were compared with Kafka last (`casework/adapters/lua/fence.lua`); on another one
nothing is written until

1. the topics that casework tells are read from some time before the shard's last step on, and the shard's outbox;
2. every card that they speak of is brought up to what they say (`casework/picture.py`);
3. it is noted since when alerts must be handled again, and the fence is lifted;
4. these alerts are handled again: those that were done are known by their id and change nothing.

A crash in between begins anew; two workers that do it at once do the same, and whoever comes after the lifting is
refused. What is lost for good is what a person commanded and the outbox had not relayed: `redis.replicas`, or
`redis.confirm = "kafka"`, keep that from being told "done".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from casework.alerts import Alert
from casework.breaker import Breaker
from casework.errors import AlertError, StoreEmptyError, StoreError
from casework.ids import alert_step_id, notification_id_of, shard_of_card
from casework.lists import ListEntry
from casework.outbox import OutboxEntry
from casework.picture import TOLD_TOPICS, Held, Told, asked_outcome, bring_up, outcomes_of
from casework.store import StoredCase
from casework.views import Outcome
from streams.alert_records import alert_of
from streams.clock import Clock
from streams.errors import BroadcastError
from streams.events import TIME_HEADER, time_of
from streams.metrics import StreamMetrics
from streams.records import ReadRecord
from streams.topics import ALERTS

_LOOK_EVERY_S = 1.0
# Clocks of Redis and Kafka may be apart, and a step's records reach Kafka later than Redis.
SLACK_MS = 20 * 60 * 1000
_CARDS_AT_ONCE, _ALERTS_AT_ONCE, _ENTRIES_AT_ONCE = 100, 256, 500
EVERYTHING = 0

logger = logging.getLogger(__name__)

ReadSince = Callable[[tuple[str, ...], int], Iterator[ReadRecord]]


class RestorableStore(Protocol):
    """What is needed of the store; see `casework.adapters.redis_restore.RestorableRedisStore`."""

    @property
    def shards(self) -> int:
        """Number of shards."""
        ...

    async def is_set_up(self) -> bool:
        """Whether the store was ever set up."""
        ...

    async def fenced_shards(self) -> list[int]:
        """Shards that take no writes."""
        ...

    async def lift_fences(self, shards: Iterable[int]) -> None:
        """Let shards take writes."""
        ...

    async def newest_ms(self, shard: int) -> int:
        """When a shard's outbox got its last entry; 0 where that is not known."""
        ...

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox."""
        ...

    async def held(self, card_tokens: Sequence[str]) -> list[Held]:
        """What is held of cards."""
        ...

    async def known_outcomes(self, card_and_alert_ids: Iterable[tuple[str, str]]) -> set[str]:
        """Alerts whose outcome is recorded."""
        ...

    async def put_back(
        self, held: Held, before: Mapping[str, StoredCase], outcomes: Iterable[Outcome], memories_ms: tuple[int, int]
    ) -> bool:
        """Put a card back; False where the shard takes writes again."""
        ...

    async def load_breaker(self, policy_version: str) -> Breaker:
        """Read a circuit breaker."""
        ...

    async def put_back_breaker(self, breaker: Breaker) -> bool:
        """Put a circuit breaker back; False where its shard takes writes again."""
        ...

    async def load_list_entry(self, name: str) -> ListEntry | None:
        """Read an entry of the desk's lists."""
        ...

    async def put_back_list_entry(self, entry: ListEntry) -> bool:
        """Put an entry of the desk's lists back; False where its shard takes writes again."""
        ...

    async def note_again(self, shard: int, since_ms: int) -> bool:
        """Note that alerts since then are to be handled again; False where the shard takes writes again."""
        ...

    async def noted_again(self) -> dict[int, int]:
        """By shard, since when alerts are still to be handled again."""
        ...

    async def done_again(self, shards: Iterable[int]) -> None:
        """Alerts of these shards were handled again."""
        ...


class AnsweringDesk(Protocol):
    """What is needed of the desk."""

    async def respond(self, alerts: Sequence[Alert], now_ms: int) -> list[Outcome]:
        """Answer alerts, each as one atomic step."""
        ...


@dataclass(slots=True)
class Report:
    """What a reconciliation read and did.

    Attributes:
        since_ms: from when on the topics were read; 0 means from their beginning.
        records: read, by topic.
        newest_ms: time of the newest record, by topic.
        cards: that the topics speak of.
        put_back: cards that were brought up to the topics.
        cases: of those.
        alerts_again: alerts without a recorded outcome that were handled again.
    """

    since_ms: int
    records: Counter[str] = field(default_factory=Counter)
    newest_ms: dict[str, int] = field(default_factory=dict)
    cards: int = 0
    put_back: int = 0
    cases: int = 0
    alerts_again: int = 0


class Reconciler:
    """Reconciles the shards of this worker whenever they are fenced.

    Attributes:
        owned: alert partitions of this worker; they say which shards it looks after.
        partitions: number of alert partitions.
    """

    def __init__(
        self,
        store: RestorableStore,
        desk: AnsweringDesk,
        read_since: ReadSince,
        memories_ms: tuple[int, int],
        clock: Clock,
        metrics: StreamMetrics | None = None,
    ) -> None:
        """Reconcile `store` with what `read_since` reads.

        Args:
            store: what is brought up.
            desk: answers alerts again.
            read_since: reads topics from a time on; blocks.
            memories_ms: for how long outcomes of alerts, and closed cases, are kept.
            clock: UTC epoch milliseconds.
            metrics: shows which shards are fenced.
        """
        self._store = store
        self._desk = desk
        self._read_since = read_since
        self._memories_ms = memories_ms
        self._clock = clock
        self._metrics = metrics
        self.owned: frozenset[int] = frozenset()
        self.partitions = 1

    async def run(self) -> None:
        """Look after the shards of this worker until cancelled.

        Raises:
            StoreEmptyError: the store lost everything.
        """
        while True:
            try:
                await self._look_after()
            except (StoreError, BroadcastError) as error:
                logger.warning("Redis could not be compared with Kafka: %s; trying again", error)
            if not await self._is_set_up():
                message = "Redis lost everything; `cardwatch rebuild redis` builds it anew from Kafka"
                raise StoreEmptyError(message)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _is_set_up(self) -> bool:
        """Whether the store is there, or cannot say."""
        try:
            return await self._store.is_set_up()
        except StoreError:
            return True

    async def _look_after(self) -> None:
        fenced = await self._store.fenced_shards()
        if self._metrics is not None:
            self._metrics.fenced_shards.set(len(fenced))
        ours = [shard for shard in fenced if shard % self.partitions in self.owned]
        if ours and await self._store.is_set_up():
            logger.warning("Redis was restarted or took over: shards %s are compared with Kafka", ours)
            report = await self.bring_up(ours)
            logger.warning(
                "%d records since %d: %d cards put back of %d", report.records.total(), report.since_ms,
                report.put_back, report.cards,
            )  # fmt: skip
        again = await self._store.noted_again()
        mine = {shard: since_ms for shard, since_ms in again.items() if shard % self.partitions in self.owned}
        if mine and not set(mine) & set(await self._store.fenced_shards()):
            logger.warning("%d alerts were handled again", await self.answer_again(mine))

    async def bring_up(self, shards: Sequence[int], since_ms: int | None = None) -> Report:
        """Bring fenced shards up to what the topics say, and let them take writes.

        Args:
            shards: which.
            since_ms: from when on to read; None asks the store how far it is.

        Raises:
            StoreError: the store does not answer; it is begun anew later.
            BroadcastError: Kafka does not.
        """
        if since_ms is None:
            newest_ms = [await self._store.newest_ms(shard) for shard in shards]
            since_ms = max(EVERYTHING, min(newest_ms) - SLACK_MS)
        told = await self._told(shards, since_ms)
        report = Report(since_ms, Counter(told.counts), dict(told.newest_ms))
        tokens = [token for token in told.cards if shard_of_card(token, self._store.shards) in set(shards)]
        report.cards = len(tokens)
        for start in range(0, len(tokens), _CARDS_AT_ONCE):
            for held in await self._store.held(tokens[start : start + _CARDS_AT_ONCE]):
                await self._put_back(held, told, report)
        await self._put_back_entries(set(shards), told)
        await self._know_asked(shards, told, since_ms)
        for shard in shards:
            await self._store.note_again(shard, since_ms)
        await self._store.lift_fences(shards)
        return report

    async def answer_again(self, since_ms: Mapping[int, int]) -> int:
        """Handle alerts again that have no recorded outcome; how many those were.

        Args:
            since_ms: by shard, from when on.
        """
        answered = 0
        async for alerts in self._alerts(since_ms):
            known = await self._known(alerts)
            new = [alert for alert in alerts if alert.alert_id not in known]
            if new:
                await self._desk.respond(new, self._clock())
            answered += len(new)
        await self._store.done_again(since_ms)
        return answered

    async def _told(self, shards: Sequence[int], since_ms: int) -> Told:
        """What the topics say, and what is on its way to them."""
        told = Told()

        def read() -> None:
            for record in self._read_since(TOLD_TOPICS, since_ms):
                told.add(record.topic, record.value, time_of_record(record))

        # What leaves the outbox while it is read is in the topics by the time that they are read.
        for shard in shards:
            await add_outbox(told, self._store, shard)
        await asyncio.to_thread(read)
        return told

    async def _put_back(self, held: Held, told: Told, report: Report) -> None:
        token = held.card.card_token
        forgotten_before_ms = self._clock() - self._memories_ms[1]
        wanted = bring_up(held, told.cards[token], forgotten_before_ms)
        if wanted != held:
            await self._store.put_back(wanted, held.cases, outcomes_of(wanted), self._memories_ms)
            report.put_back += 1
            report.cases += len(wanted.cases)

    async def _put_back_entries(self, shards: AbstractSet[int], told: Told) -> None:
        """Circuit breakers and entries of the desk's lists."""
        for policy_version, breaker in told.breakers.items():
            if shard_of_card(policy_version, self._store.shards) in shards:
                known = await self._store.load_breaker(policy_version)
                if breaker.changed_ms > known.changed_ms:
                    await self._store.put_back_breaker(breaker)
        for name, entry in told.lists.items():
            if shard_of_card(name, self._store.shards) in shards:
                present = await self._store.load_list_entry(name)
                if present is None or entry.revision > present.revision:
                    await self._store.put_back_list_entry(entry)

    async def _know_asked(self, shards: Sequence[int], told: Told, since_ms: int) -> None:
        """Record the outcome of alerts whose cardholder was asked: nobody shall be asked twice."""
        async for alerts in self._alerts(dict.fromkeys(shards, since_ms)):
            asked = {
                alert.alert_id: alert
                for alert in alerts
                if notification_id_of(alert_step_id(alert.alert_id)) in told.notices
            }
            known = await self._known(list(asked.values()))
            unknown = [alert for alert_id, alert in asked.items() if alert_id not in known]
            for alert, held in zip(unknown, await self._store.held([a.card_token for a in unknown]), strict=True):
                outcome = asked_outcome(alert.alert_id, alert.action, held.card, alert.time_ms)
                await self._store.put_back(held, held.cases, [outcome], self._memories_ms)

    async def _known(self, alerts: Sequence[Alert]) -> set[str]:
        return await self._store.known_outcomes((alert.card_token, alert.alert_id) for alert in alerts)

    async def _alerts(self, since_ms: Mapping[int, int]) -> AsyncIterator[list[Alert]]:
        """The alerts of some shards, each from its time on, a few hundred at a time."""
        records = self._read_since((ALERTS,), min(since_ms.values()))
        while chunk := await asyncio.to_thread(lambda: list(islice(records, _ALERTS_AT_ONCE))):
            alerts = [alert for record in chunk for alert in _decoded(record)]
            yield [alert for alert in alerts if shard_of_card(alert.card_token, self._store.shards) in since_ms]


async def add_outbox(told: Told, store: RestorableStore, shard: int) -> None:
    """Add what a shard's outbox holds to what topics say: it is on its way to them."""
    after: str | None = None
    while entries := await store.read_outbox(shard, after, _ENTRIES_AT_ONCE):
        for entry in entries:
            if entry.topic in TOLD_TOPICS:
                told.add(entry.topic, entry.value, entry.time_ms)
        after = entries[-1].entry_id


def time_of_record(record: ReadRecord) -> int:
    """When a record was told: its `ce_time`, else Kafka's timestamp."""
    told = dict(record.headers).get(TIME_HEADER)
    with contextlib.suppress(ValueError):
        return time_of((told or b"").decode(errors="replace"))
    return int(record.timestamp)


def _decoded(record: ReadRecord) -> list[Alert]:
    """An alert; what is none is the dead letters' matter."""
    try:
        return [alert_of(record)]
    except AlertError:
        return []
