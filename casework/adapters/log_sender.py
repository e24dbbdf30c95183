"""A sender that writes notices to the log: nobody is told. For trials."""

from __future__ import annotations

import logging

from casework.notices import Message, Notice, mask_card_token

_logger = logging.getLogger(__name__)


class LogSender:
    """Logs each notice, with a masked card token; a text with a one-time code is left out."""

    name = "log"

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        """Write one line; `now_ms` is when the notice was sent."""
        _logger.info(
            "notice %s to the holder of card %s by %s, %d ms after it was requested: %s. %s",
            notice.notification_id,
            mask_card_token(notice.card_token),
            notice.channel,
            now_ms - notice.time_ms,
            message.title,
            "(not written down: it holds a one-time code)" if message.is_secret else message.text,
        )
