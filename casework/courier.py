"""The courier: puts a notice into words, hands it to its sender once, and remembers what became of it.

Steps: look up the id; send; remember; only then does the caller count the notice as done. A crash between sending and
remembering sends it again, with the same id and the same words (docs/guarantees.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from casework.contacts import ContactRecord, Contacts
from casework.deliveries import Deliveries, Delivery, DeliveryState
from casework.errors import ConfigurationError, SendError
from casework.links import Link, Links, Purpose
from casework.notices import CODE_NONCE, Message, Messages, Notice, NoticeSender
from casework.sms import sms_segments

SMS = "sms"
_MINUTE_MS = 60_000
EXPIRED, QUIET_HOURS = "expired", "quiet_hours"


class Delivered(NamedTuple):
    """What became of a notice, and whether it came to that now."""

    delivery: Delivery
    is_new: bool


@dataclass(frozen=True, slots=True)
class CourierRules:
    """How long a notice is worth sending.

    Attributes:
        pauses_ms: how long to wait before each further try of a sender that is away.
        urgent: templates that break quiet hours.
        called_about: templates after which somebody calls, where the cardholder stays silent for `silence_ms`, or at
            once where they cannot be told.
        code_age_ms: a one-time code that is older is of no use any more.
        notice_age_ms: nor is any other notice.
    """

    pauses_ms: Sequence[int] = (_MINUTE_MS, 5 * _MINUTE_MS, 15 * _MINUTE_MS, 60 * _MINUTE_MS, 240 * _MINUTE_MS)
    urgent: AbstractSet[str] = frozenset()
    called_about: AbstractSet[str] = frozenset()
    silence_ms: int = 15 * _MINUTE_MS
    code_age_ms: int = 10 * _MINUTE_MS
    notice_age_ms: int = 24 * 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Makes the links of notices.

    Attributes:
        links: signs them.
        base_url: what stands before them.
        lasts_s: how long one works, in seconds from the notice.
    """

    links: Links
    base_url: str
    lasts_s: int

    def of(self, notice: Notice) -> str:
        """Where the cardholder can answer a notice; empty where it has no case. The same for every copy of it."""
        if notice.case_id is None:
            return ""
        return self.base_url + self.links.sign(
            Link(notice.case_id, Purpose.ANSWER, notice.time_ms // 1000 + self.lasts_s)
        )


class Courier:
    """Delivers notices."""

    def __init__(
        self,
        messages: Messages,
        sender: NoticeSender,
        deliveries: Deliveries,
        contacts: Contacts,
        rules: CourierRules,
        clock: Callable[[], int],
        pages: PageLinks | None = None,
    ) -> None:
        """Deliver through `sender`; `clock` gives UTC epoch milliseconds; without `pages` notices have no links."""
        self._pages = pages
        self._messages = messages
        self._sender = sender
        self._deliveries = deliveries
        self._contacts = contacts
        self._rules = rules
        self._clock = clock

    async def deliver(self, asked: Notice, tries: int = 0) -> Delivered:
        """Deliver a notice, unless it was sent before.

        Args:
            asked: as casework asked for it; the cardholder's language and channel win over its own.
            tries: how often it was put off because its sender was away.

        Returns:
            what became of it.

        Raises:
            StoreUnavailableError: the memory does not answer; whether it was sent is then not known, and doing it again
                may send it twice.
        """
        known = await self._deliveries.find(asked.notification_id)
        if known is not None and known.state is DeliveryState.SENT:
            return Delivered(known, is_new=False)
        contact = await self._contacts.contact(asked.card_token)
        delivery = await self._try(asked, contact or ContactRecord(), 0 if known is None else known.attempts, tries)
        delivery = _with(delivery, call_due_ms=self._call_due_ms(delivery))
        await self._deliveries.remember(delivery)
        return Delivered(delivery, is_new=True)

    def _call_due_ms(self, delivery: Delivery) -> int:
        """When somebody is to call about a notice; 0 where nobody is."""
        if delivery.case_id is None or delivery.template not in self._rules.called_about:
            return 0
        if delivery.state is DeliveryState.SENT:
            return delivery.time_ms + self._rules.silence_ms
        return delivery.time_ms if delivery.state is DeliveryState.FAILED else 0

    async def _try(self, asked: Notice, contact: ContactRecord, attempts: int, tries: int) -> Delivery:
        """Send a notice; what became of it."""
        notice = _preferred(asked, contact)
        now_ms = self._clock()
        begun = Delivery(
            notification_id=notice.notification_id,
            template=notice.template,
            channel=notice.channel,
            locale=notice.locale,
            sender=self._sender.name,
            state=DeliveryState.FAILED,
            requested_ms=notice.time_ms,
            time_ms=now_ms,
            case_id=notice.case_id,
            attempts=attempts,
        )
        if now_ms - notice.time_ms > self._age_ms(notice):
            return _with(begun, detail=EXPIRED)
        quiet_end_ms = None if notice.template in self._rules.urgent else contact.quiet_end_ms(now_ms)
        if quiet_end_ms is not None:
            return _with(begun, state=DeliveryState.PUT_OFF, due_ms=quiet_end_ms, detail=QUIET_HOURS)
        try:
            message = self._messages.render(notice, "" if self._pages is None else self._pages.of(notice), contact.zone)
        except ConfigurationError:
            return _with(begun, detail="no_such_message")
        segments = sms_segments(message.text) if notice.channel == SMS else 0
        begun = _with(begun, attempts=attempts + 1, sms_segments=segments)
        return await self._send(notice, message, begun, tries)

    async def _send(self, notice: Notice, message: Message, begun: Delivery, tries: int) -> Delivery:
        try:
            await self._sender.send(notice, message, self._clock())
        except SendError as error:
            now_ms = self._clock()
            failed = _with(begun, time_ms=now_ms, detail=error.problem)
            if not error.may_pass or tries >= len(self._rules.pauses_ms):
                return failed
            due_ms = now_ms + self._rules.pauses_ms[tries]
            if due_ms - notice.time_ms > self._age_ms(notice):
                return failed
            return _with(failed, state=DeliveryState.PUT_OFF, due_ms=due_ms)
        return _with(begun, state=DeliveryState.SENT, time_ms=self._clock())

    def _age_ms(self, notice: Notice) -> int:
        """How old a notice may be when it is sent."""
        return self._rules.code_age_ms if CODE_NONCE in notice.parameters else self._rules.notice_age_ms


def _preferred(notice: Notice, contact: ContactRecord) -> Notice:
    """The notice in the cardholder's language, on their first channel."""
    return replace(
        notice,
        locale=contact.locale or notice.locale,
        channel=contact.channels[0] if contact.channels else notice.channel,
    )


def _with(delivery: Delivery, **changes: object) -> Delivery:
    return msgspec.structs.replace(delivery, **changes)
