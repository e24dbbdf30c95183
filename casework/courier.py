"""The courier: puts a notice into words, hands it to its sender once, and remembers what became of it.

Steps: look up the id; send; remember; only then does the caller count the notice as done. A crash between sending and
remembering sends it again, with the same id and the same words (docs/guarantees.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from casework.contacts import ContactRecord, Contacts
from casework.deliveries import Deliveries, Delivery, DeliveryState
from casework.errors import ConfigurationError, SendError
from casework.notices import CODE_NONCE, Message, Messages, Notice, NoticeSender
from casework.sms import sms_segments

SMS = "sms"
_MINUTE_MS = 60_000
EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CourierRules:
    """How long a notice is worth sending.

    Attributes:
        pauses_ms: how long to wait before each further try of a sender that is away.
        code_age_ms: a one-time code that is older is of no use any more.
        notice_age_ms: nor is any other notice.
    """

    pauses_ms: Sequence[int] = (_MINUTE_MS, 5 * _MINUTE_MS, 15 * _MINUTE_MS, 60 * _MINUTE_MS, 240 * _MINUTE_MS)
    code_age_ms: int = 10 * _MINUTE_MS
    notice_age_ms: int = 24 * 60 * _MINUTE_MS


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
    ) -> None:
        """Deliver through `sender`; `clock` gives UTC epoch milliseconds."""
        self._messages = messages
        self._sender = sender
        self._deliveries = deliveries
        self._contacts = contacts
        self._rules = rules
        self._clock = clock

    async def deliver(self, asked: Notice, tries: int = 0) -> Delivery | None:
        """Deliver a notice, unless it was sent before.

        Args:
            asked: as casework asked for it; the cardholder's language and channel win over its own.
            tries: how often it was put off because its sender was away.

        Returns:
            what became of it; None where it was sent before.

        Raises:
            StoreUnavailableError: the memory does not answer; whether it was sent is then not known, and doing it again
                may send it twice.
        """
        known = await self._deliveries.find(asked.notification_id)
        if known is not None and known.state is DeliveryState.SENT:
            return None
        contact = await self._contacts.contact(asked.card_token)
        notice = _preferred(asked, contact)
        delivery = await self._try(notice, 0 if known is None else known.attempts, tries)
        await self._deliveries.remember(delivery)
        return delivery

    async def _try(self, notice: Notice, attempts: int, tries: int) -> Delivery:
        """Send a notice; what became of it."""
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
        try:
            message = self._messages.render(notice)
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


def _preferred(notice: Notice, contact: ContactRecord | None) -> Notice:
    """The notice in the cardholder's language, on their first channel."""
    if contact is None:
        return notice
    return replace(
        notice,
        locale=contact.locale or notice.locale,
        channel=contact.channels[0] if contact.channels else notice.channel,
    )


def _with(delivery: Delivery, **changes: object) -> Delivery:
    return msgspec.structs.replace(delivery, **changes)
