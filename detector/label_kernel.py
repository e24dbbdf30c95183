"""What labels change: counts of their card and shared entities, and the payment's own label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.cards import set_label
from detector.jit import kernel
from detector.layout import (
    CARDS,
    COUNTED_ONCE,
    DECIDED,
    FIRST_OFFSET,
    GENERATION,
    KEPT,
    KEPT_INDEX,
    LABEL_NEXT_OFFSET,
    LABEL_OFFSET,
    LABEL_STATE,
    LEVEL_MASK,
    MATURED_TO,
    PAYMENT_CARD,
    PAYMENT_GENERATION,
    PAYMENT_INDEX,
    PAYMENT_LEVEL,
    PAYMENT_NUMBER,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    PROGRESS,
    STATE_LIVE,
    STATE_OTHER,
    Limits,
    Scratch,
)
from detector.lookahead import GROUP, look_ahead_of_labels
from detector.memory import CURSOR, HAND, TAIL, Memory, address, find, info, save, save_row, set_info
from detector.recent import was_refused
from detector.ring import ring_row
from detector.shared_rows import count_row, write_label
from detector.vocabulary import Label


class Labels(NamedTuple):
    """Labels as the kernels read them: int64 columns, `identity` of shape (n, 2)."""

    offset: NDArray[np.int64]
    identity: NDArray[np.int64]
    label: NDArray[np.int64]
    label_time_ms: NDArray[np.int64]


# What became of a label.
APPLIED, UNKNOWN, REPEATED, CORRECTED, TOO_LATE = range(5)
_GENUINE = int(Label.GENUINE)
_FRAUD = int(Label.FRAUD)


@kernel
def _power_of(level: int) -> int:
    """For two to which power of payments a label counts in histories."""
    return 0 if level & COUNTED_ONCE else level & LEVEL_MASK


@kernel
def _tell_card(memory: Memory, words: Memory, at: int, label: int) -> None:
    """Let the payment's card know the label, as long as one of its windows holds the payment."""
    card_at = address(memory, CARDS, words[at + PAYMENT_CARD])
    if memory[card_at + GENERATION] == words[at + PAYMENT_GENERATION]:
        save_row(memory, CARDS, words[at + PAYMENT_CARD])
        set_label(memory, memory.view(np.uint32), card_at, words[at + PAYMENT_NUMBER], 1 if label == _FRAUD else 0)


@kernel
def _set_label(
    memory: Memory, words: Memory, at: int, shared: Memory, label: int, place: tuple[int, int, int],
    rows: NDArray[np.int64], limits: Limits, scratch: Scratch,
) -> int:  # fmt: skip
    """Give a payment its label; an earlier, different one is taken back exactly.

    The payment stands at `at` in `words`: of `memory`, where the caller has saved its label, or read from a segment.
    `place` is the number of the row that says so, below which number shared entities contain everything, and where in
    `rows` it goes; nothing is written where nothing changes.
    """
    before = words[at + LABEL_STATE]
    if before != 0 and before - LABEL_OFFSET == label:
        return REPEATED
    write_label(words, at, (label, before, _power_of(words[at + PAYMENT_LEVEL])), place[0], rows, place[2])
    if place[0] >= place[1]:
        count_row(shared, rows, place[2], limits, scratch.bucket_numbers)
    _tell_card(memory, words, at, label)
    words[at + LABEL_STATE] = label + LABEL_OFFSET
    return CORRECTED if before != 0 else APPLIED


@kernel
def _is_silent(words: Memory, at: int) -> bool:
    """Whether nobody has said anything of a payment that went through."""
    goes_through = words[at + PAYMENT_STATE] == STATE_LIVE and not was_refused(words[at + DECIDED])
    return goes_through and words[at + LABEL_STATE] == 0


