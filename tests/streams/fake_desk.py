"""A desk for tests of the respond role: remembers what it was asked, and fails when told to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from casework.alerts import Alert
from casework.breaker import Breaker
from casework.cards import OutcomeKind
from casework.cases import CaseState
from casework.errors import StoreUnavailableError
from casework.outbox import OutboxEntry
from casework.views import Outcome
from detector.vocabulary import CardStatus


class FakeDesk:
    """One shard; every alert freezes its card."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.failures_left = 0
        self.poison = ""
        self.outbox: list[OutboxEntry] = []
        self.known_breakers: list[Breaker] = []
        self.ticks: list[tuple[int, Collection[int] | None]] = []

    @property
    def shards(self) -> int:
        return 1

    async def respond(self, alerts: Sequence[Alert], now_ms: int) -> list[Outcome]:
        if self.failures_left:
            self.failures_left -= 1
            message = "down"
            raise StoreUnavailableError(message)
        if any(alert.transaction_id == self.poison for alert in alerts):
            message = "a bug of ours"
            raise ZeroDivisionError(message)
        self.answered += [alert.transaction_id for alert in alerts]
        return [
            Outcome(alert.alert_id, alert.action, OutcomeKind.FROZEN, CardStatus.FROZEN, "case-1", now_ms)
            for alert in alerts
        ]

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        return {0: self.outbox[:count]} if 0 in shards and self.outbox else {}

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        assert shard == 0
        while self.outbox and self.outbox[0].entry_id <= up_to:
            self.outbox.pop(0)

    async def outbox_oldest_ms(self) -> int | None:
        return self.outbox[0].time_ms if self.outbox else None

    async def tick(self, now_ms: int, shards: Collection[int] | None = None) -> int:
        self.ticks.append((now_ms, shards))
        return 0

    async def count_cases(self) -> Mapping[CaseState, int]:
        return {CaseState.NEW: len(self.answered)}

    async def breakers(self) -> Sequence[Breaker]:
        return self.known_breakers
