"""Files of transactions and labels, as columns in time order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cardwatch.errors import ReplayError
from cardwatch.replay.arrow import prefixed, to_codes, to_text_column, to_texts, translated
from cardwatch.replay.mapping import FileMapping
from detector.rates import by_currency
from detector.texts import TextColumn, pack_letters
from detector.transactions import CURRENCY_LETTERS, PLACES
from detector.vocabulary import Channel, EntryMode, Kind, StepUp
from streams.currencies import MINOR_UNITS

_ENUMERATIONS = {"kind": Kind, "channel": Channel, "entry_mode": EntryMode, "step_up": StepUp}
_NUMBERS = frozenset(PLACES)
_MINOR_UNITS_IN_A_MAJOR = by_currency({currency: 10.0**digits for currency, digits in MINOR_UNITS.items()}, 100.0)
_READERS = {".csv": pa_csv.read_csv, ".jsonl": pa_json.read_json, ".json": pa_json.read_json, ".parquet": pq.read_table}
_REQUIRED = ("event_time_ms", "card_token", "amount_minor", "currency")


def read_table(path: Path) -> pa.Table:
    """Read CSV, JSONL or Parquet, told apart by the file's ending.

    Raises:
        ReplayError: another ending, or a file that cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        message = f"{path}: unknown kind of file; known are {', '.join(sorted(_READERS))}"
        raise ReplayError(message)
    try:
        return reader(str(path))
    except (OSError, pa.ArrowException) as error:
        message = f"{path}: {error}"
        raise ReplayError(message) from None


def _column(table: pa.Table, name: str) -> Any:
    """A column as one array.

    Raises:
        ReplayError: there is no such column.
    """
    if name not in table.column_names:
        message = f"the file has no column {name!r}; it has {', '.join(table.column_names)}"
        raise ReplayError(message)
    return table.column(name).combine_chunks()


def _times_ms(column: Any, unit: str) -> NDArray[np.int64]:
    """Epoch milliseconds of a column of times."""
    try:
        if unit == "iso":
            stamps = column if pa.types.is_timestamp(column.type) else pc.cast(column, pa.timestamp("us"))
            milliseconds = pc.cast(stamps, pa.timestamp("ms"), safe=False).to_numpy(zero_copy_only=False)
            return _int64(milliseconds.astype("datetime64[ms]"))
        numbers = column.to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        message = f"the column of times cannot be read as {unit}: {error}"
        raise ReplayError(message) from None
    if unit == "s":
        return _int64(np.rint(numbers.astype(np.float64) * 1000.0))
    return _int64(numbers)


