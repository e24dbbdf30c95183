"""Deterministic 64-bit words and the tokens written from them."""

from __future__ import annotations

import numpy as np

from cardwatch.simulator.payments import Float64, Int64, Uint64

# The two hexadecimal digits of every octet, as one 16-bit item that holds both characters.
_PAIRS = np.frombuffer("".join(f"{octet:02x}" for octet in range(256)).encode(), dtype=np.uint16)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD_DIGITS = 16


def mix(words: Uint64, salt: int) -> Uint64:
    """Scramble words one to one (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).

    Different words stay different; another salt gives another permutation.
    """
    offset = np.uint64((salt * int(_GOLDEN)) & (2**64 - 1))
    state = words + offset + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


def mixed(numbers: Int64, salt: int) -> Uint64:
    """`mix` for a column of numbers."""
    return mix(numbers.astype(np.uint64), salt)


def unit(words: Uint64) -> Float64:
    """Read words as uniform numbers in [0, 1)."""
    return np.asarray((words >> np.uint64(11)).astype(np.float64) * 2.0**-53, dtype=np.float64)


def tokens(prefix: str, words: Uint64) -> list[str]:
    """Write words as tokens: the prefix and the word's hexadecimal digits."""
    octets = words.astype(">u8").view(np.uint8).reshape(-1, _WORD_DIGITS // 2)
    written = _PAIRS[octets].view(np.uint8).reshape(-1, _WORD_DIGITS)
    characters = np.empty((len(words), len(prefix) + _WORD_DIGITS), dtype=np.uint8)
    characters[:, : len(prefix)] = np.frombuffer(prefix.encode("ascii"), dtype=np.uint8)
    characters[:, len(prefix) :] = written
    width = characters.shape[1]
    texts: list[str] = characters.view(f"S{width}").ravel().astype(f"U{width}").tolist()
    return texts
