"""The desk: everything that can be done about an alert, a card or a case."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from casework import listing, plans
from casework.access import Access
from casework.alerts import Alert
from casework.authority import Authority, Person
from casework.breaker import Breaker
from casework.cards import OutcomeKind
from casework.cases import CaseState
from casework.errors import (
    InvalidCommandError,
)
from casework.freeze_gate import FreezeGate
from casework.handling import (
    ATTEMPTS,
    MAXIMUM_ACTOR_CHARACTERS,
    MAXIMUM_REASON_CHARACTERS,
    MAXIMUM_TOKEN_CHARACTERS,
    Handling,
    check_length,
    contention,
    not_found,
)
from casework.ids import alert_step_id
from casework.list_book import ListBook
from casework.lists import ListEntry, ListKey
from casework.outbox import OutboxEntry
from casework.playbook import Playbook
from casework.store import NO_STEP, Snapshot, Step, Store
from casework.views import CardView, CaseFilters, CaseView, Outcome, Page, RelatedCase

DEFAULT_PAGE_CASES = 50
MAXIMUM_PAGE_CASES = 200

# Alerts are handled in slices, so that what travels to the store at once is bounded: some 4 MB at 15 kB a card.
_SLICE_ALERTS = 256
_Planned: TypeAlias = tuple[Alert, Step, Outcome]


class Desk(Handling):
    """What follows decisions. Every write is one atomic step, known by an id: doing it twice does it once.

    All times are UTC epoch milliseconds given by the caller; the desk has no clock. Every method raises
    `StoreUnavailableError` where the store gives no answer, and may then be called again with the same arguments.
    Methods are safe to run concurrently.
    """

    def __init__(self, store: Store, playbook: Playbook, authority: Authority, code_key: bytes) -> None:
        """See `Handling`."""
        super().__init__(store, playbook, authority, code_key)
        self._gate = FreezeGate(store, playbook)
        self._lists = ListBook(store, authority, playbook.longest_allowance_ms)

    @property
    def shards(self) -> int:
        """Number of outboxes; they are numbered from 0."""
        return self._store.shards

    async def open(self, *, create: bool = True) -> None:
        """Check, before anything else, that the store answers and was set up the way we would set it up.

        Args:
            create: set an empty store up.

        Raises:
            StoreSetupError: it holds data for another number of shards, in another format, or none.
        """
        await self._store.open(create=create)

    async def ping(self) -> None:
        """Return when the store answers; `StoreUnavailableError` where it does not."""
        await self._store.ping()

    async def respond(self, alerts: Sequence[Alert], now_ms: int) -> list[Outcome]:
        """Do what the playbook says about each alert, in the given order, each as one atomic step by `alert_id`.

        An alert that was handled before changes nothing and returns the outcome recorded then
        (its `acted_ms` is the earlier time). Each FREEZE ends in exactly one of frozen, attached, held and superseded.

        Returns:
            one outcome an alert, in order.

        Raises:
            OutboxFullError: the relay is too far behind; some of the alerts have been handled. Ask again later.
            StoreContentionError: others kept changing the same cards. Ask again.
        """
        distinct: dict[str, Alert] = {}
        for alert in alerts:
            distinct.setdefault(alert.alert_id, alert)
        waiting = list(distinct.values())
        outcomes: dict[str, Outcome] = {}
        for start in range(0, len(waiting), _SLICE_ALERTS):
            outcomes |= await self._respond_slice(waiting[start : start + _SLICE_ALERTS], now_ms)
        return [outcomes[alert.alert_id] for alert in alerts]

    async def _respond_slice(self, alerts: Sequence[Alert], now_ms: int) -> dict[str, Outcome]:
        """Handle alerts with distinct ids; those whose card somebody else changed meanwhile are planned again."""
        outcomes: dict[str, Outcome] = {}
        waiting = list(alerts)
        for _ in range(ATTEMPTS):
            snapshots = await self._store.load([(alert.card_token, alert_step_id(alert.alert_id)) for alert in waiting])
            new: list[tuple[Alert, Snapshot]] = []
            for alert, loaded in zip(waiting, snapshots, strict=True):
                if loaded.recorded is not None and loaded.recorded.outcome is not None:
                    outcomes[alert.alert_id] = loaded.recorded.outcome
                else:
                    new.append((alert, loaded))
            planned = await self._plan(new, now_ms)
            if not planned:
                return outcomes
            done = await self._store.commit([step for _, step, _ in planned])
            outcomes |= {alert.alert_id: outcome for (alert, _, outcome), ok in zip(planned, done, strict=True) if ok}
            waiting = [alert for (alert, _, _), ok in zip(planned, done, strict=True) if not ok]
            if not waiting:
                return outcomes
        raise contention()

    async def _plan(self, new: Sequence[tuple[Alert, Snapshot]], now_ms: int) -> list[_Planned]:
        """Plan alerts in order; those that would freeze a card ask the circuit breaker first.

        What the breaker holds changes what follows on the same card, so the plan is made again until nobody has to ask.
        """
        held: set[str] = set()
        asked: set[str] = set()
        while True:
            planned = self._plan_once(new, held, now_ms)
            freezing = [alert for alert, _, outcome in planned if outcome.kind is OutcomeKind.FROZEN]
            asking = [alert for alert in freezing if alert.alert_id not in asked]
            if not asking:
                return planned
            allowed = await self._gate.allowed(asking, now_ms)
            asked |= {alert.alert_id for alert in asking}
            held |= {alert.alert_id for alert in asking} - allowed

    def _plan_once(self, new: Sequence[tuple[Alert, Snapshot]], held: AbstractSet[str], now_ms: int) -> list[_Planned]:
        """Plan alerts in order, later ones of a card on what the earlier ones will leave.

        Versions are step ids, so if an earlier one is refused, those built on it are refused as well.
        """
        ahead: dict[str, Snapshot] = {}
        planned: list[_Planned] = []
        for alert, loaded in new:
            snapshot = ahead.get(alert.card_token, loaded)
            may_freeze = alert.alert_id not in held
            step, outcome = plans.plan_alert(snapshot, alert, self._playbook, now_ms, may_freeze=may_freeze)
            ahead[alert.card_token] = plans.after(step, snapshot)
            planned.append((alert, step, outcome))
        return planned

    async def breakers(self) -> list[Breaker]:
        """The circuit breakers, one for each version of the policy that ever froze a card."""
        return await self._gate.list()

    async def release_breaker(self, policy_version: str, reason: str, actor: str, *, now_ms: int) -> Breaker:
        """Let the freezes of a policy version through again, counted anew; who, why and when is told to the audit.

        Releasing one that is closed changes nothing. Cases that it held stay with the people who have them.

        Args:
            policy_version: of which policy.
            reason: why, in the person's words: 1 to 2,000 characters.
            actor: who: 1 to 128 characters.
            now_ms: when.

        Raises:
            InvalidCommandError: a text is out of bounds.
        """
        check_length("policy_version", policy_version, MAXIMUM_ACTOR_CHARACTERS)
        check_length("reason", reason, MAXIMUM_REASON_CHARACTERS)
        check_length("actor", actor, MAXIMUM_ACTOR_CHARACTERS)
        return await self._gate.release(policy_version, actor, reason, now_ms)

    async def list_entries(self, *, now_ms: int) -> list[ListEntry]:
        """What is blocked, allowed or watched now, by name."""
        return await self._lists.entries(now_ms)

    async def put_on_list(self, key: ListKey, by: Person, reason: str, until_ms: int, *, now_ms: int) -> ListEntry:
        """Put something on a list until then, or with 0 take it off; the scorer is told, and so is the audit.

        Args:
            key: what, on which list.
            by: whose decision it is.
            reason: why, in the person's words: 1 to 2,000 characters.
            until_ms: until when.
            now_ms: when it is decided.

        Raises:
            NotAuthorisedError: the role may not edit lists.
            InvalidCommandError: something is out of bounds.
        """
        check_length("reason", reason, MAXIMUM_REASON_CHARACTERS)
        return await self._lists.put(key, by, reason, until_ms, now_ms)

    async def card(self, card_token: str) -> CardView:
        """Show a card. One nobody ever spoke of is active, with `sequence` 0.

        Raises:
            InvalidCommandError: the token is empty or longer than 64 characters.
        """
        check_length("card_token", card_token, MAXIMUM_TOKEN_CHARACTERS)
        (snapshot,) = await self._store.load([(card_token, NO_STEP)])
        return plans.card_view(snapshot.card, snapshot.case)

    async def case(self, case_id: str) -> CaseView:
        """Show a case.

        Raises:
            CaseNotFoundError: no such case.
        """
        stored = await self._store.load_case(case_id)
        if stored is None:
            raise not_found()
        (snapshot,) = await self._store.load([(stored.case.card_token, NO_STEP)])
        return plans.case_view(stored.case, stored.events, snapshot.card.state)

    async def related(self, case_id: str) -> list[RelatedCase]:
        """Other cases of the same card, and the latest at the same merchants, terminals and devices; the latest first.

        Raises:
            CaseNotFoundError: no such case.
        """
        stored = await self._store.load_case(case_id)
        if stored is None:
            raise not_found()
        return await listing.related(self._store, stored.case)

    async def list_cases(
        self, filters: CaseFilters | None = None, cursor: str | None = None, limit: int = DEFAULT_PAGE_CASES
    ) -> Page:
        """List cases, most urgent first: severest action, then money at risk (in powers of two), then age.

        A case whose urgency changes between two pages may be missed or seen twice; nothing else is.

        Args:
            filters: None lists every open case.
            cursor: `next_cursor` of the page before, with the same filters.
            limit: 1 to 200.

        Raises:
            InvalidCursorError: the cursor was not given out by this list.
            InvalidCommandError: `limit` is out of bounds.
        """
        if not 1 <= limit <= MAXIMUM_PAGE_CASES:
            message = f"limit must be 1 to {MAXIMUM_PAGE_CASES}"
            raise InvalidCommandError(message)
        after = listing.START if cursor is None else listing.position_of(cursor)
        wanted = filters or CaseFilters()
        if wanted.card_token is not None:
            return await listing.page_of_card(self._store, wanted.card_token, wanted, after, limit)
        return await listing.page(self._store, wanted, after, limit)

    async def count_cases(self) -> dict[CaseState, int]:
        """Count cases by state; of closed ones those that are still remembered."""
        return await self._store.count_cases()

    async def tell_access(self, access: Access) -> None:
        """Tell who saw or changed what of cards; done once the store has it.

        Raises:
            OutboxFullError: the relay is so far behind that nobody may look any more.
            StoreError: the store does not take it.
        """
        await self._store.tell(access.place, access.messages(), access.time_ms)

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox, oldest first.

        Args:
            shard: 0 to `shards` - 1.
            after: `entry_id` of the last entry already read; None reads from the beginning.
            count: at most this many.
        """
        return await self._store.read_outbox(shard, after, count)

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """Read the outboxes of several shards at once.

        Args:
            shards: each 0 to `shards` - 1.
            count: at most this many of each.

        Returns:
            By shard its oldest entries; a shard without any is left out.
        """
        return await self._store.first_entries(shards, count)

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Forget a shard's entries up to and including this `entry_id`: Kafka has acknowledged them."""
        await self._store.ack_outbox(shard, up_to)

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry that is not acknowledged, over all shards; None where all are."""
        return await self._store.outbox_oldest_ms()
