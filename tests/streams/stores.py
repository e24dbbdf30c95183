"""For tests of checkpoints: writes that fail or are cut short, damage, and a state to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from streams.checkpoint_objects import Arrays
from streams.checkpoints import CheckpointStore


class Died(BaseException):
    """The process is gone: nothing that would handle an error runs."""


class CuttingFiles:
    """A file system that fails at one of its writes: as a full disk does, or as the end of the process."""

    def __init__(self, files: Any, writes: int, error: BaseException) -> None:
        self._files = files
        self._left = writes
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def open(self, path: str, mode: str) -> Any:
        if mode == "wb":
            self._left -= 1
            if self._left < 0:
                with self._files.open(path, mode) as stream:
                    stream.write(b"\x08\0\0\0")  # a part of it may be there
                raise self._error
        return self._files.open(path, mode)


def cut_after(store: CheckpointStore, writes: int, error: BaseException) -> None:
    """Let a store take so many more writes."""
    store._files = CuttingFiles(store._files, writes, error)


class Numbers:
    """A state of numbers, and room to read it into: a base holds all so far, a change those that are new."""

    layout = "numbers"

    def __init__(self, layout: str = layout) -> None:
        assert layout == self.layout
        self.numbers: list[int] = []

    def room_for(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:  # noqa: ARG002
        return None

    def apply(self, arrays: Arrays) -> None:
        for array in arrays.values():
            self.numbers += array.tolist()

    @staticmethod
    def arrays(first: int, stop: int) -> Arrays:
        return {"numbers": np.arange(first, stop), "texts": np.array([], dtype=np.int64)}

    @staticmethod
    def base(stop: int) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield "numbers", np.arange(stop)
        yield "empty", np.zeros((0, 3))


def objects(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return sorted(str(path) for path in files.find(root))


def damage(url: str, choose: Callable[[str], bool], place: int = -1, flipped: int = 1) -> int:
    """Flip bits of one byte, at the end unless told, of every object that is chosen; returns how many there were."""
    files, _ = fsspec.core.url_to_fs(url)
    chosen = [path for path in objects(url) if choose(path)]
    for path in chosen:
        data = bytearray(files.cat_file(path))
        data[place] ^= flipped
        files.pipe_file(path, bytes(data))
    return len(chosen)
