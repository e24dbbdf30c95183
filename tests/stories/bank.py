"""The bank's messaging: an HTTP server that shows cardholders the notices that cardwatch posts."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.services.process import wait_until

_WAIT_S = 60.0


class Bank:
    """What cardholders were told."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        self.url = ""

    def text(self, case_id: str, template: str) -> str:
        """The words of a case's latest notice of this kind, once it has come."""

        def found() -> list[str]:
            return [
                str(each["text"])
                for each in self.notices
                if each.get("case_id") == case_id and each["template"] == template
            ]

        wait_until(lambda: bool(found()), seconds=_WAIT_S, what=f"the notice {template}")
        return found()[-1]

    def link(self, case_id: str) -> str:
        """Where the notice of the freeze sends its reader."""
        return _only(r"https?://\S+", self.text(case_id, "card_frozen"))

    def code(self, case_id: str) -> str:
        """The one-time code that was sent."""
        return _only(r"\b\d{6}\b", self.text(case_id, "verification_code"))


def _only(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[0]


@contextmanager
def running_bank() -> Iterator[Bank]:
    """A bank that listens."""
    bank = Bank()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bank.notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bank.url = f"http://127.0.0.1:{server.server_port}/notices"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield bank
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
