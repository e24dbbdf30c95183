"""Transactions as columns: what the engine takes.

A `TransactionBatch` is a slice of one source partition in offset order, a column per field. A single transaction is a
batch of one. Texts that must leave cardwatch again (`transaction_id`, `card_token`, `merchant_id`) travel beside the
fingerprints that the kernels work on, as bytes in the buffer that they came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import BatchError
from detector.jit import kernel
from detector.texts import TextColumn, pack_letters, text_column
from detector.tokens import IDENTITY_SEPARATOR, fingerprint_identities, fingerprint_many
from detector.vocabulary import APPROVED_RESPONSE_CODES, StepUp

MAXIMUM_AMOUNT_MINOR = 10**13
MISSING_MICRODEGREES = np.int64(2**62)
_MICRODEGREES = 1_000_000
CURRENCY_LETTERS, COUNTRY_LETTERS = 3, 2
PLACES = ("latitude", "longitude", "home_latitude", "home_longitude")
# The columns of `TransactionBatch.pairs` where the fingerprints of what a card is paired with start.
_TERMINAL, _MERCHANT, _COUNTRY, _DEVICE, _CATEGORY = range(0, 10, 2)
PAIR_WORDS = 10
# Categories are no secret, and models that know them move between installations: their key is the same everywhere.
CATEGORY_KEY = bytes(16)
# An odd number that spreads codes over 64 bits (2^64 over the golden ratio).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
# Response codes of two bytes, as little-endian words.
_APPROVED = np.array(sorted(int.from_bytes(code.encode(), "little") for code in APPROVED_RESPONSE_CODES))
_FAILED = int(StepUp.FAILED)
_REQUIRED = ("transaction_id", "card_token", "event_time_ms", "amount_minor", "currency")

Int64 = NDArray[np.int64]
Fingerprints = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class TransactionBatch:
    """Records of one source partition in log order; every array has one row a record.

    Attributes:
        partition: the source partition.
        offset: int64, strictly increasing.
        event_time_ms: int64, UTC epoch milliseconds, as claimed.
        amount_minor: int64, 0 to 10^13, minor units of `currency`.
        currency: int64, ISO 4217 codes as `texts.pack_letters` packs them.
        kind, channel, entry_mode: int64 codes of the vocabulary.
        refused: int64, 1 where `response_code` or `step_up` says the authorisation was refused.
        outcome_known: int64, 1 where the record carries a `response_code` or `step_up` at all.
        mcc: int64, 0 where missing.
        card, identity, refers_to, ip_country: uint64 (n, 2) fingerprints. `identity` and `refers_to` are of
            (card_token, transaction_id).
        pairs: uint64 (n, 10), the fingerprints of `terminal`, `merchant`, `country` and `device` and the key of
            `category` (its name, or else the MCC) side by side.
        places: int64 (n, 4), latitude and longitude, then those of the cardholder's home, in microdegrees;
            `MISSING_MICRODEGREES` where missing.
        country_code: int64, ISO 3166-1 alpha-2 codes as `texts.pack_letters` packs them, 0 where missing.
        transaction_id, card_token, merchant_id: the texts, for what leaves cardwatch.
    """

    partition: int
    offset: Int64
    event_time_ms: Int64
    amount_minor: Int64
    currency: Int64
    kind: Int64
    channel: Int64
    entry_mode: Int64
    refused: Int64
    outcome_known: Int64
    mcc: Int64
    card: Fingerprints
    identity: Fingerprints
    refers_to: Fingerprints
    pairs: Fingerprints
    ip_country: Fingerprints
    places: Int64
    country_code: Int64
    transaction_id: TextColumn
    card_token: TextColumn
    merchant_id: TextColumn

    def __len__(self) -> int:
        """Number of records."""
        return int(self.offset.shape[0])

    def __getitem__(self, rows: slice) -> TransactionBatch:
        """Cut a contiguous slice; the columns are views."""
        return TransactionBatch(self.partition, *(getattr(self, name)[rows] for name in _COLUMN_NAMES))

    @property
    def terminal(self) -> Fingerprints:
        """Fingerprints of terminals, a view of `pairs`."""
        return self.pairs[:, _TERMINAL : _TERMINAL + 2]

    @property
    def merchant(self) -> Fingerprints:
        """Fingerprints of merchants, a view of `pairs`."""
        return self.pairs[:, _MERCHANT : _MERCHANT + 2]

    @property
    def country(self) -> Fingerprints:
        """Fingerprints of countries, a view of `pairs`."""
        return self.pairs[:, _COUNTRY : _COUNTRY + 2]

    @property
    def category(self) -> Fingerprints:
        """Keys of merchant categories, a view of `pairs`."""
        return self.pairs[:, _CATEGORY : _CATEGORY + 2]

    @property
    def device(self) -> Fingerprints:
        """Fingerprints of devices, a view of `pairs`."""
        return self.pairs[:, _DEVICE : _DEVICE + 2]


_COLUMN_NAMES = tuple(field.name for field in fields(TransactionBatch) if field.name != "partition")


def _integers(values: Sequence[Any] | NDArray[Any] | None, count: int) -> Int64:
    """Make an int64 column; None becomes 0."""
    if values is None:
        return np.zeros(count, dtype=np.int64)
    if isinstance(values, np.ndarray):
        return values.astype(np.int64, copy=False)
    return np.array([0 if value is None else value for value in values], dtype=np.int64)


def microdegrees(values: Sequence[float | None] | NDArray[Any]) -> Int64:
    """Make an int64 column of microdegrees.

    Args:
        values: degrees, where None and NaN are missing; or an int64 array, which is taken for microdegrees.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.int64:
        return values
    degrees = np.asarray(values, dtype=np.float64)  # which makes NaN of None
    known = np.isfinite(degrees)
    rounded = np.rint(np.where(known, degrees, 0.0) * _MICRODEGREES)
    # Not in one step: what stands for a missing one is no double.
    return np.where(known, rounded.astype(np.int64), MISSING_MICRODEGREES)


