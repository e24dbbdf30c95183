"""Payments that wait for their label on disk: what memory has no room for, sampled where the disk has none either.

The ring of payments (`detector.ring`) holds the youngest. Where a state has a disk, the oldest eighth of a full ring is
let go of at once: what is suspicious is kept, and of the rest as much as the disk has room for over `retention_ms`,
each payment more likely the higher it scored. A payment that was kept with probability 1 / 2^level stands for 2^level
in the loss and in the counts of labels. Whether it is kept, only its identity, its score and how fast payments come
decide.

Kept payments gather in a table of memory; a full table, or one that is a day old, becomes a segment on disk. Labels
that come to a segment's payments stay in memory, as does the list of segments: a checkpoint holds both, so that a
segment counts from the checkpoint on that names it. One that was written and then forgotten by a crash is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import DAY_MS, FEATURE_COUNT
from detector.errors import SegmentError
from detector.kept_kernel import (
    empty_kept,
    fill_late_labels,
    forget_late_labels,
    let_go,
    note_late_labels,
    row_number,
)
from detector.label_kernel import Labels, label_segment_rows, mature_segment_rows
from detector.layout import (
    DECIDED,
    FORCED_EVICTIONS,
    KEPT,
    KEPT_BINS,
    LABEL_OFFSET,
    LABEL_STATE,
    LATE_LABELS,
    OF_LABELS,
    OF_MATURED_ON_DISK,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    PROGRESS,
    SCORE_BITS,
    SEGMENT_DIGEST,
    SEGMENT_FIRST_MS,
    SEGMENT_LAST_MS,
    SEGMENT_MATURED,
    SEGMENT_NUMBER,
    SEGMENT_ROWS,
    SEGMENTS,
    SEGMENTS_WRITTEN,
    STATE_LIVE,
    STATE_REVERSED,
)
from detector.memory import (
    CAPACITY,
    HAND,
    HASH,
    TAIL,
    USED,
    address,
    allocate,
    descriptor,
    has_room,
    put,
    release,
    save_row,
    table_rows,
)
from detector.recent import actions_of
from detector.segments import (
    Columns,
    Segments,
    bins_of,
    digest_of_columns,
    find_identities,
    segment_name,
    to_columns,
    words_of,
)
from detector.shared_rows import ROW_WORDS
from detector.sources import SharedRows, known_to, note_rows
from detector.state import EngineState, PartitionState, StateConfig
from detector.vocabulary import Action, Label

_BLOCKS = 8
# A score of 2^-10 and below has no say in what is kept; each time that it is four times as high the chance is doubled:
# between what is best for the loss, to which payments matter as they score, and for counts, to which all are alike.
_LEAST_SCORE_BITS = 10
_MOST_STEPS = 5
_MOST_LEVEL = 30
_SAMPLE_BITS = 32
_LEAST_REST = 0.5


@dataclass(frozen=True, slots=True)
class Segment:
    """What memory knows of a segment.

    Attributes:
        row: of the table of segments.
        number: counts from 1.
        name: where it is stored.
        rows: payments in it.
        last_ms: the latest time of any of them.
        matured: so many of them, from the first, have become genuine where they had no label.
    """

    row: int
    number: int
    name: str
    rows: int
    last_ms: int
    matured: int


def block_of(config: StateConfig) -> int:
    """So many payments are let go of at once, and so many records come between two looks whether the ring is full."""
    return max(1, config.payments // _BLOCKS)


def segments_of(partition: PartitionState) -> list[Segment]:
    """The segments of a partition, the oldest first."""
    used = int(descriptor(partition.memory, int(SEGMENTS))[USED])
    rows = table_rows(partition.memory, int(SEGMENTS))[:used]
    found = [
        Segment(
            row,
            int(words[SEGMENT_NUMBER]),
            segment_name(int(words[SEGMENT_NUMBER]), int(words[SEGMENT_DIGEST])),
            int(words[SEGMENT_ROWS]),
            int(words[SEGMENT_LAST_MS]),
            int(words[SEGMENT_MATURED]),
        )
        for row, words in enumerate(rows)
        if words[SEGMENT_NUMBER] > 0
    ]
    return sorted(found, key=lambda segment: segment.number)


def make_room(state: EngineState, number: int, first_offset: int) -> None:
    """Let go of the oldest payments before a piece of a batch, where the ring may become full and there is a disk.

    Looked at only where a block of offsets begins, so that the outcome does not depend on where batches were cut. Call
    within `EngineState.change`.

    Args:
        state: of the worker.
        number: of the partition.
        first_offset: of the piece.

    """
    partition, block = state.partition(number), block_of(state.config)
    if state.segments is None or (partition.started and (partition.next_offset - 1) // block == first_offset // block):
        return
    disk = _Disk(state, number, state.segments)
    about = descriptor(partition.memory, int(PAYMENTS))
    while int(about[CAPACITY]) - int(about[HAND] - about[TAIL]) < block:
        disk.let_go(block)
    disk.forget_old()


@dataclass(frozen=True, slots=True)
class Found:
    """Payments read from segments.

    Attributes:
        words: int64 (n, PAYMENT_WORDS), with their labels as they are known now.
        bins: uint8 (n, FEATURE_COUNT).
        number, place: int64, the segment of each and its place there.
    """

    words: NDArray[np.int64]
    bins: NDArray[np.uint8]
    number: NDArray[np.int64]
    place: NDArray[np.int64]


def levels_of(payments: NDArray[np.int64], rows: NDArray[np.int64], config: StateConfig) -> NDArray[np.int64]:
    """How each of some payments is kept: it stands for 2 to the power of its level; less than 0 where it is not kept.

    Args:
        payments: the ring.
        rows: of it, in the order in which they came.
        config: how many payments the disk holds, and for how long they wait.
    """
    times, decided, label_state = (payments[rows, word] for word in (PAYMENT_TIME, DECIDED, LABEL_STATE))
    score = np.ascontiguousarray(payments[rows, SCORE_BITS]).view(np.float64)
    is_payment = np.isin(payments[rows, PAYMENT_STATE], (STATE_LIVE, STATE_REVERSED))
    known_fraud = label_state == int(Label.FRAUD) + LABEL_OFFSET
    suspicious = is_payment & ((actions_of(decided) != Action.ALLOW) | known_fraud)
    steps = np.clip((np.frexp(score)[1] - 1 + _LEAST_SCORE_BITS) // 2, 0, _MOST_STEPS)
    rest = np.bincount(steps[is_payment & ~suspicious], minlength=_MOST_STEPS + 1)
    share_of_time = (int(times.max()) - int(times.min())) / config.retention_ms
    allowed = config.kept * share_of_time
    # However much is suspicious, a part of what is kept is not.
    allowed = max(allowed - float(suspicious.sum()), allowed * _LEAST_REST)
    level, every = 0, np.arange(_MOST_STEPS + 1)
    while level < _MOST_LEVEL and float((rest * 0.5 ** np.maximum(level - every, 0)).sum()) > allowed:
        level += 1
    levels = np.where(suspicious, 0, np.maximum(level - steps, 0))
    drawn = (payments[rows, HASH].view(np.uint64) >> np.uint64(64 - _SAMPLE_BITS)).astype(np.int64)
    return np.where(is_payment & (drawn >> (_SAMPLE_BITS - levels) == 0), levels, -1)


class _Disk:
    """The disk behind one partition."""

    def __init__(self, state: EngineState, number: int, segments: Segments) -> None:
        self._state = state
        self._number = number
        self._segments = segments
        self._partition = state.partition(number)

    def let_go(self, count: int) -> None:
        """Let go of the oldest payments of the ring."""
        memory, room = self._partition.memory, self._state.config.segment_rows
        about = descriptor(memory, int(PAYMENTS))
        first = int(about[TAIL])
        rows = 1 + (np.arange(first, min(first + count, int(about[HAND]))) - 1) % int(about[CAPACITY])
        levels = levels_of(table_rows(memory, int(PAYMENTS)), rows, self._state.config)
        gone = 0
        while gone < len(levels):
            gone += int(let_go(memory, levels[gone:], room))
            if gone < len(levels):
                self._write()

    def forget_old(self) -> None:
        """Write what has gathered for a day, and forget segments that nobody may ask for any more."""
        watermark_ms = self._partition.watermark_ms
        used = int(descriptor(self._partition.memory, int(KEPT))[USED])
        oldest_ms = int(table_rows(self._partition.memory, int(KEPT))[1, PAYMENT_TIME])
        if used > 1 and watermark_ms - oldest_ms >= DAY_MS + self._state.config.lateness_ms:
            self._write()
        for segment in segments_of(self._partition):
            if segment.last_ms <= watermark_ms - self._state.config.retention_ms:
                self._forget(segment)

    def _forget(self, segment: Segment) -> None:
        """Forget a segment and the labels that came to it."""
        forget_late_labels(self._partition.memory, segment.number)
        release(self._partition.memory, SEGMENTS, segment.row)

    def _forget_oldest(self) -> bool:
        """Forget the oldest segment; False where there is none."""
        oldest = segments_of(self._partition)[:1]
        for segment in oldest:
            self._forget(segment)
        return bool(oldest)

    def _write(self) -> None:
        """Write the payments that have gathered as a segment; the oldest go where there are too many."""
        memory, config = self._partition.memory, self._state.config
        used = int(descriptor(memory, int(KEPT))[USED])
        words = table_rows(memory, int(KEPT))[1:used, :PAYMENT_WORDS]
        bins = table_rows(memory, int(KEPT_BINS)).view(np.uint8)[1:used, :FEATURE_COUNT]
        columns = to_columns(words, bins)
        digest = digest_of_columns(columns)
        progress = int(address(memory, PROGRESS, 1))
        number = int(memory[progress + SEGMENTS_WRITTEN]) + 1
        save_row(memory, PROGRESS, 1)
        try:
            self._segments.write(self._number, segment_name(number, digest), columns)
        except SegmentError:
            # To go on deciding matters more than what could have been learned of these.
            memory[progress + FORCED_EVICTIONS] += len(words)
            empty_kept(memory)
            return
        memory[progress + SEGMENTS_WRITTEN] = number
        times = words[:, PAYMENT_TIME]
        while not has_room(memory, SEGMENTS, 1):
            self._forget_oldest()
        about = table_rows(memory, int(SEGMENTS))[int(allocate(memory, SEGMENTS))]
        about[SEGMENT_NUMBER], about[SEGMENT_DIGEST], about[SEGMENT_ROWS] = number, digest, len(words)
        about[SEGMENT_FIRST_MS], about[SEGMENT_LAST_MS] = times.min(), times.max()
        empty_kept(memory)
        while sum(segment.rows for segment in segments_of(self._partition)) > config.kept:
            self._forget_oldest()
        self._segments.sweep(self._number, [segment.name for segment in segments_of(self._partition)])

    def _read(self, segment: Segment) -> Columns | None:
        """A segment's columns; one that is lost is forgotten, its payments are then unknown."""
        try:
            return self._segments.read(self._number, segment.name)
        except SegmentError:
            self._forget(segment)
            return None

    def _known(self, columns: Columns, segment: Segment, places: NDArray[np.int64]) -> Found:
        """Payments of a segment with their labels as they are known now."""
        words, number = words_of(columns, places), np.full(len(places), segment.number)
        refused = np.isin(actions_of(words[:, DECIDED]), (Action.DECLINE, Action.FREEZE))
        went_through = (words[:, PAYMENT_STATE] == STATE_LIVE) & ~refused
        # Another owner may have let more of them mature, and has not checkpointed it.
        known = known_to(self._state.shared, self._number, OF_MATURED_ON_DISK) - row_number(segment.number, 0)
        silent = (words[:, LABEL_STATE] == 0) & (places < max(segment.matured, known)) & went_through
        label_state = np.where(silent, int(Label.GENUINE) + LABEL_OFFSET, words[:, LABEL_STATE])
        fill_late_labels(self._partition.memory, number, places, label_state)
        words[:, LABEL_STATE] = label_state
        return Found(words, bins_of(columns, places), number, places)

    def find(self, identity: NDArray[np.int64]) -> tuple[Found, NDArray[np.int64]]:
        """Look for payments in all segments, the youngest first.

        Args:
            identity: int64 (n, 2).

        Returns:
            What was found, each payment once, and for each identity its row there, -1 where it is in no segment.
        """
        which = np.full(len(identity), -1, dtype=np.int64)
        parts: list[Found] = []
        count = 0
        for segment in reversed(segments_of(self._partition)):
            missing = np.flatnonzero(which < 0)
            columns = self._read(segment) if len(missing) else None
            if columns is None:
                continue
            rows = find_identities(columns, identity[missing])
            places, inverse = np.unique(rows[rows >= 0], return_inverse=True)
            if len(places):
                parts.append(self._known(columns, segment, places))
                which[missing[rows >= 0]] = count + inverse
                count += len(places)
        return _joined(parts), which

    def note(self, found: Found) -> None:
        """Remember the labels that payments on disk have now."""
        while not has_room(self._partition.memory, LATE_LABELS, len(found.number)) and self._forget_oldest():
            continue
        alive = np.isin(found.number, [segment.number for segment in segments_of(self._partition)])
        state = np.ascontiguousarray(found.words[alive, LABEL_STATE])
        note_late_labels(self._partition.memory, found.number[alive], found.place[alive], state)

    def ripe(self, before_ms: int) -> Iterator[Found]:
        """Segments all of whose payments are older than a moment, that were not asked to mature yet, in order."""
        for segment in segments_of(self._partition):
            if segment.last_ms > before_ms:
                return
            if segment.matured >= segment.rows:
                continue
            columns = self._read(segment)
            if columns is not None:
                places = np.arange(segment.matured, segment.rows)
                found = self._known(columns, segment, places)
                matured = int(address(self._partition.memory, SEGMENTS, segment.row)) + int(SEGMENT_MATURED)
                put(self._partition.memory, matured, int(places[-1]) + 1)
                yield found


