"""What a worker shows of itself: /metrics, /livez, /readyz and /startupz on one port, from threads of its own.

An event loop that hangs must not keep its process from saying so, so none of this runs in it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry

from telemetry.errors import EndpointError
from telemetry.exposition import exposition
from telemetry.vitals import Vitals

_JSON = "application/json"
_CLIENT_TIMEOUT_S = 10.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, vitals: Vitals) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self.vitals = vitals
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_TIMEOUT_S
    server_version = "cardwatch"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a scrape or a probe."""
        path = self.path.partition("?")[0]
        vitals = self.server.vitals
        probes = {"/livez": vitals.live, "/readyz": vitals.ready, "/startupz": vitals.startup}
        if path == "/metrics":
            self._answer(HTTPStatus.OK, *exposition(self.server.registry, self.headers.get("accept", "")))
        elif path in probes:
            sign = probes[path]()
            status = HTTPStatus.OK if sign.is_good else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, json.dumps(sign.picture).encode(), _JSON)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b'{"status": "not found"}', _JSON)

    do_HEAD = do_GET  # noqa: N815  the name that the base class looks for

    def log_message(self, *_: object) -> None:
        """Write nothing: a scrape every few seconds is worth no line, and a path may hold anything."""

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve(registry: CollectorRegistry, vitals: Vitals, host: str, port: int) -> int:
    """Show a process's metrics and vital signs until it ends.

    Returns:
        The port, chosen by the system where 0 was asked for.

    Raises:
        EndpointError: the port cannot be had.
    """
    try:
        server = _Server((host, port), registry, vitals)
    except OSError as error:
        message = f"{host}:{port} ({os.strerror(error.errno or 0)})"
        raise EndpointError(message) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_address[1])
