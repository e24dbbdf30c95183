"""Rows of shared entities: what each record of a source partition changes in the table that all workers share.

A card's history lives in one partition, a terminal's does not. So whoever owns a partition makes a row of each payment,
reversal and label that changes shared entities, and every other worker applies the rows to a table of its own. What
rows add commutes: integers in absolute buckets, and sets of the youngest outcomes (DESIGN, decision 8).

Rows come from four sources a partition, each in an order of its own: the log of transactions, the log of labels,
payments of the ring that become genuine because nobody complained, and such payments on disk. The table knows for each
partition and source below which number it contains everything (`detector.sources`); a row below it changes nothing,
whoever made it. The owner's walk goes by the same numbers: what was applied before it took the partition over is not
added again.

A row is `ROW_WORDS` int64 words: a number (offset, or place on disk) by which rows of a source are ordered, the
payment's time, one word of small fields, and the keys of terminal, merchant, device and category.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.distinct import CARD_CLASSES, card_amounts
from detector.eviction import sweep_entities
from detector.jit import constants, kernel
from detector.layout import (
    ABOUT_HIGH,
    ABOUT_SPEND,
    PAYMENT_ABOUT,
    PAYMENT_AMOUNT,
    PAYMENT_CARD_KEY,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_TIME,
    SHARED_CATEGORY,
    SHARED_DEVICE,
    SHARED_KINDS,
    SHARED_MERCHANT,
    SHARED_TERMINAL,
    Limits,
)
from detector.lookahead import GROUP, look_ahead_of_rows
from detector.memory import KEY_1, Memory
from detector.outcomes import outcome_word
from detector.patterns import count_pattern_label, pattern_of
from detector.shared import bucket_numbers
from detector.shared_walk import amounts_of, is_place
from detector.shared_windows import add_entity_label, add_entity_payment, find_or_create_entity, note_outcome

ROW_NUMBER, ROW_TIME, ROW_ABOUT, ROW_KEYS = constants(4)
ROW_WORDS = int(ROW_KEYS) + 2 * SHARED_KINDS
# What a row is about.
PAID, TAKEN_BACK, LABELLED = constants(4)[1:]
# Bits of ROW_ABOUT: the amount in the lowest 32, then these; the identity's 16 bits that outcomes hold stand on top.
_AMOUNT_MASK = (1 << 32) - 1
_WHAT_SHIFT, _WHAT_MASK = 32, 7
_SPENDS_SHIFT, _CLASS_SHIFT, _HIGH_SHIFT = 35, 36, 39
_CLASS_MASK = CARD_CLASSES - 1
# A label is 0 or 1; what it corrects is one more, 0 where it corrects nothing.
_LABEL_SHIFT, _BEFORE_SHIFT, _BEFORE_MASK = 40, 41, 3
# A label counts for two to this power of payments.
_LEVEL_SHIFT, _LEVEL_MASK = 43, 31
_TAG_SHIFT, _TAG_MASK = 48, (1 << 16) - 1


@kernel
def write_payment(words: Memory, at: int, what: int, number: int, rows: NDArray[np.int64], index: int) -> None:
    """Write the row of a remembered payment that was made, or taken back.

    The payment stands at `at` in `words`; `number` is the offset of the record that says so.
    """
    about = words[at + PAYMENT_ABOUT]
    rows[index, ROW_NUMBER] = number
    rows[index, ROW_TIME] = words[at + PAYMENT_TIME]
    rows[index, ROW_ABOUT] = (
        words[at + PAYMENT_AMOUNT]
        | (what << _WHAT_SHIFT)
        | ((about & ABOUT_SPEND) << _SPENDS_SHIFT)
        | ((words[at + PAYMENT_CARD_KEY + 1] & _CLASS_MASK) << _CLASS_SHIFT)
        | ((1 if about & ABOUT_HIGH else 0) << _HIGH_SHIFT)
        | ((words[at + KEY_1] & _TAG_MASK) << _TAG_SHIFT)
    )
    for word in range(2 * SHARED_KINDS):
        rows[index, ROW_KEYS + word] = words[at + PAYMENT_ENTITY_KEYS + word]


@kernel
def write_label(
    words: Memory, at: int, said: tuple[int, int, int], number: int, rows: NDArray[np.int64], index: int
) -> None:
    """Write the row of a payment's label: `said` is the label, the one it corrects plus 1 or 0, and its level."""
    write_payment(words, at, LABELLED, number, rows, index)
    rows[index, ROW_ABOUT] |= (said[0] << _LABEL_SHIFT) | (said[1] << _BEFORE_SHIFT) | (said[2] << _LEVEL_SHIFT)


@kernel
def names_entity(rows: NDArray[np.int64], index: int) -> bool:
    """Whether a row names any entity: one of a payment that does not changes nothing."""
    named = np.int64(0)
    for word in range(2 * SHARED_KINDS):
        named |= rows[index, ROW_KEYS + word]
    return named != 0


@kernel
def _what_of(rows: NDArray[np.int64], index: int) -> int:
    """What a row is about."""
    return (rows[index, ROW_ABOUT] >> _WHAT_SHIFT) & _WHAT_MASK


