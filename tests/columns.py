"""Contract records as columns for `build_batch`, one by one and obviously right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detector.vocabulary import Channel, EntryMode, Kind, StepUp

FIELDS = (
    *("transaction_id", "card_token", "event_time_ms", "amount_minor", "currency", "kind", "refers_to"),
    *("terminal_id", "merchant_id", "mcc", "merchant_category", "country", "channel", "entry_mode", "device_id"),
    *("customer_id", "ip_country", "latitude", "longitude", "home_latitude", "home_longitude"),
    *("response_code", "step_up"),
)


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Every field as a list: None where a record does not give it, enumerations as codes."""
    columns: dict[str, list[Any]] = {name: [record.get(name) for record in records] for name in FIELDS}
    columns["kind"] = [Kind.by_wire()[text or "purchase"] for text in columns["kind"]]
    columns["channel"] = [Channel.by_wire()[text or "none"] for text in columns["channel"]]
    columns["entry_mode"] = [EntryMode.by_wire()[text or "none"] for text in columns["entry_mode"]]
    columns["step_up"] = [StepUp.by_wire()[text or "none"] for text in columns["step_up"]]
    columns["mcc"] = [int(text or "0") for text in columns["mcc"]]
    return columns
