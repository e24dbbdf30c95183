"""Transactions as columns: what the engine takes.

A `TransactionBatch` is a slice of one source partition in offset order, a column per field. A single transaction is a
batch of one. Texts that must leave cardwatch again (`transaction_id`, `card_token`, `merchant_id`) travel beside the
fingerprints that the kernels work on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import BatchError
from detector.tokens import fingerprint_many
from detector.vocabulary import APPROVED_RESPONSE_CODES, StepUp

MAXIMUM_AMOUNT_MINOR = 10**13
MISSING_MICRODEGREES = np.int64(2**62)
_MICRODEGREES = 1_000_000
IDENTITY_SEPARATOR = "\x1f"
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
        currency: ISO 4217 codes.
        kind, channel, entry_mode: int64 codes of the vocabulary.
        refused: int64, 1 where `response_code` or `step_up` says the authorisation was refused.
        outcome_known: int64, 1 where the record carries a `response_code` or `step_up` at all.
        mcc: int64, 0 where missing.
        card, identity, refers_to, terminal, merchant, device, country, ip_country, category:
            uint64 (n, 2) fingerprints. `identity` and `refers_to` are of (card_token, transaction_id).
        latitude, longitude, home_latitude, home_longitude: int64 microdegrees, `MISSING_MICRODEGREES` where missing.
        transaction_id, card_token, merchant_id, country_code: the texts, for what leaves cardwatch.
    """

    partition: int
    offset: Int64
    event_time_ms: Int64
    amount_minor: Int64
    currency: list[str]
    kind: Int64
    channel: Int64
    entry_mode: Int64
    refused: Int64
    outcome_known: Int64
    mcc: Int64
    card: Fingerprints
    identity: Fingerprints
    refers_to: Fingerprints
    terminal: Fingerprints
    merchant: Fingerprints
    device: Fingerprints
    country: Fingerprints
    ip_country: Fingerprints
    category: Fingerprints
    latitude: Int64
    longitude: Int64
    home_latitude: Int64
    home_longitude: Int64
    transaction_id: list[str]
    card_token: list[str]
    merchant_id: list[str | None]
    country_code: list[str | None]

    def __len__(self) -> int:
        """Number of records."""
        return len(self.transaction_id)

    def __getitem__(self, rows: slice) -> TransactionBatch:
        """Cut a contiguous slice; the columns are views."""
        cut = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "partition"}
        return TransactionBatch(partition=self.partition, **cut)


def _integers(values: Sequence[Any] | NDArray[Any] | None, count: int, missing: int = 0) -> Int64:
    """Make an int64 column; None becomes `missing`."""
    if values is None:
        return np.full(count, missing, dtype=np.int64)
    if isinstance(values, np.ndarray):
        return values.astype(np.int64)
    return np.array([missing if value is None else value for value in values], dtype=np.int64)


def _microdegrees(values: Sequence[float | None] | NDArray[Any] | None, count: int) -> Int64:
    """Make an int64 column of microdegrees; None and NaN are missing."""
    if values is None:
        return np.full(count, MISSING_MICRODEGREES, dtype=np.int64)
    degrees = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = np.isfinite(degrees)
    rounded = np.rint(np.where(known, degrees, 0.0) * _MICRODEGREES)
    return np.where(known, rounded, MISSING_MICRODEGREES).astype(np.int64)


def _texts(columns: Mapping[str, Sequence[Any]], name: str, count: int) -> list[str | None]:
    """Take an optional column of texts."""
    values = columns.get(name)
    return [None] * count if values is None else list(values)


def joined_identities(cards: Sequence[str], transactions: Sequence[str | None]) -> list[str | None]:
    """Join card token and transaction id into the text whose fingerprint is the identity."""
    return [
        None if transaction is None else f"{card}{IDENTITY_SEPARATOR}{transaction}"
        for card, transaction in zip(cards, transactions, strict=True)
    ]


def _outcomes(columns: Mapping[str, Sequence[Any]], count: int) -> tuple[Int64, Int64]:
    """Derive (refused, outcome_known) from `response_code` and `step_up`."""
    codes = columns.get("response_code")
    steps = columns.get("step_up")
    refused = np.zeros(count, dtype=np.int64)
    known = np.zeros(count, dtype=np.int64)
    if codes is not None:
        known |= np.array([code is not None for code in codes], dtype=np.int64)
        declined = [code is not None and code not in APPROVED_RESPONSE_CODES for code in codes]
        refused |= np.array(declined, dtype=np.int64)
    if steps is not None:
        result = _integers(steps, count)
        known |= (result != StepUp.NONE).astype(np.int64)
        refused |= (result == StepUp.FAILED).astype(np.int64)
    return refused, known


def _fingerprint_columns(columns: Mapping[str, Sequence[Any]], count: int, key: bytes) -> dict[str, Any]:
    """Fingerprint every token column of the contract."""
    cards = list(columns["card_token"])
    identities = joined_identities(cards, list(columns["transaction_id"]))
    return {
        "card": fingerprint_many(cards, key),
        "identity": fingerprint_many(identities, key),
        "refers_to": fingerprint_many(joined_identities(cards, _texts(columns, "refers_to", count)), key),
        "merchant": fingerprint_many(_texts(columns, "merchant_id", count), key),
        "country": fingerprint_many(_texts(columns, "country", count), key),
        "terminal": fingerprint_many(_texts(columns, "terminal_id", count), key),
        "device": fingerprint_many(_texts(columns, "device_id", count), key),
        "ip_country": fingerprint_many(_texts(columns, "ip_country", count), key),
        "category": fingerprint_many(_texts(columns, "merchant_category", count), key),
    }


def build_batch(
    columns: Mapping[str, Any], *, key: bytes, partition: int = 0, offset: Int64 | None = None
) -> TransactionBatch:
    """Build a batch from columns named as in `payments.transactions.v1`.

    Enumerations (`kind`, `channel`, `entry_mode`, `step_up`) are given as codes of the vocabulary, not as wire names;
    optional columns may be left out; coordinates are degrees. Values are taken as valid: checking records one by one
    is the codec's work, this checks only what would break a kernel.

    Args:
        columns: lists or arrays of equal length; `transaction_id`, `card_token`, `event_time_ms`, `amount_minor` and
            `currency` are required.
        key: the installation's fingerprint key, 16 bytes.
        partition: the source partition.
        offset: int64, strictly increasing; 0 to n - 1 if not given.

    Raises:
        BatchError: columns of unequal length, a required one missing, an amount out of range or unsorted offsets.
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
    places: dict[str, Any] = {
        name: _microdegrees(columns.get(name), count)
        for name in ("latitude", "longitude", "home_latitude", "home_longitude")
    }
    return TransactionBatch(
        partition=partition,
        offset=offsets,
        event_time_ms=_integers(columns["event_time_ms"], count),
        amount_minor=amounts,
        currency=list(columns["currency"]),
        kind=_integers(columns.get("kind"), count),
        channel=_integers(columns.get("channel"), count),
        entry_mode=_integers(columns.get("entry_mode"), count),
        refused=refused,
        outcome_known=outcome_known,
        mcc=_integers(columns.get("mcc"), count),
        **_fingerprint_columns(columns, count, key),
        **places,
        transaction_id=list(columns["transaction_id"]),
        card_token=list(columns["card_token"]),
        merchant_id=_texts(columns, "merchant_id", count),
        country_code=_texts(columns, "country", count),
    )
