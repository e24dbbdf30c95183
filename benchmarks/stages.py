"""A simple timer of stages: wraps functions where they are looked up, and tells each stage's own time.

Time inside a wrapped function called by a wrapped function counts for the inner one alone, so that stages add up. A
wrapper costs about a microsecond a call; what is wrapped here is called once a batch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cardwatch.replay.runner
import detector.engine
import detector.rates
from cardwatch.replay.source import Transactions
from detector.models.trainer import Trainer
from detector.models.version import ModelVersion
from detector.policy import Policy


@dataclass(frozen=True, slots=True)
class Place:
    """A function to wrap: where it is looked up, and the stage its time belongs to."""

    owner: Any
    name: str
    stage: str


ENGINE: tuple[Place, ...] = (
    Place(detector.rates.RateTable, "convert", "rates"),
    Place(detector.engine, "kernel_columns", "columns for the kernel"),
    Place(detector.engine, "observe", "observe: histories and features"),
    Place(ModelVersion, "anomalies", "score: the trees"),
    Place(ModelVersion, "probabilities", "score: the model with labels"),
    Place(detector.engine, "_policy_inputs", "policy"),
    Place(Policy, "decide", "policy"),
    Place(detector.engine, "store_decisions", "keep decisions"),
    Place(detector.engine, "_note_names", "keep decisions"),
    Place(detector.engine, "_explain", "explain what is not ALLOW"),
    Place(detector.engine, "_unlabelled_sample", "sample for the anomaly model"),
)
REPLAY: tuple[Place, ...] = (
    *ENGINE,
    Place(cardwatch.replay.runner, "assess_batch", "rest of assess_batch"),
    Place(Transactions, "slab", "columns of the file"),
    Place(cardwatch.replay.runner, "build_batch", "build_batch: fingerprints and columns"),
    Place(cardwatch.replay.runner, "apply_labels", "labels joined with features"),
    Place(cardwatch.replay.runner, "_decisions", "decisions as a table"),
    Place(Trainer, "learn", "learn: both models"),
    Place(Trainer, "version", "publish model versions"),
)


class StageClock:
    """Own time of each stage in seconds, for one thread.

    Attributes:
        seconds: by stage, in the order in which stages were first met.
    """

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.seconds: dict[str, float] = {}
        self._inner_s = [0.0]

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Count the time of a block, without what wrapped functions inside take."""
        started_s = time.perf_counter()
        self._inner_s.append(0.0)
        try:
            yield
        finally:
            total_s = time.perf_counter() - started_s
            own_s = total_s - self._inner_s.pop()
            self._inner_s[-1] += total_s
            self.seconds[stage] = self.seconds.get(stage, 0.0) + own_s

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """A function that counts its time for a stage."""

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return function(*args, **kwargs)

        return measured

    @contextmanager
    def watching(self, places: Sequence[Place]) -> Iterator[None]:
        """Wrap functions for the time of a block."""
        originals = [(place, getattr(place.owner, place.name)) for place in places]
        for place, function in originals:
            setattr(place.owner, place.name, self.timed(function, place.stage))
        try:
            yield
        finally:
            for place, function in originals:
                setattr(place.owner, place.name, function)

    def rows(self, count: int, total_s: float) -> list[list[str]]:
        """Rows of a table: stage, microseconds a record, share; the most costly first, what is not wrapped last."""
        stages = sorted(self.seconds.items(), key=lambda item: -item[1])
        rest = total_s - sum(self.seconds.values())
        return [
            [stage, f"{seconds / count * 1e6:.2f}", f"{seconds / total_s:.1%}"]
            for stage, seconds in [*stages, ("everything else", rest)]
        ]
