"""Mail: to known addresses only, told apart by its Message-ID, asked again where that may help."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from casework.adapters.memory_notices import MemoryNotices
from casework.adapters.smtp_sender import MailServer, SmtpSender
from casework.contacts import ContactRecord
from casework.errors import SendError
from casework.notices import Message
from tests.casework.examples import NOW_MS
from tests.casework.test_courier import NOTICE

MESSAGE = Message("Your card works again", "It does. 恢复")


class Post(socketserver.ThreadingTCPServer):
    """A mail server that answers RCPT with given codes in turn, then with 250, and keeps what comes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, codes: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Speaker)
        self.codes = codes
        self.mails: list[str] = []


class _Speaker(socketserver.StreamRequestHandler):
    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Post)
        self.say("220 ready")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"RCPT":
                code = server.codes.pop(0) if server.codes else 250
                self.say(f"{code} said")
            elif word == b"DATA":
                self.say("354 go on")
                taken = list(iter(self.rfile.readline, b".\r\n"))
                server.mails.append(b"".join(taken).decode())
                self.say("250 taken")
            elif word == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")


@contextmanager
def post(*codes: int) -> Iterator[Post]:
    with Post(list(codes)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def send(port: int, contact: ContactRecord | None) -> list[float]:
    """Send one notice; the pauses that were made."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def story() -> None:
        contacts = MemoryNotices()
        if contact is not None:
            await contacts.put_contact(NOTICE.card_token, contact)
        server = MailServer("127.0.0.1", port, "cards@bank.example", starttls=False, timeout_s=5.0)
        await SmtpSender(server, contacts, pause).send(NOTICE, MESSAGE, NOW_MS)

    asyncio.run(story())
    return pauses


HOLDER = ContactRecord(email="holder@mail.example")


def test_a_mail_is_handed_in() -> None:
    """To the address on record; a copy can be told by its Message-ID."""
    with post(451) as server:
        assert send(server.server_address[1], HOLDER) == [0.5]
    (mail,) = server.mails
    assert "To: holder@mail.example" in mail
    assert "Message-ID: <notice-1@bank.example>" in mail
    assert "Subject: Your card works again" in mail


@pytest.mark.parametrize("contact", [None, ContactRecord("zh")])
def test_nobody_writes_to_no_address(contact: ContactRecord | None) -> None:
    """It is given up at once: no waiting finds an address."""
    with pytest.raises(SendError, match="no_address") as raised:
        send(9, contact)
    assert not raised.value.may_pass


def test_a_refused_address_is_given_up_and_an_absent_server_is_not() -> None:
    """550 says never; nobody there says later."""
    with post(550) as server, pytest.raises(SendError, match="SMTP 550") as refused:
        send(server.server_address[1], HOLDER)
    assert not refused.value.may_pass
    with pytest.raises(SendError) as absent:
        send(server.server_address[1], HOLDER)
    assert absent.value.may_pass
