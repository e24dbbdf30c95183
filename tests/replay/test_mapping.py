"""Mappings of files: what they can say, and what is refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cardwatch.errors import ReplayError
from cardwatch.replay.mapping import load_mapping, own_names, parse_mapping
from cardwatch.replay.source import Transactions, read_table

KEY = bytes(16)


def table(**columns: list[Any]) -> pa.Table:
    return pa.table(columns)


def test_every_part_of_a_mapping_does_what_it_says() -> None:
    """Columns, constants, prefixes, values, units, ids and tokens, all in one file of somebody else's."""
    content = {
        "columns": {
            "event_time_ms": "when",
            "card_token": "pan",
            "amount_minor": "usd",
            "channel": "how",
            "mcc": "mcc",
        },
        "constants": {"currency": "USD"},
        "prefixes": {"card_token": "c-"},
        "values": {"channel": {"internet": "ecom"}},
        "time": {"unit": "s"},
        "amount": {"unit": "major"},
        "id": {"from": "row"},
        "tokenize": {"columns": ["card_token"]},
        "label": {"column": "bad", "fraud": "yes"},
    }
    theirs = table(
        when=[20.5, 10.0], pan=["4111", "4111"], usd=[12.34, 0.99], how=["internet", "pos"], mcc=["5411", None],
        bad=["no", "yes"],
    )  # fmt: skip
    transactions = Transactions(theirs, parse_mapping(content), KEY)
    columns = transactions.slab(0, 2).columns
    assert transactions.event_time_ms.tolist() == [10_000, 20_500]
    assert columns["amount_minor"].tolist() == [99, 1234]
    assert columns["transaction_id"] == ["row-1", "row-0"]
    assert columns["channel"].tolist() == [1, 2]
    assert columns["mcc"].tolist() == [0, 5411]
    assert len(set(columns["card_token"])) == 1
    assert "4111" not in columns["card_token"][0]
    assert transactions.labels is not None
    assert transactions.labels.tolist() == [1, 0]


def test_amounts_of_currencies_without_cents() -> None:
    """A major unit of yen is one minor unit, of dinars a thousand."""
    mapping = parse_mapping(
        {
            "columns": {n: n for n in ("transaction_id", "event_time_ms", "card_token", "amount_minor", "currency")},
            "amount": {"unit": "major"},
        }
    )
    theirs = table(
        transaction_id=["a", "b"], event_time_ms=[1, 2], card_token=["c", "c"], amount_minor=[500.0, 1.5],
        currency=["JPY", "KWD"],
    )  # fmt: skip
    assert Transactions(theirs, mapping, KEY).slab(0, 2).columns["amount_minor"].tolist() == [500, 1500]


def test_the_shipped_mapping_reads_the_handbooks_columns(tmp_path: Path) -> None:
    """`configs/mappings/handbook.toml` fits a file as the handbook writes it."""
    shipped = resources.files("configs") / "mappings" / "handbook.toml"
    path = tmp_path / "handbook.toml"
    path.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    theirs = table(
        TRANSACTION_ID=[1], TX_DATETIME=[np.datetime64("2018-04-01T00:00:31", "us")], CUSTOMER_ID=[596],
        TERMINAL_ID=[3156], TX_AMOUNT=[57.16], TX_FRAUD=[1],
    )  # fmt: skip
    transactions = Transactions(theirs, load_mapping(path), KEY)
    columns = transactions.slab(0, 1).columns
    assert columns["card_token"] == ["card-596"]
    assert columns["amount_minor"].tolist() == [5716]
    assert transactions.event_time_ms.tolist() == [1_522_540_831_000]
    assert transactions.labels is not None
    assert transactions.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"colums": {}}, "colums"),
        ({"columns": {"amount": "x"}}, "amount"),
        ({"time": {"unit": "hours"}}, "time.unit"),
        ({"amount": {"unit": "cents"}}, "amount.unit"),
        ({"columns": {"transaction_id": "x"}, "id": {"from": "row"}}, "transaction_id"),
    ],
)
def test_what_is_not_understood_is_named(content: dict[str, Any], named: str) -> None:
    """A wrong mapping says which word is wrong and what would be right."""
    with pytest.raises(ReplayError, match=named):
        parse_mapping(content)


def test_what_is_missing_is_named() -> None:
    """A file without a required field, or a mapping to a column that is not there, is refused before anything runs."""
    with pytest.raises(ReplayError, match="currency"):
        Transactions(table(transaction_id=["a"]), own_names(["transaction_id"]), KEY)
    mapping = parse_mapping(
        {
            "columns": {"transaction_id": "id", "event_time_ms": "t", "card_token": "c", "amount_minor": "a"},
            "constants": {"currency": "EUR"},
        }
    )
    with pytest.raises(ReplayError, match="'t'"):
        Transactions(table(id=["a"]), mapping, KEY)


def test_files_of_three_kinds_say_the_same(tmp_path: Path) -> None:
    """CSV and JSONL are read as well as Parquet; another ending is refused by name."""
    (tmp_path / "a.csv").write_text("transaction_id,event_time_ms\nt1,5\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"transaction_id": "t1", "event_time_ms": 5}\n', encoding="utf-8")
    assert read_table(tmp_path / "a.csv").to_pylist() == read_table(tmp_path / "a.jsonl").to_pylist()
    with pytest.raises(ReplayError, match="unknown kind of file"):
        read_table(tmp_path / "a.xlsx")
    with pytest.raises(ReplayError, match="nothing"):
        read_table(tmp_path / "nothing.csv")