def _joined(parts: list[Found]) -> Found:
    """Several findings as one."""
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Found(nothing.reshape(0, PAYMENT_WORDS), np.zeros((0, FEATURE_COUNT), np.uint8), nothing, nothing)
    return Found(
        np.concatenate([part.words for part in parts]),
        np.concatenate([part.bins for part in parts]),
        np.concatenate([part.number for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """What became of labels of payments on disk.

    Attributes:
        found: the payments.
        which: for each label its row among them, -1 where there is none.
        rows: int64 (n, ROW_WORDS), what they change in shared entities.
    """

    found: Found
    which: NDArray[np.int64]
    rows: NDArray[np.int64]


def label_kept(state: EngineState, number: int, labels: Labels, outcome: NDArray[np.int64]) -> KeptLabels:
    """Apply labels to payments on disk; call within `EngineState.change`.

    Args:
        state: of the worker.
        number: of the partition.
        labels: of payments that memory does not hold.
        outcome: written for those that are found.
    """
    rows = np.empty((len(labels.label), ROW_WORDS), dtype=np.int64)
    if state.segments is None:
        return KeptLabels(_joined([]), np.full(len(rows), -1, dtype=np.int64), rows[:0])
    disk = _Disk(state, number, state.segments)
    found, which = disk.find(labels.identity)
    count = 0
    if len(found.number):
        memory, told = state.partition(number).memory, np.zeros(len(rows), dtype=np.int64)
        known = known_to(state.shared, number, OF_LABELS)
        count = label_segment_rows(
            memory, state.shared, found.words.reshape(-1), which, labels, known, state.limits(), told, rows,
            state.scratch,
        )  # fmt: skip
        outcome[:] = np.where(which >= 0, told, outcome)
        disk.note(found)
    return KeptLabels(found, which, rows[: int(count)])


@dataclass(frozen=True, slots=True)
class KeptMatured:
    """Payments on disk that became genuine, and what that changes in shared entities."""

    found: Found
    shared: SharedRows


def mature_kept(state: EngineState, number: int, before_ms: int) -> KeptMatured | None:
    """Let unlabelled payments on disk become genuine, as `mature_payments` does; call within `EngineState.change`.

    Returns:
        Those of one segment that did; None where nothing is left to look at.
    """
    if state.segments is None:
        return None
    memory = state.partition(number).memory
    for found in _Disk(state, number, state.segments).ripe(before_ms):
        chosen = np.zeros(len(found.number), dtype=np.int64)
        written = np.empty((len(chosen), ROW_WORDS), dtype=np.int64)
        first = row_number(int(found.number[0]), int(found.place[0]))
        count = mature_segment_rows(
            memory, state.shared, found.words.reshape(-1), first, state.limits(), chosen, written, state.scratch
        )
        following = row_number(int(found.number[0]), int(found.place[-1]) + 1)
        shared = SharedRows(number, int(OF_MATURED_ON_DISK), 0, following, 0, written[: int(count)])
        note_rows(state.shared, shared)
        rows = np.flatnonzero(chosen)
        if len(rows):
            gone = Found(found.words[rows], found.bins[rows], found.number[rows], found.place[rows])
            return KeptMatured(gone, shared)
    return None
