"""What of a model version is written, and back: plain arrays and a JSON text, checked before a kernel sees them.

A name in the archive says whose an array is: `champion.weights`, `challenger0.weights`, `compared0.window` of one of
river's, `trees.limits`, `drift.rows`; `edges`, `edge_starts` and `anomaly_sample` are of all. Only slots that were ever
learned are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError, ModelError
from detector.models.bins import Binner
from detector.models.checks import check_slopes, check_trees, require, require_name, require_number
from detector.models.config import MAXIMUM_CHALLENGERS
from detector.models.contest import Verdict
from detector.models.drift import DriftState
from detector.models.fields import MAXIMUM_SLOTS, Fields
from detector.models.half_space import FIRST_WINDOW, forest_of
from detector.models.learned import LinearState, SharedState, Standing, TreesState
from detector.models.slopes import folded

if TYPE_CHECKING:
    from detector.models.version import ModelVersion

Arrays = dict[str, NDArray[Any]]

# 2 held a champion alone, 3 no slopes.
FORMAT = 4
_STANDING = {"window": "float64", "place": "int64", "told": "float64", "contest": "float64"}
_LINEAR = {
    "slots": "int32", "slot_weights": "float64", "slot_squares": "float64", "slopes": "float64", "intercept": "float64",
    "offsets": "float64", "means": "float64", "bin_counts": "float64", "usual_rows": "float64", "rows": "int64",
    "spent": "float64", "clock": "int64", **{f"standing.{name}": kind for name, kind in _STANDING.items()},
}  # fmt: skip
_TREES = {
    "columns": "int32", "limits": "int32", "current_mass": "int64", "reference_mass": "int64", "progress": "int64",
}  # fmt: skip
_DRIFT = {
    "rows": "uint8", "filled": "int64", "present": "uint8", "labels": "float64", "changes": "float64",
    "losses": "float64", "window": "float64", "told": "float64", "since_ms": "int64", "place": "int64",
}  # fmt: skip
_SHARED = {"anomaly_sample": "float32", "edges": "float32", "edge_starts": "int32"}
# Plain values that all contenders of a version share, and those of each.
LINEAGE: dict[str, type] = {
    "name": str,
    "catalogue_digest": str,
    "configuration_digest": str,
    "created_from": str,
    "examples_offset": int,
    "examples_learned": int,
    "frauds_learned": int,
    "trained_from_ms": int,
    "trained_to_ms": int,
    "cold_start_frauds": int,
    "anomalies_sampled": int,
}
OWN: dict[str, type] = {"model": str, "log_loss": float, "average_precision": float}
_MAXIMUM_VERDICTS = 10_000
_LARGEST_GAIN = 1e6
_MAXIMUM_FEATURES = 1_024
_MAXIMUM_FIELDS = 1_024
_MAXIMUM_FIELD_CHARACTERS = 512
MAXIMUM_NOTE = 512
# Less than a version may hold, so that one who learns from a file does not come to the end of what is counted at once.
_LARGEST_WEIGHT = 1e5
_LARGEST_COUNT = 2**61
_LARGEST_SUM = 1e14


def parts_of(version: ModelVersion) -> tuple[dict[str, Any], Arrays]:
    """A version as a JSON text and arrays.

    Raises:
        ModelError: a version for scoring alone.
    """
    shared = version.shared
    if shared is None:
        message = f"model {version.name} is for scoring alone: it has no learner's state to be written"
        raise ModelError(message)
    meta: dict[str, Any] = {"format": FORMAT, "window": shared.trees.window}
    meta |= {key: getattr(version, key) for key in LINEAGE}
    meta |= {
        "features": list(version.binner.names),
        "contenders": [_meta_of(contender) for contender in (version, *version.challengers)],
        "compared": list(shared.compared), "has_drift": shared.drift is not None,
        "verdicts": [asdict(verdict) for verdict in version.verdicts],
    }  # fmt: skip
    binner = version.binner
    arrays: Arrays = {
        "anomaly_sample": version.anomaly_sample, "edges": binner.edges, "edge_starts": binner.edge_starts
    }  # fmt: skip
    for number, contender in enumerate((version, *version.challengers)):
        arrays |= _prefixed(_name_of(number), _linear_arrays(contender))
    for number, standing in enumerate(shared.compared.values()):
        arrays |= _prefixed(f"compared{number}", {name: getattr(standing, name) for name in _STANDING})
    arrays |= _prefixed("trees", {name: getattr(shared.trees, name) for name in _TREES})
    if shared.drift is not None:
        arrays |= _prefixed("drift", {name: getattr(shared.drift, name) for name in _DRIFT})
    return meta, arrays


def _name_of(number: int) -> str:
    """Whose the arrays of a contender are."""
    return f"challenger{number - 1}" if number else "champion"


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays under names that say whose they are."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _meta_of(contender: ModelVersion) -> dict[str, Any]:
    """The plain values of one contender."""
    return {key: getattr(contender, key) for key in OWN} | {"fields": list(contender.fields.texts)}


def _linear_arrays(contender: ModelVersion) -> Arrays:
    """The arrays of one contender."""
    state = contender.state
    if state is None:
        message = f"model {contender.model} is for scoring alone: it has no learner's state to be written"
        raise ModelError(message)
    slots = np.flatnonzero((state.squared_gradients > 0) | (state.weights != 0)).astype(np.int32)
    found: Arrays = {
        "slots": slots, "slot_weights": state.weights[slots], "slot_squares": state.squared_gradients[slots]
    }  # fmt: skip
    for source in (contender, state):
        found |= {name: value for name, value in vars(source).items() if name in _LINEAR and name not in found}
    return found | _prefixed("standing", {name: getattr(state.standing, name) for name in _STANDING})


def values_of(
    meta: Mapping[str, Any], arrays: Arrays
) -> tuple[dict[str, Any], list[dict[str, Any]], tuple[Verdict, ...]]:
    """Read what `parts_of` has made, whoever may have written it.

    Returns:
        (shared, contenders, verdicts): what a `ModelVersion` is made of: values that all contenders share, those of
        each, the champion first, and the changes of champions.

    Raises:
        ModelError: it is of another format, or holds what no trainer makes.
    """
    if meta.get("format") != FORMAT:
        message = f"model archive of format {meta.get('format')!r:.20}; this cardwatch reads {FORMAT}"
        raise ModelError(message)
    contenders, compared = _check_meta(meta)
    _check_arrays(arrays, len(contenders), len(compared), has_drift=meta["has_drift"])
    binner = _binner(meta["features"], arrays["edges"], arrays["edge_starts"])
    trees = TreesState(window=meta["window"], **_taken(arrays, "trees", _TREES))
    check_trees(binner, trees)
    forest = forest_of(
        binner, trees.columns, trees.limits, trees.current_mass, trees.reference_mass, trees.window,
        first_window=bool(trees.progress[FIRST_WINDOW]),
    )  # fmt: skip
    standings = {
        name: Standing(**_taken(arrays, f"compared{number}", _STANDING)) for number, name in enumerate(compared)
    }
    drift = DriftState(**_taken(arrays, "drift", _DRIFT)) if meta["has_drift"] else None
    shared = {key: meta[key] for key in LINEAGE} | {"forest": forest, "anomaly_sample": arrays["anomaly_sample"]}
    shared["shared"] = SharedState(trees, standings, drift)
    laid_out = [_fields(binner, own["fields"]) for own in contenders]
    require(sum(own.slot_count for own in laid_out) <= 2 * MAXIMUM_SLOTS, f"slots must be at most {2 * MAXIMUM_SLOTS}")
    own = [
        {key: values[key] for key in OWN} | _linear(own_fields, _taken(arrays, _name_of(number), _LINEAR))
        for number, (values, own_fields) in enumerate(zip(contenders, laid_out, strict=True))
    ]
    return shared, own, _verdicts(meta.get("verdicts"))


def _taken(arrays: Arrays, prefix: str, names: Mapping[str, str]) -> Arrays:
    """The arrays under a prefix, without it."""
    return {name: arrays[f"{prefix}.{name}"] for name in names}


def _check_meta(meta: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Check the types and sizes of the text's values; returns the contenders', and the names of those compared."""
    _require_types(meta, {**LINEAGE, "window": int, "has_drift": bool})
    for name in ("name", "catalogue_digest", "configuration_digest"):
        require_name(meta[name], name)
    require_name(meta["created_from"] or "-", "created_from")
    _require_texts(meta.get("features"), "features", _MAXIMUM_FEATURES)
    compared, contenders = meta.get("compared"), meta.get("contenders")
    _require_texts(compared, "compared", MAXIMUM_CHALLENGERS)
    if not isinstance(contenders, list) or not isinstance(compared, list):
        message = "model archive: contenders must be a list"
        raise ModelError(message)
    require(1 <= len(contenders) <= 1 + MAXIMUM_CHALLENGERS, f"challengers must be at most {MAXIMUM_CHALLENGERS}")
    for own in contenders:
        require(isinstance(own, dict), "a contender must be a table")
        _require_types(own, OWN)
        _require_texts(own.get("fields"), "fields", _MAXIMUM_FIELDS)
    names = [own["model"] for own in contenders] + compared
    for name in names:
        require_name(name, "a contender's name")
    require(len(set(names)) == len(names), "contenders must have different names")
    return contenders, compared


