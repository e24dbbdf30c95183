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

from detector.jit import kernel

FINGERPRINT_WORDS = 2
KEY_BYTES = 16
_EMPTY_BUFFER = np.zeros(1, np.uint8)


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
def _siphash_128(
    buffer: NDArray[np.uint8], start: int, stop: int, key_low: np.uint64, key_high: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """SipHash-2-4-128 of `buffer[start:stop]`."""
    v0 = np.uint64(key_low ^ np.uint64(0x736F6D6570736575))
    v1 = np.uint64(key_high ^ np.uint64(0x646F72616E646F6D) ^ np.uint64(0xEE))
    v2 = np.uint64(key_low ^ np.uint64(0x6C7967656E657261))
    v3 = np.uint64(key_high ^ np.uint64(0x7465646279746573))
    length = stop - start
    whole = length - length % 8
    for block in range(start, start + whole, 8):
        word = np.uint64(0)
        for index in range(8):
            word |= np.uint64(buffer[block + index]) << np.uint64(8 * index)
        v3 ^= word
        for _ in range(2):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= word
    word = np.uint64(length & 0xFF) << np.uint64(56)
    for index in range(length - whole):
        word |= np.uint64(buffer[start + whole + index]) << np.uint64(8 * index)
    v3 ^= word
    for _ in range(2):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    first = np.uint64(v0 ^ v1 ^ v2 ^ v3)
    v1 ^= np.uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return first, np.uint64(v0 ^ v1 ^ v2 ^ v3)


@kernel
def _fingerprint_rows(
    buffer: NDArray[np.uint8],
    ends: NDArray[np.int64],
    key_low: np.uint64,
    key_high: np.uint64,
    out: NDArray[np.uint64],
) -> None:
    """Fingerprint consecutive slices of `buffer`; an empty slice keeps (0, 0), the missing token."""
    start = 0
    for row in range(ends.shape[0]):
        stop = ends[row]
        if stop > start:
            first, second = _siphash_128(buffer, start, stop, key_low, key_high)
            out[row, 0] = first
            out[row, 1] = second
        start = stop


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


def fingerprint_many(tokens: Sequence[str | None], key: bytes) -> NDArray[np.uint64]:
    """Fingerprint a column of tokens.

    Args:
        tokens: the texts; None and "" are missing tokens.
        key: the installation's 16-byte secret.

    Returns:
        uint64 array of shape (n, 2); (0, 0) for a missing token.
    """
    texts = [token or "" for token in tokens]
    joined = "".join(texts)
    data = joined.encode()
    lengths = list(map(len, texts)) if len(data) == len(joined) else [len(text.encode()) for text in texts]
    ends = np.cumsum(np.array(lengths, dtype=np.int64), dtype=np.int64)
    buffer = np.frombuffer(data, dtype=np.uint8) if data else _EMPTY_BUFFER
    out = np.zeros((len(texts), FINGERPRINT_WORDS), dtype=np.uint64)
    low, high = key_words(key)
    # SipHash counts modulo 2^64; only plain Python, without the compiler, warns of it.
    with np.errstate(over="ignore"):
        _fingerprint_rows(buffer, ends, low, high, out)
    return out


def fingerprint(token: str, key: bytes) -> tuple[int, int]:
    """Fingerprint one token: `fingerprint_many` for a column of one."""
    row = fingerprint_many([token], key)[0]
    return int(row[0]), int(row[1])
