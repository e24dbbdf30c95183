"""A model version: everything a scorer needs, immutable, and everything a trainer needs to go on from it.

On the wire it is an npz archive of plain arrays and one JSON text: data, never code. Nothing in it is unpickled, every
array is checked for type, shape and range before a kernel sees it, and equal versions have equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError, ModelError
from detector.jit import kernel
from detector.models import archive
from detector.models.bins import Binner, bin_row, slot_row
from detector.models.half_space import FIRST_WINDOW, CompiledForest, score_forest
from detector.models.logistic import log_odds_of, sigmoid

_FORMAT = 1
_MAXIMUM_TREES = 200
_LARGEST_WEIGHT = 1e6
# Anomaly scores kept to know what is high: enough for the highest one in ten thousand, and 64 kB.
ANOMALY_SAMPLE = 16_384


@kernel
def _score_rows(
    features: NDArray[np.float32],
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    crosses: NDArray[np.int32],
    slot_starts: NDArray[np.int32],
    weights: NDArray[np.float64],
    intercept: float,
    nodes: NDArray[np.int32],
    totals: NDArray[np.int64],
    trees: int,
    steps: int,
    scale: int,
    bins: NDArray[np.int32],
    slots: NDArray[np.int32],
    scores: NDArray[np.float64],
    anomalies: NDArray[np.float64],
) -> None:
    """Both scores of each row, its bins found once; a scale of 0 means that no window is full yet.

    `bins` and `slots` are room for one row.
    """
    for row in range(features.shape[0]):
        bin_row(features, row, edges, edge_starts, bins)
        slot_row(bins, crosses, slot_starts, slots)
        scores[row] = sigmoid(log_odds_of(slots, weights, intercept))
        if scale:
            anomalies[row] = score_forest(bins, nodes, totals, trees, steps, scale)


@kernel
def _field_means(
    slot_starts: NDArray[np.int32], weights: NDArray[np.float64], seen: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Mean log-odds that each field gave to what was learned; 0 for a field that has learned nothing."""
    for field in range(slot_starts.shape[0] - 1):
        total = 0.0
        count = 0.0
        for slot in range(slot_starts[field], slot_starts[field + 1]):
            total += weights[slot] * seen[slot]
            count += seen[slot]
        out[field] = total / count if count > 0.0 else 0.0


