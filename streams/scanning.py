"""Records of `payments.transactions.v1` from JSON to columns in one pass, without an object a record.

The scanner knows plain JSON with the contract's fields and valid values, and nothing else. Whatever it meets besides
(an escape, an exponent, a field it does not know or has met before, any value that breaks a rule) ends its work on that
record: it is left to `streams.codecs`, which decodes it by itself and says what is wrong, if anything is. So the
scanner never refuses a record, and it may be ignorant, but not lenient: what it takes, the decoder would have taken to
the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.texts import LETTER_BITS, TextColumn, pack_letters
from detector.transactions import CURRENCY_LETTERS, MAXIMUM_AMOUNT_MINOR, MISSING_MICRODEGREES, PLACES, microdegrees
from streams.currencies import MINOR_UNITS
from streams.kernels.fields import FIELDS, KEYS, NUMBERS, REQUIRED, TEXTS, VALUES
from streams.kernels.scanner import Found, Rules, scan_records
from streams.kernels.texts import MOST_DIGITS
from streams.record_table import Values
from streams.wire import MAXIMUM_TIME_MS

_POWERS = np.array([10**exponent for exponent in range(MOST_DIGITS + 1)], dtype=np.int64)


def _known_currencies() -> NDArray[np.bool_]:
    """Which packed codes are currencies."""
    known = np.zeros(1 << (LETTER_BITS * CURRENCY_LETTERS), dtype=np.bool_)
    known[pack_letters(MINOR_UNITS, CURRENCY_LETTERS)] = True
    return known


_RULES = Rules(_known_currencies(), MAXIMUM_AMOUNT_MINOR, _POWERS)


class Scanned(NamedTuple):
    """What became of a fetch.

    Attributes:
        buffer: uint8, in which the records stand.
        found: what the kernel wrote.
    """

    buffer: NDArray[np.uint8]
    found: Found


def scan(values: Values, latest_ms: NDArray[np.int64]) -> Scanned:
    """Scan the values of records.

    Args:
        values: where they stand.
        latest_ms: int64, the latest time that each may claim.
    """
    buffer, record_starts, record_ends = values
    count = len(record_starts)
    found = Found(
        starts=np.zeros((len(TEXTS), count), dtype=np.int64),
        ends=np.zeros((len(TEXTS), count), dtype=np.int64),
        numbers=np.zeros((len(NUMBERS), count), dtype=np.int64),
        places=np.full((len(PLACES), count), MISSING_MICRODEGREES, dtype=np.int64),
        clean=np.zeros(count, dtype=np.bool_),
        given=np.zeros(1, dtype=np.int64),
    )
    latest = np.minimum(latest_ms, MAXIMUM_TIME_MS)
    follower = np.zeros(len(FIELDS) + 1, dtype=np.int64)
    # The arithmetic of whole words counts modulo 2^64; only plain Python, without the compiler, warns of it.
    with np.errstate(over="ignore"):
        scan_records(buffer, record_starts, record_ends, latest, KEYS, follower, VALUES, _RULES, found)
    return Scanned(buffer, found)


def with_rows(scanned: Scanned, rows: NDArray[np.int64], columns: Mapping[str, Any]) -> Scanned:
    """Put records in that were decoded otherwise.

    Args:
        scanned: changed in place, but for the buffer.
        rows: int64, the places of the records.
        columns: as `TransactionCodec.decode_singly` makes them, one row for each of `rows`.
    """
    buffer, found = scanned
    texts = TextColumn.from_strings(text for name in TEXTS for text in columns[name])
    found.starts[:, rows] = texts.starts.reshape(len(TEXTS), -1) + len(buffer)
    found.ends[:, rows] = texts.ends.reshape(len(TEXTS), -1) + len(buffer)
    for number, name in enumerate(NUMBERS):
        found.numbers[number, rows] = columns[name]
    for number, name in enumerate(PLACES):
        found.places[number, rows] = microdegrees(columns[name])
    found.given[0] |= sum(1 << number for number, name in enumerate(TEXTS) if any(columns[name]))
    return Scanned(np.concatenate([buffer, texts.buffer]), found)


def columns_of(scanned: Scanned, rows: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Columns as `detector.transactions.build_batch` takes them; texts that no record gives are left out.

    Args:
        scanned: what became of a fetch.
        rows: int64, which records are wanted; all of them if not given.
    """
    buffer, found = scanned
    wanted = slice(None) if rows is None else rows
    columns: dict[str, Any] = {
        name: TextColumn(buffer, found.starts[number][wanted], found.ends[number][wanted])
        for number, name in enumerate(TEXTS)
        if found.given[0] >> number & 1 or name in REQUIRED
    }
    columns |= {name: found.numbers[number][wanted] for number, name in enumerate(NUMBERS)}
    return columns | {name: found.places[number][wanted] for number, name in enumerate(PLACES)}
