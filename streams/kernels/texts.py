"""What kernels find in JSON's texts and numbers: where they end, which words they are, and what they hold.

Buffers have 32 bytes of padding behind their last record, so that whole words can be read there; the padding is zeros,
which no text and no number goes on over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.jit import inlined, load_word, trailing_zeros
from streams.kernels.fields import Vocabulary

QUOTE, _BACKSLASH, _MINUS = b'"\\-'
_BLANK, _TAB, _NEWLINE, _RETURN, _DELETE = b" \t\n\r\x7f"
ZERO, NINE, _A, _Z = b"09AZ"
# A word of eight times the same byte.
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(QUOTE * 0x0101010101010101)
_BACKSLASHES = np.uint64(_BACKSLASH * 0x0101010101010101)
_BLANKS = np.uint64(_BLANK * 0x0101010101010101)
_DELETES = np.uint64(_DELETE * 0x0101010101010101)
# More digits than this may not fit.
MOST_DIGITS = 18


@inlined
def skip_blanks(buffer: NDArray[np.uint8], at: int) -> int:
    """The next byte that is no white space."""
    while buffer[at] == _BLANK or buffer[at] == _NEWLINE or buffer[at] == _RETURN or buffer[at] == _TAB:
        at += 1
    return at


@inlined
def text_end(buffer: NDArray[np.uint8], at: int) -> int:
    """The next byte that is a quote, an escape, a control character, or not ASCII."""
    while True:
        word = load_word(buffer, at)
        quote, backslash, delete = word ^ _QUOTES, word ^ _BACKSLASHES, word ^ _DELETES
        # The high bit of a byte is set where it is zero, or below a blank; what a borrow sets besides is higher up.
        special = (quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash | (delete - _ONES) & ~delete
        special |= (word - _BLANKS) & ~word | word
        special &= _HIGHS
        if special != 0:
            return at + trailing_zeros(special) // 8
        at += 8


@inlined
def wide_text_end(buffer: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The quote that ends a text, and how many characters stand before it; (-1, 0) where it is not valid UTF-8."""
    characters = 0
    while buffer[at] != QUOTE:
        first = np.int64(buffer[at])
        if first < _BLANK or first == _BACKSLASH or first == _DELETE:
            return -1, 0
        if first < 0x80:
            more, low, high = 0, 0, 0
        elif 0xC2 <= first <= 0xDF:
            more, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= first <= 0xEF:
            # Neither overlong forms nor surrogates.
            more, low, high = 2, 0xA0 if first == 0xE0 else 0x80, 0x9F if first == 0xED else 0xBF
        elif 0xF0 <= first <= 0xF4:
            more, low, high = 3, 0x90 if first == 0xF0 else 0x80, 0x8F if first == 0xF4 else 0xBF
        else:
            return -1, 0
        for index in range(1, more + 1):
            if buffer[at + index] < low or buffer[at + index] > high:
                return -1, 0
            low, high = 0x80, 0xBF
        at += more + 1
        characters += 1
    return at, characters


@inlined
def _is_word(buffer: NDArray[np.uint8], at: int, words: Vocabulary, index: int) -> bool:
    """Whether a word of the vocabulary, and the quote behind it, stands at a place."""
    different = (load_word(buffer, at) ^ words.words[index, 0]) & words.masks[index, 0]
    different |= (load_word(buffer, at + 8) ^ words.words[index, 1]) & words.masks[index, 1]
    different |= (load_word(buffer, at + 16) ^ words.words[index, 2]) & words.masks[index, 2]
    return different == 0


@inlined
def find_word(buffer: NDArray[np.uint8], at: int, words: Vocabulary, guess: int) -> int:
    """Which word of the vocabulary stands at a place, -1 if none does; the guess is looked at first."""
    if _is_word(buffer, at, words, guess):
        return guess
    for index in range(words.lengths.shape[0]):
        if _is_word(buffer, at, words, index):
            return index
    return -1


@inlined
def are_letters(buffer: NDArray[np.uint8], start: int, count: int) -> bool:
    """Whether so many capital letters stand at a place."""
    found = True
    for at in range(start, start + count):
        found &= buffer[at] >= _A and buffer[at] <= _Z
    return found


@inlined
def may_be_card_number(buffer: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether a token is digits, blanks and hyphens alone, with 12 to 19 digits that pass Luhn's check."""
    total, digits = np.int64(0), 0
    for at in range(end - 1, start - 1, -1):
        if buffer[at] == _BLANK or buffer[at] == _MINUS:
            continue
        value = np.int64(buffer[at]) - ZERO
        if value < 0 or value > 9:
            return False
        if digits % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
        digits += 1
    return 12 <= digits <= 19 and total % 10 == 0


@inlined
def scan_digits(buffer: NDArray[np.uint8], at: int) -> tuple[np.int64, int]:
    """Read a run of digits as a number; returns it and the place behind it, at most 18 digits on."""
    value, last = np.int64(0), at + MOST_DIGITS
    while at < last and buffer[at] >= ZERO and buffer[at] <= NINE:
        value = value * 10 + np.int64(buffer[at]) - ZERO
        at += 1
    return value, at
