"""What can be seen of a score worker from outside: spans and exemplars of traced payments, logs without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from streams.metrics import StreamMetrics
from streams.respond import RespondRole
from streams.score import ScoreRole
from streams.topics import ALERTS, DEAD_LETTERS, DECISIONS, TRANSACTIONS
from telemetry.exposition import exposition
from telemetry.logs import configure
from telemetry.metric import Process
from telemetry.tracing import Spans
from telemetry.vitals import Vitals
from tests.streams.fake_desk import FakeDesk
from tests.streams.kafka_world import World, eventually, running
from tests.streams.stand_in import POISON_CURRENCY, StandInCore

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01".encode()
CARD_NUMBER, TOKEN = "4111111111111111", "tok_9f8e7d6c5b4a3210"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, as a worker writes it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure("DEBUG", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def recording() -> tuple[Spans, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider.get_tracer("test")), exporter


def pay(world: World, transaction: str, traceparent: bytes | None = None, **fields: object) -> None:
    record = {
        "transaction_id": transaction, "card_token": TOKEN, "event_time_ms": 1_700_000_000_000,
        "amount_minor": 5_000_000, "currency": "EUR",
    } | fields  # fmt: skip
    headers: list[tuple[str, str | bytes | None]] = [] if traceparent is None else [("traceparent", traceparent)]
    world.write(TRANSACTIONS, str(record["card_token"]), json.dumps(record).encode(), headers)


def test_a_traced_payment_is_followed_to_the_desk(world: World) -> None:
    """Decode, assess, produce and respond are children of its own span; its latency is an exemplar; others are not."""
    spans, exporter = recording()
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry, Process.SCORE, Vitals(), spans)
    desk = FakeDesk()

    async def story() -> None:
        pay(world, "t-0")
        pay(world, "t-1", TRACEPARENT)
        pay(world, "t-2", b"no trace context")
        world.writer.flush()
        responding = RespondRole(desk, world.worker("r"), StreamMetrics(CollectorRegistry(), spans=spans))
        async with running(ScoreRole(StandInCore(), world.worker("w"), metrics)), running(responding):
            await eventually(lambda: len(desk.answered) == 3, "three alerts answered")

    asyncio.run(story())
    found = exporter.get_finished_spans()
    assert sorted(span.name for span in found) == ["assess", "decode", "produce", "respond"]
    source = next(
        record for record in world.read(TRANSACTIONS) if dict(record.headers).get("traceparent") == TRACEPARENT
    )
    for span in found:
        assert span.parent is not None
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
        assert (span.start_time or 0) <= (span.end_time or 0)
        if span.name != "respond":
            assert dict(span.attributes or {}) == {"partition": source.partition, "offset": source.offset}
    page = exposition(registry, "application/openmetrics-text")[0].decode()
    assert page.count(f'# {{trace_id="{TRACE}"}}') == 1


def test_nothing_secret_is_written_whatever_comes(world: World, log: io.StringIO) -> None:
    """Poison, card numbers in the clear and payments that break our code: logs and metrics name place and kind only."""
    registry = CollectorRegistry()

    async def story() -> None:
        pay(world, "t-poison", TRACEPARENT, currency=POISON_CURRENCY)
        pay(world, "t-clear", card_token=CARD_NUMBER)
        pay(world, CARD_NUMBER, merchant_id=CARD_NUMBER, currency=CARD_NUMBER)
        world.write(TRANSACTIONS, CARD_NUMBER, f'{{"card_token": "{CARD_NUMBER}" {TOKEN}'.encode())
        pay(world, "t-good")
        world.writer.flush()
        role = ScoreRole(StandInCore(), world.worker("w"), StreamMetrics(registry, Process.SCORE))
        async with running(role):
            await eventually(lambda: len(world.read(DEAD_LETTERS)) == 4, "four dead letters")
            await eventually(lambda: len(world.read(DECISIONS)) == 2, "two decisions")

    asyncio.run(story())
    written = log.getvalue() + exposition(registry, "application/openmetrics-text")[0].decode()
    assert CARD_NUMBER not in written
    assert [line for line in written.splitlines() if TOKEN in line] == []
    failed = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "a payment failed"]
    (line,) = failed
    assert (line["topic"], line["trace_id"]) == (TRANSACTIONS, TRACE)
    assert {"partition", "offset", "exception"} <= line.keys()
    letters = b"".join((record.value or b"") + repr(record.headers).encode() for record in world.read(DEAD_LETTERS))
    assert CARD_NUMBER.encode() not in letters
    assert not any(CARD_NUMBER.encode() in (record.value or b"") for record in world.read(ALERTS))
