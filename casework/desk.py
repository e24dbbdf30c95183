"""The desk: everything that can be done about an alert, a card or a case."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias, TypeVar

from casework import listing, plans
from casework.alerts import Alert
from casework.breaker import Breaker
from casework.cards import OutcomeKind
from casework.cases import CaseState
from casework.errors import (
    CaseNotFoundError,
    IdempotencyConflictError,
    IllegalCaseMoveError,
    InvalidCommandError,
    StoreContentionError,
    VersionConflictError,
)
from casework.freeze_gate import FreezeGate
from casework.ids import alert_step_id, digest_of, keyed_step_id, unkeyed_step_id
from casework.outbox import OutboxEntry
from casework.playbook import Playbook
from casework.store import NO_STEP, Recorded, Snapshot, Step, Store
from casework.views import CardOrder, CardView, CaseFilters, CaseView, Outcome, Override, Page
from detector.vocabulary import CardStatus

DEFAULT_PAGE_CASES = 50
MAXIMUM_PAGE_CASES = 200
MAXIMUM_TOKEN_CHARACTERS = 64
MAXIMUM_ACTOR_CHARACTERS = 128
MAXIMUM_REASON_CHARACTERS = 2_000
MAXIMUM_KEY_CHARACTERS = 256

# Alerts are handled in slices, so that what travels to the store at once is bounded: some 4 MB at 15 kB a card.
_SLICE_ALERTS = 256
# Each failed attempt means that somebody else changed the same card meanwhile. Twenty in a row is not bad luck.
_ATTEMPTS = 20

View = TypeVar("View")
_Planned: TypeAlias = tuple[Alert, Step, Outcome]


class Desk:
    """What follows decisions. Every write is one atomic step, known by an id: doing it twice does it once.

    All times are UTC epoch milliseconds given by the caller; the desk has no clock. Every method raises
    `StoreUnavailableError` where the store gives no answer, and may then be called again with the same arguments.
    Methods are safe to run concurrently.
    """

    def __init__(self, store: Store, playbook: Playbook) -> None:
        """Work on `store` by the rules of `playbook`."""
        self._store = store
        self._playbook = playbook
        self._gate = FreezeGate(store, playbook)

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
        for _ in range(_ATTEMPTS):
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
        raise _contention()

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
        _check_length("policy_version", policy_version, MAXIMUM_ACTOR_CHARACTERS)
        _check_length("reason", reason, MAXIMUM_REASON_CHARACTERS)
        _check_length("actor", actor, MAXIMUM_ACTOR_CHARACTERS)
        return await self._gate.release(policy_version, actor, reason, now_ms)

    async def override(
        self,
        case_id: str,
        command: Override,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CaseView:
        """Decide and close a case: its events, the card's state, labels, damping, notice and outbox in one step.

        Args:
            case_id: which case.
            command: the decision.
            now_ms: the time of the decision; alerts that are not later do not change the card any more.
            idempotency_key: known per case for a day: the same request again gets the same answer.
            if_match: the `case.sequence` the person had seen.

        Returns:
            the case after it.

        Raises:
            CaseNotFoundError: no such case.
            InvalidCommandError: note, actor or key out of bounds.
            IdempotencyConflictError: the key was used for another request on this case.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CaseEvent`s.
            IllegalCaseMoveError: the case is closed already.
            IllegalCardMoveError: the card cannot become that.
        """
        _check_length("note", command.note, MAXIMUM_REASON_CHARACTERS)
        _check_length("actor", command.actor, MAXIMUM_ACTOR_CHARACTERS)
        digest = digest_of("override", command.disposition, command.card_action, command.note, command.actor)
        request = _request(case_id, digest, idempotency_key, now_ms)
        for _ in range(_ATTEMPTS):
            stored = await self._store.load_case(case_id)
            if stored is None:
                raise _not_found()
            (snapshot,) = await self._store.load([(stored.case.card_token, request.step_id)])
            if snapshot.recorded is not None:
                return _answer(snapshot.recorded.case, snapshot.recorded, request)
            if if_match is not None and if_match != stored.case.sequence:
                changes = [event for event in stored.events if event.sequence > if_match]
                raise VersionConflictError(if_match, stored.case.sequence, changes)
            if not stored.case.is_open:
                raise IllegalCaseMoveError(stored.case.state, [])
            if snapshot.case != stored.case:
                continue
            step, view = plans.plan_override(request, snapshot, stored.events, command, self._playbook)
            if (await self._store.commit([step]))[0]:
                return view
        raise _contention()

    async def set_card_state(
        self,
        card_token: str,
        target: CardStatus,
        reason: str,
        actor: str,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CardView:
        """Carry out a person's command on a card; it wins over every alert that is not later.

        An open case stays open and notes the change. Commanding the present state confirms it.

        Args:
            card_token: which card.
            target: active, frozen or blocked.
            reason: why, in the person's words: 1 to 2,000 characters.
            actor: who commands: 1 to 128 characters.
            now_ms: the time of the command.
            idempotency_key: known per card for a day: the same request again gets the same answer.
            if_match: the card's `sequence` the person had seen.

        Returns:
            the card after it.

        Raises:
            InvalidCommandError: card token, reason, actor or key out of bounds.
            IdempotencyConflictError: the key was used for another request on this card.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CardChange`s.
            IllegalCardMoveError: the card cannot become that.
        """
        _check_length("card_token", card_token, MAXIMUM_TOKEN_CHARACTERS)
        _check_length("reason", reason, MAXIMUM_REASON_CHARACTERS)
        _check_length("actor", actor, MAXIMUM_ACTOR_CHARACTERS)
        order = CardOrder(card_token, target, reason, actor)
        digest = digest_of("card", target.wire, reason, actor)
        request = _request(card_token, digest, idempotency_key, now_ms)
        for _ in range(_ATTEMPTS):
            (snapshot,) = await self._store.load([(card_token, request.step_id)])
            if snapshot.recorded is not None:
                return _answer(snapshot.recorded.card, snapshot.recorded, request)
            sequence = snapshot.card.sequence
            if if_match is not None and if_match != sequence:
                changes = [change for change in snapshot.card.history if change.sequence > if_match]
                raise VersionConflictError(if_match, sequence, changes)
            step, view = plans.plan_card_order(request, snapshot, order, self._playbook)
            if (await self._store.commit([step]))[0]:
                return view
        raise _contention()

    async def card(self, card_token: str) -> CardView:
        """Show a card. One nobody ever spoke of is active, with `sequence` 0.

        Raises:
            InvalidCommandError: the token is empty or longer than 64 characters.
        """
        _check_length("card_token", card_token, MAXIMUM_TOKEN_CHARACTERS)
        (snapshot,) = await self._store.load([(card_token, NO_STEP)])
        return plans.card_view(snapshot.card, snapshot.case)

    async def case(self, case_id: str) -> CaseView:
        """Show a case.

        Raises:
            CaseNotFoundError: no such case.
        """
        stored = await self._store.load_case(case_id)
        if stored is None:
            raise _not_found()
        (snapshot,) = await self._store.load([(stored.case.card_token, NO_STEP)])
        return plans.case_view(stored.case, stored.events, snapshot.card.state)

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

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox, oldest first.

        Args:
            shard: 0 to `shards` - 1.
            after: `entry_id` of the last entry already read; None reads from the beginning.
            count: at most this many.
        """
        return await self._store.read_outbox(shard, after, count)

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Forget a shard's entries up to and including this `entry_id`: Kafka has acknowledged them."""
        await self._store.ack_outbox(shard, up_to)

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry that is not acknowledged, over all shards; None where all are."""
        return await self._store.outbox_oldest_ms()


def _check_length(name: str, text: str, maximum: int) -> None:
    """Refuse an empty text or one that is too long."""
    if not text.strip() or len(text) > maximum:
        message = f"{name} must have 1 to {maximum} characters"
        raise InvalidCommandError(message)


def _request(subject: str, digest: str, idempotency_key: str | None, now_ms: int) -> plans.Request:
    """Name the step of a person's command."""
    if idempotency_key is None:
        return plans.Request(unkeyed_step_id(subject, digest, now_ms), digest, now_ms)
    _check_length("idempotency_key", idempotency_key, MAXIMUM_KEY_CHARACTERS)
    return plans.Request(keyed_step_id(subject, idempotency_key), digest, now_ms)


def _answer(view: View | None, recorded: Recorded, request: plans.Request) -> View:
    """The answer given before, if it was to the same request."""
    if view is None or recorded.request != request.digest:
        message = "the Idempotency-Key was used for another request"
        raise IdempotencyConflictError(message)
    return view


def _not_found() -> CaseNotFoundError:
    """The error for a case nobody knows."""
    message = "no such case is open, or was closed lately"
    return CaseNotFoundError(message)


def _contention() -> StoreContentionError:
    """The error after too many attempts."""
    message = f"the card changed during each of {_ATTEMPTS} attempts"
    return StoreContentionError(message)
