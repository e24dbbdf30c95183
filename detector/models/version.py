"""A model version: everything a scorer needs, immutable, and where it was asked for everything a trainer needs.

On the wire it is an npz archive of plain arrays and one JSON text: data, never code. Nothing in it is unpickled, every
array is checked for type, shape and range before a kernel sees it, and equal versions have equal bytes.

A version for scoring alone holds no state of an optimiser: a replay publishes thousands of them. See `weights` of
`Trainer.scorer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError, ModelError
from detector.jit import kernel
from detector.models import archive
from detector.models.bins import BIN_CODES, Binner
from detector.models.calibration import CELLS, PARTS, PLANES, POINTS, calibrated
from detector.models.contest import Verdict
from detector.models.fields import BLOCK, Fields, Layout, slots_of_block
from detector.models.forest import Forest, room, score_rows
from detector.models.half_space import FIRST_WINDOW, forest_of
from detector.models.logistic import CAP_PLACES, SOURCES, log_odds_of_block, sigmoid

_FORMAT = 2
_SPARSE = ("slots", "slot_weights", "slot_squares")
_MAXIMUM_TREES = 200
_LARGEST_WEIGHT = 1e6
_LARGEST_OFFSET = 100.0
# Anomaly scores kept to know what is high: enough for the highest one in ten thousand, and 64 kB.
ANOMALY_SAMPLE = 16_384


@kernel
def _score_rows(
    bins: NDArray[np.uint8],
    layout: Layout,
    weights: NDArray[np.float64],
    intercept: float,
    offsets: NDArray[np.float64],
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
    log_odds: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Calibrated probability of fraud of each row.

    `columns`, `slots` and `log_odds` are room for a block.
    """
    for start in range(0, bins.shape[0], BLOCK):
        rows = min(BLOCK, bins.shape[0] - start)
        slots_of_block(bins, start, rows, layout, columns, slots)
        log_odds_of_block(rows, slots, weights, intercept, log_odds)
        for row in range(rows):
            scores[start + row] = sigmoid(calibrated(log_odds[row], offsets))


