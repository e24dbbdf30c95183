"""The writer of plain decisions: from columns to the JSON of a whole batch, in one buffer.

Parts of a decision that many share are given as ready bytes. Whole words are copied: what the last one writes too much
is written over by what comes next, or lies in the room behind the last decision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.jit import inlined, kernel, load_word, store_word
from detector.tokens import short_word
from detector.vocabulary import SCORE_UNITS

Bytes = NDArray[np.uint8]
Int64 = NDArray[np.int64]

# The parts of a decision between its values, by number; from `AFTER_LOSS` on one for each mask of flags.
OPENING, AFTER_TRANSACTION, AFTER_CARD, AFTER_TIME, AFTER_SCORE, AFTER_ANOMALY, AFTER_OFFSET, AFTER_LOSS = range(8)
# What the numbers of a decision take at most: three of 20 digits, two of 11.
NUMBERS_BYTES = 82
# What the score of one that does not act takes at most.
SCORE_BYTES = 11
_SCORE_DIGITS = 9
_ZERO, _DOT = b"0."
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(ord('"') * 0x0101010101010101)
_BACKSLASHES = np.uint64(ord("\\") * 0x0101010101010101)
_BLANKS = np.uint64(ord(" ") * 0x0101010101010101)
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


class Parts(NamedTuple):
    """What decisions share.

    Attributes:
        buffer: uint8, all parts, each with at least 8 bytes behind it.
        starts, ends: int64, where each part stands.
    """

    buffer: Bytes
    starts: Int64
    ends: Int64


class Texts(NamedTuple):
    """A column of texts, as `detector.texts.TextColumn` has it."""

    buffer: Bytes
    starts: Int64
    ends: Int64


class Values(NamedTuple):
    """What differs from decision to decision.

    Attributes:
        transaction_id, card_token: texts.
        event_time_ms, expected_loss, offset: int64, not negative.
        score, anomaly: float64.
        flags: int64, masks.
    """

    transaction_id: Texts
    card_token: Texts
    event_time_ms: Int64
    score: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    expected_loss: Int64
    flags: Int64
    offset: Int64


class Shadows(NamedTuple):
    """What decisions say of those that do not act.

    Attributes:
        parts: what stands before each one's score, then what stands behind it for each action, then the end.
        score: float64, a row for each of them.
        action: int64, likewise.
        is_told: bool, by decision; the others say nothing of them.
    """

    parts: Parts
    score: NDArray[np.float64]
    action: Int64
    is_told: NDArray[np.bool_]


class Written(NamedTuple):
    """Where the decisions stand in the buffer that is written to, and the card's token in each.

    Attributes:
        buffer: uint8, with room for all that are wanted, and 8 bytes.
        starts, ends: int64; both 0 where a decision was not wanted, or could not be written.
        card_starts, card_ends: int64.
    """

    buffer: Bytes
    starts: Int64
    ends: Int64
    card_starts: Int64
    card_ends: Int64


@inlined
def _copy_part(out: Bytes, at: int, parts: Parts, number: int) -> int:
    """Copy a part; returns the place behind it."""
    start = parts.starts[number]
    length = parts.ends[number] - start
    for done in range(0, length, 8):
        store_word(out, at + done, load_word(parts.buffer, start + done))
    return at + length


@inlined
def _copy_text(out: Bytes, at: int, texts: Texts, row: int) -> int:
    """Copy a text that needs no escape; returns the place behind it, or -1."""
    start, end = texts.starts[row], texts.ends[row]
    while start < end:
        left = end - start
        if left >= 8:
            word, counted = load_word(texts.buffer, start), _ALL_BITS
        else:
            word = short_word(texts.buffer, start, left)
            counted = _ALL_BITS >> np.uint64(64 - 8 * left)
        quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
        special = (quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash | (word - _BLANKS) & ~word
        if special & _HIGHS & counted != 0:
            return -1
        store_word(out, at, word)
        at += min(left, 8)
        start += 8
    return at


@inlined
def _write_integer(out: Bytes, at: int, value: int) -> int:
    """Write a number that is not negative in decimal; returns the place behind it."""
    digits, rest = 1, value // 10
    while rest > 0:
        rest //= 10
        digits += 1
    for place in range(at + digits - 1, at - 1, -1):
        shorter = value // 10
        out[place] = _ZERO + value - 10 * shorter
        value = shorter
    return at + digits


@inlined
def _write_score(out: Bytes, at: int, score: float) -> int:
    """Write a number from 0 to 1 that is a whole number of billionths; returns the place behind it, or -1."""
    units = np.int64(np.rint(score * SCORE_UNITS)) if 0.0 <= score <= 1.0 else -1
    if units < 0 or units / SCORE_UNITS != score:
        return -1
    whole = units // SCORE_UNITS
    out[at] = _ZERO + whole
    out[at + 1] = _DOT
    units -= whole * SCORE_UNITS
    end = at + 3
    for place in range(at + 1 + _SCORE_DIGITS, at + 1, -1):
        shorter = units // 10
        digit = units - 10 * shorter
        out[place] = _ZERO + digit
        units = shorter
        if digit != 0 and place >= end:
            end = place + 1
    return end


@inlined
def _write_shadows(out: Bytes, at: int, shadows: Shadows, row: int) -> int:
    """Write what those would have decided that do not act; returns the place behind it, or -1."""
    count = shadows.score.shape[0]
    for number in range(count):
        at = _write_score(out, _copy_part(out, at, shadows.parts, number), shadows.score[number, row])
        if at < 0:
            return -1
        at = _copy_part(out, at, shadows.parts, count + shadows.action[number, row])
    return _copy_part(out, at, shadows.parts, shadows.parts.starts.shape[0] - 1)


@inlined
def _write_row(parts: Parts, values: Values, shadows: Shadows, row: int, start: int, written: Written) -> int:
    """Write a decision; returns the place behind it, or -1."""
    out = written.buffer
    at = _copy_text(out, _copy_part(out, start, parts, OPENING), values.transaction_id, row)
    if at < 0 or values.event_time_ms[row] < 0 or values.expected_loss[row] < 0 or values.offset[row] < 0:
        return -1
    at = _copy_part(out, at, parts, AFTER_TRANSACTION)
    written.card_starts[row] = at
    at = _copy_text(out, at, values.card_token, row)
    if at < 0:
        return -1
    written.card_ends[row] = at
    at = _write_integer(out, _copy_part(out, at, parts, AFTER_CARD), values.event_time_ms[row])
    at = _write_score(out, _copy_part(out, at, parts, AFTER_TIME), values.score[row])
    if at < 0:
        return -1
    at = _write_score(out, _copy_part(out, at, parts, AFTER_SCORE), values.anomaly[row])
    if at < 0:
        return -1
    at = _write_integer(out, _copy_part(out, at, parts, AFTER_ANOMALY), values.expected_loss[row])
    at = _write_integer(out, _copy_part(out, at, parts, AFTER_LOSS + values.flags[row]), values.offset[row])
    if shadows.is_told[row]:
        return _write_shadows(out, at, shadows, row)
    return _copy_part(out, at, parts, AFTER_OFFSET)


@kernel
def write_rows(parts: Parts, values: Values, shadows: Shadows, wanted: NDArray[np.bool_], written: Written) -> None:
    """Write the decisions that are wanted, one behind the other."""
    at = 0
    for row in range(wanted.shape[0]):
        if wanted[row]:
            end = _write_row(parts, values, shadows, row, at, written)
            if end > 0:
                written.starts[row] = at
                written.ends[row] = end
                at = end
