"""The scanner of `streams.scanning`: one record after the other, from JSON to columns.

A part that reads something returns the place behind it, or -1 where it does not like what it sees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.jit import inlined, kernel, load_word
from detector.texts import LETTER_BITS
from detector.vocabulary import Kind
from streams.kernels.fields import FIELDS, REQUIRED_BITS, TEXTS, Vocabulary, Words
from streams.kernels.texts import (
    MOST_DIGITS,
    NINE,
    QUOTE,
    ZERO,
    are_letters,
    find_word,
    may_be_card_number,
    scan_digits,
    skip_blanks,
    text_end,
    wide_text_end,
)

_TRANSACTION, _CARD, _REFERS_TO, _COUNTRY, _IP_COUNTRY, _RESPONSE, _CURRENCY = (
    FIELDS.index(name)
    for name in ("transaction_id", "card_token", "refers_to", "country", "ip_country", "response_code", "currency")
)
_KIND, _CHANNEL, _ENTRY_MODE, _STEP_UP, _MCC, _TIME, _AMOUNT, _LATITUDE = (
    FIELDS.index(name)
    for name in (
        "kind", "channel", "entry_mode", "step_up", "mcc", "event_time_ms", "amount_minor", "latitude",
    )
)  # fmt: skip
_TEXT_COUNT = len(TEXTS)
_LONGEST_TOKEN, _LONGEST_TEXT = 64, 128
_REVERSAL, _OUTCOME = int(Kind.REVERSAL), int(Kind.OUTCOME)
_OPEN, _CLOSE, _COLON, _COMMA, _DOT, _MINUS, _FIRST_LETTER = b"{}:,.-A"
_NULL = np.uint64(int.from_bytes(b"null", "little"))
_FOUR_BYTES = np.uint64(0xFFFFFFFF)
# So many digits are a double exactly, and so is their quotient by a power of ten.
_EXACT_DIGITS = 15
_MICRO = 6
_MICRODEGREES = 1_000_000
_LATITUDE_BOUND, _LONGITUDE_BOUND = 90, 180


class Rules(NamedTuple):
    """What the scanner must know of the contract, and constants that it takes as arrays.

    Attributes:
        currencies: bool by packed code, whether it is a currency.
        most_amount: the largest amount.
        powers: int64, powers of ten.
    """

    currencies: NDArray[np.bool_]
    most_amount: int
    powers: NDArray[np.int64]


class Found(NamedTuple):
    """What the scanner writes.

    Attributes:
        starts, ends: int64 (texts, n), where texts stand in the buffer.
        numbers: int64 (numbers, n).
        places: int64 (4, n), microdegrees.
        clean: bool, whether the record was understood; if not, the rest of its row means nothing.
        given: int64, one element, a bit for each field that some record gives.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]
    places: NDArray[np.int64]
    clean: NDArray[np.bool_]
    given: NDArray[np.int64]


@inlined
def _text_is_valid(
    buffer: NDArray[np.uint8], start: int, end: int, characters: int, field: int, currencies: NDArray[np.bool_]
) -> bool:
    """Whether a text is what its field may hold."""
    if field == _TRANSACTION or field == _REFERS_TO:
        return 1 <= characters <= _LONGEST_TOKEN
    if field == _CARD:
        is_short = 1 <= characters <= _LONGEST_TOKEN and characters == end - start
        return is_short and not may_be_card_number(buffer, start, end)
    if field == _CURRENCY:
        if end - start != 3 or not are_letters(buffer, start, 3):
            return False
        code = np.int64(0)
        for index in range(3):
            code |= (np.int64(buffer[start + index]) - _FIRST_LETTER + 1) << (LETTER_BITS * index)
        return currencies[code]
    if field == _COUNTRY or field == _IP_COUNTRY:
        return end == start or (end - start == 2 and are_letters(buffer, start, 2))
    if field == _RESPONSE:
        if end == start:
            return True
        for at in range(start, end):
            is_digit = buffer[at] >= ZERO and buffer[at] <= NINE
            if not is_digit and not are_letters(buffer, at, 1):
                return False
        return end - start == 2
    return characters <= _LONGEST_TEXT


@inlined
def _scan_text(
    buffer: NDArray[np.uint8], at: int, field: int, row: int, currencies: NDArray[np.bool_], found: Found
) -> int:
    """Read a text from behind its opening quote."""
    end = text_end(buffer, at)
    characters = end - at
    if buffer[end] != QUOTE:
        if buffer[end] < 0x80:
            return -1
        end, characters = wide_text_end(buffer, at)
    if end < 0 or not _text_is_valid(buffer, at, end, characters, field, currencies):
        return -1
    if field < _TEXT_COUNT and end > at:
        found.starts[field, row] = at
        found.ends[field, row] = end
        found.given[0] |= 1 << field
    return end + 1


@inlined
def _scan_category(buffer: NDArray[np.uint8], at: int, row: int, found: Found) -> int:
    """Read a merchant category code from behind its opening quote."""
    if buffer[at] == QUOTE:
        return at + 1
    code = np.int64(0)
    for index in range(4):
        digit = np.int64(buffer[at + index]) - ZERO
        if digit < 0 or digit > 9:
            return -1
        code = code * 10 + digit
    found.numbers[_MCC - _KIND, row] = code
    return at + 5 if buffer[at + 4] == QUOTE else -1


