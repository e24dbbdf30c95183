"""What labels change: counts of their card and shared entities, and the payment's own label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.cards import set_label
from detector.jit import kernel
from detector.layout import (
    ABOUT_HIGH,
    CARDS,
    COUNTED_ONCE,
    DECIDED,
    GENERATION,
    KEPT,
    KEPT_INDEX,
    LABEL_NEXT_OFFSET,
    LABEL_OFFSET,
    LABEL_STATE,
    LEVEL_MASK,
    PAYMENT_ABOUT,
    PAYMENT_AMOUNT,
    PAYMENT_CARD,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_GENERATION,
    PAYMENT_INDEX,
    PAYMENT_LEVEL,
    PAYMENT_NUMBER,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    PROGRESS,
    SHARED_CATEGORY,
    SHARED_DEVICE,
    SHARED_MERCHANT,
    SHARED_TERMINAL,
    STATE_LIVE,
    STATE_OTHER,
    Limits,
    Scratch,
)
from detector.lookahead import GROUP, look_ahead_of_labels
from detector.memory import CURSOR, HAND, KEY_1, TAIL, Memory, address, find, info, save, save_row, set_info
from detector.outcomes import outcome_word
from detector.patterns import count_pattern_label, pattern_of
from detector.recent import was_refused
from detector.ring import ring_row
from detector.shared import bucket_numbers
from detector.shared_walk import is_place
from detector.shared_windows import add_entity_label, find_or_create_entity, note_outcome
from detector.vocabulary import Label

# What became of a label.
APPLIED, UNKNOWN, REPEATED, CORRECTED, TOO_LATE = range(5)
_GENUINE = int(Label.GENUINE)
_FRAUD = int(Label.FRAUD)


@kernel
def _counted_as(level: int) -> int:
    """For how many payments a label counts in histories."""
    return 1 if level & COUNTED_ONCE else 1 << (level & LEVEL_MASK)


@kernel
def _count_label(
    words: Memory, at: int, shared: Memory, labelled: int, frauds: int, limits: Limits, scratch: Scratch
) -> None:  # fmt: skip
    """Add labels, or take them back, in the histories of the payment's merchant, device and pattern."""
    time_ms = words[at + PAYMENT_TIME]
    bucket_numbers(time_ms, limits.slowest_watermark_ms - limits.lateness_ms, scratch.bucket_numbers)
    for kind in (SHARED_MERCHANT, SHARED_DEVICE):
        key_0, key_1 = words[at + PAYMENT_ENTITY_KEYS + 2 * kind], words[at + PAYMENT_ENTITY_KEYS + 2 * kind + 1]
        if key_0 != 0 or key_1 != 0:
            entity = find_or_create_entity(shared, kind, key_0, key_1, time_ms)
            add_entity_label(shared, kind, entity, labelled, frauds, scratch.bucket_numbers)
    pattern = pattern_of(words[at + PAYMENT_ENTITY_KEYS + 2 * SHARED_CATEGORY], time_ms, words[at + PAYMENT_AMOUNT])
    count_pattern_label(shared, pattern, time_ms, labelled, frauds, scratch.bucket_numbers)


@kernel
def _tell_place(words: Memory, at: int, shared: Memory, label: int) -> None:
    """Let the payment's place know its outcome."""
    keys = at + PAYMENT_ENTITY_KEYS
    has_terminal = 1 if words[keys] != 0 or words[keys + 1] != 0 else 0
    time_ms = words[at + PAYMENT_TIME]
    word = outcome_word(time_ms, words[at + KEY_1], words[at + PAYMENT_ABOUT] & ABOUT_HIGH, label)
    for kind in (SHARED_TERMINAL, SHARED_MERCHANT):
        key_0, key_1 = words[keys + 2 * kind], words[keys + 2 * kind + 1]
        if is_place(kind, has_terminal) != 0 and (key_0 != 0 or key_1 != 0):
            note_outcome(shared, find_or_create_entity(shared, kind, key_0, key_1, time_ms), word)


@kernel
def _tell_card(memory: Memory, words: Memory, at: int, label: int) -> None:
    """Let the payment's card know the label, as long as one of its windows holds the payment."""
    card_at = address(memory, CARDS, words[at + PAYMENT_CARD])
    if memory[card_at + GENERATION] == words[at + PAYMENT_GENERATION]:
        save_row(memory, CARDS, words[at + PAYMENT_CARD])
        set_label(memory, memory.view(np.uint32), card_at, words[at + PAYMENT_NUMBER], 1 if label == _FRAUD else 0)


