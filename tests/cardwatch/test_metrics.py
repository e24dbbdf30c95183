"""A process's metrics endpoint, and the numbers that the live view makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from rich.console import Console

from cardwatch.embedded import DataDirectory
from cardwatch.live import CaseLine, Meter, picture
from cardwatch.metrics import (
    PROCESS_VARIABLE,
    Reading,
    read_metrics,
    read_url,
    write_url,
)
from telemetry.endpoint import serve
from telemetry.exposition import process_registry
from telemetry.vitals import Vitals


def reading(registry: CollectorRegistry) -> Reading:
    return Reading(tuple((s.name, s.labels, float(s.value)) for family in registry.collect() for s in family.samples))


def test_an_endpoint_is_found_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process on a free port writes down where it answers, and what it counts can be read there."""
    registry = process_registry()
    Counter("cardwatch_decisions", "Decisions.", ["action"], registry=registry).labels("ALLOW").inc(7)
    data = DataDirectory(tmp_path)
    assert read_url(data, "score") is None
    monkeypatch.setenv(PROCESS_VARIABLE, "score")
    url = write_url(data, "score", "127.0.0.1", serve(registry, Vitals(), "127.0.0.1", 0))
    assert read_url(data, "score") == url
    found = read_metrics(url)
    assert found.total("cardwatch_decisions_total", action="ALLOW") == 7
    assert found.total("process_start_time_seconds") > 0


def test_a_worker_started_by_hand_does_not_pass_for_one_of_the_tree(tmp_path: Path) -> None:
    """A second worker in a demo's directory does not take the place of the demo's own in its view."""
    data = DataDirectory(tmp_path)
    write_url(data, "score", "127.0.0.1", 1)
    assert read_url(data, "score") is None
    assert read_url(data, f"score-{os.getpid()}") == "http://127.0.0.1:1"


def test_an_endpoint_that_is_away_reads_as_nothing() -> None:
    """A process that restarts does not end the view."""
    assert read_metrics("http://127.0.0.1:1") == Reading()


def test_quantiles_are_of_what_came_since() -> None:
    """The view shows the latency of now, not of the whole run."""
    registry = CollectorRegistry()
    latency = Histogram("latency", "Latency.", buckets=(1.0, 2.0, 4.0), registry=registry)
    for value in (0.5, 0.5, 0.5):
        latency.observe(value)
    before = reading(registry)
    for value in (3.0, 3.0, 10.0, 10.0):
        latency.observe(value)
    now = reading(registry)
    assert before.quantile("latency", 0.5) == pytest.approx(0.5)
    assert now.quantile("latency", 0.5, before) == pytest.approx(4.0)
    assert now.quantile("latency", 0.25, before) == pytest.approx(3.0)
    assert now.quantile("latency", 0.99, before) == 4.0
    assert now.quantile("latency", 0.5, now) is None
    assert now.quantile("absent", 0.5) is None


def test_the_view_shows_rates_latency_and_cases() -> None:
    """Rate, latency, answers, alerts, cases and the model are there, from the roles' own metrics."""
    score, respond = CollectorRegistry(), CollectorRegistry()
    decisions = Counter("cardwatch_decisions", "Decisions.", ["action"], registry=score)
    latency = Histogram("cardwatch_decision_latency_seconds", "Latency.", buckets=(0.01, 0.02), registry=score)
    Gauge("cardwatch_model_info", "Model.", ["version"], registry=score).labels("m-000002").set(1)
    Counter("cardwatch_freezes", "Freezes.", ["outcome"], registry=respond).labels("frozen").inc()
    Gauge("cardwatch_cases", "Cases.", ["state"], registry=respond).labels("open").set(1)
    meter = Meter()
    decisions.labels("ALLOW").inc(50)
    meter.measure({"score": reading(score), "respond": reading(respond)}, 10.0)
    decisions.labels("ALLOW").inc(190)
    decisions.labels("FREEZE").inc(10)
    latency.observe(0.01)
    numbers = meter.measure({"score": reading(score), "respond": reading(respond)}, 12.0)
    assert numbers.rate_per_s == pytest.approx(100.0)
    assert numbers.decisions == {"ALLOW": 240, "FREEZE": 10}
    assert numbers.freezes == {"frozen": 1}
    console = Console(width=120, record=True)
    line = CaseLine("case-1", "tok_1", "FREEZE", "open", "impossible_travel, " * 20)
    console.print(picture({"console": "http://127.0.0.1:8080/console"}, numbers, [line]))
    shown = console.export_text()
    for text in (
        "100 a second",
        "FREEZE 10",
        "frozen 1",
        "m-000002",
        "case-1",
        "tok_1",
        "FREEZE ",
        "http://127.0.0.1:8080/console",
    ):
        assert text in shown
    assert "100 payments/s, 250 answered" in numbers.line()


def test_counts_go_on_when_a_process_is_started_again() -> None:
    """After `kill -9` of a worker the view neither starts from zero nor shows a negative rate."""

    def counted(count: int) -> Reading:
        return Reading((("cardwatch_decisions_total", {"action": "ALLOW"}, float(count)),))

    meter = Meter()
    meter.measure({"score": counted(100)}, 1.0)
    meter.measure({"score": counted(200)}, 2.0)
    assert meter.measure({}, 3.0).decisions == {"ALLOW": 200}
    restarted = meter.measure({"score": counted(30)}, 4.0)
    later = meter.measure({"score": counted(80)}, 5.0)
    assert restarted.decisions == {"ALLOW": 230}
    assert restarted.rate_per_s == 0
    assert later.decisions == {"ALLOW": 280}
    assert later.rate_per_s == pytest.approx(50.0)


def test_a_view_without_any_metrics_is_empty() -> None:
    """Before the workers answer, nothing is made up."""
    unset = CollectorRegistry()
    Info("cardwatch_model", "Model.", registry=unset)
    numbers = Meter().measure({"score": reading(unset)}, 1.0)
    assert numbers.rate_per_s == 0
    assert numbers.latency_ms is None
    assert numbers.model == "-"
