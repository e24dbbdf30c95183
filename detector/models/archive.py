"""The bytes of a model version: a zip file of plain arrays, one JSON text and a digest, read without trusting it.

It is what `numpy.savez_compressed` writes, so that other tools can read it, in the plainest of its forms: numbers only,
little-endian, rows first. What says anything else is refused, and so is what says that it will be large. An array has
exactly the bytes that its header claims, or it is not read: nothing is allocated on a claim.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError

_META = "meta"
_DIGEST = "digest"
_SUFFIX = ".npy"
# The largest versions of a shipped configuration unpack to 40 MB; what claims more than this is refused unread.
MAXIMUM_UNPACKED_BYTES = 256 * 2**20
_MAXIMUM_ARRAYS = 512
_MAXIMUM_META_BYTES = 2**20
# A fixed date in the archive, so that equal versions have equal bytes: the earliest that a zip file can say.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<f8|<f4|<i8|<i4|\|u1)', 'fortran_order': False, 'shape': \(((?:[0-9]{1,10}, ?)*[0-9]{0,10})\), \}"
    rb" *\n"
)
# Whatever a zip file that nobody has meant to be one makes of its readers.
_UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, OSError, EOFError, NotImplementedError, RuntimeError, OverflowError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def digest_of(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Digest of all content."""
    return _digest(_text(meta), arrays)


def _text(meta: Mapping[str, Any]) -> bytes:
    """The JSON text of an archive."""
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()


def _digest(text: bytes, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Digest of a text and arrays."""
    digest = hashlib.sha256(text)
    for name in sorted(arrays):
        column = arrays[name]
        digest.update(f"\n{name} {column.dtype.str} {column.shape}\n".encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.digest()


def pack(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write an archive; equal content gives equal bytes."""
    text = _text(meta)
    parts: dict[str, NDArray[Any]] = {
        **arrays,
        _META: np.frombuffer(text, dtype=np.uint8),
        _DIGEST: np.frombuffer(_digest(text, arrays), dtype=np.uint8),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(parts):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(parts[name]), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}{_SUFFIX}", date_time=_ZIP_DATE)
            archive.writestr(entry, content.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _array(content: bytes) -> NDArray[Any]:
    """The array of an entry.

    Raises:
        ValueError: another header than `pack` writes, or other bytes than it claims.
    """
    start = len(_MAGIC) + 2
    length = int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content[start : start + length])
    if not content.startswith(_MAGIC) or header is None:
        message = "not a plain array"
        raise ValueError(message)
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[2].replace(b" ", b"").split(b",") if size)
    if math.prod(shape) * dtype.itemsize != len(content) - start - length:
        message = "an array has other bytes than it claims"
        raise ValueError(message)
    return np.frombuffer(content, dtype, offset=start + length).reshape(shape).copy()


def _read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the arrays of an archive, once its size is known to be bearable."""
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > MAXIMUM_UNPACKED_BYTES or len(entries) > _MAXIMUM_ARRAYS:
            message = f"model archive: unpacks to {unpacked} bytes in {len(entries)} arrays, which is too much"
            raise ModelError(message)
        for entry in entries:
            name = entry.filename.removesuffix(_SUFFIX)
            if name == entry.filename or name in found or entry.compress_type not in _METHODS:
                message = "not an archive of ours"
                raise ValueError(message)
            # A damaged entry does not fit its checksum, which the reader finds at its end.
            found[name] = _array(archive.read(entry))
    return found


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read an archive that anybody may have written.

    Returns:
        (meta, arrays): the JSON text, which is a table, and arrays of numbers. What they are of is still to be checked.

    Raises:
        ModelError: no such archive, damaged, or too large.
    """
    try:
        arrays = _read_arrays(data)
        text = arrays.pop(_META).tobytes()
        expected = arrays.pop(_DIGEST).tobytes()
        if len(text) > _MAXIMUM_META_BYTES:
            message = "the text is too long"
            raise ValueError(message)
        meta = json.loads(text)
    except _UNREADABLE as error:
        message = "model archive: unreadable"
        raise ModelError(message) from error
    if _digest(text, arrays) != expected:
        message = "model archive: its digest does not fit its content"
        raise ModelError(message)
    if not isinstance(meta, dict):
        message = "model archive: its text must be a table"
        raise ModelError(message)
    return meta, arrays
