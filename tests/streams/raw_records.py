"""Raw records for tests."""

from __future__ import annotations

import json
from typing import Any

from streams.records import ReadRecord
from streams.topics import TRANSACTIONS

NOW_MS = 1_790_000_000_000


def raw(value: bytes | None, offset: int = 0, **fields: Any) -> ReadRecord:
    defaults: dict[str, Any] = {"key": b"card-a", "headers": (), "timestamp": NOW_MS}
    known = defaults | fields
    return ReadRecord(TRANSACTIONS, 0, offset, known["timestamp"], known["key"], value, known["headers"])


def transaction(**fields: Any) -> dict[str, Any]:
    """A payment; a field given as None is left out."""
    record = {
        "transaction_id": "t-1",
        "card_token": "card-a",
        "event_time_ms": NOW_MS - 1000,
        "amount_minor": 1250,
        "currency": "EUR",
    } | fields
    return {name: value for name, value in record.items() if value is not None}


def raw_transaction(offset: int = 0, **fields: Any) -> ReadRecord:
    return raw(json.dumps(transaction(**fields)).encode(), offset)
