"""Metrics made from the catalogue: what is not in it cannot be counted, and no label grows without bound."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from telemetry import metric
from telemetry.catalogue import CATALOGUE, OVERFLOWS
from telemetry.errors import CatalogueError
from telemetry.metric import Kind, Process

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)

# What counts in place of a label set that came after the bound was reached.
OTHER = "other"
# So many observations are put into their buckets together at most: 32 kB a histogram.
_LAID_ASIDE = 4_096


class Labelled(Generic[Instrument]):
    """A metric with labels: so many label sets, and one that gathers the rest.

    A counter or histogram counts the rest in a set of its own whose labels all say `other`. A gauge of many things at
    once would mean nothing, so what a gauge is told of the rest is dropped. Both are counted by
    `cardwatch_metric_overflows_total`.
    """

    def __init__(self, inner: Instrument, described: metric.Metric, refuse: Callable[[], None]) -> None:
        """Bound `inner` as the catalogue says; `refuse` is called for every label set over the bound."""
        self._inner: Instrument = inner
        self._described = described
        self._refuse = refuse
        self._known: dict[tuple[str, ...], Instrument] = {}
        self._lock = threading.Lock()
        self._rest: Instrument | None = None

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return self._described.name

    def labels(self, *values: str) -> Instrument:
        """The instrument of these label values, in the catalogue's order."""
        found = self._known.get(values)
        return self._add(values) if found is None else found

    def forget(self, **values: str) -> None:
        """Show the label sets with these values no longer: what they were about is another process's now."""
        names = [label.name for label in self._described.labels]
        wanted = {names.index(name): value for name, value in values.items()}
        with self._lock:
            for known in [it for it in self._known if all(it[place] == value for place, value in wanted.items())]:
                del self._known[known]
                self._inner.remove(*known)

    def _add(self, values: tuple[str, ...]) -> Instrument:
        with self._lock:
            if values in self._known:
                return self._known[values]
            if len(self._known) < self._described.label_sets:
                self._known[values] = self._inner.labels(*values)
                return self._known[values]
        self._refuse()
        if self._rest is None:
            if self._described.kind is Kind.GAUGE:
                self._rest = type(self._inner)(self._described.name, "", self._label_names(), registry=None).labels(
                    *values
                )
            else:
                self._rest = self._inner.labels(*([OTHER] * len(values)))
        return self._rest

    def _label_names(self) -> list[str]:
        return [label.name for label in self._described.labels]


_OVERFLOWS_OF: WeakKeyDictionary[CollectorRegistry, Labelled[Counter]] = WeakKeyDictionary()


