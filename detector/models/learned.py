"""What a trainer needs beside a version to go on from it as if it had never stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.models.drift import DriftState


@dataclass(frozen=True, eq=False)
class Standing:
    """How a contender has done so far.

    Attributes:
        window, place, told: of its calibration, see `calibration.Calibrator`.
        contest: float64[7], what is known of it against the champion, see `contest.Contest.table`.
    """

    window: NDArray[np.float64]
    place: NDArray[np.int64]
    told: NDArray[np.float64]
    contest: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearState:
    """Of one compiled contender.

    Attributes:
        weights: float64 a slot, without the slopes that are in a version's.
        slopes: float64[3, F].
        squared_gradients: float64 a slot.
        usual_rows, rows, spent, clock: see `logistic.Learned`.
        standing: how it has done.
    """

    weights: NDArray[np.float64]
    slopes: NDArray[np.float64]
    squared_gradients: NDArray[np.float64]
    usual_rows: NDArray[np.float64]
    rows: NDArray[np.int64]
    spent: NDArray[np.float64]
    clock: NDArray[np.int64]
    standing: Standing


@dataclass(frozen=True, eq=False)
class TreesState:
    """Of the model without labels.

    Attributes:
        columns, limits, current_mass, reference_mass, progress: see `CompiledHalfSpaceTrees`.
        window: in examples.
    """

    columns: NDArray[np.int32]
    limits: NDArray[np.int32]
    current_mass: NDArray[np.int64]
    reference_mass: NDArray[np.int64]
    progress: NDArray[np.int64]
    window: int


@dataclass(frozen=True, eq=False)
class SharedState:
    """Of what there is one, however many contend.

    Attributes:
        trees: of the model without labels.
        compared: how those have done by name that are compared and cannot be held: river's.
        drift: what is usual; None where nothing watched.
    """

    trees: TreesState
    compared: Mapping[str, Standing]
    drift: DriftState | None


def arrays_of(part: Any) -> Iterator[NDArray[Any]]:
    """All arrays of a version or of a part of one."""
    if isinstance(part, np.ndarray):
        yield part
    elif isinstance(part, tuple):
        for member in part:
            yield from arrays_of(member)
    elif isinstance(part, Mapping):
        for member in part.values():
            yield from arrays_of(member)
    elif is_dataclass(part):
        for field in fields(part):
            yield from arrays_of(getattr(part, field.name))
