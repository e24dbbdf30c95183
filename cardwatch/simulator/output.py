"""Files of simulated payments: JSON lines, CSV or Parquet, as `cardwatch replay` reads them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from cardwatch.simulator.errors import SettingError
from cardwatch.simulator.simulator import Stream
from cardwatch.simulator.wire import to_labels, to_plain_columns

_PAYMENTS_AT_ONCE = 50_000
_INTEGERS = ("event_time_ms", "amount_minor", "label", "label_time_ms")
_FLOATS = ("latitude", "longitude", "home_latitude", "home_longitude")

Writer = Callable[[Mapping[str, list[Any]]], None]


def _arrow_type(name: str) -> pa.DataType:
    """Arrow type of a field of the contract."""
    if name in _INTEGERS:
        return pa.int64()
    return pa.float64() if name in _FLOATS else pa.string()


def _jsonl_writer(path: Path, files: ExitStack) -> Writer:
    """Write one JSON object a line, fields that are not given left out."""
    target = files.enter_context(path.open("wb"))
    encoder = msgspec.json.Encoder()

    def write(columns: Mapping[str, list[Any]]) -> None:
        names = tuple(columns)
        rows = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*columns.values(), strict=True)
        ]
        target.write(encoder.encode_lines(rows))

    return write


def _csv_writer(path: Path, files: ExitStack) -> Writer:
    """Write a header and a line a row, empty where a field is not given."""
    target = files.enter_context(path.open("w", encoding="utf-8", newline=""))
    rows = csv.writer(target, lineterminator="\n")
    headed = False

    def write(columns: Mapping[str, list[Any]]) -> None:
        nonlocal headed
        if not headed:
            rows.writerow(columns)
            headed = True
        rows.writerows(zip(*columns.values(), strict=True))

    return write


def _parquet_writer(path: Path, files: ExitStack) -> Writer:
    """Write a Parquet file, a row group for every batch."""
    opened: list[parquet.ParquetWriter] = []

    def write(columns: Mapping[str, list[Any]]) -> None:
        schema = pa.schema([(name, _arrow_type(name)) for name in columns])
        if not opened:
            opened.append(files.enter_context(parquet.ParquetWriter(path, schema, compression="zstd")))
        opened[0].write_table(pa.table(dict(columns), schema=schema))

    return write


_WRITERS: dict[str, Callable[[Path, ExitStack], Writer]] = {
    ".jsonl": _jsonl_writer,
    ".csv": _csv_writer,
    ".parquet": _parquet_writer,
}


def check_suffix(path: Path) -> None:
    """Refuse a file whose name says no format that can be written.

    Raises:
        SettingError: the suffix is not one of .jsonl, .csv and .parquet.
    """
    if path.suffix not in _WRITERS:
        message = f"{path.name}: the name must end with one of {', '.join(_WRITERS)}"
        raise SettingError(message)


def write_files(stream: Stream, count: int, path: Path, labels_path: Path | None = None, delay_ms: int = 0) -> int:
    """Write the stream's next payments to a file, and their truth to another.

    Args:
        stream: where the payments come from.
        count: number of payments.
        path: file of payments; its suffix says the format.
        labels_path: file of labels, if wanted: `transaction_id, card_token, label, label_time_ms, attack`.
        delay_ms: how long after its payment a label becomes known.

    Returns:
        the number of fraudulent payments among them.

    Raises:
        SettingError: a suffix that is not one of .jsonl, .csv and .parquet.
    """
    for target in (path, labels_path):
        if target is not None:
            check_suffix(target)
    frauds, left = 0, count
    with ExitStack() as files:
        write = _WRITERS[path.suffix](path, files)
        write_labels = None if labels_path is None else _WRITERS[labels_path.suffix](labels_path, files)
        while left > 0:
            payments = stream.take(min(left, _PAYMENTS_AT_ONCE))
            left -= len(payments)
            frauds += int(payments.fraud.sum())
            write(to_plain_columns(stream.world, payments))
            if write_labels is not None:
                columns = to_labels(stream.world, payments, delay_ms)
                write_labels({name: list(map(_plain, column)) for name, column in columns.items()})
    return frauds


def _plain(value: Any) -> Any:
    """Turn a NumPy integer into Python's; leave texts alone."""
    return value if isinstance(value, str) else int(value)