def _int64(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers as int64."""
    whole: NDArray[np.int64] = numbers.astype(np.int64)
    return whole


def _token(text: str, key: bytes) -> str:
    """The keyed hash that stands for a real identifier; equal ones stay equal."""
    return "tok_" + hashlib.blake2b(text.encode(), key=key, digest_size=12).hexdigest()


def _merchant_category_code(text: str) -> int:
    """The number of an MCC, 0 for what is none."""
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Slab:
    """Some rows of a file.

    Attributes:
        columns: as `detector.transactions.build_batch` takes them.
        transaction_id: its column of that name, as it goes into the file of decisions.
    """

    columns: dict[str, Any]
    transaction_id: pa.StringArray


class Transactions:
    """A file of transactions under a mapping, in time order.

    Attributes:
        event_time_ms: int64, ascending.
        labels: int64, 1 fraud and 0 genuine, where the mapping names a label column.
    """

    def __init__(self, table: pa.Table, mapping: FileMapping, key: bytes) -> None:
        """Sort by time (stable) and check that what is required is there.

        Raises:
            ReplayError: a required field is not mapped, or a mapped column is missing.
        """
        mapped = {**dict.fromkeys(mapping.constants), **mapping.columns}
        missing = [name for name in _REQUIRED if name not in mapped]
        if "transaction_id" not in mapped and not mapping.id_from_row:
            missing.append("transaction_id")
        if missing:
            message = f"the mapping says nothing of {', '.join(missing)}"
            raise ReplayError(message)
        times = _times_ms(_column(table, mapping.columns["event_time_ms"]), mapping.time_unit)
        order = np.argsort(times, kind="stable")
        in_order = bool((order == np.arange(len(order))).all())
        self._table = table if in_order else table.take(pa.array(order))
        self._mapping = mapping
        self._key = key
        self._row_ids = order
        self.event_time_ms = times[order]
        self.labels: NDArray[np.int64] | None = None
        if mapping.label_column is not None:
            values = np.array(_column(self._table, mapping.label_column).to_pylist(), dtype=object)
            self.labels = (values == mapping.label_fraud).astype(np.int64)

    def __len__(self) -> int:
        """Number of transactions."""
        return len(self.event_time_ms)

    def transaction_ids(self) -> pa.StringArray:
        """The identity of every row."""
        return self._transaction_ids(self._table, 0)

    def card_numbers(self) -> NDArray[np.int64]:
        """A number for each row's card, equal for equal cards."""
        column = pc.cast(_column(self._table, self._mapping.columns["card_token"]), pa.string())
        return _int64(column.dictionary_encode().indices.to_numpy(zero_copy_only=False))

    def slab(self, start: int, stop: int) -> Slab:
        """Rows `start` to `stop`."""
        count = stop - start
        cut = self._table.slice(start, count)
        columns = {name: self._constant(name, value, count) for name, value in self._mapping.constants.items()}
        for name, source in self._mapping.columns.items():
            if name not in {"transaction_id", "event_time_ms", "amount_minor", "customer_id"}:
                columns[name] = self._field(name, _column(cut, source))
        identities = self._transaction_ids(cut, start)
        columns["transaction_id"] = to_text_column(identities)
        columns["event_time_ms"] = self.event_time_ms[start:stop]
        columns["amount_minor"] = self._amounts(cut, columns["currency"])
        columns.pop("customer_id", None)
        return Slab(columns, identities)

    def _constant(self, name: str, value: Any, count: int) -> Any:
        """A column of one value."""
        if name in _NUMBERS:
            return np.full(count, float(value))
        if name in _ENUMERATIONS:
            return np.full(count, self._code(name, str(value)), dtype=np.int64)
        if name in {"mcc", "amount_minor", "event_time_ms"}:
            return np.full(count, int(value), dtype=np.int64)
        return TextColumn.constant(str(value), count)

    def _transaction_ids(self, cut: pa.Table, start: int) -> pa.StringArray:
        """The identities of some rows from `start` on."""
        if self._mapping.id_from_row:
            numbers = pa.array(self._row_ids[start : start + cut.num_rows])
            return prefixed("row-", pc.cast(numbers, pa.string()))
        if "transaction_id" in self._mapping.columns:
            return self._texts("transaction_id", _column(cut, self._mapping.columns["transaction_id"]))
        return pa.array([str(self._mapping.constants["transaction_id"])] * cut.num_rows, pa.string())

    def _field(self, name: str, column: Any) -> Any:
        """One mapped column, as the detector takes it."""
        if name in _NUMBERS:
            return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        texts = self._texts(name, column)
        if name in _ENUMERATIONS:
            return to_codes(texts, lambda text: self._code(name, text))
        if name == "mcc":
            return to_codes(texts, _merchant_category_code)
        return to_text_column(texts)

    def _texts(self, name: str, column: Any) -> pa.StringArray:
        """One mapped column of texts: values, prefix and tokenisation applied."""
        texts = to_texts(column)
        values = self._mapping.values.get(name)
        if values:
            texts = translated(texts, lambda text: values.get(text, text))
        prefix = self._mapping.prefixes.get(name)
        if prefix:
            texts = prefixed(prefix, texts)
        if name in self._mapping.tokenize or self._mapping.columns.get(name) in self._mapping.tokenize:
            texts = translated(texts, lambda text: _token(text, self._key))
        return texts

    def _amounts(self, cut: pa.Table, currencies: TextColumn) -> NDArray[np.int64]:
        """Amounts in minor units; what is missing or negative becomes 0, refunds being a kind and not a sign."""
        if "amount_minor" not in self._mapping.columns:
            return np.full(len(currencies), int(self._mapping.constants["amount_minor"]), dtype=np.int64)
        column = pc.cast(_column(cut, self._mapping.columns["amount_minor"]), pa.float64())
        numbers = np.nan_to_num(column.to_numpy(zero_copy_only=False))
        if self._mapping.amount_unit == "major":
            numbers = numbers * _MINOR_UNITS_IN_A_MAJOR[pack_letters(currencies, CURRENCY_LETTERS)]
        return _int64(np.maximum(np.rint(numbers), 0.0))

    @staticmethod
    def _code(name: str, value: str) -> int:
        """The code of an enumeration's wire name.

        Raises:
            ReplayError: the value is not one of ours.
        """
        codes = _ENUMERATIONS[name].by_wire()
        try:
            return codes[value]
        except KeyError:
            message = f"{name}: a value is not one of {', '.join(codes)}: map it under [values.{name}]"
            raise ReplayError(message) from None


def read_labels(path: Path) -> tuple[pa.StringArray, NDArray[np.int64], NDArray[np.int64]]:
    """Read a file of labels: transaction_id, label (1 fraud, 0 genuine) and label_time_ms, sorted by time."""
    table = read_table(path)
    times = _times_ms(_column(table, "label_time_ms"), "ms")
    order = np.argsort(times, kind="stable")
    identities = to_texts(_column(table, "transaction_id")).take(pa.array(order))
    labels = _column(table, "label").to_numpy(zero_copy_only=False).astype(np.int64)
    return identities, labels[order], times[order]
