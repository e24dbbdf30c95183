"""A sender that hands notices to a mail server (SMTP), for cardholders whose address is known."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate

from casework.adapters.trying import try_again
from casework.contacts import Contacts
from casework.errors import SendError
from casework.notices import Message, Notice

_PERMANENT = 500


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in.

    Attributes:
        sender: the address in From.
        starttls: whether the connection is encrypted, the server's certificate checked; only a trial does without.
        user, password: to sign in; none where `user` is empty.
        timeout_s: for each answer.
    """

    host: str
    port: int
    sender: str
    starttls: bool = True
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 10.0


class SmtpSender:
    """Sends each notice as one mail in plain text; its Message-ID follows from the notification's id."""

    name = "smtp"

    def __init__(self, server: MailServer, contacts: Contacts, pause: Callable[[float], Awaitable[None]]) -> None:
        """Hand in at `server` for the addresses of `contacts`; `pause` waits (`asyncio.sleep`)."""
        self._server = server
        self._contacts = contacts
        self._pause = pause

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        """Send a mail; up to four attempts where the server is absent or asks to come back later.

        Raises:
            SendError: there is no address, it was refused, or not taken over within the attempts.
            StoreUnavailableError: the address cannot be looked up now.
        """
        contact = await self._contacts.contact(notice.card_token)
        if contact is None or contact.email is None:
            raise SendError(notice.notification_id, "no_address", may_pass=False)
        mail = self._mail(notice, message, contact.email, now_ms)

        async def attempt() -> None:
            await asyncio.to_thread(self._hand_in, notice.notification_id, mail)

        await try_again(attempt, self._pause)

    def _mail(self, notice: Notice, message: Message, address: str, now_ms: int) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._server.sender, address, message.title
        mail["Date"] = formatdate(now_ms / 1000)
        mail["Message-ID"] = f"<{notice.notification_id}@{self._server.sender.rpartition('@')[2]}>"
        mail["Content-Language"] = notice.locale
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text + "\n")
        return mail

    def _hand_in(self, notification_id: str, mail: EmailMessage) -> None:
        """Speak with the server; blocks."""
        server = self._server
        try:
            with smtplib.SMTP(server.host, server.port, timeout=server.timeout_s) as connection:
                if server.starttls:
                    connection.starttls(context=ssl.create_default_context())
                if server.user:
                    connection.login(server.user, server.password)
                connection.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise SendError(notification_id, f"SMTP {codes[0]}", may_pass=max(codes) < _PERMANENT) from error
        except smtplib.SMTPResponseException as error:
            # Wrong credentials are the operator's to mend, and then the notice can be sent.
            may_pass = error.smtp_code < _PERMANENT or isinstance(error, smtplib.SMTPAuthenticationError)
            raise SendError(notification_id, f"SMTP {error.smtp_code}", may_pass=may_pass) from error
        except (OSError, smtplib.SMTPException) as error:
            raise SendError(notification_id, type(error).__name__, may_pass=True) from error