def _require_types(values: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Check types, and that numbers are neither negative nor beyond what is ever counted."""
    for key, kind in kinds.items():
        require(type(values.get(key)) is kind, f"{key} must be of type {kind.__name__}")
        if kind in {int, float}:
            require_number(values[key], key)


def _require_texts(texts: object, name: str, most: int) -> None:
    """Check a list of texts."""
    is_list = isinstance(texts, list) and all(
        isinstance(text, str) and len(text) <= _MAXIMUM_FIELD_CHARACTERS for text in texts
    )
    require(is_list, f"{name} must be a list of texts")
    require(isinstance(texts, list) and len(texts) <= most, f"{name} must be at most {most}")


def _check_arrays(arrays: Arrays, contenders: int, compared: int, *, has_drift: bool) -> None:
    """Check that exactly the arrays of a version are there, each of its type, with room to go on counting."""
    expected = dict(_SHARED) | {f"trees.{name}": kind for name, kind in _TREES.items()}
    for number in range(contenders):
        expected |= {f"{_name_of(number)}.{name}": kind for name, kind in _LINEAR.items()}
    for number in range(compared):
        expected |= {f"compared{number}.{name}": kind for name, kind in _STANDING.items()}
    if has_drift:
        expected |= {f"drift.{name}": kind for name, kind in _DRIFT.items()}
    require(set(arrays) == set(expected), "must hold exactly the arrays of a model version")
    for name, kind in expected.items():
        require(arrays[name].dtype == np.dtype(kind), f"{name} must be {kind}")
        largest = _LARGEST_SUM if arrays[name].dtype.kind == "f" else _LARGEST_COUNT
        # NaN stands for what is not known, where that may be.
        beyond = (arrays[name] > largest) | (arrays[name] < -largest)
        require(not beyond.any(), f"{name} must be at most {largest:g}")


def _binner(names: Sequence[str], edges: NDArray[np.float32], starts: NDArray[np.int32]) -> Binner:
    """Lay out the grids anew."""
    increasing = starts.ndim == 1 and len(starts) == len(names) + 1 and bool((np.diff(starts) > 0).all())
    fits = increasing and edges.ndim == 1 and starts[0] == 0 and starts[-1] == len(edges)
    require(fits, "grids must fit the features")
    grids = [edges[starts[column] : starts[column + 1]].tolist() for column in range(len(names))]
    try:
        return Binner(list(zip(names, grids, strict=True)))
    except ConfigurationError as error:
        message = f"model archive: {error}"
        raise ModelError(message) from error


def _fields(binner: Binner, texts: Sequence[str]) -> Fields:
    """Lay out the slots anew."""
    try:
        return Fields(binner, texts)
    except ConfigurationError as error:
        message = f"model archive: {error}"
        raise ModelError(message) from error


def _linear(own_fields: Fields, arrays: Arrays) -> dict[str, Any]:
    """What is of one contender."""
    slots, weights, squares = (arrays[name] for name in ("slots", "slot_weights", "slot_squares"))
    fits = slots.ndim == 1 and slots.shape == weights.shape == squares.shape
    require(fits, "slots must have a weight and a squared gradient each")
    count = own_fields.slot_count
    inside = not len(slots) or bool(slots[0] >= 0 and slots[-1] < count and (np.diff(slots) > 0).all())
    require(inside, "slots must increase and be among those of the fields")
    require((np.abs(weights) <= _LARGEST_WEIGHT).all(), f"weights must be at most {_LARGEST_WEIGHT:g}")
    dense = np.zeros((2, count))
    dense[0, slots], dense[1, slots] = weights, squares
    standing = Standing(**{name: arrays[f"standing.{name}"] for name in _STANDING})
    kept = {field.name for field in fields(LinearState)} & arrays.keys()
    state = LinearState(
        weights=dense[0], squared_gradients=dense[1], standing=standing, **{name: arrays[name] for name in kept}
    )
    check_slopes(own_fields.binner, state.slopes)
    scoring = {name: arrays[name] for name in ("intercept", "offsets", "means", "bin_counts")}
    weights = folded(state.weights, own_fields.layout, state.slopes)
    return {"fields": own_fields, "weights": weights, "state": state, **scoring}


def _verdicts(listed: object) -> tuple[Verdict, ...]:
    """Read the changes of champions."""
    require(isinstance(listed, list) and len(listed) <= _MAXIMUM_VERDICTS, "verdicts must be a list, not a long one")
    found: list[Verdict] = []
    for values in listed if isinstance(listed, list) else ():
        names = set(values) if isinstance(values, dict) else set()
        require(names == set(Verdict.__slots__), f"a verdict must have {', '.join(Verdict.__slots__)}")
        for name in ("kind", "winner", "loser", "actor"):
            require_name(values[name], "a verdict's text")
        note, gain = values["note"], values["gain"]
        is_note = isinstance(note, str) and len(note) <= MAXIMUM_NOTE and note.isprintable()
        require(is_note, f"a note must be at most {MAXIMUM_NOTE} plain characters")
        require(type(values["label_time_ms"]) is int, "a verdict's time must be a whole number")
        require_number(values["label_time_ms"], "a verdict's time")
        for name in ("frauds", "evidence"):
            require_number(values[name], "a verdict's number")
        require(type(gain) in {int, float} and abs(gain) < _LARGEST_GAIN, "a verdict's gain must be finite")
        found.append(Verdict(**values))
    return tuple(found)