@kernel
def _usual_values(
    edges: NDArray[np.float32],
    edge_starts: NDArray[np.int32],
    slot_starts: NDArray[np.int32],
    seen: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Middle of each feature's median bin, missing values aside; for the outer bins 0 or the edge beside them."""
    for column in range(out.shape[0]):
        first, last = edge_starts[column], edge_starts[column + 1] - 1
        bins = last - first + 2
        total = 0.0
        for index in range(bins):
            total += seen[slot_starts[column] + index]
        median = 0
        below = seen[slot_starts[column]]
        while below < total / 2.0:
            median += 1
            below += seen[slot_starts[column] + median]
        if total == 0.0:
            out[column] = np.nan
        elif median == 0:
            out[column] = min(edges[first], 0.0)
        elif median == bins - 1:
            out[column] = edges[last]
        else:
            out[column] = (np.float64(edges[first + median - 1]) + np.float64(edges[first + median])) / 2.0


@kernel
def _contribution_rows(
    slots: NDArray[np.int32],
    crosses: NDArray[np.int32],
    weights: NDArray[np.float64],
    means: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Each field's log-odds over its mean; a cross gives half to each of its features."""
    columns = out.shape[1]
    for row in range(slots.shape[0]):
        for column in range(columns):
            out[row, column] = weights[slots[row, column]] - means[column]
        for index in range(crosses.shape[0]):
            field = columns + index
            half = (weights[slots[row, field]] - means[field]) / 2.0
            out[row, crosses[index, 0]] += half
            out[row, crosses[index, 1]] += half


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One published state of the models. Its arrays are read-only.

    Attributes:
        name: as "m-000001".
        catalogue_digest: of the feature catalogue that it was made for.
        created_from: name of the version that the trainer went on from, "" for none.
        examples_offset: next offset on `cardwatch.examples.v1`.
        examples_learned, frauds_learned: labelled examples, and frauds among them, learned so far.
        trained_to_ms: latest label time learned, 0 for none.
        cold_start_frauds: frauds to be learned before the models may freeze a card.
        binner: features, grids and crosses.
        weights, squared_gradients, seen: float64 a slot, see `BinnedLogisticRegression`.
        intercept: float64[1].
        columns, limits, current_mass, reference_mass, progress: see `CompiledHalfSpaceTrees`.
        window: of the trees, in examples.
        anomaly_sample: float32[16384], a ring of the anomaly scores that the latest unlabelled examples had before they
            were learned; NaN where not filled.
        anomalies_sampled: how many scores the ring has taken in.
    """

    name: str
    catalogue_digest: str
    created_from: str
    examples_offset: int
    examples_learned: int
    frauds_learned: int
    trained_to_ms: int
    cold_start_frauds: int
    binner: Binner
    weights: NDArray[np.float64]
    squared_gradients: NDArray[np.float64]
    seen: NDArray[np.float64]
    intercept: NDArray[np.float64]
    columns: NDArray[np.int32]
    limits: NDArray[np.int32]
    current_mass: NDArray[np.int64]
    reference_mass: NDArray[np.int64]
    progress: NDArray[np.int64]
    window: int
    anomaly_sample: NDArray[np.float32]
    anomalies_sampled: int

    def __post_init__(self) -> None:
        """Check what kernels rely on, and lock the arrays.

        Raises:
            ModelError: an array has another shape, or a value that no trainer makes.
        """
        _check_logistic(self)
        _check_forest(self)
        for name in archive.ARRAYS:
            getattr(self, name).setflags(write=False)

    @property
    def is_cold(self) -> bool:
        """Whether too few frauds have been learned for the models to freeze cards."""
        return self.frauds_learned < self.cold_start_frauds

    @cached_property
    def _forest(self) -> CompiledForest:
        """The trees, ready to score."""
        return CompiledForest.of(
            self.binner, self.columns, self.limits, self.current_mass, self.reference_mass, self.window,
            first_window=bool(self.progress[FIRST_WINDOW]),
        )  # fmt: skip

    @cached_property
    def _means(self) -> NDArray[np.float64]:
        """Mean log-odds of each field over what was learned."""
        means = np.empty(self.binner.field_count)
        _field_means(self.binner.slot_starts, self.weights, self.seen, means)
        return means

    @cached_property
    def usual_values(self) -> NDArray[np.float64]:
        """Usual value of each feature: the middle of its median bin over what was learned; NaN where unknown."""
        binner = self.binner
        usual = np.empty(binner.feature_count)
        _usual_values(binner.edges, binner.edge_starts, binner.slot_starts, self.seen, usual)
        return usual

    @cached_property
    def _sorted_anomalies(self) -> NDArray[np.float32]:
        """The sampled anomaly scores, lowest first."""
        return np.sort(self.anomaly_sample[~np.isnan(self.anomaly_sample)])

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
        """Log-odds of the average payment; with all contributions of a row it makes that row's log-odds."""
        return float(self.intercept[0]) + float(self._means.sum())

    def require_catalogue(self, digest: str) -> None:
        """Refuse to score features of another catalogue.

        Raises:
            ModelError: the version was made for another one.
        """
        if digest != self.catalogue_digest:
            message = f"model {self.name} was made for feature catalogue {self.catalogue_digest}, this one is {digest}"
            raise ModelError(message)

    def score(self, features: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Score rows; a row's bits do not depend on the rows beside it.

        Args:
            features: float32 (n, F), NaN where missing.

        Returns:
            (probability of fraud, anomaly score 0 to 1), float64 each.
        """
        binner, forest = self.binner, self._forest
        matrix = binner.matrix(features)
        scores, anomalies = np.empty(len(matrix)), np.zeros(len(matrix))
        _score_rows(
            matrix, binner.edges, binner.edge_starts, binner.cross_columns, binner.slot_starts,
            self.weights, float(self.intercept[0]),
            forest.nodes, forest.totals, forest.trees, forest.steps, forest.scale,
            np.empty(binner.feature_count, np.int32), np.empty(binner.field_count, np.int32), scores, anomalies,
        )  # fmt: skip
        return scores, anomalies

    def contributions(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Explain rows: what each feature adds to the log-odds over its own average.

        Args:
            features: float32 (m, F), NaN where missing.

        Returns:
            float64 (m, F); the share of a cross goes half to each of its features. A row's sum and `base_log_odds`
            make its log-odds.
        """
        slots = self.binner.slots(features)
        out = np.empty((len(slots), self.binner.feature_count))
        _contribution_rows(slots, self.binner.cross_columns, self.weights, self._means, out)
        return out

    def to_bytes(self) -> bytes:
        """Encode as an archive; equal versions give equal bytes."""
        meta = {"format": _FORMAT, **{key: getattr(self, key) for key in archive.LINEAGE}}
        meta["features"] = list(self.binner.names)
        meta["crosses"] = [list(pair) for pair in self.binner.crosses]
        arrays = {name: getattr(self, name) for name in archive.ARRAYS}
        return archive.pack(meta, {**arrays, "edges": self.binner.edges, "edge_starts": self.binner.edge_starts})

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
        binner = _binner(meta, arrays.pop("edges"), arrays.pop("edge_starts"))
        values: dict[str, Any] = {**{key: meta[key] for key in archive.LINEAGE}, **arrays}
        return cls(binner=binner, **values)


def _binner(meta: Mapping[str, Any], edges: NDArray[np.float32], starts: NDArray[np.int32]) -> Binner:
    """Lay out the slots anew from names and grids."""
    names, crosses = meta["features"], meta["crosses"]
    increasing = starts.ndim == 1 and len(starts) == len(names) + 1 and bool((np.diff(starts) > 0).all())
    if not increasing or edges.ndim != 1 or starts[0] != 0 or starts[-1] != len(edges):
        message = "model archive: grids do not fit the features"
        raise ModelError(message)
    grids = [edges[starts[column] : starts[column + 1]].tolist() for column in range(len(names))]
    try:
        return Binner(list(zip(names, grids, strict=True)), [(first, second) for first, second in crosses])
    except ConfigurationError as error:
        message = f"model archive: {error}"
        raise ModelError(message) from error


def _require(held: object, promise: str) -> None:
    """Raise ModelError unless a promise about a version's content is kept."""
    if not held:
        message = f"model archive: {promise}"
        raise ModelError(message)


def _check_logistic(version: ModelVersion) -> None:
    """Check the arrays of the logistic regression."""
    slots = (version.binner.slot_count,)
    for name in ("weights", "squared_gradients", "seen"):
        column = getattr(version, name)
        _require(column.shape == slots and column.dtype == np.float64, f"{name} must be float64, one a slot")
        _require(np.isfinite(column).all(), f"{name} must be finite")
    _require(version.intercept.shape == (1,) and version.intercept.dtype == np.float64, "intercept must be a float64")
    _require(np.isfinite(version.intercept).all(), "intercept must be finite")
    _require((np.abs(version.weights) <= _LARGEST_WEIGHT).all(), f"weights must be at most {_LARGEST_WEIGHT:g}")
    _require((version.squared_gradients >= 0).all() and (version.seen >= 0).all(), "sums must not be negative")
    counts = [key for key, kind in archive.LINEAGE.items() if kind is int]
    _require(all(getattr(version, name) >= 0 for name in counts), f"{', '.join(counts)} must not be negative")


def _check_forest(version: ModelVersion) -> None:
    """Check the arrays of the trees: what they index must exist."""
    splits = version.columns.shape
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
        column = getattr(version, name)
        _require(column.shape == shape and column.dtype == dtype, f"{name} must be {np.dtype(dtype)} of shape {shape}")
    column_range = (version.columns >= 0) & (version.columns < version.binner.feature_count)
    _require(column_range.all(), "splits must be on features")
    _require(1 <= version.window <= 10_000_000, "window must be 1 to 10000000")
    for mass in (version.current_mass, version.reference_mass):
        _require(((mass >= 0) & (mass <= version.window)).all(), "masses must be 0 to the window")
    _require(0 <= version.progress[0] < version.window, "progress must be within the window")
    sample = version.anomaly_sample
    _require(sample.shape == (ANOMALY_SAMPLE,) and sample.dtype == np.float32, "anomaly_sample must be float32[16384]")
    filled = min(version.anomalies_sampled, ANOMALY_SAMPLE)
    _require(np.isnan(sample[filled:]).all(), "anomaly_sample must be filled from its start")
    _require(((sample[:filled] >= 0) & (sample[:filled] <= 1)).all(), "anomaly_sample must be 0 to 1")
    _require(version.progress[FIRST_WINDOW] in {0, 1}, "progress must say whether the window is the first")