@kernel
def _has_terminal(rows: NDArray[np.int64], index: int) -> int:
    """Whether the row's payment was made at a terminal."""
    return 1 if rows[index, ROW_KEYS] != 0 or rows[index, ROW_KEYS + 1] != 0 else 0


@kernel
def _count_payment(
    shared: Memory, rows: NDArray[np.int64], index: int, sign: int, numbers: NDArray[np.int64]
) -> None:  # fmt: skip
    """Add a row's payment to its entities (sign 1), or take it out of them (-1)."""
    about, time_ms, has_terminal = rows[index, ROW_ABOUT], rows[index, ROW_TIME], _has_terminal(rows, index)
    spends, amount = (about >> _SPENDS_SHIFT) & 1, about & _AMOUNT_MASK
    of_card = card_amounts((about >> _CLASS_SHIFT) & _CLASS_MASK, sign)
    for kind in range(SHARED_KINDS):
        key_0, key_1 = rows[index, ROW_KEYS + 2 * kind], rows[index, ROW_KEYS + 2 * kind + 1]
        if key_0 != 0 or key_1 != 0:
            entity = find_or_create_entity(shared, kind, key_0, key_1, time_ms)
            amounts = amounts_of(kind, spends, amount, sign)
            add_entity_payment(shared, kind, entity, is_place(kind, has_terminal), amounts, of_card, numbers)


@kernel
def _count_label(
    shared: Memory, rows: NDArray[np.int64], index: int, counted: tuple[int, int], numbers: NDArray[np.int64]
) -> None:  # fmt: skip
    """Add `counted` (labels, and of them frauds) to the row's merchant, device and pattern."""
    time_ms, amount = rows[index, ROW_TIME], rows[index, ROW_ABOUT] & _AMOUNT_MASK
    for kind in (SHARED_MERCHANT, SHARED_DEVICE):
        key_0, key_1 = rows[index, ROW_KEYS + 2 * kind], rows[index, ROW_KEYS + 2 * kind + 1]
        if key_0 != 0 or key_1 != 0:
            entity = find_or_create_entity(shared, kind, key_0, key_1, time_ms)
            add_entity_label(shared, kind, entity, counted[0], counted[1], numbers)
    pattern = pattern_of(rows[index, ROW_KEYS + 2 * SHARED_CATEGORY], time_ms, amount)
    count_pattern_label(shared, pattern, time_ms, counted[0], counted[1], numbers)


@kernel
def _tell_place(shared: Memory, rows: NDArray[np.int64], index: int, label: int) -> None:
    """Let the place of a row's payment know its outcome."""
    about, time_ms, has_terminal = rows[index, ROW_ABOUT], rows[index, ROW_TIME], _has_terminal(rows, index)
    word = outcome_word(time_ms, (about >> _TAG_SHIFT) & _TAG_MASK, (about >> _HIGH_SHIFT) & 1, label)
    for kind in (SHARED_TERMINAL, SHARED_MERCHANT):
        key_0, key_1 = rows[index, ROW_KEYS + 2 * kind], rows[index, ROW_KEYS + 2 * kind + 1]
        if is_place(kind, has_terminal) != 0 and (key_0 != 0 or key_1 != 0):
            note_outcome(shared, find_or_create_entity(shared, kind, key_0, key_1, time_ms), word)


@kernel
def count_row(shared: Memory, rows: NDArray[np.int64], index: int, limits: Limits, numbers: NDArray[np.int64]) -> None:
    """Change shared entities as a row says; `numbers` is scratch."""
    bucket_numbers(rows[index, ROW_TIME], limits.slowest_watermark_ms - limits.lateness_ms, numbers)
    what, about = _what_of(rows, index), rows[index, ROW_ABOUT]
    if what == PAID:
        _count_payment(shared, rows, index, 1, numbers)
    elif what == TAKEN_BACK:
        _count_payment(shared, rows, index, -1, numbers)
    elif what == LABELLED:
        label, before = (about >> _LABEL_SHIFT) & 1, (about >> _BEFORE_SHIFT) & _BEFORE_MASK
        times = 1 << ((about >> _LEVEL_SHIFT) & _LEVEL_MASK)
        if before != 0:
            _count_label(shared, rows, index, (-times, -(before - 1) * times), numbers)
        _count_label(shared, rows, index, (times, label * times), numbers)
        _tell_place(shared, rows, index, label)


@kernel
def apply_rows(
    shared: Memory, rows: NDArray[np.int64], known: int, limits: Limits, numbers: NDArray[np.int64],
    ahead: NDArray[np.int64],
) -> int:  # fmt: skip
    """Apply the rows whose number is not below `known`, in order; returns how many those are."""
    applied = 0
    for index in range(rows.shape[0]):
        if index % GROUP == 0:
            look_ahead_of_rows(shared, rows, ROW_KEYS, index, min(index + GROUP, rows.shape[0]), ahead)
        if rows[index, ROW_NUMBER] >= known:
            sweep_entities(shared, limits)
            count_row(shared, rows, index, limits, numbers)
            applied += 1
    return applied