@kernel
def label_batch(
    memory: Memory, shared: Memory, batch: Labels, known: tuple[int, int], limits: Limits,
    outcome: NDArray[np.int64], payment_row: NDArray[np.int64], rows: NDArray[np.int64], scratch: Scratch,
) -> int:  # fmt: skip
    """Apply labels in log order; says per label what became of it and which payment it met.

    That is a row of the ring of payments, or less than 0 for one of the payments that are to go to disk, or 0. Shared
    entities contain labels below the first of `known` already, and payments of the ring below the second that have
    become genuine: another owner let them, and has not checkpointed it.

    Returns:
        How many rows of shared entities were written.
    """
    save_row(memory, PROGRESS, 1)
    written, labels = 0, batch.label.shape[0]
    for index in range(labels):
        if index % GROUP == 0:
            stop = min(index + GROUP, labels)
            look_ahead_of_labels(memory, shared, batch.identity, index, stop, scratch.ahead)
        row = find(memory, PAYMENT_INDEX, PAYMENTS, batch.identity[index, 0], batch.identity[index, 1], 0)
        at = address(memory, PAYMENTS, row)
        if row == 0:
            row = -find(memory, KEPT_INDEX, KEPT, batch.identity[index, 0], batch.identity[index, 1], 0)
            at = address(memory, KEPT, -row)
        payment_row[index] = row
        if row == 0 or memory[at + PAYMENT_STATE] == STATE_OTHER:
            outcome[index] = UNKNOWN
        elif batch.label_time_ms[index] - memory[at + PAYMENT_TIME] > limits.retention_ms:
            outcome[index] = TOO_LATE
        else:
            save(memory, at + LABEL_STATE, 1)
            if row > 0 and memory[at + FIRST_OFFSET] < known[1] and _is_silent(memory, at):
                memory[at + LABEL_STATE] = _GENUINE + LABEL_OFFSET
            place = (batch.offset[index], known[0], written)
            outcome[index] = _set_label(
                memory, memory, at, shared, batch.label[index], place, rows, limits, scratch
            )  # fmt: skip
            written += 0 if outcome[index] == REPEATED else 1
    if labels > 0:
        memory[address(memory, PROGRESS, 1) + LABEL_NEXT_OFFSET] = batch.offset[labels - 1] + 1
    return written


@kernel
def label_segment_rows(
    memory: Memory, shared: Memory, words: Memory, which: NDArray[np.int64], batch: Labels, known: int,
    limits: Limits, outcome: NDArray[np.int64], rows: NDArray[np.int64], scratch: Scratch,
) -> int:  # fmt: skip
    """Apply labels to payments read from segments, in order: `which` says the row of `words`, less than 0 for none.

    Shared entities contain labels below the offset `known` already. Returns how many rows of theirs were written.
    """
    written = 0
    for index in range(which.shape[0]):
        at = which[index] * PAYMENT_WORDS
        if at < 0:
            continue
        if batch.label_time_ms[index] - words[at + PAYMENT_TIME] > limits.retention_ms:
            outcome[index] = TOO_LATE
        else:
            place = (batch.offset[index], known, written)
            outcome[index] = _set_label(memory, words, at, shared, batch.label[index], place, rows, limits, scratch)
            written += 0 if outcome[index] == REPEATED else 1
    return written


@kernel
def mature_segment_rows(
    memory: Memory, shared: Memory, words: Memory, first: int, limits: Limits, chosen: NDArray[np.int64],
    rows: NDArray[np.int64], scratch: Scratch,
) -> int:  # fmt: skip
    """Let unlabelled payments read from a segment become genuine, where they went through; says which did.

    `first` is the number of the first one's row. Returns how many rows of shared entities were written.
    """
    written = 0
    for index in range(chosen.shape[0]):
        at = index * PAYMENT_WORDS
        chosen[index] = 1 if _is_silent(words, at) else 0
        if chosen[index] != 0:
            _set_label(memory, words, at, shared, _GENUINE, (first + index, 0, written), rows, limits, scratch)
            written += 1
    return written


@kernel
def mature_payments(
    memory: Memory, shared: Memory, before_ms: int, known: int, limits: Limits, payment_row: NDArray[np.int64],
    rows: NDArray[np.int64], scratch: Scratch,
) -> int:  # fmt: skip
    """Let unlabelled payments up to `before_ms` that went through become genuine, as many as fit; returns how many.

    Shared entities contain those below the offset `known` already. As many rows of theirs are written.
    """
    save_row(memory, PROGRESS, 1)
    found = 0
    sequence = max(info(memory, PAYMENTS, CURSOR), info(memory, PAYMENTS, TAIL))
    while sequence < info(memory, PAYMENTS, HAND) and found < payment_row.shape[0]:
        row = ring_row(memory, sequence)
        at = address(memory, PAYMENTS, row)
        if memory[at + PAYMENT_TIME] > before_ms:
            break
        sequence += 1
        offset = memory[at + FIRST_OFFSET]
        memory[address(memory, PROGRESS, 1) + MATURED_TO] = offset + 1
        if _is_silent(memory, at):
            save(memory, at + LABEL_STATE, 1)
            _set_label(memory, memory, at, shared, _GENUINE, (offset, known, found), rows, limits, scratch)
            payment_row[found] = row
            found += 1
    set_info(memory, PAYMENTS, CURSOR, sequence)
    return found
