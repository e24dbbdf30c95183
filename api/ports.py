"""What the HTTP service needs of casework: the part of `casework.desk.Desk` behind its routes."""

from __future__ import annotations

from typing import Protocol

from casework.breaker import Breaker
from casework.views import CardView, CaseFilters, CaseView, Override, Page
from detector.vocabulary import CardStatus


class DeskPort(Protocol):
    """Cards and cases. `casework.desk.Desk` fills it; its docstrings say what each method promises and raises."""

    async def card(self, card_token: str) -> CardView:
        """Show a card."""

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
        """Carry out a person's command on a card."""

    async def case(self, case_id: str) -> CaseView:
        """Show a case."""

    async def list_cases(self, filters: CaseFilters | None = None, cursor: str | None = None, limit: int = 50) -> Page:
        """List cases, most urgent first."""

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

    async def breakers(self) -> list[Breaker]:
        """List the circuit breakers for freezes."""

    async def release_breaker(self, policy_version: str, reason: str, actor: str, *, now_ms: int) -> Breaker:
        """Let the freezes of a policy version through again."""
