"""What the HTTP service needs of others: the part of `casework.desk.Desk` behind its routes, and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from casework.access import Access
from casework.authority import Authority, Person
from casework.breaker import Breaker
from casework.cases import CaseState
from casework.commands import Command
from casework.contacts import Contacts
from casework.deliveries import Deliveries
from casework.lists import ListEntry, ListKey
from casework.playbook import Playbook
from casework.views import CardView, CaseFilters, CaseView, Opening, Override, Page, Preview, RelatedCase
from casework.webhook_book import Asked, EndpointView, LinePage, ReplayView
from detector.vocabulary import CardStatus


class DeskPort(Protocol):
    """Cards and cases. `casework.desk.Desk` fills it; its docstrings say what each method promises and raises."""

    @property
    def playbook(self) -> Playbook:
        """What follows what."""

    @property
    def authority(self) -> Authority:
        """Who may do what."""

    async def card(self, card_token: str) -> CardView:
        """Show a card."""

    async def set_card_state(
        self,
        card_token: str,
        target: CardStatus,
        reason: str,
        by: Person,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CardView:
        """Carry out a person's command on a card."""

    async def case(self, case_id: str) -> CaseView:
        """Show a case."""

    async def related(self, case_id: str) -> list[RelatedCase]:
        """Other cases that have something in common with this one."""

    async def list_cases(self, filters: CaseFilters | None = None, cursor: str | None = None, limit: int = 50) -> Page:
        """List cases, most urgent first."""

    async def count_cases(self) -> dict[CaseState, int]:
        """Count cases by state."""

    async def open_case(
        self, card_token: str, opening: Opening, by: Person, *, now_ms: int, idempotency_key: str | None = None
    ) -> CaseView:
        """Open a case for a card."""

    async def act(
        self,
        case_id: str,
        commands: tuple[Command, ...],
        by: Person,
        *,
        now_ms: int,
        nonce: str,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CaseView:
        """Do something about a case, in one atomic step."""

    async def preview(
        self, case_id: str, commands: tuple[Command, ...], by: Person, *, now_ms: int, nonce: str
    ) -> Preview:
        """What `act` would do now."""

    async def list_entries(self, *, now_ms: int) -> list[ListEntry]:
        """What is blocked, allowed or watched now."""

    async def put_on_list(self, key: ListKey, by: Person, reason: str, until_ms: int, *, now_ms: int) -> ListEntry:
        """Put something on a list until then, or with 0 take it off."""

    async def next_case(self, by: Person, *, now_ms: int) -> CaseView | None:
        """Take the most urgent case that nobody works on."""

    async def override(
        self,
        case_id: str,
        command: Override,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CaseView:
        """Decide and close a case."""

    async def tell_access(self, access: Access) -> None:
        """Tell who saw or changed what of cards."""

    async def breakers(self) -> list[Breaker]:
        """List the circuit breakers for freezes."""

    async def release_breaker(self, policy_version: str, reason: str, actor: str, *, now_ms: int) -> Breaker:
        """Let the freezes of a policy version through again."""


class NoticesPort(Deliveries, Contacts, Protocol):
    """What became of notices, and how cardholders want to be reached. `RedisNotices` fills it."""


class WebhooksPort(Protocol):
    """Endpoints of webhooks. `casework.webhook_book.WebhookBook` fills it; its docstrings say what each raises."""

    async def endpoints(self, now_ms: int) -> list[EndpointView]:
        """List the endpoints, and how it goes with each."""

    async def lines(self, name: str, cursor: str | None, limit: int, *, only_untold: bool) -> LinePage:
        """List what became of events at an endpoint."""

    async def enable(self, name: str, by: Person, reason: str, now_ms: int) -> EndpointView:
        """Tell a disabled endpoint again."""

    async def order(self, name: str, asked: Asked, by: Person, now_ms: int, replay_id: str) -> ReplayView:
        """Have an endpoint told again what it was told, or was not."""

    async def replay(self, name: str) -> ReplayView | None:
        """Show the endpoint's last order."""

    async def cancel(self, name: str, by: Person, reason: str, now_ms: int) -> ReplayView:
        """Cancel the order that is not over."""


class SessionMemory(Protocol):
    """What is remembered of browsers for a while, by all processes: sessions, and sign-ins that are done.

    `cardwatch.redis_sessions.RedisSessions` fills it. Every method raises `casework.errors.StoreError` where it gives
    no answer.
    """

    async def put_new(self, name: str, value: bytes, life_ms: int) -> bool:
        """Remember something under a name that is free, for so many milliseconds; whether it was free."""

    async def get(self, name: str) -> bytes | None:
        """What is remembered; None where nothing is, or not any more."""

    async def take(self, name: str) -> bytes | None:
        """The same, and forget it: of many who take it at once one gets it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A payment that breaks the contract and was not taken.

    Attributes:
        reason: the contract's word, as a dead letter would give it.
        field: the field at fault.
        card_number: whether it was refused for a full card number.
    """

    reason: str
    field: str
    card_number: bool


class ScoringPort(Protocol):
    """Decisions for callers that wait. `cardwatch.waiting.Waiting` fills it with `streams.gateway.Gateway`."""

    async def decide(
        self, payments: Sequence[bytes], *, now_ms: int, deadline_ms: int, traceparent: str | None
    ) -> list[Mapping[str, Any] | Refusal]:
        """The decision on each payment, in their order, as the contract's record without its evidence.

        Args:
            payments: records of `payments.transactions.v1`.
            now_ms: the clock, UTC epoch milliseconds.
            deadline_ms: when the caller stops waiting.
            traceparent: W3C trace context to pass on.

        Raises:
            api.errors.ScoringUnavailableError: payments cannot be taken now.
        """
