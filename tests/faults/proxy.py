"""A TCP proxy in front of Redis: it can be slow, and it can tell when a command of some kind has passed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from tests.services.process import LOOPBACK

_CHUNK_BYTES = 1 << 16


class Proxy:
    """Forwards connections to a port.

    Attributes:
        delay_s: how long each piece of a request waits.
        watched: when these bytes have been forwarded, `passed` is called, once.
    """

    def __init__(self, port: int) -> None:
        """Listen on a free port for connections to `port`."""
        self.delay_s = 0.0
        self.watched = b""
        self.passed: Callable[[], None] = lambda: None
        self._target = (LOOPBACK, port)
        self._listener = socket.create_server((LOOPBACK, 0))
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for source, target, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=(source, target, is_request), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:  # noqa: FBT001
        # An error means that one side is gone; the other is told below.
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if is_request and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
                if is_request and self.watched and self.watched in data:
                    self.watched = b""
                    self.passed()
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()
