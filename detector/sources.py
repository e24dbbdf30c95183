"""What shared entities contain of each source partition, and the rows by which they come to contain more of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import SharedRowsError
from detector.layout import (
    MOST_PARTITIONS,
    OF_LABELS,
    OF_TRANSACTIONS,
    SOURCE_KINDS,
    SOURCE_STARTED,
    SOURCE_WATERMARK,
    SOURCES,
)
from detector.memory import USED, Memory, address, descriptor, put, table_rows
from detector.shared_rows import ROW_NUMBER, ROW_WORDS, apply_rows
from detector.state import EngineState

# "CWER" and the version of the format.
_FORMAT = 0x43574552_00000001
_HEAD_WORDS = 8
_WORD = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class SharedRows:
    """What some records of one source of one partition change in shared entities.

    Attributes:
        partition: the source partition.
        source: which of its sources, an `OF_` constant of `detector.layout`.
        first, next: the rows are all there are of the numbers from `first` to below `next`: offsets of transactions or
            labels, offsets of payments that became genuine by themselves, or their places on disk. Of the latter two
            `first` is 0: where nothing became genuine nothing is told, so that gaps mean nothing.
        watermark_ms: the partition's largest event time up to there; only of transactions.
        words: int64 (n, ROW_WORDS), as `detector.shared_rows` says, in order.
    """

    partition: int
    source: int
    first: int
    next: int
    watermark_ms: int
    words: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.words)

    def cut(self, most: int) -> Iterator[SharedRows]:
        """The same in pieces of at most `most` rows."""
        first = self.first
        for start in range(0, max(len(self.words), 1), most):
            stop = start + most
            following = self.next if stop >= len(self.words) else int(self.words[stop, ROW_NUMBER])
            yield replace(self, first=first, next=following, words=self.words[start:stop])
            first = following

    def to_bytes(self) -> bytes:
        """Encode: eight words that say what follows, and the rows, all little-endian int64."""
        head = (_FORMAT, self.partition, self.source, self.first, self.next, self.watermark_ms, ROW_WORDS, len(self))
        return np.array(head, dtype=_WORD).tobytes() + np.ascontiguousarray(self.words, dtype=_WORD).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SharedRows:
        """Decode what `to_bytes` made.

        Raises:
            SharedRowsError: it is something else, or of another version.
        """
        if len(data) < _HEAD_WORDS * _WORD.itemsize or len(data) % _WORD.itemsize:
            message = f"no rows of shared entities: {len(data)} bytes"
            raise SharedRowsError(message)
        words = np.frombuffer(data, dtype=_WORD).astype(np.int64, copy=False)
        known, partition, source, first, following, watermark_ms, width, count = words[:_HEAD_WORDS].tolist()
        if known != _FORMAT or width != ROW_WORDS:
            message = f"rows of shared entities of format {known:x} and {width} words; known here is {_FORMAT:x}"
            raise SharedRowsError(message)
        is_possible = 0 <= partition < MOST_PARTITIONS and 0 <= source < SOURCE_KINDS and 0 <= first <= following
        if not is_possible or len(words) != _HEAD_WORDS + count * ROW_WORDS:
            message = f"rows of shared entities that do not fit their head: partition {partition}, source {source}"
            raise SharedRowsError(message)
        rows = words[_HEAD_WORDS:].reshape(count, ROW_WORDS)
        return cls(partition, source, first, following, watermark_ms, rows)


def join_rows(parts: Sequence[SharedRows]) -> SharedRows:
    """Rows of one source of one partition that follow each other, as one."""
    if len(parts) == 1:
        return parts[0]
    words = np.concatenate([part.words for part in parts])
    return replace(parts[-1], first=parts[0].first, words=words)


class Applied(NamedTuple):
    """What applying rows came to.

    Attributes:
        rows: how many were new.
        missed: how many numbers (offsets) lie between what was contained before and the first of these rows.
    """

    rows: int
    missed: int


def known_to(shared: Memory, partition: int, word: int) -> int:
    """A word of what shared entities contain of a partition: an `OF_` or `SOURCE_` constant of `detector.layout`."""
    return int(table_rows(shared, int(SOURCES))[1 + partition, word])


def raise_to(shared: Memory, partition: int, word: int, value: int) -> None:
    """Say that shared entities contain more of a partition; call within a change of them. It never becomes less."""
    about = descriptor(shared, int(SOURCES))
    about[USED] = max(int(about[USED]), partition + 2)
    place = int(address(shared, SOURCES, 1 + partition)) + int(word)
    if value > shared[place]:
        put(shared, place, value)


def note_rows(shared: Memory, rows: SharedRows) -> None:
    """Say that shared entities contain these rows; call within the change that has counted them."""
    raise_to(shared, rows.partition, rows.source, rows.next)
    if rows.source == OF_TRANSACTIONS:
        raise_to(shared, rows.partition, SOURCE_WATERMARK, rows.watermark_ms)
        raise_to(shared, rows.partition, SOURCE_STARTED, 1)


def apply_shared_rows(state: EngineState, rows: SharedRows) -> Applied:
    """Take rows of another worker into the shared entities: those above what they contain of that source, once.

    An error leaves the state as it was.

    Raises:
        CapacityError: there is no room, and nothing may be forgotten.
    """
    known = known_to(state.shared, rows.partition, rows.source)
    with state.change_shared():
        applied = apply_rows(
            state.shared, rows.words, known, state.limits(), state.scratch.bucket_numbers, state.scratch.ahead
        )
        note_rows(state.shared, rows)
    return Applied(int(applied), max(rows.first - known, 0))


def is_ahead(state: EngineState, partition: int) -> bool:
    """Whether shared entities contain more of an open partition's logs than it has applied itself, after a takeover."""
    own, sources = state.partition(partition), table_rows(state.shared, int(SOURCES))[1 + partition]
    return bool(sources[OF_TRANSACTIONS] > own.next_offset or sources[OF_LABELS] > own.label_next_offset)


def will_be_replayed(state: EngineState, rows: SharedRows) -> bool:
    """Whether rows of an open partition leave out some before them, which its owner is about to make anew itself."""
    own, known = state.partition(rows.partition), known_to(state.shared, rows.partition, rows.source)
    reached = {int(OF_TRANSACTIONS): own.next_offset, int(OF_LABELS): own.label_next_offset}
    return rows.source in reached and rows.first > known and reached[rows.source] <= known


def close_gap(state: EngineState, partition: int) -> int:
    """Go on although shared entities lack rows of an open partition that nobody can bring any more.

    Returns:
        How many offsets of transactions and labels they lack.
    """
    own = state.partition(partition)
    missed = 0
    with state.change_shared():
        for word, reached in ((OF_TRANSACTIONS, own.next_offset), (OF_LABELS, own.label_next_offset)):
            missed += max(reached - known_to(state.shared, partition, word), 0)
            raise_to(state.shared, partition, word, reached)
        raise_to(state.shared, partition, SOURCE_WATERMARK, own.watermark_ms)
        raise_to(state.shared, partition, SOURCE_STARTED, int(own.started))
    return missed
