"""What must hold of a model version before a kernel sees it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError
from detector.models import adwin, drift
from detector.models.bins import BIN_CODES, Binner
from detector.models.calibration import CELLS, PARTS, PLANES, POINTS
from detector.models.config import MAXIMUM_NAME
from detector.models.contest import WORDS
from detector.models.drift import DriftState
from detector.models.half_space import FIRST_WINDOW
from detector.models.learned import LinearState, SharedState, Standing, TreesState
from detector.models.logistic import CAP_PLACES, SOURCES
from detector.models.slopes import CENTRE, SLOPE, SLOPE_WORDS, SMALLEST_SPREAD, SPREAD

if TYPE_CHECKING:
    from detector.models.version import ModelVersion

# The last moment of the year 9999, the last that people write as a date.
_LARGEST_TIME_MS = 253_402_300_799_999
_LARGEST_NUMBER = 2**62
# Sums of floats: so far from what is ever summed up, and from what rounds, that learning may go on.
_LARGEST_SUM = 1e15
_MAXIMUM_TREES = 200
_LARGEST_WEIGHT = 1e6
_LARGEST_SLOPE = 1e4
_LARGEST_OFFSET = 100.0
# Anomaly scores kept to know what is high: enough for the highest one in ten thousand, and 64 kB.
ANOMALY_SAMPLE = 16_384

Shapes = tuple[tuple[str, tuple[int, ...], type], ...]


def require(held: object, promise: str) -> None:
    """Raise ModelError unless a promise about a version's content is kept."""
    if not held:
        message = f"model archive: {promise}"
        raise ModelError(message)


def require_name(text: object, what: str) -> None:
    """Check what is shown to people and written into metrics."""
    plain = isinstance(text, str) and 0 < len(text) <= MAXIMUM_NAME and text.isprintable() and text == text.strip()
    require(plain, f"{what} must be 1 to {MAXIMUM_NAME} plain characters")


def require_number(number: object, what: str) -> None:
    """Check a count, a time or a mean: finite, not negative, and no larger than is ever counted."""
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    require(is_number and 0 <= number <= _LARGEST_NUMBER, f"{what} must be finite and not negative")  # type: ignore[operator]
    if what.endswith(("_ms", "time")):
        require(number <= _LARGEST_TIME_MS, f"{what} must be a time")  # type: ignore[operator]


def _require_shapes(part: Any, shapes: Shapes, *, is_count: bool = True) -> None:
    """Check shapes and types, and that all is within what is ever counted and, of counts, not negative."""
    for name, shape, dtype in shapes:
        column = getattr(part, name)
        require(column.shape == shape and column.dtype == dtype, f"{name} must be {np.dtype(dtype)} of shape {shape}")
        largest = _LARGEST_SUM if column.dtype.kind == "f" else _LARGEST_NUMBER
        require(((column >= -largest) & (column <= largest)).all(), f"{name} must be at most {largest:g}")
        require(not is_count or (column >= 0).all(), f"{name} must not be negative")


def check_shapes(version: ModelVersion) -> None:
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
        require(column.shape == shape and column.dtype == np.float64, f"{name} must be float64 of shape {shape}")
    sample = version.anomaly_sample
    require(sample.shape == (ANOMALY_SAMPLE,) and sample.dtype == np.float32, "anomaly_sample must be float32[16384]")


def check_values(version: ModelVersion) -> None:
    """Check the values of the arrays for scoring."""
    for name, largest in (("weights", _LARGEST_WEIGHT), ("intercept", 1e3), ("offsets", _LARGEST_OFFSET)):
        require((np.abs(getattr(version, name)) <= largest).all(), f"{name} must be at most {largest:g}")
    require((np.abs(version.means) <= _LARGEST_WEIGHT).all(), f"means must be at most {_LARGEST_WEIGHT:g}")
    counts = version.bin_counts
    require(((counts >= 0) & (counts <= _LARGEST_SUM)).all(), "bin_counts must be finite and not negative")
    sample = version.anomaly_sample
    filled = min(version.anomalies_sampled, ANOMALY_SAMPLE)
    require(np.isnan(sample[filled:]).all(), "anomaly_sample must be filled from its start")
    require(((sample[:filled] >= 0) & (sample[:filled] <= 1)).all(), "anomaly_sample must be 0 to 1")


def check_linear(state: LinearState, slots: int) -> None:
    """Check what a trainer goes on from of one contender."""
    require(state.weights.shape == (slots,) and state.weights.dtype == np.float64, "weights must be one a slot")
    require((np.abs(state.weights) <= _LARGEST_WEIGHT).all(), f"weights must be at most {_LARGEST_WEIGHT:g}")
    _require_shapes(
        state,
        (
            ("squared_gradients", (slots,), np.float64),
            ("usual_rows", (1,), np.float64),
            ("rows", (1,), np.int64),
            ("spent", (SOURCES, CAP_PLACES), np.float64),
            ("clock", (1,), np.int64),
        ),
    )
    _check_standing(state.standing)


