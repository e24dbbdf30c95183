"""The records of the contract as msgspec decodes them; see CONTRACTS for what the fields mean.

Each record is decoded once, by the class that forbids unknown fields. Only where that fails for such a field, it is
decoded again by the class that ignores them, and counted.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from detector.transactions import MAXIMUM_AMOUNT_MINOR

# The latest time that is taken: the year 5138. What is later than the record's own timestamp is refused besides.
MAXIMUM_TIME_MS = 10**14

Token = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=128)]
Note = Annotated[str, msgspec.Meta(max_length=2000)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=MAXIMUM_TIME_MS)]
AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=MAXIMUM_AMOUNT_MINOR)]


class TransactionRecord(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A record of `payments.transactions.v1`."""

    transaction_id: Token
    card_token: Token
    event_time_ms: TimeMs
    amount_minor: AmountMinor
    currency: Text
    kind: Text = "purchase"
    refers_to: Token | None = None
    terminal_id: Text | None = None
    merchant_id: Text | None = None
    mcc: Text | None = None
    merchant_category: Text | None = None
    country: Text | None = None
    channel: Text | None = None
    entry_mode: Text | None = None
    device_id: Text | None = None
    customer_id: Text | None = None
    ip_country: Text | None = None
    latitude: float | None = None
    longitude: float | None = None
    home_latitude: float | None = None
    home_longitude: float | None = None
    response_code: Text | None = None
    step_up: Text | None = None


class LenientTransactionRecord(TransactionRecord, gc=False, forbid_unknown_fields=False):
    """The same, with fields we do not know."""


class LabelRecord(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A record of `fraud.labels.v1`."""

    transaction_id: Token
    card_token: Token
    label: Text
    source: Text
    label_time_ms: TimeMs
    case_id: Text | None = None
    labelled_by: Text | None = None
    note: Note | None = None


class LenientLabelRecord(LabelRecord, gc=False, forbid_unknown_fields=False):
    """The same, with fields we do not know."""
