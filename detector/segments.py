"""Segments: payments that memory has no room for, in columns, as whoever stores them sees them.

A segment is written once and never changed. What changes of its payments, their labels, stays in memory; so does the
list of segments, which a checkpoint thereby names. Rows are sorted by identity, the youngest of equal ones first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.layout import (
    DECIDED,
    LABEL_STATE,
    PAYMENT_ABOUT,
    PAYMENT_AMOUNT,
    PAYMENT_CARD,
    PAYMENT_CARD_KEY,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_GENERATION,
    PAYMENT_LEVEL,
    PAYMENT_NUMBER,
    PAYMENT_REVIEW_SHARE,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    SHARED_KINDS,
)
from detector.memory import HASH, KEY_1

Columns = Mapping[str, NDArray[np.generic]]
# Words of a payment that a label can ask for, and how they are stored; of the others none is known any more.
_WORDS: tuple[tuple[str, int, str], ...] = (
    ("identity_0", HASH, "<i8"),
    ("identity_1", KEY_1, "<i8"),
    ("level", PAYMENT_LEVEL, "<u2"),
    ("time_ms", int(PAYMENT_TIME), "<i8"),
    ("card", int(PAYMENT_CARD), "<u4"),
    ("card_generation", int(PAYMENT_GENERATION), "<i8"),
    ("card_number", int(PAYMENT_NUMBER), "<i8"),
    ("state", int(PAYMENT_STATE), "u1"),
    ("decided", int(DECIDED), "<i8"),
    ("label_state", int(LABEL_STATE), "u1"),
    ("amount", int(PAYMENT_AMOUNT), "<i8"),
    ("about", int(PAYMENT_ABOUT), "<i8"),
    ("card_key", PAYMENT_CARD_KEY, "<i8"),
    ("review_share", PAYMENT_REVIEW_SHARE, "<i8"),
    *((f"entity_{word}", PAYMENT_ENTITY_KEYS + word, "<i8") for word in range(2 * SHARED_KINDS)),
)
_IDENTITY_0, _IDENTITY_1, _BINS = "identity_0", "identity_1", "bins"
_DIGEST_BYTES = 8


# On disk, without the names of columns.
ROW_BYTES = sum(np.dtype(kind).itemsize for _, _, kind in _WORDS) + FEATURE_COUNT


class Segments(Protocol):
    """Where segments are stored, by source partition and name."""

    def write(self, partition: int, name: str, columns: Columns) -> None:
        """Store a segment, so that it outlives the process when this returns.

        Raises:
            SegmentError: it cannot be stored.
        """
        ...

    def read(self, partition: int, name: str) -> Columns:
        """The columns of a segment, which may be looked up on disk only as they are used.

        Raises:
            SegmentError: it is not there, or damaged.
        """
        ...

    def sweep(self, partition: int, alive: Iterable[str]) -> None:
        """Remove what is named by no state any more: all but `alive`, once no checkpoint can name it either."""
        ...


def segment_name(number: int, digest: int) -> str:
    """A segment's name: another content has another name."""
    return f"{number:010d}-{digest & (2**64 - 1):016x}"


def to_columns(words: NDArray[np.int64], bins: NDArray[np.uint8]) -> Columns:
    """Payments, the oldest first, as the columns of a segment.

    Args:
        words: int64 (n, PAYMENT_WORDS).
        bins: uint8 (n, FEATURE_COUNT), as scored.
    """
    order = len(words) - 1 - np.argsort(words[::-1, HASH], kind="stable")
    columns: dict[str, NDArray[np.generic]] = {name: words[order, word].astype(kind) for name, word, kind in _WORDS}
    columns[_BINS] = bins[order]
    return columns


def digest_of_columns(columns: Columns) -> int:
    """A word of the digest of a segment's content."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for column in columns.values():
        digest.update(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data)
    return int.from_bytes(digest.digest(), "little", signed=True)


def find_identities(columns: Columns, identity: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each identity (n, 2) in a segment, -1 where it is not there."""
    first = columns[_IDENTITY_0]
    rows = np.searchsorted(first, identity[:, 0]).astype(np.int64)
    rows[rows >= len(first)] = 0
    same = (first[rows] == identity[:, 0]) & (columns[_IDENTITY_1][rows] == identity[:, 1])
    return np.where(same, rows, -1)


def words_of(columns: Columns, rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
    """Payments of a segment as rows of words, those that are not stored 0."""
    count = len(columns[_IDENTITY_0][rows])
    words = np.zeros((count, PAYMENT_WORDS), dtype=np.int64)
    for name, word, _ in _WORDS:
        words[:, word] = columns[name][rows]
    return words


def bins_of(columns: Columns, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
    """Bins of payments of a segment."""
    return np.ascontiguousarray(columns[_BINS][rows]).view(np.uint8).reshape(-1, FEATURE_COUNT)
