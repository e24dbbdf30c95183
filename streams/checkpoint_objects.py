"""One object of a checkpoint: named arrays behind each other, read and written in slices that stay in the cache.

An object is eight bytes of length, so many bytes of JSON that say what follows (name, type and shape of each array),
and the arrays. Arrays may be views of memory that changes while they are written: each slice is copied first, so that
the digest is that of the bytes that were written.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import IO, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.checkpoint_format import StoredObject

Arrays = Mapping[str, NDArray[np.generic]]
_SLICE_BYTES = 1 << 20
_LENGTH_BYTES = 8
_LONGEST_HEAD_BYTES = 64 << 20


class DamagedError(Exception):
    """An object is not what was written; the caller turns to another one. Says what is wrong with it."""


class Room(Protocol):
    """Where arrays are read into."""

    def room_for(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Where an array is to be read into; None where any room will do."""
        ...

    def apply(self, arrays: Arrays) -> None:
        """Take over the arrays of an object that was read whole, but for those that had a place of their own."""
        ...


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


def write_object(stream: IO[bytes], path: str, arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> StoredObject:
    """Write arrays as an object.

    Args:
        stream: to write to.
        path: what the object is to be called.
        arrays: by name, in order.

    Raises:
        OSError: the store did not take it.
    """
    listed = [(name, np.ascontiguousarray(array)) for name, array in arrays]
    head = msgspec.json.encode([_Entry(name, array.dtype.str, array.shape) for name, array in listed])
    start = len(head).to_bytes(_LENGTH_BYTES, "little") + head
    stream.write(start)
    digest, size = zlib.crc32(start), len(start)
    room = np.empty(_SLICE_BYTES, dtype=np.uint8)
    for _, array in listed:
        flat = array.reshape(-1).view(np.uint8)
        for place in range(0, len(flat), _SLICE_BYTES):
            piece = room[: min(_SLICE_BYTES, len(flat) - place)]
            np.copyto(piece, flat[place : place + len(piece)])
            stream.write(piece.data)
            digest = zlib.crc32(piece.data, digest)
        size += len(flat)
    return StoredObject(path, size, f"{digest:08x}")


class _Reader:
    """Reads a stream to its end, counting and digesting."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream: Any = stream
        self.digest = 0
        self.size = 0

    def into(self, target: NDArray[np.uint8]) -> None:
        """Fill an array of bytes.

        Raises:
            DamagedError: the stream ends before.
        """
        for place in range(0, len(target), _SLICE_BYTES):
            piece = target[place : place + _SLICE_BYTES]
            done = 0
            while done < len(piece):
                count = self._stream.readinto(piece[done:].data)
                if not count:
                    message = "is too short"
                    raise DamagedError(message)
                done += count
            self.digest = zlib.crc32(piece.data, self.digest)
        self.size += len(target)

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        room = np.empty(count, dtype=np.uint8)
        self.into(room)
        return room.tobytes()


def read_object(stream: IO[bytes], stored: StoredObject, room: Room) -> None:
    """Read an object and hand its arrays over.

    Arrays with a place of their own are written there before the whole is verified: a room is of no use after an error.

    Raises:
        DamagedError: it is not what was written.
        OSError: the store did not give it.
    """
    reader = _Reader(stream)
    length = int.from_bytes(reader.bytes(_LENGTH_BYTES), "little")
    if length > min(stored.size_bytes, _LONGEST_HEAD_BYTES):
        message = "has a damaged head"
        raise DamagedError(message)
    try:
        entries = msgspec.json.decode(reader.bytes(length), type=list[_Entry])
        dtypes = [np.dtype(entry.dtype) for entry in entries]
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        message = "has a damaged head"
        raise DamagedError(message) from error
    sizes = [dtype.itemsize * math.prod(entry.shape) for entry, dtype in zip(entries, dtypes, strict=True)]
    if length + _LENGTH_BYTES + sum(sizes) != stored.size_bytes or min(sizes, default=0) < 0:
        message = "has another size than its manifest says"
        raise DamagedError(message)
    arrays: dict[str, NDArray[np.generic]] = {}
    for entry, dtype in zip(entries, dtypes, strict=True):
        target = room.room_for(entry.name, entry.shape) if dtype == np.int64 else None
        if target is None:
            target = arrays[entry.name] = np.empty(entry.shape, dtype=dtype)
        reader.into(target.reshape(-1).view(np.uint8))
    if f"{reader.digest:08x}" != stored.digest:
        message = "has another digest than its manifest says"
        raise DamagedError(message)
    room.apply(arrays)
