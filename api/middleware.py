"""Around every request: size limit, security headers, one log line and two metrics, and the last resort for bugs.

Pure ASGI, in one layer, so that nothing is answered without it. The log line and the metric labels carry the route's
template and never the path, and an exception is logged by class and code position, never by message: paths, queries,
headers and messages may hold what must not be written down.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Mapping
from typing import cast

from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answers import answer_error
from api.errors import SIGN_IN_OUTCOMES, BodyIncompleteError, BodyTooLargeError, RequestError
from telemetry.instruments import Instruments
from telemetry.metric import Process
from telemetry.tracing import trace_id_of

logger = logging.getLogger("cardwatch.api.request")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED = "unmatched"
_SERVER_ERROR = 500

# Scripts come from one file of ours, and only it may fetch, from here; the console works without it. `same-origin`
# rather than `no-referrer`, because under the latter browsers send `Origin: null` with forms, and the console checks
# the origin.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    (
        "content-security-policy",
        _CONTENT_SECURITY_POLICY,
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
)
_ONE_YEAR = "max-age=31536000"


class HttpMetrics:
    """The service's own metrics, in the registry it was given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        made = Instruments(registry, Process.API)
        self.requests = made.counters("cardwatch_http_requests_total")
        self.seconds = made.histograms("cardwatch_http_request_duration_seconds")
        self._sign_ins = made.counters("cardwatch_sign_ins_total")
        # A rate over a counter that appears with its first event misses that event.
        for outcome in SIGN_IN_OUTCOMES:
            self._sign_ins.labels(outcome)

    def count_sign_in(self, outcome: str) -> None:
        """Count how somebody's signing in at the console ended."""
        self._sign_ins.labels(outcome).inc()


class RequestGuard:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, metrics: HttpMetrics, max_body_bytes: int, limits_by_path: Mapping[str, int]
    ) -> None:
        """Guard `app`: count its requests in `metrics`, refuse bodies over the limit of their path or of all paths."""
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._limits_by_path = limits_by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        started = time.perf_counter()
        try:
            limit = self._limits_by_path.get(scope["path"], self._max_body_bytes)
            body = await _read_body(scope, receive, limit)
            await self._app(scope, _replay(body, receive), answer.send)
        except RequestError as error:
            await answer_error(error, scope)(scope, receive, answer.send)
        except Exception as error:
            _log_exception(error, answer.request_id)
            if answer.status:
                raise
            await answer_error(error, scope)(scope, receive, answer.send)
        finally:
            # A stream of events is answered when it begins; how long somebody listens is no latency.
            ended = time.perf_counter() if answer.streams_since is None else answer.streams_since
            self._record(scope, answer, ended - started)

    def _record(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        """Count the request and write its log line."""
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = _route_template(scope)
        status = answer.status or _SERVER_ERROR
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        caller = scope.get("state", {}).get("caller", "-")
        level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
        story = (method, route, status, seconds * 1e3, caller, answer.request_id)
        trace_id = trace_id_of(Headers(scope=scope).get("traceparent"))
        logger.log(level, "%s %s %d %.1f ms caller=%s request=%s", *story, extra={"trace_id": trace_id})


class _Answer:
    """Watches the answer on its way out and adds our headers to it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._secure = scope["scheme"] == "https"
        self.status = 0
        self.streams_since: float | None = None
        # Ours, never the client's: what a client sends is not written back nor logged.
        self.request_id = uuid.uuid4().hex

    async def send(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS:
                headers[name] = value
            if headers.get("content-type", "").startswith("text/event-stream"):
                self.streams_since = time.perf_counter()
            headers.setdefault("cache-control", "no-store")
            headers["x-request-id"] = self.request_id
            if self._secure:
                headers["strict-transport-security"] = _ONE_YEAR
        await self._send(message)


async def _read_body(scope: Scope, receive: Receive, max_body_bytes: int) -> bytes:
    """Read the whole body, which is small by definition, before anything looks at it."""
    headers = Headers(scope=scope)
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and len(announced) < len(str(2**63)) and int(announced) > max_body_bytes:
        raise BodyTooLargeError
    chunks: list[bytes] = []
    size, more = 0, announced != "0" or "transfer-encoding" in headers
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyIncompleteError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_body_bytes:
            raise BodyTooLargeError
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body once and then listens to the client again."""
    handed_out = False

    async def replayed() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _route_template(scope: Scope) -> str:
    """The matched route's template, or one word for everything that matched none."""
    return cast("str", getattr(scope.get("route"), "path", _UNMATCHED))


def _log_exception(error: Exception, request_id: str) -> None:
    """Write down where our code failed, and not what it was working on."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("unexpected %s, request=%s\n%s", type(error).__name__, request_id, frames)
