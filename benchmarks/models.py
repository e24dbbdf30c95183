"""What a payment costs each model, in scoring and in learning, beside river's own model that does the same.

Both see the same rows of a replayed world. River gets them as the dictionaries that it takes, made ahead and not timed;
the compiled ones get bins, as the engine hands them on, in batches as a replay has them, and find their slots within
the time. Where the algorithm is the same, so are the scores, before and after the timed rows were learned: the largest
difference stands in the table, and one above 1e-9 stops the benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from river import anomaly, linear_model, optim

from benchmarks import results, worlds
from benchmarks.one_core import one_core
from benchmarks.options import Options
from benchmarks.recorded import record
from benchmarks.small_bank import shipped_models
from cardwatch.replay import configuration, read_sections
from cardwatch.replay.evaluation import DAY_MS
from cardwatch.replay.labelling import KnownLabels
from cardwatch.simulator import WorldSettings
from detector.examples import Examples
from detector.jit import kernel
from detector.models import ModelsConfig, Trainer
from detector.models.bins import Binner
from detector.models.calibration import Calibrator, calibrated
from detector.models.challengers import logistic_of
from detector.models.fields import EVERY_FEATURE
from detector.models.forest import room, score_rows
from detector.models.half_space import CompiledHalfSpaceTrees, scaled_bin
from detector.models.logistic import Caps

NAME = "models"
PURPOSE = "what a payment costs each model, beside river's own that does the same"

PAGE = results.REPOSITORY / "docs" / "detection.md"
EQUAL_WITHIN = 1e-9
# So many attacks that the rows hold hundreds of frauds, and models have something to say.
_WORLD = WorldSettings(
    seed=303, cards=1_000, merchants=500, payments_per_card_day=3.0, attacks_per_thousand_cards_day=4.0
)
_PAYMENTS = 40_000
_BATCH_ROWS = 512
# The quickest counts, for whatever else the machine does makes a round slower and none quicker.
_COMPILED_ROUNDS = 7

Float64 = NDArray[np.float64]


class UnequalModelError(Exception):
    """A compiled model does not say what river's says."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Payments with their labels, in order.

    Attributes:
        binner: of their features.
        bins: uint8 (n, F).
        label: int64, 1 fraud, 0 genuine.
        warm: how many of the first are learned before anything is timed.
    """

    binner: Binner
    bins: NDArray[np.uint8]
    label: NDArray[np.int64]
    warm: int

    @property
    def timed(self) -> slice:
        """The rows that are timed."""
        return slice(self.warm, len(self.label))


class Learner(Protocol):
    """A model over `Rows`; it knows them from its making."""

    def learn(self, rows: slice) -> None:
        """Learn rows in order."""
        ...

    def prepare(self) -> None:
        """Do what is done once for each version that scores."""
        ...

    def score(self, rows: slice) -> Float64:
        """Score rows."""
        ...


@dataclass(frozen=True, slots=True)
class Timed:
    """Microseconds a row, and what was said before and after the timed rows were learned."""

    scoring_us: float
    learning_us: float
    scores: Float64


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table; the peer's numbers are None where river has no such model."""

    name: str
    scoring_us: float
    learning_us: float
    peer: str | None = None
    peer_scoring_us: float | None = None
    peer_learning_us: float | None = None
    difference: float | None = None


def _batches(rows: slice) -> Iterator[slice]:
    """A batch after the other."""
    for start in range(rows.start, rows.stop, _BATCH_ROWS):
        yield slice(start, min(start + _BATCH_ROWS, rows.stop))


class _Logistic:
    """The compiled logistic regression."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        self._rows = rows
        self._model = logistic_of(config.logistic, rows.binner, Caps())

    def learn(self, rows: slice) -> None:
        for batch in _batches(rows):
            self._model.learn_many(self._rows.bins[batch], self._rows.label[batch])

    def prepare(self) -> None:
        pass

    def score(self, rows: slice) -> Float64:
        return np.concatenate([self._model.predict_proba_many(self._rows.bins[batch]) for batch in _batches(rows)])


class _RiversLogistic:
    """River's, on one-hot dictionaries of the same slots."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        self._label = [bool(label) for label in rows.label.tolist()]
        slots = logistic_of(config.logistic, rows.binner, Caps()).fields.slots(rows.bins)
        self._dicts: list[dict[Any, Any]] = [dict.fromkeys(row, 1) for row in slots.tolist()]
        own = config.logistic
        self._model = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(own.learning_rate, eps=own.epsilon), l2=0.0,
            intercept_lr=own.intercept_learning_rate, intercept_init=own.initial_intercept,
            clip_gradient=own.clip_gradient,
        )  # fmt: skip

    def learn(self, rows: slice) -> None:
        for x, label in zip(self._dicts[rows], self._label[rows], strict=True):
            self._model.learn_one(x, label)

    def prepare(self) -> None:
        pass

    def score(self, rows: slice) -> Float64:
        return np.array([self._model.predict_proba_one(x)[True] for x in self._dicts[rows]])


