"""Requests at a steady rate over kept connections, timed from when each was due: a slow answer delays no clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HEADERS_END = b"\r\n\r\n"


class AnswerError(Exception):
    """The service answered with something else than 200."""


class _Connection:
    """One kept HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def request(self, request: bytes) -> bytes:
        """Send one request; the body of its answer.

        Raises:
            AnswerError: it is not 200.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(_HEADERS_END)
        status, _, rest = head.partition(b"\r\n")
        lengths = [line for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await self._reader.readexactly(int(lengths[0].split(b":")[1]))
        if b" 200 " not in status:
            raise AnswerError(status.decode())
        return body

    def close(self) -> None:
        self._writer.close()


def post(path: str, host: str, key: str, body: bytes) -> bytes:
    """The bytes of a POST with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, host: str, header: str) -> bytes:
    """The bytes of a GET with one more header, as `name: value`."""
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{header}\r\n\r\n".encode()


async def steady(
    host: str, port: int, requests: Sequence[bytes], rate_per_s: float, connections: int
) -> tuple[NDArray[np.float64], list[bytes]]:
    """Send requests at a rate.

    Args:
        host: of the service.
        port: of the service.
        requests: whole requests.
        rate_per_s: how many are due a second.
        connections: kept open; a request waits where all are busy, and its clock runs.

    Returns:
        (float64 seconds from when each was due to its answer, the bodies).

    Raises:
        AnswerError: an answer was not 200.
    """
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(_Connection(*await asyncio.open_connection(host, port)))
    seconds = np.zeros(len(requests))
    bodies = [b""] * len(requests)

    async def ask(place: int, due_s: float) -> None:
        connection = await free.get()
        bodies[place] = await connection.request(requests[place])
        seconds[place] = time.perf_counter() - due_s
        free.put_nowait(connection)

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for place in range(len(requests)):
            due_s = started_s + place / rate_per_s
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            group.create_task(ask(place, due_s))
    while not free.empty():
        free.get_nowait().close()
    return seconds, bodies
