"""Fingerprints of tokens: 128 bits of SipHash-2-4 under an installation's secret key.

State never holds a token's text. Every card, terminal, merchant, device, country and transaction identity is known by
its fingerprint: two 64-bit words, the first of which indexes hash tables while equality always compares both. With a
secret key nobody outside can construct a collision, and by chance one among 10^10 tokens has a probability below
10^-18. Equal tokens have equal fingerprints in every process that shares the key, so state and rows move between
workers without a dictionary.

Source: Aumasson, Bernstein: *SipHash: a fast short-input PRF* (2012), the 128-bit variant of the reference code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.jit import kernel, load_word, prefetch
from detector.texts import TextColumn, text_column

FINGERPRINT_WORDS = 2
KEY_BYTES = 16
# Card token and transaction id, joined by it, are a transaction's identity; no id has a control character.
IDENTITY_SEPARATOR = "\x1f"
_NONE = np.uint64(0)
_ONE = np.uint64(1)
# Texts of a fetch lie hundreds of bytes apart, in more of them than the processor's nearer caches hold: how many rows
# before its turn a text is asked for.
_AHEAD = 16


@kernel
def _rotate_left(word: np.uint64, bits: int) -> np.uint64:
    """Rotate a 64-bit word."""
    return np.uint64((word << np.uint64(bits)) | (word >> np.uint64(64 - bits)))


@kernel
def _sip_round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """One SipRound of the reference."""
    v0 = np.uint64(v0 + v1)
    v1 = np.uint64(_rotate_left(v1, 13) ^ v0)
    v0 = _rotate_left(v0, 32)
    v2 = np.uint64(v2 + v3)
    v3 = np.uint64(_rotate_left(v3, 16) ^ v2)
    v0 = np.uint64(v0 + v3)
    v3 = np.uint64(_rotate_left(v3, 21) ^ v0)
    v2 = np.uint64(v2 + v1)
    v1 = np.uint64(_rotate_left(v1, 17) ^ v2)
    v2 = _rotate_left(v2, 32)
    return v0, v1, v2, v3


@kernel
def _compress(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64, word: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Take in one word of the message: the two rounds of SipHash-2-4."""
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, np.uint64(v3 ^ word))
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return np.uint64(v0 ^ word), v1, v2, v3


@kernel
def short_word(buffer: NDArray[np.uint8], start: int, count: int) -> np.uint64:
    """The next `count` bytes, 0 to 7, as a little-endian word."""
    if start + 8 <= buffer.shape[0]:
        return np.uint64(load_word(buffer, start) & ((_ONE << np.uint64(8 * count)) - _ONE))
    word = _NONE
    for index in range(count):
        word |= np.uint64(buffer[start + index]) << np.uint64(8 * index)
    return word


@kernel
def _absorb(
    v0: np.uint64,
    v1: np.uint64,
    v2: np.uint64,
    v3: np.uint64,
    pending: np.uint64,
    bits: np.uint64,
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]:
    """Take in `buffer[start:stop]` behind `bits` bits (0 to 56) of a word that is not full yet; returns state and rest.

    The low bits of `pending` are that word's, all others are 0.
    """
    while stop - start >= 8:
        word = load_word(buffer, start)
        v0, v1, v2, v3 = _compress(v0, v1, v2, v3, np.uint64(pending | (word << bits)))
        # In two steps, for a word cannot be shifted by 64.
        pending = np.uint64((word >> _ONE) >> (np.uint64(63) - bits))
        start += 8
    left = np.uint64(8 * (stop - start))
    word = short_word(buffer, start, stop - start)
    pending |= word << bits
    bits = np.uint64(bits + left)
    if bits >= np.uint64(64):
        v0, v1, v2, v3 = _compress(v0, v1, v2, v3, pending)
        bits = np.uint64(bits - np.uint64(64))
        pending = np.uint64(word >> (left - bits))
    return v0, v1, v2, v3, pending, bits


@kernel
def _finish(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64, pending: np.uint64, length: int
) -> tuple[np.uint64, np.uint64]:
    """The two words of the fingerprint, after `length` bytes of which `pending` holds the last few."""
    last = np.uint64(pending | (np.uint64(length & 0xFF) << np.uint64(56)))
    v0, v1, v2, v3 = _compress(v0, v1, v2, v3, last)
    v2 ^= np.uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    first = np.uint64(v0 ^ v1 ^ v2 ^ v3)
    v1 ^= np.uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return first, np.uint64(v0 ^ v1 ^ v2 ^ v3)