@kernel
def _set_label(
    memory: Memory, words: Memory, at: int, shared: Memory, label: int, limits: Limits, scratch: Scratch
) -> int:
    """Give a payment its label; an earlier, different one is taken back exactly.

    The payment stands at `at` in `words`: of `memory`, where the caller has saved its label, or read from a segment.
    """
    before = words[at + LABEL_STATE] - LABEL_OFFSET
    if words[at + LABEL_STATE] != 0 and before == label:
        return REPEATED
    corrected = words[at + LABEL_STATE] != 0
    times = _counted_as(words[at + PAYMENT_LEVEL])
    if corrected:
        _count_label(words, at, shared, -times, -before * times, limits, scratch)
    _count_label(words, at, shared, times, label * times, limits, scratch)
    _tell_card(memory, words, at, label)
    _tell_place(words, at, shared, label)
    words[at + LABEL_STATE] = label + LABEL_OFFSET
    return CORRECTED if corrected else APPLIED


@kernel
def label_batch(
    memory: Memory, shared: Memory, identity: NDArray[np.int64], labels: NDArray[np.int64],
    label_time_ms: NDArray[np.int64], next_offset: int, limits: Limits, outcome: NDArray[np.int64],
    payment_row: NDArray[np.int64], scratch: Scratch,
) -> None:  # fmt: skip
    """Apply labels in log order; says per label what became of it and which payment it met.

    That is a row of the ring of payments, or less than 0 for one of the payments that are to go to disk, or 0.
    """
    save_row(memory, PROGRESS, 1)
    for index in range(labels.shape[0]):
        if index % GROUP == 0:
            look_ahead_of_labels(memory, shared, identity, index, min(index + GROUP, labels.shape[0]), scratch.ahead)
        row = find(memory, PAYMENT_INDEX, PAYMENTS, identity[index, 0], identity[index, 1], 0)
        at = address(memory, PAYMENTS, row)
        if row == 0:
            row = -find(memory, KEPT_INDEX, KEPT, identity[index, 0], identity[index, 1], 0)
            at = address(memory, KEPT, -row)
        payment_row[index] = row
        if row == 0 or memory[at + PAYMENT_STATE] == STATE_OTHER:
            outcome[index] = UNKNOWN
        elif label_time_ms[index] - memory[at + PAYMENT_TIME] > limits.retention_ms:
            outcome[index] = TOO_LATE
        else:
            save(memory, at + LABEL_STATE, 1)
            outcome[index] = _set_label(memory, memory, at, shared, labels[index], limits, scratch)
    memory[address(memory, PROGRESS, 1) + LABEL_NEXT_OFFSET] = next_offset


@kernel
def label_segment_rows(
    memory: Memory, shared: Memory, words: Memory, which: NDArray[np.int64], labels: NDArray[np.int64],
    label_time_ms: NDArray[np.int64], limits: Limits, outcome: NDArray[np.int64], scratch: Scratch,
) -> None:  # fmt: skip
    """Apply labels to payments read from segments, in order: `which` says the row of `words`, less than 0 for none."""
    for index in range(labels.shape[0]):
        at = which[index] * PAYMENT_WORDS
        if at < 0:
            continue
        if label_time_ms[index] - words[at + PAYMENT_TIME] > limits.retention_ms:
            outcome[index] = TOO_LATE
        else:
            outcome[index] = _set_label(memory, words, at, shared, labels[index], limits, scratch)


@kernel
def mature_segment_rows(
    memory: Memory, shared: Memory, words: Memory, limits: Limits, chosen: NDArray[np.int64], scratch: Scratch
) -> None:
    """Let unlabelled payments read from a segment become genuine, where they went through; says which did."""
    for index in range(chosen.shape[0]):
        at = index * PAYMENT_WORDS
        is_silent = words[at + LABEL_STATE] == 0 and not was_refused(words[at + DECIDED])
        chosen[index] = 1 if words[at + PAYMENT_STATE] == STATE_LIVE and is_silent else 0
        if chosen[index] != 0:
            _set_label(memory, words, at, shared, _GENUINE, limits, scratch)


@kernel
def mature_payments(
    memory: Memory,
    shared: Memory,
    before_ms: int,
    limits: Limits,
    payment_row: NDArray[np.int64],
    scratch: Scratch,
) -> int:
    """Let unlabelled payments up to `before_ms` that went through become genuine, as many as fit; returns how many."""
    save_row(memory, PROGRESS, 1)
    found = 0
    sequence = max(info(memory, PAYMENTS, CURSOR), info(memory, PAYMENTS, TAIL))
    while sequence < info(memory, PAYMENTS, HAND) and found < payment_row.shape[0]:
        row = ring_row(memory, sequence)
        at = address(memory, PAYMENTS, row)
        if memory[at + PAYMENT_TIME] > before_ms:
            break
        sequence += 1
        is_silent = memory[at + LABEL_STATE] == 0 and not was_refused(memory[at + DECIDED])
        if memory[at + PAYMENT_STATE] == STATE_LIVE and is_silent:
            save(memory, at + LABEL_STATE, 1)
            _set_label(memory, memory, at, shared, _GENUINE, limits, scratch)
            payment_row[found] = row
            found += 1
    set_info(memory, PAYMENTS, CURSOR, sequence)
    return found
