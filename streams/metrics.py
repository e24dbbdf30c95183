"""What the streams count and time, for Prometheus. One registry, passed in; no card token in any label."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from detector.models.calibration import Evidence
from detector.models.drift import DriftAlarm

logger = logging.getLogger(__name__)

# Prometheus' own buckets start at 5 ms, where half of ours would be in the first.
LATENCY_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_BATCH_BUCKETS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)


class BatchHistogram(Collector):
    """A histogram that takes a whole batch of observations at once; safe to be observed from several threads."""

    def __init__(self, name: str, meaning: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        """Register under `name`; `buckets` are upper bounds, ascending, without infinity."""
        self._name, self._meaning = name, meaning
        self._bounds = np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe_many(self, values: NDArray[np.float64]) -> None:
        """Count a batch of observations."""
        places = np.bincount(np.searchsorted(self._bounds, values, side="left"), minlength=len(self._counts))
        with self._lock:
            self._counts += places
            self._sum += float(values.sum())

    def collect(self) -> Iterable[Metric]:
        """Show the buckets, cumulated."""
        with self._lock:
            cumulated, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*(repr(bound) for bound in self._bounds.tolist()), "+Inf"]
        family = HistogramMetricFamily(self._name, self._meaning)
        family.add_metric([], list(zip(bounds, cumulated, strict=True)), total)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Name the metric without its values."""
        yield HistogramMetricFamily(self._name, self._meaning)


class StreamMetrics:
    """The metrics of one worker process, whatever its roles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all metrics in `registry`; once per registry."""

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"cardwatch_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"cardwatch_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: Sequence[float]) -> BatchHistogram:
            return BatchHistogram(f"cardwatch_{name}", meaning, buckets, registry)

        self.transactions = counter("transactions_total", "Transactions scored, replayed ones included.")
        self.decisions = counter("decisions_total", "Decisions answered, by action.", "action")
        self.alerts = counter("alerts_total", "Alerts sent, by action.", "action")
        self.freezes = counter("freezes_total", "FREEZE alerts handled, by what became of them.", "outcome")
        self.store_failures = counter(
            "store_failures_total", "Calls to the desk's store that failed and are made again, by error.", "error"
        )
        self.breaker_open = gauge(
            "freeze_breaker_open", "1 while freezes of this version of the policy are held for people.", "policy"
        )
        self.cases = gauge("cases", "Cases, by state.", "state")
        self.dead_letters = counter("dead_letters_total", "Records put aside, by reason.", "reason")
        self.unknown_fields = counter("unknown_fields_total", "Records with fields we do not know, by topic.", "topic")
        self.misplaced = counter(
            "misplaced_records_total", "Sampled records whose partition is not that of their card token.", "topic"
        )
        self.lag = gauge("consumer_lag_records", "Records waiting to be read.", "topic", "partition")
        self.event_time_lag = gauge(
            "event_time_lag_seconds", "Seconds between now and the latest event time seen.", "partition"
        )
        self.decision_latency = histogram(
            "decision_latency_seconds", "From a record's timestamp to its decision's acknowledgement.",
            LATENCY_BUCKETS_S,
        )  # fmt: skip
        self.freeze_latency = histogram(
            "freeze_latency_seconds", "From a record's timestamp to its card being frozen.", LATENCY_BUCKETS_S
        )
        self.batch_records = histogram("batch_records", "Records that one fetch brought.", _BATCH_BUCKETS)
        self.model = Info("cardwatch_model", "The model version in use.", registry=registry)
        self.model_age = gauge("model_age_seconds", "Seconds since the model version in use was taken over.")
        self.model_loss = gauge(
            "model_log_loss", "Mean log loss on the latest labels, each before it was learned.", "model"
        )
        self.model_precision = gauge(
            "model_average_precision", "Average precision on the latest labels, each before it was learned.", "model"
        )
        self.drift = gauge(
            "drift_index", "Population stability index of the last half day, or the share of the usual labels.", "name"
        )
        self.drift_alarms = counter("drift_alarms_total", "Features, scores, labels or losses begun to drift.", "name")
        self.labels = counter("labels_total", "Labels read, by source and by what became of them.", "source", "outcome")
        self.checkpoint_age = gauge("checkpoint_age_seconds", "Seconds since the last checkpoint was complete.")
        self.checkpoint_bytes = gauge("checkpoint_bytes", "Bytes written by the last checkpoint.")
        self.checkpoint_duration = gauge("checkpoint_duration_seconds", "Seconds the last checkpoint took to write.")
        self.outbox_age = gauge("outbox_age_seconds", "Age of the oldest outbox entry that Kafka has not acknowledged.")
        self.broadcast_rejected = counter(
            "broadcast_rejected_total", "Models, directives or card states that could not be used, by topic.", "topic"
        )

    def model_evidence(self, name: str, evidence: Evidence) -> None:
        """Note how good a contender has been."""
        self.model_loss.labels(name).set(evidence.log_loss)
        self.model_precision.labels(name).set(evidence.average_precision)

    def drift_seen(self, name: str, value: float) -> None:
        """See `DriftObserver`."""
        self.drift.labels(name).set(value)

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        """See `DriftObserver`."""
        logger.warning("drift of %s: %.3f at event time %d", alarm.name, alarm.value, alarm.time_ms)
        self.drift_alarms.labels(alarm.name).inc()

    def model_in_use(self, version: str) -> None:
        """Note that another model version is in use from now on."""
        self.model.info({"version": version})
        since_s = time.time()
        self.model_age.set_function(lambda: time.time() - since_s)

    def checkpoint_done(self, size_bytes: int, duration_s: float) -> None:
        """Note a complete checkpoint."""
        self.checkpoint_bytes.set(size_bytes)
        self.checkpoint_duration.set(duration_s)
        since_s = time.time()
        self.checkpoint_age.set_function(lambda: time.time() - since_s)