def check_slopes(binner: Binner, slopes: NDArray[np.float64]) -> None:
    """Check what is shared by the bins of each feature."""
    shape = (SLOPE_WORDS, binner.feature_count)
    require(slopes.shape == shape and slopes.dtype == np.float64, f"slopes must be float64 of shape {shape}")
    require((np.abs(slopes[SLOPE]) <= _LARGEST_SLOPE).all(), f"slopes must be at most {_LARGEST_SLOPE:g}")
    usual, spread = slopes[CENTRE], slopes[SPREAD]
    require(((usual >= 0.0) & (usual < BIN_CODES)).all(), "what is usual must be a bin")
    require(((spread == 0.0) | ((spread >= SMALLEST_SPREAD) & (spread < BIN_CODES))).all(), "spreads must be of bins")


def _check_standing(standing: Standing) -> None:
    """Check what is known of a contender's calibration and contest."""
    counts: Shapes = (("window", (PARTS, PLANES, CELLS), np.float64), ("place", (2,), np.int64))
    _require_shapes(standing, counts)
    _require_shapes(standing, (("told", (POINTS,), np.float64), ("contest", (WORDS,), np.float64)), is_count=False)
    require((np.abs(standing.told) <= _LARGEST_OFFSET).all(), "told must be offsets")
    require(standing.place[1] < PARTS, "place must be within the window of the calibration")


def check_trees(binner: Binner, trees: TreesState) -> None:
    """Check the arrays of the trees: what they index must exist."""
    splits = trees.columns.shape
    require(len(splits) == 2 and 1 <= splits[0] <= _MAXIMUM_TREES, f"trees must be 1 to {_MAXIMUM_TREES}")
    require(splits[1] in {2**height - 1 for height in range(1, 16)}, "trees must be perfect, of height 1 to 15")
    nodes = (splits[0], 2 * splits[1] + 1)
    counts: Shapes = (
        ("columns", splits, np.int32), ("current_mass", nodes, np.int64), ("reference_mass", nodes, np.int64),
        ("progress", (2,), np.int64),
    )  # fmt: skip
    _require_shapes(trees, counts)
    _require_shapes(trees, (("limits", splits, np.int32),), is_count=False)
    require((trees.columns < binner.feature_count).all(), "splits must be on features")
    require(1 <= trees.window <= 10_000_000, "window must be 1 to 10000000")
    require(trees.progress[0] < trees.window, "progress must be within the window")
    require((trees.current_mass <= trees.progress[0]).all(), "masses must be at most what the window has seen")
    require((trees.reference_mass <= trees.window).all(), "masses must be at most the window")
    require(trees.progress[FIRST_WINDOW] in {0, 1}, "progress must say whether the window is the first")


def check_shared(binner: Binner, shared: SharedState) -> None:
    """Check what a trainer goes on from that is of no single contender."""
    check_trees(binner, shared.trees)
    for standing in shared.compared.values():
        _check_standing(standing)
    if shared.drift is not None:
        _check_drift(binner, shared.drift)


def _check_drift(binner: Binner, state: DriftState) -> None:
    """Check what is known of drift: what it counts and indexes must exist."""
    empty = DriftState.empty(binner.feature_count)
    for name, like in vars(empty).items():
        column = getattr(state, name)
        require(column.shape == like.shape and column.dtype == like.dtype, f"{name} must be {like.dtype} {like.shape}")
    for rows in (state.rows, state.present):
        flat = rows.reshape(-1, binner.feature_count)
        require((flat.max(axis=0, initial=0) <= binner.missing_bins).all(), "rows must be bins of the features")
    for filled in (state.filled, state.place[drift.KEPT]):
        require(((filled >= 0) & (filled <= drift.ROWS)).all(), "rows must be filled within their room")
    stride = int(state.place[drift.STRIDE])
    require(1 <= stride <= 2**40 and stride & (stride - 1) == 0, "the stride must be a power of two")
    require(0 <= state.place[drift.PENDING] < drift.LOSS_BLOCK, "losses must be fewer than a block")
    require(-1 <= state.place[drift.SLOT] <= _LARGEST_TIME_MS // drift.SLOT_MS, "the half day must be a time")
    require((state.place[[drift.SEEN, drift.LABELLED, drift.CHANGED]] >= 0).all(), "counts must not be negative")
    require(((state.since_ms >= 0) & (state.since_ms <= _LARGEST_TIME_MS)).all(), "alarms must have a time")
    for column in (state.labels, state.changes, state.losses, state.window):
        require((np.abs(column) <= _LARGEST_SUM).all(), "what is known of drift must be finite")
    require((np.isnan(state.told) | (np.abs(state.told) <= _LARGEST_SUM)).all(), "what was told must be finite")
    _check_window(state.window)


def _check_window(window: NDArray[np.float64]) -> None:
    """Check the window of the loss: as many values as its buckets hold, none of them empty."""
    counts = window[: adwin.LEVELS, 0]
    require(((counts >= 0) & (counts <= adwin.BUCKETS) & (counts == np.rint(counts))).all(), "buckets must be counted")
    held = math.fsum(count * 2.0**level for level, count in enumerate(counts.tolist()))
    require(window[adwin.LEVELS, adwin.WIDTH] == held, "the window of the loss must be as wide as its buckets")
