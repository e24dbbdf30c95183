"""A sender that hands notices to the issuer's own messaging by HTTP, signed and retried."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import httpx
import msgspec

from casework.errors import SendError
from casework.notices import Message, Notice

SIGNATURE_HEADER = "Cardwatch-Signature"
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
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
        body = msgspec.json.encode(fields)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": notice.notification_id,
            SIGNATURE_HEADER: sign(body, self._secret, now_ms),
        }
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt > 0:
                await self._pause(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                answer = await self._client.post(self._url, content=body, headers=headers)
            except httpx.TransportError as error:
                problem = type(error).__name__
                continue
            if answer.is_success:
                return
            problem = f"HTTP {answer.status_code}"
            if answer.status_code < _SERVER_ERRORS and answer.status_code != _TOO_MANY_REQUESTS:
                break
        text = f"notice {notice.notification_id} was not taken over: {problem}"
        raise SendError(text)
