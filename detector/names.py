"""Names of merchants by the first word of their fingerprint: for what people read, never for what is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

# More merchants than any table of entities holds; beyond it the oldest names are forgotten.
MAXIMUM_NAMES = 1_000_000
# A chunk is made without letting other threads run: so many names take about a millisecond.
_CHUNK = 4096

Columns = tuple[NDArray[np.int64], NDArray[np.bytes_]]


def columns_of(texts: Mapping[int, str], keys: list[int]) -> Columns:
    """The names of these keys as arrays; what was forgotten meanwhile is left out."""
    known = [(key, text) for key in keys if (text := texts.get(key)) is not None]
    values = np.array([text.encode() for _, text in known] or [b""], dtype=np.bytes_)
    return np.array([key for key, _ in known], dtype=np.int64), values


class Names:
    """Texts in the order in which they came, and which of them a checkpoint does not hold yet."""

    def __init__(self) -> None:
        """Know none."""
        self.texts: dict[int, str] = {}
        # Read by the thread that writes a base while more are noted: it only ever grows, or is replaced as a whole.
        self._order: list[int] = []
        self._forgotten = 0
        self._new: list[int] = []

    def note(self, key: int, text: str) -> None:
        """Keep a name that is not known yet."""
        self.texts[key] = text
        self._order.append(key)
        self._new.append(key)
        while len(self.texts) > MAXIMUM_NAMES:
            del self.texts[self._order[self._forgotten]]
            self._forgotten += 1
        if self._forgotten > MAXIMUM_NAMES:
            self._order, self._forgotten = self._order[self._forgotten :], 0

    def take_new(self) -> Columns:
        """The names noted since the last call."""
        new, self._new = self._new, []
        return columns_of(self.texts, new)

    def put_back(self, keys: NDArray[np.int64]) -> None:
        """Names that were taken, but not written: they are new again."""
        self._new = [*keys.tolist(), *self._new]

    def chunks(self) -> Iterator[Columns]:
        """All names, some at a time; safe while another thread notes more, which may be missing."""
        order, start = self._order, self._forgotten
        for place in range(start, len(order), _CHUNK):
            yield columns_of(self.texts, order[place : place + _CHUNK])

    def load(self, columns: Columns) -> None:
        """Take over saved names; known ones keep their place."""
        for key, text in zip(columns[0].tolist(), columns[1], strict=False):
            if key not in self.texts:
                self.note(key, bytes(text).decode())
        self._new = []
