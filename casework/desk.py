"""The desk: everything that can be done about an alert, a card or a case."""

from __future__ import annotations

from collections.abc import Sequence

from casework.alerts import Alert
from casework.cases import CaseState
from casework.outbox import OutboxEntry
from casework.playbook import Playbook
from casework.store import Store
from casework.views import CardView, CaseFilters, CaseView, Outcome, Override, Page
from detector.vocabulary import CardStatus

DEFAULT_PAGE_CASES = 50
MAXIMUM_PAGE_CASES = 200


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

    @property
    def shards(self) -> int:
        """Number of outboxes; they are numbered from 0."""
        return self._store.shards

    async def open(self) -> None:
        """Check, before anything else, that the store answers and was set up the way we would set it up.

        Raises:
            StoreSetupError: it holds data for another number of shards, or in another format.
        """
        raise NotImplementedError

    async def ping(self) -> None:
        """Return when the store answers; `StoreUnavailableError` where it does not."""
        raise NotImplementedError

    async def respond(self, alerts: Sequence[Alert], now_ms: int) -> list[Outcome]:
        """Do what the playbook says about each alert, in the given order, each as one atomic step by `alert_id`.

        An alert that was handled before changes nothing and returns the outcome recorded then
        (its `acted_ms` is the earlier time). Each FREEZE ends in exactly one of frozen, attached and superseded.

        Returns:
            one outcome an alert, in order.

        Raises:
            OutboxFullError: the relay is too far behind; alerts up to some point have been handled. Ask again later.
            StoreContentionError: others kept changing the same cards. Ask again.
        """
        raise NotImplementedError

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
            idempotency_key: known per case for a day: the same request again gets the same answer.
            if_match: the `case.sequence` the person had seen.

        Returns:
            the case after it.

        Raises:
            CaseNotFoundError: no such case.
            InvalidCommandError: note or actor out of bounds.
            IdempotencyConflictError: the key was used for another request on this case.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CaseEvent`s.
            IllegalMoveError: the case is closed already, or the card cannot become that.
        """
        raise NotImplementedError

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
            reason: why, in the person's words: 1 to 2,000 characters.
            idempotency_key: known per card for a day: the same request again gets the same answer.
            if_match: the card's `sequence` the person had seen.

        Returns:
            the card after it.

        Raises:
            InvalidCommandError: card token, reason or actor out of bounds.
            IdempotencyConflictError: the key was used for another request on this card.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CardChange`s.
            IllegalMoveError: the card cannot become that.
        """
        raise NotImplementedError

    async def card(self, card_token: str) -> CardView:
        """Show a card. One nobody ever spoke of is active, with `sequence` 0.

        Raises:
            InvalidCommandError: the token is empty or longer than 64 characters.
        """
        raise NotImplementedError

    async def case(self, case_id: str) -> CaseView:
        """Show a case.

        Raises:
            CaseNotFoundError: no such case.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    async def count_cases(self) -> dict[CaseState, int]:
        """Count cases by state; of closed ones those that are still remembered."""
        raise NotImplementedError

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read a shard's outbox, oldest first.

        Args:
            after: `entry_id` of the last entry already read; None reads from the beginning.
            count: at most this many.
        """
        raise NotImplementedError

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Forget a shard's entries up to and including this `entry_id`: Kafka has acknowledged them."""
        raise NotImplementedError

    async def outbox_oldest_ms(self) -> int | None:
        """Time of the oldest entry that is not acknowledged, over all shards; None where all are."""
        raise NotImplementedError
