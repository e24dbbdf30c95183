"""What is said of a metric: its name, unit, labels with their bounds, meaning, and who reads it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from telemetry.errors import CatalogueError

# Bounds of a histogram that Prometheus counts beside the configured ones: infinity, the sum and the count.
_FURTHER_SERIES = 3
# Base units, and what has none, as the end of a name.
_UNITS = {
    "seconds": "_seconds",
    "bytes": "_bytes",
    "ratio": "_ratio",
    "records": "_records",
    "": "",
}


class Kind(StrEnum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Process(StrEnum):
    """The kinds of processes; each is one scrape target."""

    SCORE = "score"
    RESPOND = "respond"
    LEARN = "learn"
    HISTORY = "history"
    NOTIFY = "notify"
    API = "api"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a metric.

    Attributes:
        name: as Prometheus shows it.
        bound: it has at most so many values in one process.
        values: what they are, for people.
    """

    name: str
    bound: int
    values: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the catalogue.

    Attributes:
        name: as Prometheus shows it, a counter with its `_total`.
        kind: the type.
        unit: a base unit, or empty for a plain number.
        meaning: one sentence; it is the help text.
        readers: who looks at it and what for.
        processes: which kinds of processes have it.
        labels: with their bounds.
        buckets: upper bounds of a histogram, ascending.
        most_sets: label sets that there are at most, where that is fewer than the product of the bounds.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    readers: str
    processes: frozenset[Process]
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    most_sets: int = 0

    def __post_init__(self) -> None:
        """Refuse what breaks Prometheus' conventions or has no bound.

        Raises:
            CatalogueError: says what is wrong.
        """
        problem = self._problem()
        if problem:
            message = f"{self.name}: {problem}"
            raise CatalogueError(message)

    def _problem(self) -> str:
        """What is wrong, empty if nothing is."""
        if not re.fullmatch(r"cardwatch_[a-z0-9_]+", self.name):
            return "a name is cardwatch_ and lower-case words"
        endings = {Kind.COUNTER: "_total", Kind.INFO: "_info"}
        if self.kind in endings and not self.name.endswith(endings[self.kind]):
            return f"a {self.kind} ends with {endings[self.kind]}"
        if self.unit not in _UNITS:
            return f"{self.unit} is no base unit"
        stem = self.name.removesuffix("_total")
        if not stem.endswith(_UNITS[self.unit]):
            return f"its name does not end with its unit, {self.unit}"
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets):
            return "a histogram has buckets, and nothing else has"
        if list(self.buckets) != sorted(set(self.buckets)):
            return "buckets ascend"
        if not self.meaning.endswith(".") or not self.readers or not self.processes:
            return "it needs a meaning, readers and processes"
        if any(label.bound < 1 for label in self.labels):
            return "each label has a bound"
        return ""

    @property
    def label_sets(self) -> int:
        """Label sets that a process shows at most."""
        product = math.prod(label.bound for label in self.labels)
        return min(product, self.most_sets) if self.most_sets else product

    @property
    def most_series(self) -> int:
        """Series that a process shows at most; one more set gathers what came after the bound was reached."""
        each = len(self.buckets) + _FURTHER_SERIES if self.kind is Kind.HISTOGRAM else 1
        return (self.label_sets + bool(self.labels)) * each