class _Trees:
    """The compiled Half-Space Trees."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        self._rows = rows
        own = config.half_space
        self._model = CompiledHalfSpaceTrees(rows.binner, own.trees, own.height, own.window, own.seed, own.features)
        self._forest = self._model.forest()

    def learn(self, rows: slice) -> None:
        for batch in _batches(rows):
            self._model.learn_many(self._rows.bins[batch])

    def prepare(self) -> None:
        self._forest = self._model.forest()

    def score(self, rows: slice) -> Float64:
        out = np.zeros(rows.stop - rows.start)
        for batch in _batches(rows):
            bins = self._rows.bins[batch]
            place = slice(batch.start - rows.start, batch.stop - rows.start)
            score_rows(bins, self._forest, room(), np.zeros(len(bins), np.int64), out[place])
        return out


class _RiversTrees:
    """River's, of the same size and seed on the same scaled bins; what is missing is absent."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        own, binner = config.half_space, rows.binner
        names = binner.names if EVERY_FEATURE in own.features else own.features
        columns = [(name, binner.columns[name]) for name in names]
        edges = np.diff(binner.edge_starts)
        self._dicts: list[dict[Any, Any]] = [
            {
                name: scaled_bin(row[column], int(edges[column]))
                for name, column in columns
                if row[column] < binner.missing_bins[column]
            }
            for row in rows.bins.tolist()
        ]
        self._model: Any = anomaly.HalfSpaceTrees(own.trees, own.height, own.window, seed=own.seed)
        # It grows over the features of the first row that it sees, so that row must have all; then it is forgotten.
        self._model.learn_one(dict.fromkeys(names, 0.0))
        for nodes in self._model._tree_nodes:  # noqa: SLF001 - river has no other way
            for node in nodes:
                node.l_mass = node.r_mass = 0
        self._model.counter, self._model._first_window = 0, True  # noqa: SLF001

    def learn(self, rows: slice) -> None:
        for x in self._dicts[rows]:
            self._model.learn_one(x)

    def prepare(self) -> None:
        pass

    def score(self, rows: slice) -> Float64:
        return np.array([self._model.score_one(x) for x in self._dicts[rows]])


@kernel
def _calibrate_rows(log_odds: Float64, offsets: Float64, out: Float64) -> None:
    """Calibrated log-odds of each row."""
    for row in range(log_odds.shape[0]):
        out[row] = calibrated(log_odds[row], offsets)


class _Calibration:
    """The calibration of log-odds that the logistic regression gave."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        model = logistic_of(config.logistic, rows.binner, Caps())
        self._log_odds = model.learn_many(rows.bins, rows.label)
        self._label = rows.label
        self._calibrator = Calibrator(config.calibration.window, config.calibration.least_frauds)
        self._offsets = self._calibrator.offsets()

    def learn(self, rows: slice) -> None:
        for batch in _batches(rows):
            label = self._label[batch]
            self._calibrator.take(self._log_odds[batch], label, np.ones(len(label)))

    def prepare(self) -> None:
        self._offsets = self._calibrator.offsets()

    def score(self, rows: slice) -> Float64:
        out = np.empty(rows.stop - rows.start)
        for batch in _batches(rows):
            place = slice(batch.start - rows.start, batch.stop - rows.start)
            _calibrate_rows(self._log_odds[batch], self._offsets, out[place])
        return out


class _Published:
    """The trainer on labels, and a version of it as scorers hold it: logistic regression and calibration together."""

    def __init__(self, rows: Rows, config: ModelsConfig) -> None:
        self._rows = rows
        self._trainer = Trainer(config)
        self._version = self._trainer.scorer("m-0")

    def learn(self, rows: slice) -> None:
        for batch in _batches(rows):
            bins, label = self._rows.bins[batch], self._rows.label[batch]
            known_ms = np.zeros(len(label), dtype=np.int64)
            self._trainer.learn(Examples.of_nobody(bins, label, np.ones(len(label)), known_ms))

    def prepare(self) -> None:
        self._version = self._trainer.scorer("m-0")

    def score(self, rows: slice) -> Float64:
        return np.concatenate([self._version.probabilities(self._rows.bins[batch]) for batch in _batches(rows)])


def time_of(make: Callable[[], Learner], rows: Rows, rounds: int = 1) -> Timed:
    """The quickest of some rounds, each with a new model; processor time, so that others' work shows less."""
    scoring_us, learning_us = [], []
    count = len(rows.label) - rows.warm
    scores = np.zeros(0)
    for _ in range(rounds):
        learner = make()
        learner.learn(slice(0, rows.warm))
        learner.prepare()
        started_s = time.process_time()
        before = learner.score(rows.timed)
        scored_s = time.process_time()
        learner.learn(rows.timed)
        learning_us.append((time.process_time() - scored_s) / count * 1e6)
        scoring_us.append((scored_s - started_s) / count * 1e6)
        learner.prepare()
        scores = np.concatenate([before, learner.score(rows.timed)])
    return Timed(min(scoring_us), min(learning_us), scores)