@kernel
def _contribution_rows(
    slots: NDArray[np.int32],
    layout: Layout,
    weights: NDArray[np.float64],
    means: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Each field's log-odds over its mean, in equal shares for its features."""
    for row in range(slots.shape[0]):
        out[row] = 0.0
        for field in range(slots.shape[1]):
            features = 0
            for part in range(layout.parts.shape[1]):
                features += 1 if layout.parts[field, part, 3] != 0 else 0
            share = (weights[slots[row, field]] - means[field]) / features
            for part in range(features):
                out[row, layout.parts[field, part, 0]] += share


@dataclass(frozen=True, eq=False)
class LearnerState:
    """What a trainer needs beside the version itself to go on from it.

    Attributes:
        squared_gradients: float64 a slot.
        usual_rows, rows, spent, clock: see `logistic.Learned`.
        calibration_window, calibration_place, calibration_told: see `calibration.Calibrator`.
        columns, limits, current_mass, reference_mass, progress: see `CompiledHalfSpaceTrees`.
        window: of the trees, in examples.
    """

    squared_gradients: NDArray[np.float64]
    usual_rows: NDArray[np.float64]
    rows: NDArray[np.int64]
    spent: NDArray[np.float64]
    clock: NDArray[np.int64]
    calibration_window: NDArray[np.float64]
    calibration_place: NDArray[np.int64]
    calibration_told: NDArray[np.float64]
    columns: NDArray[np.int32]
    limits: NDArray[np.int32]
    current_mass: NDArray[np.int64]
    reference_mass: NDArray[np.int64]
    progress: NDArray[np.int64]
    window: int


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One published state of the models. Its arrays are read-only.

    Attributes:
        name: as "m-000001".
        model: name of the contender it is of, "champion" for that of `[logistic]`.
        catalogue_digest: of the feature catalogue that it was made for.
        configuration_digest: of how its models are built and learn.
        created_from: name of the version that the trainer went on from, "" for none.
        examples_offset: next offset on `cardwatch.examples.v1`.
        examples_learned, frauds_learned: labelled examples, and frauds among them, learned so far.
        trained_from_ms, trained_to_ms: earliest and latest label time learned, 0 for none.
        cold_start_frauds: frauds to be learned before the models may freeze a card.
        log_loss, average_precision: on the window of the calibration, each example before it was learned.
        fields: features, grids, and what of them is added up.
        weights: float64 a slot.
        intercept: float64[1].
        offsets: float64[129], what calibration adds to the log-odds; see `calibration`.
        means: float64[K], mean log-odds that each field gave to what was learned.
        bin_counts: float64[F, 256], how often each bin of a feature was learned.
        forest: the trees, ready to score.
        anomaly_sample: float32[16384], a ring of the anomaly scores that the latest unlabelled examples had before they
            were learned; NaN where not filled.
        anomalies_sampled: how many scores the ring has taken in.
        verdicts: all changes of champions so far, oldest first.
        state: what a trainer needs to go on; None in a version for scoring alone.
    """

    name: str
    model: str
    catalogue_digest: str
    configuration_digest: str
    created_from: str
    examples_offset: int
    examples_learned: int
    frauds_learned: int
    trained_from_ms: int
    trained_to_ms: int
    cold_start_frauds: int
    log_loss: float
    average_precision: float
    fields: Fields
    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    offsets: NDArray[np.float64]
    means: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    forest: Forest
    anomaly_sample: NDArray[np.float32]
    anomalies_sampled: int
    verdicts: tuple[Verdict, ...] = ()
    state: LearnerState | None = None

    def __post_init__(self) -> None:
        """Check what kernels rely on, and lock the arrays.

        Raises:
            ModelError: an array has another shape, or, with a learner's state, a value that no trainer makes.
        """
        _check_shapes(self)
        if self.state is not None:
            _check_values(self)
            _check_forest(self, self.state)
            for column in vars(self.state).values():
                if isinstance(column, np.ndarray):
                    column.setflags(write=False)
        for column in vars(self).values():
            if isinstance(column, np.ndarray):
                column.setflags(write=False)

    @property
    def binner(self) -> Binner:
        """What finds the bins of features."""
        return self.fields.binner

    @property
    def is_cold(self) -> bool:
        """Whether too few frauds have been learned for the models to freeze cards."""
        return self.frauds_learned < self.cold_start_frauds

    @cached_property
    def usual_values(self) -> NDArray[np.float64]:
        """Usual value of each feature: the middle of its median bin over what was learned; NaN where unknown."""
        binner = self.binner
        is_missing = np.arange(BIN_CODES) >= binner.missing_bins[:, None]
        known = np.cumsum(np.where(is_missing, 0.0, self.bin_counts), axis=1)
        medians = (known < known[:, -1:] / 2.0).sum(axis=1)
        usual = binner.middles[np.arange(binner.feature_count), medians]
        return np.where(known[:, -1] > 0.0, usual, np.nan)

    @cached_property
    def _sorted_anomalies(self) -> NDArray[np.float32]:
        """The sampled anomaly scores, lowest first."""
        return np.sort(self.anomaly_sample[: min(self.anomalies_sampled, ANOMALY_SAMPLE)])

    def anomaly_level(self, share: float) -> float:
        """The anomaly score that this share of payments lies above; infinite while too few are known to say.

        What is high differs from one portfolio to another, so policies speak of shares and not of scores.
        """
        known = self._sorted_anomalies
        if share * len(known) < 1.0:
            return float("inf")
        return float(known[max(len(known) - 1 - math.floor(share * len(known)), 0)])

    @property
    def base_log_odds(self) -> float:
        """Log-odds of the average payment; with all contributions of a row it makes that row's, before calibration."""
        return float(self.intercept[0]) + float(self.means.sum())

    def require_catalogue(self, digest: str) -> None:
        """Refuse to score features of another catalogue.

        Raises:
            ModelError: the version was made for another one.
        """
        if digest != self.catalogue_digest:
            message = f"model {self.name} was made for feature catalogue {self.catalogue_digest}, this one is {digest}"
            raise ModelError(message)

    def score(self, bins: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Score rows; a row's bits do not depend on the rows beside it.

        Args:
            bins: uint8 (n, F), of `binner`.

        Returns:
            (calibrated probability of fraud, anomaly score 0 to 1), float64 each.
        """
        matrix = self.binner.matrix(bins)
        scores, anomalies = np.empty(len(matrix)), np.zeros(len(matrix))
        columns, slots = self.fields.room()
        _score_rows(
            matrix, self.fields.layout, self.weights, float(self.intercept[0]), self.offsets,
            columns, slots, np.empty(BLOCK), scores,
        )  # fmt: skip
        if self.forest.scale:
            score_rows(matrix, self.forest, room(), np.zeros(len(matrix), dtype=np.int64), anomalies)
        return scores, anomalies

    def contributions(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Explain rows: what each feature adds to the log-odds over its own average.

        Args:
            bins: uint8 (m, F).

        Returns:
            float64 (m, F); what a cross adds goes in equal shares to its features. A row's sum and `base_log_odds` make
            its log-odds before calibration.
        """
        slots = self.fields.slots(bins)
        out = np.empty((len(slots), self.binner.feature_count))
        _contribution_rows(slots, self.fields.layout, self.weights, self.means, out)
        return out

    def republished(self, name: str, newest: ModelVersion, kind: str, time_ms: int) -> ModelVersion:
        """This version as the next one, because a person says so.

        What was learned after it is not learned again: its successor begins where the newest one stands.

        Args:
            name: of the next version.
            newest: what acts now.
            kind: of the verdict that is kept of it.
            time_ms: now.
        """
        verdict = Verdict(kind, self.name, newest.name, time_ms, 0.0, 0.0, 0.0)
        verdicts = (*newest.verdicts, verdict)
        offset = newest.examples_offset
        return replace(self, name=name, created_from=self.name, examples_offset=offset, verdicts=verdicts)

    def to_bytes(self) -> bytes:
        """Encode as an archive; equal versions give equal bytes.

        Raises:
            ModelError: a version for scoring alone.
        """
        state = self.state
        if state is None:
            message = f"model {self.name} is for scoring alone: it has no learner's state to be written"
            raise ModelError(message)
        meta = {"format": _FORMAT, "window": state.window, **{key: getattr(self, key) for key in archive.LINEAGE}}
        meta |= {"features": list(self.binner.names), "fields": list(self.fields.texts)}
        meta["verdicts"] = [asdict(verdict) for verdict in self.verdicts]
        slots = np.flatnonzero((state.squared_gradients > 0) | (self.weights != 0)).astype(np.int32)
        arrays: dict[str, Any] = dict(
            zip(_SPARSE, (slots, self.weights[slots], state.squared_gradients[slots]), strict=True)
        )
        for source in (self, state):
            arrays |= {name: column for name, column in vars(source).items() if name in archive.ARRAYS}
        arrays |= {"edges": self.binner.edges, "edge_starts": self.binner.edge_starts}
        return archive.pack(meta, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelVersion:
        """Decode and check what `to_bytes` made.

        Raises:
            ModelError: damaged, of another format, or holding what no trainer makes.
        """
        meta, arrays = archive.unpack(data)
        if meta.get("format") != _FORMAT:
            message = f"model archive of format {meta.get('format')!r}; this cardwatch reads {_FORMAT}"
            raise ModelError(message)
        fields = _fields(meta, arrays.pop("edges"), arrays.pop("edge_starts"))
        weights, squares = _dense(
            fields.slot_count, *(arrays.pop(f"slot{part}") for part in ("s", "_weights", "_squares"))
        )
        names = [name for name in LearnerState.__dataclass_fields__ if name in arrays]
        state = LearnerState(
            squared_gradients=squares, window=meta["window"], **{name: arrays.pop(name) for name in names}
        )
        _check_trees(fields.binner, state)
        forest = forest_of(
            fields.binner, state.columns, state.limits, state.current_mass, state.reference_mass, state.window,
            first_window=bool(state.progress[FIRST_WINDOW]),
        )  # fmt: skip
        values: dict[str, Any] = {**{key: meta[key] for key in archive.LINEAGE}, **arrays}
        verdicts = _verdicts(meta.get("verdicts"))
        return cls(fields=fields, weights=weights, forest=forest, verdicts=verdicts, state=state, **values)


def _require(held: object, promise: str) -> None:
    """Raise ModelError unless a promise about a version's content is kept."""
    if not held:
        message = f"model archive: {promise}"
        raise ModelError(message)


def _verdicts(listed: object) -> tuple[Verdict, ...]:
    """Read the changes of champions."""
    _require(isinstance(listed, list), "verdicts must be a list")
    found: list[Verdict] = []
    for values in listed if isinstance(listed, list) else ():
        names = set(values) if isinstance(values, dict) else set()
        _require(names == set(Verdict.__slots__), f"a verdict must have {', '.join(Verdict.__slots__)}")
        verdict = Verdict(**values)
        texts = (verdict.kind, verdict.winner, verdict.loser)
        numbers = (verdict.label_time_ms, verdict.frauds, verdict.gain, verdict.evidence)
        plain = all(isinstance(text, str) for text in texts) and all(isinstance(n, int | float) for n in numbers)
        _require(plain, "a verdict must be of texts and numbers")
        found.append(verdict)
    return tuple(found)


def _dense(
    count: int, slots: NDArray[np.int32], weights: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and squared gradients of all slots, from those of some."""
    fits = slots.ndim == 1 and slots.shape == weights.shape == squares.shape
    _require(fits, "slots must have a weight and a squared gradient each")
    inside = not len(slots) or bool(slots[0] >= 0 and slots[-1] < count and (np.diff(slots) > 0).all())
    _require(inside, "slots must increase and be among those of the fields")
    dense = np.zeros(count), np.zeros(count)
    dense[0][slots], dense[1][slots] = weights, squares
    return dense


def _fields(meta: Mapping[str, Any], edges: NDArray[np.float32], starts: NDArray[np.int32]) -> Fields:
    """Lay out the slots anew from names and grids."""
    names = meta["features"]
    increasing = starts.ndim == 1 and len(starts) == len(names) + 1 and bool((np.diff(starts) > 0).all())
    fits = increasing and edges.ndim == 1 and starts[0] == 0 and starts[-1] == len(edges)
    _require(fits, "grids must fit the features")
    grids = [edges[starts[column] : starts[column + 1]].tolist() for column in range(len(names))]
    try:
        return Fields(Binner(list(zip(names, grids, strict=True))), meta["fields"])
    except ConfigurationError as error:
        message = f"model archive: {error}"
        raise ModelError(message) from error


def _check_shapes(version: ModelVersion) -> None:
    """Check that the arrays for scoring are as long as kernels take them to be."""
    fields = version.fields
    for name, shape in (
        ("weights", (fields.slot_count,)),
        ("intercept", (1,)),
        ("offsets", (POINTS,)),
        ("means", (len(fields),)),
        ("bin_counts", (fields.binner.feature_count, BIN_CODES)),
    ):
        column = getattr(version, name)
        _require(column.shape == shape and column.dtype == np.float64, f"{name} must be float64 of shape {shape}")
    sample = version.anomaly_sample
    _require(sample.shape == (ANOMALY_SAMPLE,) and sample.dtype == np.float32, "anomaly_sample must be float32[16384]")


def _check_values(version: ModelVersion) -> None:
    """Check the values of the arrays for scoring."""
    for name, largest in (("weights", _LARGEST_WEIGHT), ("intercept", 1e3), ("offsets", _LARGEST_OFFSET)):
        _require((np.abs(getattr(version, name)) <= largest).all(), f"{name} must be at most {largest:g}")
    _require((np.abs(version.means) <= _LARGEST_WEIGHT).all(), f"means must be at most {_LARGEST_WEIGHT:g}")
    _require(((version.bin_counts >= 0) & np.isfinite(version.bin_counts)).all(), "bin_counts must not be negative")
    for key, kind in archive.LINEAGE.items():
        value = getattr(version, key)
        _require(kind is str or (math.isfinite(value) and value >= 0), f"{key} must be finite and not negative")
    sample = version.anomaly_sample
    filled = min(version.anomalies_sampled, ANOMALY_SAMPLE)
    _require(np.isnan(sample[filled:]).all(), "anomaly_sample must be filled from its start")
    _require(((sample[:filled] >= 0) & (sample[:filled] <= 1)).all(), "anomaly_sample must be 0 to 1")


def _check_trees(binner: Binner, state: LearnerState) -> None:
    """Check the arrays of the trees: what they index must exist."""
    splits = state.columns.shape
    _require(len(splits) == 2 and 1 <= splits[0] <= _MAXIMUM_TREES, f"trees must be 1 to {_MAXIMUM_TREES}")
    _require(splits[1] in {2**height - 1 for height in range(1, 16)}, "trees must be perfect, of height 1 to 15")
    nodes = (splits[0], 2 * splits[1] + 1)
    for name, shape, dtype in (
        ("columns", splits, np.int32),
        ("limits", splits, np.int32),
        ("current_mass", nodes, np.int64),
        ("reference_mass", nodes, np.int64),
        ("progress", (2,), np.int64),
    ):
        column = getattr(state, name)
        _require(column.shape == shape and column.dtype == dtype, f"{name} must be {np.dtype(dtype)} of shape {shape}")
    column_range = (state.columns >= 0) & (state.columns < binner.feature_count)
    _require(column_range.all(), "splits must be on features")
    _require(1 <= state.window <= 10_000_000, "window must be 1 to 10000000")
    for mass in (state.current_mass, state.reference_mass):
        _require(((mass >= 0) & (mass <= state.window)).all(), "masses must be 0 to the window")
    _require(0 <= state.progress[0] < state.window, "progress must be within the window")
    _require(state.progress[FIRST_WINDOW] in {0, 1}, "progress must say whether the window is the first")


def _check_forest(version: ModelVersion, state: LearnerState) -> None:
    """Check what a trainer goes on from."""
    _check_trees(version.binner, state)
    for name, shape, dtype in (
        ("squared_gradients", version.weights.shape, np.float64),
        ("usual_rows", (1,), np.float64),
        ("rows", (1,), np.int64),
        ("spent", (SOURCES, CAP_PLACES), np.float64),
        ("clock", (1,), np.int64),
        ("calibration_window", (PARTS, PLANES, CELLS), np.float64),
        ("calibration_place", (2,), np.int64),
    ):
        column = getattr(state, name)
        _require(column.shape == shape and column.dtype == dtype, f"{name} must be {np.dtype(dtype)} of shape {shape}")
        _require(np.isfinite(column).all() and (column >= 0).all(), f"{name} must be finite and not negative")
    told = state.calibration_told
    _require(told.shape == (POINTS,) and (np.abs(told) <= _LARGEST_OFFSET).all(), "calibration_told must be offsets")
    _require(state.calibration_place[1] < PARTS, "calibration_place must be within the window")
