"""Columns of texts without an object a row: one buffer of bytes, and where each text starts and ends in it.

A batch of transactions has ids by the thousand that nobody looks at one by one. Here they stay where they came from,
be it the records of a fetch or a column of a file; slices and selections share the buffer. A text is made only where
one leaves cardwatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from detector.errors import BatchError
from detector.jit import kernel

LETTER_BITS = 5
_LETTERS = 26
_FIRST_LETTER = ord("A")

Int64 = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class TextColumn(Sequence[str | None]):
    """A column of UTF-8 texts; an empty one is a missing one, and reads as None.

    Attributes:
        buffer: uint8, what holds the texts, and whatever else stands between them.
        starts, ends: int64, a row a text: it is `buffer[start:end]`.
    """

    __slots__ = ("buffer", "ends", "starts")
    __hash__ = None  # type: ignore[assignment] # it is compared by content, and the content may be large

    def __init__(self, buffer: Bytes, starts: Int64, ends: Int64) -> None:
        """Take the arrays as they are; the caller vouches that they fit each other."""
        if buffer.flags.writeable:
            # Kernels are compiled once, for buffers that nobody writes to.
            buffer = buffer.view()
            buffer.flags.writeable = False
        self.buffer = buffer
        self.starts = starts
        self.ends = ends

    @classmethod
    def from_strings(cls, texts: Iterable[str | None]) -> TextColumn:
        """Make a column of Python's texts; None and "" are missing."""
        given = [text or "" for text in texts]
        joined = "".join(given)
        data = joined.encode()
        lengths = list(map(len, given)) if len(data) == len(joined) else [len(text.encode()) for text in given]
        ends = np.cumsum(np.array(lengths, dtype=np.int64), dtype=np.int64)
        starts = np.zeros(len(given), dtype=np.int64)
        starts[1:] = ends[:-1]
        return cls(np.frombuffer(data, dtype=np.uint8), starts, ends)

    @classmethod
    def constant(cls, text: str | None, count: int) -> TextColumn:
        """Make a column of `count` times the same text."""
        data = (text or "").encode()
        ends = np.full(count, len(data), dtype=np.int64)
        return cls(np.frombuffer(data, dtype=np.uint8), np.zeros(count, dtype=np.int64), ends)

    @classmethod
    def joined(cls, parts: Sequence[TextColumn]) -> TextColumn:
        """Put columns one behind the other."""
        shifts = np.cumsum([0, *(len(part.buffer) for part in parts)])
        return cls(
            np.concatenate([part.buffer for part in parts]),
            np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=False)]),
            np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=False)]),
        )

    def __len__(self) -> int:
        """Number of texts."""
        return int(self.starts.shape[0])

    @overload
    def __getitem__(self, row: int) -> str | None: ...

    @overload
    def __getitem__(self, row: slice) -> TextColumn: ...

    def __getitem__(self, row: int | slice) -> str | TextColumn | None:
        """One text, None where it is missing; or some rows, as views."""
        if isinstance(row, slice):
            return TextColumn(self.buffer, self.starts[row], self.ends[row])
        return self.encoded(row).decode() or None

    def __iter__(self) -> Iterator[str | None]:
        """Texts in order."""
        if not len(self):
            return iter(())
        low = int(self.starts.min())
        data = self.buffer[low : int(self.ends.max())].tobytes()
        places = zip((self.starts - low).tolist(), (self.ends - low).tolist(), strict=True)
        return (data[start:end].decode() or None for start, end in places)

    def __eq__(self, other: object) -> bool:
        """Whether another column, or another sequence of texts, says the same."""
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def __repr__(self) -> str:
        """How many there are: what they say may be nobody's business."""
        return f"TextColumn of {len(self)} texts"

    def encoded(self, row: int) -> bytes:
        """The bytes of one text."""
        return self.buffer[self.starts[row] : self.ends[row]].tobytes()

    def take(self, rows: NDArray[Any]) -> TextColumn:
        """Some rows, by their numbers or by a mask."""
        return TextColumn(self.buffer, self.starts[rows], self.ends[rows])


def text_column(texts: Iterable[str | None]) -> TextColumn:
    """The column itself, or one made of Python's texts."""
    return texts if isinstance(texts, TextColumn) else TextColumn.from_strings(texts)


@kernel
def _pack_rows(buffer: Bytes, starts: Int64, ends: Int64, length: int, packed: Int64) -> int:
    """Pack the first `length` letters of each text; returns the first row with anything else, or -1."""
    for row in range(starts.shape[0]):
        start = starts[row]
        word = np.int64(0)
        for index in range(min(length, ends[row] - start)):
            letter = np.int64(buffer[start + index]) - _FIRST_LETTER + 1
            if letter < 1 or letter > _LETTERS:
                return row
            word |= letter << (LETTER_BITS * index)
        packed[row] = word
    return -1


def pack_letters(texts: Iterable[str | None], length: int) -> Int64:
    """Pack codes of capital letters into integers, 5 bits a letter with A as 1; 0 where missing.

    Args:
        texts: codes of currencies or countries.
        length: how many letters count.

    Raises:
        BatchError: a code has anything but capital letters.
    """
    column = text_column(texts)
    packed = np.zeros(len(column), dtype=np.int64)
    if _pack_rows(column.buffer, column.starts, column.ends, length, packed) >= 0:
        message = "currencies and countries are codes of capital letters"
        raise BatchError(message)
    return packed


def pack_code(code: str, length: int) -> int:
    """One code as `pack_letters` packs it; -1, which no row has, if it is none of `length` capital letters."""
    letters = [ord(letter) - _FIRST_LETTER + 1 for letter in code]
    if len(letters) != length or not all(1 <= letter <= _LETTERS for letter in letters):
        return -1
    return sum(letter << (LETTER_BITS * index) for index, letter in enumerate(letters))


def unpack_letters(packed: int, length: int) -> str | None:
    """The code that `pack_letters` packed, None if it was missing."""
    letters = [(packed >> (LETTER_BITS * index)) & ((1 << LETTER_BITS) - 1) for index in range(length)]
    return "".join(chr(_FIRST_LETTER - 1 + letter) for letter in letters if letter) or None
