"""Short ways to write rows of the catalogue."""

from __future__ import annotations

from telemetry.metric import Kind, Label, Metric, Process

# Prometheus' own buckets start at 5 ms, where half of ours would be in the first. 250 ms and 2 s are objectives.
LATENCY_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip

SCORE, RESPOND, LEARN, HISTORY, NOTIFY, API = (frozenset({process}) for process in Process)
WORKERS = SCORE | RESPOND | LEARN | HISTORY | NOTIFY


def counter(
    name: str, meaning: str, readers: str, processes: frozenset[Process], *labels: Label, most_sets: int = 0
) -> Metric:
    """A row of a counter, its name without cardwatch_."""
    return Metric(f"cardwatch_{name}", Kind.COUNTER, "", meaning, readers, processes, labels, most_sets=most_sets)


def gauge(
    name: str, unit: str, meaning: str, readers: str, processes: frozenset[Process], *labels: Label, most_sets: int = 0
) -> Metric:
    """A row of a gauge."""
    return Metric(f"cardwatch_{name}", Kind.GAUGE, unit, meaning, readers, processes, labels, most_sets=most_sets)


def histogram(
    name: str,
    unit: str,
    meaning: str,
    readers: str,
    processes: frozenset[Process],
    *labels: Label,
    buckets: tuple[float, ...] = LATENCY_BUCKETS_S,
    most_sets: int = 0,
) -> Metric:
    """A row of a histogram."""
    return Metric(
        f"cardwatch_{name}", Kind.HISTOGRAM, unit, meaning, readers, processes, labels, buckets, most_sets
    )  # fmt: skip


def info(name: str, meaning: str, readers: str, processes: frozenset[Process]) -> Metric:
    """A row of an info metric."""
    return Metric(f"cardwatch_{name}", Kind.INFO, "", meaning, readers, processes)
