"""What being watched costs: metrics on the way of a payment, and a scrape of a worker that shows all it can.

The way of a payment is taken at its lowest: `assess_batch` alone, without Kafka, decoding and writing. Times are of the
processor, so that others on the machine change little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks import results, workload
from benchmarks.engine import Feed, state_config
from benchmarks.one_core import one_core
from benchmarks.options import Options
from cardwatch.settings import shipped_toml
from detector.engine import assess_batch
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState
from streams.metrics import StreamMetrics
from telemetry.catalogue import CATALOGUE
from telemetry.exposition import exposition, process_registry
from telemetry.instruments import Labelled
from telemetry.metric import Kind, Process
from telemetry.process import ProcessMetrics

NAME = "watching"
PURPOSE = "what metrics cost a payment, and what a scrape takes"
_HISTORY = 50_000
_SIZES = {1: 3_000, 16: 300, 256: 60, 4_096: 15}
_SCRAPES = 50
_REPEATS = 5
_OPEN_METRICS = "application/openmetrics-text"


def run(options: Options) -> None:
    """Measure, save, and write the table."""
    with one_core():
        shares = _shares(options)
        scrapes = {name: _scrape_s(accept) for name, accept in (("plain", ""), ("OpenMetrics", _OPEN_METRICS))}
    results.save(NAME, {"load_before": options.busy_before, "shares": shares, "scrapes_s": scrapes})
    lines = [results.machine_lines(options.busy_before), "", _share_table(shares), ""]
    rows = [(name, f"{series:,}", f"{seconds * 1e3:.1f}") for name, (series, seconds) in scrapes.items()]
    lines.append(results.table(("scrape of a score worker", "series", "ms"), rows))
    results.write_section(NAME, "\n".join(lines))


def _shares(options: Options) -> dict[int, tuple[float, float]]:
    """By size of batch: processor time a payment of the engine, and of the metrics, in seconds."""
    model, policy = workload.warmed_model(), Policy.from_mapping(shipped_toml("policy.toml"))
    state = EngineState(state_config(200_000), RateTable.from_mapping(shipped_toml("rates.toml")))
    state.open_partition(0)
    feed = Feed()
    options.say("a history")
    for batch in feed.batches(_HISTORY, 4_096)[0]:
        assess_batch(state, batch, model, policy)
    metrics = StreamMetrics(process_registry(), Process.SCORE)
    found: dict[int, tuple[float, float]] = {}
    for rows, count in _SIZES.items():
        options.say(f"batches of {rows:,}")
        # `batches` tells the wall clock of `build_batch`, which others on the machine lengthen: it is left out.
        batches, _build_s = feed.batches(rows * count, rows)
        began_s = time.process_time()
        scores = [assess_batch(state, batch, model, policy).score for batch in batches]
        engine_s = (time.process_time() - began_s) / (rows * count)
        watched_s = min(_watch(metrics, scores) for _ in range(_REPEATS)) / (rows * count)
        found[rows] = (engine_s, watched_s)
    return found


def _watch(metrics: StreamMetrics, batches: list[NDArray[np.float64]]) -> float:
    """Processor time of everything that a fetch of plain payments counts, for all batches together."""
    stamps = [np.full(len(scores), 1_700_000_000_000) for scores in batches]
    began_s = time.process_time()
    for scores, timestamps_ms in zip(batches, stamps, strict=True):
        metrics.scores.observe_many(scores)
        metrics.decided("ALLOW", "p-1", len(scores))
        metrics.decision_latency.observe_many((1_700_000_000_012 - timestamps_ms) / 1000.0)
        metrics.transactions.inc(len(scores))
        metrics.batch_records.observe(float(len(scores)))
        metrics.record_ahead.set(0.0)
    return time.process_time() - began_s


def _share_table(shares: dict[int, tuple[float, float]]) -> str:
    rows = [
        (f"{rows:,}", f"{engine_s * 1e6:.2f}", f"{watched_s * 1e6:.3f}", f"{watched_s / (engine_s + watched_s):.2%}")
        for rows, (engine_s, watched_s) in shares.items()
    ]
    return results.table(
        ("batch, payments", "assess_batch, µs a payment", "metrics, µs a payment", "share"), rows
    )  # fmt: skip


def _scrape_s(accept: str) -> tuple[int, float]:
    """Series and median seconds of a scrape of a score worker whose metrics are as full as they can be."""
    registry = process_registry()
    holders: list[object] = [StreamMetrics(registry, Process.SCORE), ProcessMetrics(registry, Process.SCORE, {})]
    for instrument in (value for holder in holders for value in vars(holder).values()):
        if isinstance(instrument, Labelled):
            _fill(instrument)
    taken: list[float] = []
    for _ in range(_SCRAPES):
        began_s = time.process_time()
        page, _type = exposition(registry, accept)
        taken.append(time.process_time() - began_s)
    series = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
    return series, statistics.median(taken)


def _fill(instrument: Labelled) -> None:  # type: ignore[type-arg] # any kind
    """Use a metric up to its bound."""
    row = CATALOGUE[instrument.name]
    act: Callable[[int], object]
    for number in range(row.label_sets):
        child = instrument.labels(*(str(number) for _ in row.labels))
        act = child.observe if row.kind is Kind.HISTOGRAM else child.inc
        act(1)
