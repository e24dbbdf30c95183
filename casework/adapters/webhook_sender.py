"""A sender that hands notices to the issuer's own messaging by HTTP, signed and retried."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import httpx
import msgspec

from casework.adapters.trying import try_again
from casework.errors import SendError
from casework.notices import CODE_NONCE, Message, Notice

SIGNATURE_HEADER = "Cardwatch-Signature"
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500


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

    def __init__(
        self, client: httpx.AsyncClient, url: str, secret: bytes, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """Post to `url`, signed with `secret`; `pause` waits for the given seconds (`asyncio.sleep`)."""
        self._client = client
        self._url = url
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
                answer = await self._client.post(self._url, content=body, headers=headers)
            except httpx.TransportError as error:
                raise SendError(notice.notification_id, type(error).__name__, may_pass=True) from error
            if not answer.is_success:
                may_pass = answer.status_code >= _SERVER_ERRORS or answer.status_code == _TOO_MANY_REQUESTS
                raise SendError(notice.notification_id, f"HTTP {answer.status_code}", may_pass=may_pass)

        await try_again(attempt, self._pause)