def _codes(columns: Mapping[str, Any], name: str, length: int, count: int) -> Int64:
    """Take a column of codes of capital letters."""
    values = columns.get(name)
    return np.zeros(count, dtype=np.int64) if values is None else pack_letters(values, length)


def joined_identities(cards: Sequence[str], transactions: Sequence[str | None]) -> list[str | None]:
    """Join card token and transaction id into the text whose fingerprint is the identity."""
    return [
        None if transaction is None else f"{card}{IDENTITY_SEPARATOR}{transaction}"
        for card, transaction in zip(cards, transactions, strict=True)
    ]


@kernel
def _outcome_rows(
    buffer: NDArray[np.uint8],
    starts: Int64,
    ends: Int64,
    step_up: Int64,
    approved: Int64,
    refused: Int64,
    known: Int64,
) -> None:
    """Whether authorisation, or asking the cardholder, has an outcome at all, and whether that is a refusal."""
    for row in range(starts.shape[0]):
        start, length = starts[row], ends[row] - starts[row]
        known[row] = 1 if length > 0 or step_up[row] != 0 else 0
        declined = step_up[row] == _FAILED
        if length == 2:
            code = np.int64(buffer[start]) | np.int64(buffer[start + 1]) << 8
            is_approved = False
            for index in range(approved.shape[0]):
                is_approved |= code == approved[index]
            declined |= not is_approved
        elif length > 0:
            declined = True
        refused[row] = 1 if declined else 0


def _outcomes(columns: Mapping[str, Any], count: int) -> tuple[Int64, Int64]:
    """Derive (refused, outcome_known) from `response_code` and `step_up`."""
    refused, known = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    codes, steps = columns.get("response_code"), columns.get("step_up")
    if codes is not None or steps is not None:
        column = TextColumn.constant(None, count) if codes is None else text_column(codes)
        _outcome_rows(column.buffer, column.starts, column.ends, _integers(steps, count), _APPROVED, refused, known)
    return refused, known


def _categories_of_codes(mcc: Int64, pairs: Fingerprints) -> None:
    """Let a merchant's category code stand for its category where it has no name."""
    words = pairs[:, _CATEGORY : _CATEGORY + 2]
    nameless = (words[:, 0] == 0) & (words[:, 1] == 0) & (mcc != 0)
    codes = mcc[nameless].astype(np.uint64)
    words[nameless, 0], words[nameless, 1] = codes * _SPREAD, codes


