"""A receiver of webhooks on loopback that can be as bad as receivers are."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.services.process import LOOPBACK

HANG, RESET, SLOW_BODY, ENDLESS_BODY, NO_HTTP = "hang", "reset", "slow body", "endless body", "no HTTP"
Reply = int | str


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> dict[str, Any]:
        """The payload."""
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass
class Receiver:
    """Answers each request as `reply` says: a status, or one of the ways not to answer."""

    reply: Callable[[Received], Reply] = lambda _received: 204
    received: list[Received] = field(default_factory=list)
    sent_bytes: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.port}/hooks"

    def ids(self, *kinds: str) -> list[str]:
        """Ids received, in order, of these kinds, or of all."""
        return [each.webhook_id for each in self.received if not kinds or each.told["type"] in kinds]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            received = await _read(reader)
            self.received.append(received)
            await self._answer(self.reply(received), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(reply, int):
            writer.write(f"HTTP/1.1 {reply} Said\r\nLocation: http://elsewhere.example/\r\n".encode())
            writer.write(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        elif reply == NO_HTTP:
            writer.write(b"hello\r\n\r\n")
            await writer.drain()
        elif reply == RESET:
            writer.transport.abort()
        else:
            if reply != HANG:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            while not reader.at_eof():
                if reply == ENDLESS_BODY:
                    writer.write(b"x" * 4096)
                    await writer.drain()
                    self.sent_bytes += 4096
                else:
                    await reader.read(1)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Received(first.split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def receiving(receiver: Receiver, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """The receiver while it listens."""
    server = await asyncio.start_server(receiver.serve, LOOPBACK, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