def compare(rows: Rows, config: ModelsConfig, say: Callable[[str], None], rounds: int = _COMPILED_ROUNDS) -> list[Line]:
    """Time all models, and river's own beside those that it has.

    Raises:
        UnequalModelError: where both have the algorithm, and not the same scores.
    """
    all_rows = replace(config, logistic=replace(config.logistic, smallest_gradient=0.0))
    lines = []
    for name, peer, ours, theirs in (
        (
            "logistic regression on one-hot bins, learning every row", "river, `LogisticRegression` with `AdaGrad`",
            lambda: _Logistic(rows, all_rows), lambda: _RiversLogistic(rows, all_rows),
        ),
        (
            f"Half-Space Trees ({config.half_space.trees} of height {config.half_space.height})",
            "river, `HalfSpaceTrees`", lambda: _Trees(rows, config), lambda: _RiversTrees(rows, config),
        ),
    ):  # fmt: skip
        say(f"models: {name}")
        own = time_of(ours, rows, rounds)
        say(f"models: {peer}")
        other = time_of(theirs, rows)
        difference = float(np.abs(own.scores - other.scores).max())
        if difference > EQUAL_WITHIN:
            message = f"{name}: scores differ from {peer} by {difference:.1e}, more than {EQUAL_WITHIN:g}"
            raise UnequalModelError(message)
        lines.append(Line(name, own.scoring_us, own.learning_us, peer, other.scoring_us, other.learning_us, difference))
    alone: tuple[tuple[str, Callable[[], Learner]], ...] = (
        ("logistic regression as shipped: passes over what it is sure of", lambda: _Logistic(rows, config)),
        ("calibration", lambda: _Calibration(rows, config)),
        ("both, as a version scores and the trainer learns", lambda: _Published(rows, config)),
    )
    for name, make in alone:
        say(f"models: {name}")
        own = time_of(make, rows, rounds)
        lines.append(Line(name, own.scoring_us, own.learning_us))
    return lines


def rows_of(file: worlds.File, binner: Binner, count: int, warm: int) -> Rows:
    """The last `count` payments of a replayed file that teach, as they were scored; `warm` of them are not timed."""
    configured = configuration(read_sections(None))
    labelled = np.flatnonzero(file.is_labelled)
    times = file.transactions.event_time_ms[labelled] + DAY_MS
    recorded = record(file.transactions, KnownLabels(labelled, file.label[labelled], times), configured)
    chosen = np.flatnonzero(recorded.learnable & file.is_labelled)[-count:]
    return Rows(binner, binner.bins(recorded.features[chosen]), file.label[chosen], warm)


def run(options: Options) -> None:
    """Replay a world, time the models on it, save, and write the table."""
    config = shipped_models()
    window = config.half_space.window
    # The first window scores nothing, and a second one makes sure that it was renewed.
    warm, count = 2 * window, 3 * window
    options.say("models: a world is replayed for its rows")
    rows = rows_of(worlds.simulated(_WORLD, _PAYMENTS), Trainer(config).binner, count, warm)
    with one_core():
        lines = compare(rows, config, options.say)
    results.save(NAME, {"load_before": options.busy_before, "lines": [asdict(line) for line in lines]})
    fields = len(logistic_of(config.logistic, rows.binner, config.caps).fields)
    results.write_section(NAME, text_of(options.busy_before, lines, fields, rows), PAGE)


def text_of(busy_before: float, lines: Sequence[Line], fields: int, rows: Rows) -> str:
    """The table."""
    timed = rows.label[rows.timed]
    said = (
        f"Processor time of one core, µs a payment, over {len(timed):,} payments in batches of {_BATCH_ROWS}, "
        f"{int(timed.sum()):,} of them fraud; {fields} one-hot fields. The quickest of {_COMPILED_ROUNDS} "
        "rounds; of river one round."
    )
    head = [
        "model", "scoring µs", "learning µs", "river's own: scoring µs", "learning µs", "ratio, scoring",
        "ratio, learning", "largest difference of scores",
    ]  # fmt: skip
    return "\n\n".join(
        (results.machine_lines(busy_before), said, results.table(head, [_cells(line) for line in lines]))
    )


def _cells(line: Line) -> list[str]:
    """The cells of a row."""
    own = [line.name, f"{line.scoring_us:,.2f}", f"{line.learning_us:,.2f}"]
    if line.peer_scoring_us is None or line.peer_learning_us is None or line.difference is None:
        return [*own, *["–"] * 5]
    return [
        *own, f"{line.peer_scoring_us:,.1f}", f"{line.peer_learning_us:,.1f}",
        f"{line.peer_scoring_us / line.scoring_us:,.0f}", f"{line.peer_learning_us / line.learning_us:,.0f}",
        f"{line.difference:.0e}" if line.difference else "0",
    ]  # fmt: skip
