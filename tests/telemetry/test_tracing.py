"""Spans: children of the payment's own trace, through OpenTelemetry's SDK as a user installs it; nothing when off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry.tracing import NO_SPANS, Spans, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def recording() -> tuple[Spans, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider.get_tracer("test")), exporter


@pytest.mark.parametrize("given", [TRACEPARENT, TRACEPARENT.encode()])
def test_a_step_is_a_child_of_the_payment(given: str | bytes) -> None:
    """With the times it was told, and the place in the stream."""
    spans, exporter = recording()
    spans.record("assess", given, 1_000, 3_000, {"partition": 3, "offset": 42})
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert (span.name, span.start_time, span.end_time) == ("assess", 1_000, 3_000)
    assert dict(span.attributes or {}) == {"partition": 3, "offset": 42}


@pytest.mark.parametrize(
    "given", [None, "", "00-zz-00-01", TRACEPARENT + "-x", f"00-{'0' * 32}-{SPAN}-01", b"\xff\xfe", TRACEPARENT.upper()]
)
def test_what_is_no_trace_context_records_nothing(given: str | bytes | None) -> None:
    """A producer may send anything."""
    spans, exporter = recording()
    spans.record("decode", given, 1, 2, {})
    assert not exporter.get_finished_spans()
    assert trace_id_of(given) is None


def test_a_payment_that_was_not_sampled_stays_so() -> None:
    """The decision of whoever started the trace holds."""
    spans, exporter = recording()
    spans.record("decode", TRACEPARENT[:-1] + "0", 1, 2, {})
    assert not exporter.get_finished_spans()


def test_switched_off_it_is_nothing() -> None:
    """No span, and not even the import."""
    NO_SPANS.record("decode", TRACEPARENT, 1, 2, {})
    assert not NO_SPANS.is_on
    code = f"""
import sys
from telemetry.tracing import NO_SPANS, trace_id_of
NO_SPANS.record("decode", "{TRACEPARENT}", 1, 2, {{}})
assert trace_id_of("{TRACEPARENT}") == "{TRACE}"
assert "opentelemetry" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
