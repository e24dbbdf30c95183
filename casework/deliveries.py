"""What became of each notice: remembered by its id, shown at the desk, and what is still to be sent later.

The text of a notice is in none of it: it may hold a one-time code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from casework.notices import Notice

_DAY_MS = 86_400_000
# Longer than `fraud.notifications.v1` keeps records (30 days): one that is read again is never taken for a new one.
MEMORY_MS = 31 * _DAY_MS


class DeliveryState(StrEnum):
    """sent: its sender took it over. put_off: it is tried again, or waits for quiet hours to end. failed: given up."""

    SENT = "sent"
    PUT_OFF = "put_off"
    FAILED = "failed"


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a notice.

    Attributes:
        template, channel, locale: what was said, over what, in which language.
        sender: what it was handed to: log, webhook or smtp.
        state: see `DeliveryState`.
        requested_ms: when casework asked for it.
        time_ms: when it came to this state.
        attempts: how often its sender was asked, over all tries.
        sms_segments: of how many parts the text message was made; 0 on other channels.
        due_ms: of one that was put off, when it is tried again.
        call_due_ms: when somebody is to call, unless the cardholder has answered by then; 0: nobody is.
        detail: of one that was put off or failed, why; never what it said.
    """

    notification_id: str
    template: str
    channel: str
    locale: str
    sender: str
    state: DeliveryState
    requested_ms: int
    time_ms: int
    case_id: str | None = None
    attempts: int = 0
    sms_segments: int = 0
    due_ms: int = 0
    call_due_ms: int = 0
    detail: str = ""


class PutOff(msgspec.Struct, frozen=True):
    """A notice that is to be sent later, with where its record stood on `fraud.notifications.v1`.

    Attributes:
        tries: how often its sender was away.
        call_since_ms: of one that was sent, or cannot be: a call is due unless the cardholder has answered since then.
            0: it is to be sent.
    """

    notice: Notice
    due_ms: int
    tries: int
    offset: int
    timestamp_ms: int
    call_since_ms: int = 0


class Deliveries(Protocol):
    """The memory of notices; every implementation passes `tests/contracts/test_deliveries.py`.

    Every method raises `StoreUnavailableError` where the memory gives no answer.
    """

    async def find(self, notification_id: str) -> Delivery | None:
        """What became of a notice; None where nothing is known of it."""

    async def remember(self, delivery: Delivery) -> None:
        """Keep what became of a notice, for `MEMORY_MS`; what was known of it before is replaced."""

    async def of_case(self, case_id: str) -> list[Delivery]:
        """What became of a case's notices, in the order in which they were asked for."""

    async def put_off(self, partition: int, later: PutOff) -> None:
        """Keep a notice of a partition until it is due; the same notice again replaces it."""

    async def due(self, partition: int, now_ms: int, count: int) -> list[PutOff]:
        """Notices of a partition that are due, the earliest first."""

    async def settle(self, partition: int, notification_id: str) -> None:
        """Forget a notice that was put off; nothing happens where there is none."""
