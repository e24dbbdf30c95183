"""Spans for payments that come with a `traceparent`, through OpenTelemetry's API.

Off by default; then nothing of OpenTelemetry is imported and nothing is measured. Switched on, spans go to whatever
tracer provider the process has: `opentelemetry-instrument cardwatch worker ...` brings one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOTHING = "0" * 32


def trace_id_of(traceparent: bytes | str | None) -> str | None:
    """The trace id, 32 hex digits; None where there is none, or what came is no W3C trace context."""
    if traceparent is None:
        return None
    text = traceparent.decode("ascii", "replace") if isinstance(traceparent, bytes) else traceparent
    found = _TRACEPARENT.fullmatch(text)
    return found.group(1) if found and found.group(1) != _NOTHING else None


class Spans:
    """Spans of one process. `NO_SPANS` is one that is switched off."""

    def __init__(self, tracer: Tracer | None) -> None:
        """Record with `tracer`; None records nothing."""
        self._tracer = tracer

    @classmethod
    def from_environment(cls) -> Spans:
        """Spans that go to the process's tracer provider."""
        from opentelemetry import trace  # noqa: PLC0415  free when off

        return cls(trace.get_tracer("cardwatch"))

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded."""
        return self._tracer is not None

    def record(
        self,
        name: str,
        traceparent: bytes | str | None,
        began_ns: int,
        ended_ns: int,
        attributes: Mapping[str, str | int],
    ) -> None:
        """Record what was done for one payment.

        Args:
            name: decode, assess, produce or respond.
            traceparent: of the payment; one that is no W3C trace context records nothing.
            began_ns: Unix time in nanoseconds.
            ended_ns: likewise.
            attributes: topic, partition and offset; never tokens.
        """
        if self._tracer is None or traceparent is None:
            return
        context = _context_of(traceparent)
        if context is not None:
            span = self._tracer.start_span(name, context, start_time=began_ns, attributes=dict(attributes))
            span.end(ended_ns)


NO_SPANS = Spans(None)


def _context_of(traceparent: bytes | str) -> Context | None:
    from opentelemetry import trace  # noqa: PLC0415  free when off

    text = traceparent.decode("ascii", "replace") if isinstance(traceparent, bytes) else traceparent
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent.is_valid else None