class BatchHistogram(Collector):
    """A histogram that takes a whole batch of observations at once; safe to be observed from several threads.

    Observations are laid aside, and put into their buckets when there are many or when somebody looks: in small batches
    finding the buckets costs ten times as much as laying aside.
    """

    def __init__(
        self, name: str, meaning: str, buckets: Sequence[float], registry: CollectorRegistry | None = None
    ) -> None:
        """Register under `name`; `buckets` are upper bounds, ascending, without infinity."""
        self._name, self._meaning = name, meaning
        self._bounds = np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._aside, self._waiting = np.empty(_LAID_ASIDE), 0
        self._exemplars: dict[int, Exemplar] = {}
        self._sum = 0.0
        self._lock = threading.Lock()
        if registry is not None:
            registry.register(self)

    def observe_many(self, values: NDArray[np.float64]) -> None:
        """Count a batch of observations."""
        count = len(values)
        with self._lock:
            if self._waiting + count > _LAID_ASIDE:
                self._count_waiting()
                if count > _LAID_ASIDE:
                    self._count(values)
                    return
            self._aside[self._waiting : self._waiting + count] = values
            self._waiting += count

    def observe(self, value: float) -> None:
        """Count one observation."""
        with self._lock:
            if self._waiting == _LAID_ASIDE:
                self._count_waiting()
            self._aside[self._waiting] = value
            self._waiting += 1

    def _count_waiting(self) -> None:
        """Put what was laid aside into its buckets; the caller holds the lock."""
        self._count(self._aside[: self._waiting])
        self._waiting = 0

    def _count(self, values: NDArray[np.float64]) -> None:
        """Put observations into their buckets; what is no finite number is left out."""
        total = float(values.sum())
        if not math.isfinite(total):
            # `searchsorted` puts what is no number behind the last bound, and a sum with it stays no number.
            values = values[np.isfinite(values)]
            total = float(values.sum())
        self._counts += np.bincount(np.searchsorted(self._bounds, values, side="left"), minlength=len(self._counts))
        self._sum += total

    def exemplify(self, value: float, trace_id: str, at_s: float) -> None:
        """Let an observation that was counted stand as the example of its bucket; OpenMetrics shows it.

        Args:
            value: the observation.
            trace_id: 32 hex digits.
            at_s: Unix time of the observation.
        """
        place = int(np.searchsorted(self._bounds, value, side="left"))
        with self._lock:
            self._exemplars[place] = Exemplar({"trace_id": trace_id}, value, at_s)

    def collect(self) -> Iterable[Metric]:
        """Show the buckets, cumulated."""
        with self._lock:
            self._count_waiting()
            cumulated, total = np.cumsum(self._counts).tolist(), self._sum
            exemplars = dict(self._exemplars)
        bounds = [*(repr(bound) for bound in self._bounds.tolist()), "+Inf"]
        rows: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for place, (bound, count) in enumerate(zip(bounds, cumulated, strict=True)):
            exemplar = exemplars.get(place)
            rows.append((bound, count) if exemplar is None else (bound, count, exemplar))
        family = HistogramMetricFamily(self._name, self._meaning)
        family.add_metric([], rows, total)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Name the metric without its values."""
        yield HistogramMetricFamily(self._name, self._meaning)


class Instruments:
    """Makes the metrics of one process."""

    def __init__(self, registry: CollectorRegistry, process: Process | None = None) -> None:
        """Register in `registry` what the catalogue says that this kind of process has.

        Args:
            registry: of the process.
            process: its kind; None registers everything, as tests of single roles want it.
        """
        self._registry = registry
        self._process = process
        # Whoever makes instruments in the same registry counts in the same place.
        if registry not in _OVERFLOWS_OF:
            _OVERFLOWS_OF[registry] = self._labelled(Counter, OVERFLOWS, lambda: None)
        self._refused = _OVERFLOWS_OF[registry]

    def counter(self, name: str) -> Counter:
        """A counter without labels."""
        found = self._described(name, Kind.COUNTER, has_labels=False)
        return Counter(name, found.meaning, registry=self._place(found))

    def counters(self, name: str) -> Labelled[Counter]:
        """A counter with labels."""
        self._described(name, Kind.COUNTER, has_labels=True)
        return self._labelled(Counter, name, self._refusal(name))

    def gauge(self, name: str) -> Gauge:
        """A gauge without labels."""
        found = self._described(name, Kind.GAUGE, has_labels=False)
        return Gauge(name, found.meaning, registry=self._place(found))

    def gauges(self, name: str) -> Labelled[Gauge]:
        """A gauge with labels."""
        self._described(name, Kind.GAUGE, has_labels=True)
        return self._labelled(Gauge, name, self._refusal(name))

    def histogram(self, name: str) -> BatchHistogram:
        """A histogram without labels, for batches."""
        found = self._described(name, Kind.HISTOGRAM, has_labels=False)
        return BatchHistogram(name, found.meaning, found.buckets, self._place(found))

    def histograms(self, name: str) -> Labelled[Histogram]:
        """A histogram with labels, for single observations."""
        found = self._described(name, Kind.HISTOGRAM, has_labels=True)
        names = [label.name for label in found.labels]
        inner = Histogram(name, found.meaning, names, buckets=found.buckets, registry=self._place(found))
        return Labelled(inner, found, self._refusal(name))

    def info(self, name: str) -> Info:
        """An info metric."""
        found = self._described(name, Kind.INFO, has_labels=False)
        return Info(name.removesuffix("_info"), found.meaning, registry=self._place(found))

    def _labelled(self, make: Callable[..., Instrument], name: str, refuse: Callable[[], None]) -> Labelled[Instrument]:
        found = CATALOGUE[name]
        names = [label.name for label in found.labels]
        return Labelled(make(name, found.meaning, names, registry=self._place(found)), found, refuse)

    def _refusal(self, name: str) -> Callable[[], None]:
        return lambda: self._refused.labels(name).inc()

    def _place(self, described: metric.Metric) -> CollectorRegistry | None:
        is_ours = self._process is None or self._process in described.processes
        return self._registry if is_ours else None

    @staticmethod
    def _described(name: str, kind: Kind, *, has_labels: bool) -> metric.Metric:
        """The row of the catalogue.

        Raises:
            CatalogueError: there is none, or it is something else.
        """
        found = CATALOGUE.get(name)
        if found is None or found.kind is not kind or bool(found.labels) != has_labels:
            labels = "with" if has_labels else "without"
            message = f"{name} is no {kind} {labels} labels in telemetry/catalogue.py"
            raise CatalogueError(message)
        return found
