"""A sender that hands notices to the issuer's own messaging by HTTP, signed and retried."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from casework.adapters.posting import Poster
from casework.adapters.trying import try_again
from casework.errors import PostError, SendError
from casework.notices import CODE_NONCE, Message, Notice
from casework.webhooks import Answer, answer_of

SIGNATURE_HEADER = "Cardwatch-Signature"


def sign(body: bytes, secret: bytes, now_ms: int) -> str:
    """The signature header: when it was sent, and an HMAC-SHA-256 over that and the body.

    A receiver computes the same over `<t>.<body>`, compares in constant time, and refuses what is too old.
    """
    seconds = now_ms // 1000
    code = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={code}"


class WebhookSender:
    """Posts each notice as JSON: the record of `fraud.notifications.v1` with its `title` and `text`.

    `Idempotency-Key` carries the notification's id, so a receiver can tell a copy from a new one.
    """

    name = "webhook"

    def __init__(self, poster: Poster, secret: bytes, pause: Callable[[float], Awaitable[None]]) -> None:
        """Post through `poster`, signed with `secret`; `pause` waits for the given seconds (`asyncio.sleep`)."""
        self._poster = poster
        self._secret = secret
        self._pause = pause

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        """Post a notice; up to four attempts where the receiver is absent, overloaded or failing.

        Raises:
            SendError: it was refused, or not taken over within the attempts.
        """
        fields = msgspec.to_builtins(notice) | {"title": message.title, "text": message.text}
        # The code is in the text already; what it follows from is nobody's business.
        fields["parameters"] = {name: value for name, value in notice.parameters.items() if name != CODE_NONCE}
        body = msgspec.json.encode(fields)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": notice.notification_id,
            SIGNATURE_HEADER: sign(body, self._secret, now_ms),
        }

        async def attempt() -> None:
            try:
                status = await self._poster.post(body, headers)
            except PostError as error:
                raise SendError(notice.notification_id, error.problem, may_pass=True) from error
            answer = answer_of(status)
            if answer is not Answer.DELIVERED:
                may_pass = answer is Answer.UNAVAILABLE
                raise SendError(notice.notification_id, f"HTTP {status}", may_pass=may_pass)

        await try_again(attempt, self._pause)
