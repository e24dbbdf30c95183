"""A registry as text: Prometheus' own format, or OpenMetrics with exemplars for those who accept it."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics_text

_OPEN_METRICS = "application/openmetrics-text"
_PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def process_registry() -> CollectorRegistry:
    """A registry that shows what Prometheus wants to know of any process."""
    # A series more for every counter and histogram, and nobody reads them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The page and its content type.

    Args:
        registry: what to show.
        accept: the request's Accept header. prometheus_client's own negotiation repeats parts of it in its answer and
            fails on others.
    """
    if _OPEN_METRICS in accept:
        return openmetrics_text.generate_latest(registry), openmetrics_text.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    return prometheus_text.generate_latest(registry), _PLAIN_TEXT
