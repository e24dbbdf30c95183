"""Payments as columns of numbers: the simulator's inner form, before tokens and codes are written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Uint64 = NDArray[np.uint64]
Float64 = NDArray[np.float64]

NONE = -1
# ISO 8583 field 39 as the simulator uses it; a column holds the index.
RESPONSE_CODES: tuple[str, ...] = ("00", "05", "14", "51", "54", "61")
APPROVED = 0


@dataclass(frozen=True, slots=True)
class Payments:
    """Rows of payments; every array has one row a payment.

    Attributes:
        transaction: uint64 word of the transaction id.
        refers_to: uint64 word of the transaction a reversal takes back, 0 otherwise.
        event_time_ms: UTC epoch milliseconds.
        card, merchant, terminal: numbers in the world.
        amount_minor: minor units of `currency`, an index into `CURRENCIES`.
        kind, channel, entry_mode: codes of the detector's vocabulary.
        device: uint64 word of the device, 0 for none.
        ip_city: the city whose country the device seems to be in, NONE if not known.
        response: index into `RESPONSE_CODES`, NONE where there was no authorisation.
        attack: 0 for a genuine payment, else 1 + the index into `ATTACK_NAMES`; the truth, never part of a record.
    """

    transaction: Uint64
    refers_to: Uint64
    event_time_ms: Int64
    card: Int64
    merchant: Int64
    terminal: Int64
    amount_minor: Int64
    currency: Int64
    kind: Int64
    channel: Int64
    entry_mode: Int64
    device: Uint64
    ip_city: Int64
    response: Int64
    attack: Int64

    def __len__(self) -> int:
        """Number of payments."""
        return len(self.event_time_ms)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Payments:
        """Choose rows, by slice, mask or order."""
        return Payments(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def fraud(self) -> NDArray[np.bool_]:
        """The truth: which payments are fraudulent."""
        return self.attack > 0


def concatenate(parts: Sequence[Payments]) -> Payments:
    """Join payments one after the other."""
    return Payments(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Payments)})


def in_time_order(payments: Payments) -> Payments:
    """Sort by event time, ties as they stand."""
    return payments[np.argsort(payments.event_time_ms, kind="stable")]
