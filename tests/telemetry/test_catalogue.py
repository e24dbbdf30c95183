"""The catalogue is complete, bounded, and what docs/metrics.md says."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from api.middleware import HttpMetrics
from streams.metrics import StreamMetrics
from telemetry.catalogue import CATALOGUE, LABEL_AGES, MOST_SERIES, label_age
from telemetry.errors import CatalogueError
from telemetry.exposition import exposition, process_registry
from telemetry.instruments import Instruments, Labelled
from telemetry.metric import Kind, Label, Metric, Process
from telemetry.page import PAGE, metrics_page
from telemetry.process import ProcessMetrics

ROOT = Path(__file__).resolve().parents[2]
FLOODS = 1_500


@pytest.fixture(autouse=True)
def _log_handlers() -> Iterator[None]:
    """Counting log lines ends with the test."""
    before = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = before


def instruments_of(process: Process) -> tuple[CollectorRegistry, list[object]]:
    """The registry of a process, as it is made by that process, and what counts in it."""
    registry = process_registry()
    holders: list[object] = [ProcessMetrics(registry, process, {})]
    if process is Process.API:
        waiting = Instruments(registry, process).counters("cardwatch_waiting_answers_total")
        holders += [HttpMetrics(registry), SimpleNamespace(answers=waiting)]
    else:
        holders.append(StreamMetrics(registry, process))
    return registry, holders


@pytest.mark.generated
def test_the_page_is_fresh() -> None:
    """Whoever changes the catalogue writes the page anew: python -m telemetry.page."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == metrics_page()


@pytest.mark.parametrize("process", Process)
def test_each_process_shows_what_the_catalogue_says(process: Process) -> None:
    """No metric stands in the catalogue that nobody makes, and no process shows one that is not its own."""
    registry, _ = instruments_of(process)
    shown = {family.name for family in registry.collect() if family.name.startswith("cardwatch_")}
    wanted = {row.name for row in CATALOGUE.values() if process in row.processes}
    assert shown == {name.removesuffix("_total").removesuffix("_info") for name in wanted}


@pytest.mark.parametrize("process", Process)
def test_a_flood_of_labels_stays_within_the_bound(process: Process) -> None:
    """Whatever a process is fed, it shows at most 2,000 series, and nothing that is counted gets lost."""
    registry, holders = instruments_of(process)
    for instrument in (value for holder in holders for value in vars(holder).values()):
        if isinstance(instrument, Labelled):
            labels = len(instrument._described.labels)
            for number in range(FLOODS):
                child = instrument.labels(*(f"{number}-{place}" for place in range(labels)))
                if instrument._described.kind is Kind.HISTOGRAM:
                    child.observe(1.0)
                else:
                    child.inc()
    for accept in ("", "application/openmetrics-text"):
        page = exposition(registry, accept)[0].decode()
        assert len([line for line in page.splitlines() if line and not line.startswith("#")]) <= MOST_SERIES
    families = {family.name: family for family in registry.collect()}
    for row in CATALOGUE.values():
        if process in row.processes and row.kind is Kind.COUNTER and row.labels and "log_lines" not in row.name:
            total = sum(sample.value for sample in families[row.name.removesuffix("_total")].samples)
            assert total >= FLOODS


def test_what_came_after_the_bound_is_gathered_and_told() -> None:
    """A counter loses nothing; a gauge shows only what it can name; both say that their bound was met."""
    registry = CollectorRegistry()
    made = Instruments(registry)
    counted, shown = made.counters("cardwatch_alerts_total"), made.gauges("cardwatch_cases")
    for number in range(20):
        counted.labels(str(number)).inc()
        shown.labels(str(number)).set(number)
    assert registry.get_sample_value("cardwatch_alerts_total", {"action": "4"}) == 1
    assert registry.get_sample_value("cardwatch_alerts_total", {"action": "other"}) == 15
    assert registry.get_sample_value("cardwatch_cases", {"state": "11"}) == 11
    assert registry.get_sample_value("cardwatch_cases", {"state": "12"}) is None
    assert registry.get_sample_value("cardwatch_cases", {"state": "other"}) is None
    overflows = "cardwatch_metric_overflows_total"
    assert registry.get_sample_value(overflows, {"metric": "cardwatch_alerts_total"}) == 15
    assert registry.get_sample_value(overflows, {"metric": "cardwatch_cases"}) == 8


def test_what_is_forgotten_makes_room() -> None:
    """A worker that gets other partitions shows those, however many it had before."""
    registry = CollectorRegistry()
    lag = Instruments(registry).gauges("cardwatch_consumer_lag_records")
    for partition in range(2_000):
        lag.labels("payments.transactions.v1", str(partition)).set(partition)
        lag.forget(partition=str(partition - 1))
    name = "cardwatch_consumer_lag_records"
    shown = [sample for family in registry.collect() if family.name == name for sample in family.samples]
    assert [sample.labels["partition"] for sample in shown] == ["1999"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "payments_total"}, "cardwatch_"),
        ({"name": "cardwatch_payments"}, "_total"),
        ({"name": "cardwatch_payments_total", "unit": "seconds"}, "unit"),
        ({"unit": "minutes"}, "base unit"),
        ({"buckets": (1.0,)}, "buckets"),
        ({"labels": (Label("card", 0, "any"),)}, "bound"),
        ({"meaning": "Without an end"}, "meaning"),
    ],
)
def test_a_row_that_breaks_the_conventions_is_refused(changed: dict[str, object], why: str) -> None:
    """What Prometheus or its readers would stumble over is named when the catalogue is read."""
    row: dict[str, object] = {
        "name": "cardwatch_payments_total",
        "kind": Kind.COUNTER,
        "unit": "",
        "meaning": "Payments.",
        "readers": "SRE",
        "processes": frozenset({Process.SCORE}),
    }
    with pytest.raises(CatalogueError, match=why):
        Metric(**(row | changed))  # type: ignore[arg-type] # a table of wrong rows


def test_what_is_not_in_the_catalogue_cannot_be_made() -> None:
    """Nor what stands there as something else."""
    made = Instruments(CollectorRegistry())
    for attempt in (
        lambda: made.counter("cardwatch_unheard_of_total"),
        lambda: made.counter("cardwatch_alerts_total"),
        lambda: made.gauge("cardwatch_transactions_total"),
    ):
        with pytest.raises(CatalogueError):
            attempt()


def test_ages_of_labels_have_names() -> None:
    """Each age belongs to one name, the bounds included."""
    assert [label_age(age_s) for age_s, _ in LABEL_AGES] == [name for _, name in LABEL_AGES]
    assert label_age(0) == "1h"
    assert label_age(LABEL_AGES[-1][0] + 1) == "older"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("process", Process)
def test_promtool_finds_nothing_to_say(process: Process) -> None:
    """Names, units and help texts follow Prometheus' conventions."""
    registry, _holders = instruments_of(process)
    page, _ = exposition(registry, "")
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
