"""Segments in a dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from detector.errors import SegmentError
from detector.segments import Columns


@dataclass
class MemorySegments:
    """A disk that forgets nothing by itself.

    Attributes:
        stored: by partition and name.
        is_full: whether it takes nothing more.
    """

    stored: dict[tuple[int, str], Columns] = field(default_factory=dict)
    is_full: bool = False

    def write(self, partition: int, name: str, columns: Columns) -> None:
        if self.is_full:
            message = "no space left"
            raise SegmentError(message)
        self.stored[partition, name] = {key: column.copy() for key, column in columns.items()}

    def read(self, partition: int, name: str) -> Columns:
        try:
            return self.stored[partition, name]
        except KeyError:
            message = f"no segment {name}"
            raise SegmentError(message) from None

    def sweep(self, partition: int, alive: Iterable[str]) -> None:
        """A checkpoint may name them all."""
