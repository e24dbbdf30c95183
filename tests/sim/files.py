"""A simulated shared file system for checkpoints, behind fsspec: full disks, deaths between objects."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from tests.sim.world import Process, World

URL = "sim://checkpoints"


class SimFiles(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """Files of the world that is simulated at the moment."""

    protocol = "sim"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    world: ClassVar[World]

    @classmethod
    def begin(cls, world: World) -> None:
        """An empty disk for another world."""
        cls.world = world
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped = path.removeprefix("sim://").strip("/")
        return "/" + stripped if stripped else ""

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" not in mode:
            return super()._open(path, mode, **options)
        process = self._process()
        if process is not None:
            process.operation()
        if self.world.chance(self.world.chances.disk_full):
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        opened = super()._open(path, mode, **options)
        if process is not None:
            process.operation()  # dead now: an empty file is left
        return opened

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002
        process = self._process()
        if process is not None:
            process.operation()
        super().rm(path, recursive, maxdepth)

    def _process(self) -> Process | None:
        """The process whose thread runs now."""
        return self.world.running


fsspec.register_implementation("sim", SimFiles, clobber=True)
