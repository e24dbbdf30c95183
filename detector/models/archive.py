"""The bytes of a model version: an npz archive with one JSON text and a digest, read without trusting it."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError

# The arrays of `ModelVersion` and its `LearnerState`; the weights and squared gradients of slots that have any.
ARRAYS: dict[str, str] = {
    "slots": "int32",
    "slot_weights": "float64",
    "slot_squares": "float64",
    "intercept": "float64",
    "offsets": "float64",
    "means": "float64",
    "bin_counts": "float64",
    "usual_rows": "float64",
    "rows": "int64",
    "spent": "float64",
    "clock": "int64",
    "calibration_window": "float64",
    "calibration_place": "int64",
    "calibration_told": "float64",
    "columns": "int32",
    "limits": "int32",
    "current_mass": "int64",
    "reference_mass": "int64",
    "progress": "int64",
    "anomaly_sample": "float32",
    "edges": "float32",
    "edge_starts": "int32",
}
# Plain values of `ModelVersion`, with their types.
LINEAGE: dict[str, type] = {
    "name": str,
    "model": str,
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
    "log_loss": float,
    "average_precision": float,
}
_WINDOW = "window"
_META = "meta"
_DIGEST = "digest"
# 200 trees of height 15 and a million slots stay below; what claims to unpack to more is refused unread.
_MAXIMUM_UNPACKED_BYTES = 512 * 2**20
# A fixed date in the archive, so that equal versions have equal bytes: the earliest that a zip file can say.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    ValueError, KeyError, OSError, EOFError, NotImplementedError, RuntimeError, OverflowError, MemoryError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


def _digest(meta: bytes, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Digest of all content."""
    digest = hashlib.sha256(meta)
    for name in sorted(arrays):
        column = arrays[name]
        digest.update(f"\n{name} {column.dtype.str} {column.shape}\n".encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.digest()


def pack(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write an archive; equal content gives equal bytes."""
    text = json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()
    parts: dict[str, NDArray[Any]] = {
        **arrays,
        _META: np.frombuffer(text, dtype=np.uint8),
        _DIGEST: np.frombuffer(_digest(text, arrays), dtype=np.uint8),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(parts):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(parts[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_DATE)
            archive.writestr(entry, content.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the arrays of an archive, once its size is known to be bearable."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAXIMUM_UNPACKED_BYTES:
            message = f"model archive: unpacks to {unpacked} bytes, more than {_MAXIMUM_UNPACKED_BYTES}"
            raise ModelError(message)
        if archive.testzip() is not None:
            message = "model archive: damaged"
            raise ModelError(message)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read an archive that anybody may have written.

    Returns:
        (meta, arrays): the JSON text with every value of `LINEAGE`, `window`, `features` and `fields` of the
        right type, and exactly the arrays of `ARRAYS`, each of its type.

    Raises:
        ModelError: no such archive, damaged, or with other content.
    """
    try:
        arrays = _read_arrays(data)
        text = arrays.pop(_META).tobytes()
        expected = arrays.pop(_DIGEST).tobytes()
        meta = json.loads(text)
    except _UNREADABLE as error:
        message = "model archive: unreadable"
        raise ModelError(message) from error
    if _digest(text, arrays) != expected:
        message = "model archive: its digest does not fit its content"
        raise ModelError(message)
    if set(arrays) != set(ARRAYS) or not isinstance(meta, dict):
        message = "model archive: must hold exactly the arrays of a model version"
        raise ModelError(message)
    _check_meta(meta)
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != np.dtype(kind):
            message = f"model archive: {name} must be {kind}"
            raise ModelError(message)
    return meta, arrays


def _check_meta(meta: Mapping[str, Any]) -> None:
    """Check the types of the JSON text's values."""
    for key, kind in (*LINEAGE.items(), (_WINDOW, int)):
        if type(meta.get(key)) is not kind:
            message = f"model archive: {key} must be of type {kind.__name__}"
            raise ModelError(message)
    for key in ("features", "fields"):
        texts = meta.get(key)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            message = f"model archive: {key} must be a list of texts"
            raise ModelError(message)
