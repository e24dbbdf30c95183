"""Segments of kept payments as files: where checkpoints are, so that whoever takes a partition over finds them.

A file is a line of JSON that names its columns, then the columns, each from a multiple of 64 bytes on. It is written
beside its place, forced to the disk and moved there: what has a name is whole. Columns are mapped into memory, so that
looking for a payment reads a few pages of one of them. From a store that is no local disk a file is fetched once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import fsspec
import msgspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from detector.errors import SegmentError
from detector.segments import Columns

_FORMAT = 1
_ALIGNED = 64
_HEAD_BYTES = 1 << 16
_FOLDER = "kept"
# A checkpoint that still names a segment which the state has forgotten is gone by then.
_GRACE_S = 86_400.0
logger = logging.getLogger(__name__)


class _Column(msgspec.Struct, frozen=True):
    """Where a column lies behind the head."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int


class _Head(msgspec.Struct, frozen=True):
    """What a file holds."""

    format: int
    size_bytes: int
    columns: list[_Column]


def encode(columns: Columns) -> bytes:
    """A segment as the bytes of its file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in columns.items()}
    placed: list[_Column] = []
    size = 0
    for name, array in arrays.items():
        placed.append(_Column(name, array.dtype.str, array.shape, size))
        size += -(-array.nbytes // _ALIGNED) * _ALIGNED
    head = msgspec.json.encode(_Head(_FORMAT, size, placed)) + b"\n"
    start = -(-len(head) // _ALIGNED) * _ALIGNED
    data = np.zeros(start + size, dtype=np.uint8)
    data[: len(head)] = np.frombuffer(head, dtype=np.uint8)
    for column in placed:
        array = arrays[column.name].reshape(-1).view(np.uint8)
        data[start + column.start : start + column.start + len(array)] = array
    return data.tobytes()


def open_columns(path: Path) -> Columns:
    """The columns of a file, mapped into memory.

    Raises:
        SegmentError: it is not there, or is no such file.
    """
    try:
        with path.open("rb") as stream:
            line = stream.readline(_HEAD_BYTES)
        head = msgspec.json.decode(line, type=_Head)
        start = -(-len(line) // _ALIGNED) * _ALIGNED
        data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        if head.format != _FORMAT or len(data) != start + head.size_bytes:
            message = f"segment {path.name} is of another format or cut off"
            raise SegmentError(message)
        return {column.name: _mapped(data[start:], column) for column in head.columns}
    except (OSError, ValueError, TypeError, msgspec.DecodeError) as error:
        message = f"segment {path.name} cannot be read: {type(error).__name__}"
        raise SegmentError(message) from error


def _mapped(data: NDArray[np.uint8], column: _Column) -> NDArray[np.generic]:
    """One column of a file."""
    kind = np.dtype(column.kind)
    count = int(np.prod(column.shape, dtype=np.int64)) * kind.itemsize
    return data[column.start : column.start + count].view(kind).reshape(column.shape)


class SegmentFiles:
    """`Segments` in the folder `kept` of a checkpoint folder, any fsspec URL. All methods block."""

    def __init__(self, url: str, clock_s: Callable[[], float] = time.time) -> None:
        """Store under `url`; `clock_s` says how old files are, in the store's own time."""
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = f"{root.rstrip('/')}/{_FOLDER}"
        self._clock_s = clock_s
        self._is_local = isinstance(self._files, LocalFileSystem)
        self._fetched: Path | None = None
        self._open: dict[tuple[int, str], Columns] = {}

    def write(self, partition: int, name: str, columns: Columns) -> None:
        """See `detector.segments.Segments`."""
        data = encode(columns)
        try:
            self._files.makedirs(self._folder(partition), exist_ok=True)
            if self._is_local:
                _write_local(Path(self._path(partition, name)), data)
            else:
                self._files.pipe_file(self._path(partition, name), data)
        except OSError as error:
            message = f"segment {name} of partition {partition} cannot be written: {error}"
            raise SegmentError(message) from error

    def read(self, partition: int, name: str) -> Columns:
        """See `detector.segments.Segments`."""
        if (partition, name) not in self._open:
            try:
                self._open[partition, name] = open_columns(self._local(partition, name))
            except SegmentError as error:
                logger.error("payments kept on disk are lost: %s", error)  # noqa: TRY400 - the cause is in the message
                raise
        return self._open[partition, name]

    def sweep(self, partition: int, alive: Iterable[str]) -> None:
        """See `detector.segments.Segments`; a file outlives its last use by a day."""
        names = set(alive)
        for key in [key for key in self._open if key[0] == partition and key[1] not in names]:
            del self._open[key]
        try:
            for path in self._files.ls(self._folder(partition), detail=False):
                name = str(path).rstrip("/").rsplit("/", 1)[-1]
                if name not in names and self._age_s(str(path)) > _GRACE_S:
                    self._files.rm_file(str(path))
        except OSError as error:
            logger.warning("segments of partition %d cannot be swept: %s", partition, error)

    def _age_s(self, path: str) -> float:
        """How long ago a file was written; 0 where the store does not say."""
        with contextlib.suppress(NotImplementedError):
            return self._clock_s() - float(self._files.modified(path).timestamp())
        return 0.0

    def _folder(self, partition: int) -> str:
        """Where a partition's segments are."""
        return f"{self._root}/{partition}"

    def _path(self, partition: int, name: str) -> str:
        """Where a segment is."""
        return f"{self._folder(partition)}/{name}"

    def _local(self, partition: int, name: str) -> Path:
        """A segment as a local file."""
        if self._is_local:
            return Path(self._path(partition, name))
        if self._fetched is None:
            self._fetched = Path(tempfile.mkdtemp(prefix="cardwatch-kept-"))
            weakref.finalize(self, shutil.rmtree, self._fetched, ignore_errors=True)
        path = self._fetched / f"{partition}-{name}"
        if not path.exists():
            try:
                self._files.get_file(self._path(partition, name), str(path))
            except OSError as error:
                path.unlink(missing_ok=True)
                message = f"segment {name} of partition {partition} cannot be fetched: {type(error).__name__}"
                raise SegmentError(message) from error
        return path


def _write_local(path: Path, data: bytes) -> None:
    """Write a file whole, and so that it outlives the machine."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