@inlined
def _scan_integer(buffer: NDArray[np.uint8], at: int, field: int, row: int, rules: Rules, found: Found) -> int:
    """Read a whole number from 0 on, written in digits alone."""
    value, end = scan_digits(buffer, at)
    if end == at or (field == _AMOUNT and value > rules.most_amount) or (buffer[at] == ZERO and end > at + 1):
        return -1
    found.numbers[field - _KIND, row] = value
    return end


@inlined
def _scan_place(
    buffer: NDArray[np.uint8], at: int, bound: int, field: int, row: int, powers: NDArray[np.int64], found: Found
) -> int:
    """Read degrees as microdegrees.

    What is meant is the double next to what is written, times a million, rounded. With up to 15 digits this is done
    just so. With more, the same whole number comes out of integers unless it is nearly half way to the next.
    """
    is_negative = buffer[at] == _MINUS
    at += 1 if is_negative else 0
    value, end = scan_digits(buffer, at)
    if end == at or (buffer[at] == ZERO and end > at + 1):
        return -1
    digits, decimals = end - at, 0
    if buffer[end] == _DOT:
        start = end + 1
        fraction, end = scan_digits(buffer, start)
        decimals = end - start
        digits += decimals
        if decimals == 0 or digits > MOST_DIGITS:
            return -1
        value = value * powers[decimals] + fraction
    if digits <= _EXACT_DIGITS:
        degrees = value / powers[decimals]
        if degrees > bound:
            return -1
        micro = np.int64(np.rint(degrees * _MICRODEGREES))
    else:
        if decimals <= _MICRO:
            return -1
        unit = powers[decimals - _MICRO]
        micro, rest = value // unit, value % unit
        if micro >= bound * _MICRODEGREES or abs(2 * rest - unit) * _MICRODEGREES <= unit:
            return -1
        micro += 1 if 2 * rest > unit else 0
    found.places[field - _LATITUDE, row] = -micro if is_negative else micro
    return end


@inlined
def _scan_value(
    buffer: NDArray[np.uint8],
    at: int,
    field: int,
    row: int,
    values: Words,
    rules: Rules,
    found: Found,
) -> int:
    """Read the value of a field."""
    if buffer[at] == QUOTE:
        if field < _KIND:
            return _scan_text(buffer, at + 1, field, row, rules.currencies, found)
        if field == _MCC:
            return _scan_category(buffer, at + 1, row, found)
        if field > _MCC:
            return -1
        if buffer[at + 1] == QUOTE:
            return at + 2 if field > _KIND else -1
        # A tuple takes no index that is not a constant.
        words = values[0]
        if field == _CHANNEL:
            words = values[1]
        elif field == _ENTRY_MODE:
            words = values[2]
        elif field == _STEP_UP:
            words = values[3]
        index = find_word(buffer, at + 1, words, 0)
        if index < 0:
            return -1
        found.numbers[field - _KIND, row] = words.codes[index]
        return at + 1 + words.lengths[index]
    if field == _TIME or field == _AMOUNT:
        return _scan_integer(buffer, at, field, row, rules, found)
    if load_word(buffer, at) & _FOUR_BYTES == _NULL:
        return -1 if REQUIRED_BITS >> field & 1 or field == _KIND else at + 4
    if field < _LATITUDE:
        return -1
    bound = _LATITUDE_BOUND if (field - _LATITUDE) % 2 == 0 else _LONGITUDE_BOUND
    return _scan_place(buffer, at, bound, field, row, rules.powers, found)


@inlined
def _scan_record(
    buffer: NDArray[np.uint8],
    at: int,
    row: int,
    keys: Vocabulary,
    follower: NDArray[np.int64],
    values: Words,
    rules: Rules,
    found: Found,
) -> int:
    """Read one record; returns the place behind it, or -1."""
    at = skip_blanks(buffer, at)
    if buffer[at] != _OPEN:
        return -1
    seen, before = 0, keys.lengths.shape[0]
    while True:
        at = skip_blanks(buffer, at + 1)
        if buffer[at] != QUOTE:
            return -1
        # Most records have their fields in the order of the record before.
        field = find_word(buffer, at + 1, keys, int(follower[before]))
        if field < 0 or seen >> field & 1:
            return -1
        follower[before] = field
        before = field
        seen |= 1 << field
        at = skip_blanks(buffer, at + 1 + keys.lengths[field])
        if buffer[at] != _COLON:
            return -1
        at = _scan_value(buffer, skip_blanks(buffer, at + 1), field, row, values, rules, found)
        if at < 0:
            return -1
        at = skip_blanks(buffer, at)
        if buffer[at] != _COMMA:
            break
    if buffer[at] != _CLOSE or seen & REQUIRED_BITS != REQUIRED_BITS:
        return -1
    kind = found.numbers[0, row]
    if (kind == _REVERSAL or kind == _OUTCOME) and found.ends[_REFERS_TO, row] == 0:
        return -1
    return at + 1


@kernel
def scan_records(
    buffer: NDArray[np.uint8],
    record_starts: NDArray[np.int64],
    record_ends: NDArray[np.int64],
    latest_ms: NDArray[np.int64],
    keys: Vocabulary,
    follower: NDArray[np.int64],
    values: Words,
    rules: Rules,
    found: Found,
) -> None:
    """Read records; one that runs into what stands behind it ends elsewhere than it must, and is not clean."""
    for row in range(record_ends.shape[0]):
        behind = _scan_record(buffer, record_starts[row], row, keys, follower, values, rules, found)
        # What stands behind a record may look like white space as well.
        is_whole = 0 < behind <= record_ends[row] <= skip_blanks(buffer, behind)
        found.clean[row] = is_whole and found.numbers[_TIME - _KIND, row] <= latest_ms[row]
