"""The golden signals and the metrics of running processes, as an SRE sees them without a Prometheus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from cardwatch.cli import main
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from cardwatch.metrics import Reading, address_file
from cardwatch.signals import Signal, View, processes, signals
from streams.metrics import StreamMetrics
from telemetry.endpoint import serve
from telemetry.exposition import process_registry
from telemetry.metric import Process


def reading(registry: CollectorRegistry) -> Reading:
    return Reading(tuple((s.name, s.labels, float(s.value)) for family in registry.collect() for s in family.samples))


def scorer(payments: int) -> tuple[CollectorRegistry, StreamMetrics]:
    """A score process that has decided so many payments."""
    registry = process_registry()
    metrics = StreamMetrics(registry, Process.SCORE)
    metrics.vitals.started()
    metrics.transactions.inc(payments)
    metrics.decision_latency.observe_many(np.full(payments, 0.004))
    return registry, metrics


def lines(view: View) -> dict[str, Signal]:
    return {signal.name: signal for heading in signals(view).values() for signal in heading}


def test_signals_are_of_what_came_between_two_readings() -> None:
    """Rates by the time between them, latency of what was new, a restart counted from zero."""
    registry, metrics = scorer(100)
    before = {"score": reading(registry)}
    metrics.transactions.inc(50)
    metrics.decision_latency.observe_many(np.full(50, 0.4))
    view = View({"score": reading(registry)}, before, 10.0)
    assert lines(view)["payments"].value == "5.0 a second"
    assert lines(view)["decisions"].is_doubtful
    restarted = View({"score": reading(scorer(20)[0])}, view.now, 10.0)
    assert lines(restarted)["payments"].value == "2.0 a second"


def test_a_process_shows_what_it_waits_for() -> None:
    """Away, starting, not ready and ready are told apart."""
    registry, metrics = scorer(1)
    new = process_registry()
    StreamMetrics(new, Process.RESPOND).vitals.phase("kernels", 0.5)
    view = View({"score": reading(registry), "respond": reading(new), "learn": Reading()}, {}, 1.0)
    told = {signal.name: (signal.value.split("   ")[0], signal.is_doubtful) for signal in processes(view)}
    assert told == {
        "score": ("ready", False),
        "respond": ("starting, 50%", True),
        "learn": ("does not answer", True),
    }
    metrics.vitals.waits_for("redis", "ConnectionError")
    assert processes(View({"score": reading(registry)}, {}, 1.0))[0].value.startswith("not ready")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDirectory:
    """A data directory with one running scorer; nothing listens at the other roles' ports."""
    for role in ("RESPOND", "LEARN", "HISTORY", "NOTIFY"):
        monkeypatch.setenv(f"CARDWATCH_METRICS__{role}_PORT", "0")
    monkeypatch.setenv("CARDWATCH_API__PORT", "0")
    directory = DataDirectory(tmp_path)
    directory.run.mkdir()
    registry, metrics = scorer(7)
    metrics.decided("ALLOW", "p-1", 7)
    url = f"http://127.0.0.1:{serve(registry, metrics.vitals, '127.0.0.1', 0)}"
    address_file(directory, "score").write_text(json.dumps({"url": url}))
    return directory


def test_metrics_are_printed_by_the_beginnings_of_their_names(
    data: DataDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """With labels, and with the process that shows them."""
    assert main(["metrics", "--data-dir", str(data.root), "decisions_total", "cardwatch_source"]) == EXIT_OK
    assert capsys.readouterr().out.splitlines() == [
        'score: cardwatch_decisions_total{action="ALLOW",policy="p-1"} 7',
        "score: cardwatch_source_partitions 0",
    ]


def test_a_name_that_is_none_is_refused(data: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen does not pass for a metric that is zero."""
    assert main(["metrics", "--data-dir", str(data.root), "decision_total"]) == EXIT_USAGE
    assert "docs/metrics.md" in capsys.readouterr().err


def test_a_process_that_is_away_is_told(data: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, and by the code at the end, for both commands."""
    address_file(data, "learn").write_text(json.dumps({"url": "http://127.0.0.1:1"}))
    assert main(["metrics", "--data-dir", str(data.root), "ready"]) == EXIT_FAILED
    assert "learn: does not answer at http://127.0.0.1:1" in capsys.readouterr().out
    assert main(["top", "--data-dir", str(data.root), "--once", "--interval", "0.01"]) == EXIT_FAILED
    shown = capsys.readouterr().out
    assert "does not answer" in shown
    for heading in ("processes", "traffic", "latency", "errors", "saturation", "detection"):
        assert heading in shown