@kernel
def _begin(key_low: np.uint64, key_high: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The state before anything is taken in."""
    v0 = np.uint64(key_low ^ np.uint64(0x736F6D6570736575))
    v1 = np.uint64(key_high ^ np.uint64(0x646F72616E646F6D) ^ np.uint64(0xEE))
    v2 = np.uint64(key_low ^ np.uint64(0x6C7967656E657261))
    v3 = np.uint64(key_high ^ np.uint64(0x7465646279746573))
    return v0, v1, v2, v3


@kernel
def _fingerprint_rows(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    key_low: np.uint64,
    key_high: np.uint64,
    out: NDArray[np.uint64],
    place: int,
) -> None:
    """Fingerprint slices of `buffer`; an empty slice gets (0, 0), the missing token."""
    rows = starts.shape[0]
    for row in range(rows):
        ahead = min(row + _AHEAD, rows - 1)
        prefetch(buffer, starts[ahead])
        prefetch(buffer, ends[ahead])
        start, stop = starts[row], ends[row]
        if stop <= start:
            out[row, place] = _NONE
            out[row, place + 1] = _NONE
            continue
        v0, v1, v2, v3 = _begin(key_low, key_high)
        v0, v1, v2, v3, pending, _ = _absorb(v0, v1, v2, v3, _NONE, _NONE, buffer, start, stop)
        out[row, place], out[row, place + 1] = _finish(v0, v1, v2, v3, pending, stop - start)


@kernel
def _fingerprint_pairs(
    first: NDArray[np.uint8],
    first_starts: NDArray[np.int64],
    first_ends: NDArray[np.int64],
    second: NDArray[np.uint8],
    second_starts: NDArray[np.int64],
    second_ends: NDArray[np.int64],
    separator: np.uint64,
    key_low: np.uint64,
    key_high: np.uint64,
    out: NDArray[np.uint64],
) -> None:
    """Fingerprint first slice, separator and second slice as one text; (0, 0) where the second slice is empty."""
    rows = first_starts.shape[0]
    for row in range(rows):
        ahead = min(row + _AHEAD, rows - 1)
        prefetch(first, first_starts[ahead])
        prefetch(second, second_starts[ahead])
        prefetch(second, second_ends[ahead])
        if second_ends[row] <= second_starts[row]:
            out[row, 0] = _NONE
            out[row, 1] = _NONE
            continue
        v0, v1, v2, v3 = _begin(key_low, key_high)
        v0, v1, v2, v3, pending, bits = _absorb(v0, v1, v2, v3, _NONE, _NONE, first, first_starts[row], first_ends[row])
        pending |= separator << bits
        bits = np.uint64(bits + np.uint64(8))
        if bits == np.uint64(64):
            v0, v1, v2, v3 = _compress(v0, v1, v2, v3, pending)
            pending = bits = _NONE
        v0, v1, v2, v3, pending, bits = _absorb(
            v0, v1, v2, v3, pending, bits, second, second_starts[row], second_ends[row]
        )
        length = first_ends[row] - first_starts[row] + 1 + second_ends[row] - second_starts[row]
        out[row, 0], out[row, 1] = _finish(v0, v1, v2, v3, pending, length)


def key_words(key: bytes) -> tuple[np.uint64, np.uint64]:
    """Split a 16-byte key into SipHash's two little-endian words.

    Raises:
        ValueError: the key is not 16 bytes long.
    """
    if len(key) != KEY_BYTES:
        message = f"a fingerprint key has {KEY_BYTES} bytes, not {len(key)}"
        raise ValueError(message)
    words = np.frombuffer(key, dtype="<u8")
    return np.uint64(words[0]), np.uint64(words[1])


def fingerprint_many(
    tokens: Sequence[str | None], key: bytes, out: NDArray[np.uint64] | None = None, place: int = 0
) -> NDArray[np.uint64]:
    """Fingerprint a column of tokens.

    Args:
        tokens: the texts, as a `TextColumn` or as Python's; None and "" are missing tokens.
        key: the installation's 16-byte secret.
        out: uint64 array with a row a token to write into, and `place` the first of the two columns to write.
        place: 0 without `out`.

    Returns:
        `out`, or a uint64 array of shape (n, 2); (0, 0) for a missing token.
    """
    column = text_column(tokens)
    found = np.empty((len(column), FINGERPRINT_WORDS), dtype=np.uint64) if out is None else out
    low, high = key_words(key)
    # SipHash counts modulo 2^64; only plain Python, without the compiler, warns of it.
    with np.errstate(over="ignore"):
        _fingerprint_rows(column.buffer, column.starts, column.ends, low, high, found, place)
    return found


def fingerprint_identities(cards: TextColumn, transactions: TextColumn, key: bytes) -> NDArray[np.uint64]:
    """Fingerprint card tokens and transaction ids as if they were joined by `IDENTITY_SEPARATOR`.

    Args:
        cards: the first halves.
        transactions: the second halves.
        key: the installation's 16-byte secret.

    Returns:
        uint64 array of shape (n, 2); (0, 0) where the transaction is missing.
    """
    out = np.empty((len(cards), FINGERPRINT_WORDS), dtype=np.uint64)
    low, high = key_words(key)
    with np.errstate(over="ignore"):
        _fingerprint_pairs(
            cards.buffer, cards.starts, cards.ends, transactions.buffer, transactions.starts, transactions.ends,
            np.uint64(ord(IDENTITY_SEPARATOR)), low, high, out,
        )  # fmt: skip
    return out


def fingerprint(token: str, key: bytes) -> tuple[int, int]:
    """Fingerprint one token: `fingerprint_many` for a column of one."""
    row = fingerprint_many([token], key)[0]
    return int(row[0]), int(row[1])


@kernel
def _match_rows(words: NDArray[np.uint64], known: NDArray[np.uint64], places: NDArray[np.int64]) -> None:
    """The place of each row of `words` among the rows of `known`, which are sorted by both words; -1 if not there."""
    for row in range(words.shape[0]):
        first, second = words[row, 0], words[row, 1]
        low, high = 0, known.shape[0]
        while low < high:
            middle = (low + high) // 2
            if known[middle, 0] < first or (known[middle, 0] == first and known[middle, 1] < second):
                low = middle + 1
            else:
                high = middle
        is_there = low < known.shape[0] and known[low, 0] == first and known[low, 1] == second
        places[row] = low if is_there else -1


def matching(words: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Look fingerprints up among known ones.

    Args:
        words: uint64 (n, 2), what is looked for.
        known: uint64 (m, 2), sorted by the first word, then by the second.

    Returns:
        int64, the row of `known` for each row of `words`, -1 where there is none.
    """
    places = np.empty(len(words), dtype=np.int64)
    _match_rows(np.ascontiguousarray(words), known, places)
    return places