def _fingerprint_columns(columns: Mapping[str, Any], cards: TextColumn, key: bytes) -> dict[str, Any]:
    """Fingerprint every token column of the contract; those that are not given are not looked at."""
    count = len(cards)
    transactions = text_column(columns["transaction_id"])
    references, merchants = columns.get("refers_to"), columns.get("merchant_id")
    pairs = np.zeros((count, PAIR_WORDS), dtype=np.uint64)
    ip_country, refers_to = (np.zeros((count, 2), dtype=np.uint64) for _ in range(2))
    if references is not None:
        refers_to = fingerprint_identities(cards, text_column(references), key)
    merchant_id = TextColumn.constant(None, count) if merchants is None else text_column(merchants)
    fingerprint_many(merchant_id, key, pairs, _MERCHANT)
    for name, out, place in (
        ("terminal_id", pairs, _TERMINAL), ("country", pairs, _COUNTRY), ("device_id", pairs, _DEVICE),
        ("ip_country", ip_country, 0),
    ):  # fmt: skip
        if columns.get(name) is not None:
            fingerprint_many(columns[name], key, out, place)
    if columns.get("merchant_category") is not None:
        fingerprint_many(columns["merchant_category"], CATEGORY_KEY, pairs, _CATEGORY)
    if columns.get("mcc") is not None:
        _categories_of_codes(_integers(columns["mcc"], count), pairs)
    return {
        "card": fingerprint_many(cards, key),
        "identity": fingerprint_identities(cards, transactions, key),
        "refers_to": refers_to,
        "pairs": pairs,
        "ip_country": ip_country,
        "transaction_id": transactions,
        "card_token": cards,
        "merchant_id": merchant_id,
    }


def build_batch(
    columns: Mapping[str, Any], *, key: bytes, partition: int = 0, offset: Int64 | None = None
) -> TransactionBatch:
    """Build a batch from columns named as in `payments.transactions.v1`.

    Enumerations (`kind`, `channel`, `entry_mode`, `step_up`) are given as codes of the vocabulary, not as wire names;
    texts as a `TextColumn` or a list, an empty one being a missing one; coordinates as degrees, or as an int64 array of
    microdegrees; optional columns may be left out. Values are taken as valid: checking records one by one is the
    codec's work, this checks only what would break a kernel.

    Args:
        columns: of equal length; `transaction_id`, `card_token`, `event_time_ms`, `amount_minor` and
            `currency` are required.
        key: the installation's fingerprint key, 16 bytes.
        partition: the source partition.
        offset: int64, strictly increasing; 0 to n - 1 if not given.

    Raises:
        BatchError: columns of unequal length, a required one missing, an amount out of range, unsorted offsets, or a
            currency or country with anything but capital letters.
    """
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        message = f"columns missing: {', '.join(missing)}"
        raise BatchError(message)
    count = len(columns["transaction_id"])
    unequal = sorted(name for name, column in columns.items() if len(column) != count)
    if unequal:
        message = f"columns of another length than transaction_id ({count}): {', '.join(unequal)}"
        raise BatchError(message)
    amounts = _integers(columns["amount_minor"], count)
    if count and (amounts.min() < 0 or amounts.max() > MAXIMUM_AMOUNT_MINOR):
        message = f"amount_minor must be 0 to {MAXIMUM_AMOUNT_MINOR}"
        raise BatchError(message)
    offsets = np.arange(count, dtype=np.int64) if offset is None else offset.astype(np.int64)
    if len(offsets) != count or (count > 1 and int(np.diff(offsets).min()) <= 0):
        message = "offset must have a row a record and increase strictly"
        raise BatchError(message)
    refused, outcome_known = _outcomes(columns, count)
    places = np.empty((count, len(PLACES)), dtype=np.int64)
    for index, name in enumerate(PLACES):
        values = columns.get(name)
        places[:, index] = MISSING_MICRODEGREES if values is None else microdegrees(values)
    return TransactionBatch(
        partition=partition,
        offset=offsets,
        event_time_ms=_integers(columns["event_time_ms"], count),
        amount_minor=amounts,
        currency=_codes(columns, "currency", CURRENCY_LETTERS, count),
        kind=_integers(columns.get("kind"), count),
        channel=_integers(columns.get("channel"), count),
        entry_mode=_integers(columns.get("entry_mode"), count),
        refused=refused,
        outcome_known=outcome_known,
        mcc=_integers(columns.get("mcc"), count),
        **_fingerprint_columns(columns, text_column(columns["card_token"]), key),
        places=places,
        country_code=_codes(columns, "country", COUNTRY_LETTERS, count),
    )
