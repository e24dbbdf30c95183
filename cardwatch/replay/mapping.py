"""Mappings: which column of somebody's file is which field of ours."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cardwatch.errors import ReplayError

FIELDS = frozenset({
    "transaction_id", "event_time_ms", "card_token", "amount_minor", "currency", "kind", "refers_to", "terminal_id",
    "merchant_id", "mcc", "merchant_category", "country", "channel", "entry_mode", "device_id", "customer_id",
    "ip_country", "latitude", "longitude", "home_latitude", "home_longitude", "response_code", "step_up",
})  # fmt: skip
_TIME_UNITS = ("ms", "s", "iso")
_AMOUNT_UNITS = ("minor", "major")
_SECTIONS = frozenset({"columns", "constants", "prefixes", "values", "time", "amount", "id", "tokenize", "label"})


@dataclass(frozen=True, slots=True)
class FileMapping:
    """How to read a file of transactions.

    Attributes:
        columns: our field = their column.
        constants: our field = value of every row.
        prefixes: our field = text put before the value.
        values: our field = their value = our value.
        time_unit: "ms", "s" or "iso".
        amount_unit: "minor" or "major".
        id_from_row: whether the row number serves as transaction_id.
        tokenize: our fields whose values are real identifiers, replaced by keyed hashes.
        label_column, label_fraud: their column that says fraud, and the value that says so.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    time_unit: str = "ms"
    amount_unit: str = "minor"
    id_from_row: bool = False
    tokenize: frozenset[str] = frozenset()
    label_column: str | None = None
    label_fraud: Any = 1


def own_names(column_names: list[str]) -> FileMapping:
    """The mapping of a file whose columns carry our field names."""
    return FileMapping({name: name for name in column_names if name in FIELDS})


def load_mapping(path: Path) -> FileMapping:
    """Read a mapping from TOML.

    Raises:
        ReplayError: the file cannot be read, or says something that is not understood.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"mapping {path}: {error}"
        raise ReplayError(message) from None
    return parse_mapping(content)


def parse_mapping(content: Mapping[str, Any]) -> FileMapping:
    """Check the content of a mapping.

    Raises:
        ReplayError: an unknown section or field, or a unit that is not known; the message names what would be right.
    """
    _refuse_unknown("sections", set(content), _SECTIONS)
    for section in ("columns", "constants", "prefixes", "values"):
        _refuse_unknown(f"fields in [{section}]", set(content.get(section, {})), FIELDS)
    tokenize = content.get("tokenize", {})
    tokenized = frozenset(tokenize.get("columns", [])) if isinstance(tokenize, Mapping) else frozenset(tokenize)
    mapping = FileMapping(
        columns=dict(content.get("columns", {})),
        constants=dict(content.get("constants", {})),
        prefixes=dict(content.get("prefixes", {})),
        values={
            name: {str(key): value for key, value in pairs.items()} for name, pairs in content.get("values", {}).items()
        },
        time_unit=_one_of("time.unit", content.get("time", {}).get("unit", "ms"), _TIME_UNITS),
        amount_unit=_one_of("amount.unit", content.get("amount", {}).get("unit", "minor"), _AMOUNT_UNITS),
        id_from_row=_one_of("id.from", content.get("id", {}).get("from", "column"), ("row", "column")) == "row",
        tokenize=tokenized,
        label_column=content.get("label", {}).get("column"),
        label_fraud=content.get("label", {}).get("fraud", 1),
    )
    if mapping.id_from_row and "transaction_id" in mapping.columns:
        message = "mapping: transaction_id comes from a column or from the row, not from both"
        raise ReplayError(message)
    return mapping


def _refuse_unknown(what: str, given: set[str], known: frozenset[str]) -> None:
    """Name what is not understood."""
    unknown = sorted(given - known)
    if unknown:
        message = f"mapping: unknown {what}: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        raise ReplayError(message)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Check a word against the allowed ones."""
    if value not in allowed:
        message = f"mapping: {name} must be one of {', '.join(allowed)}"
        raise ReplayError(message)
    return str(value)
