"""Arrow's columns as the detector's: the same texts, wherever they stand in a buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardwatch.errors import ReplayError
from cardwatch.replay import _last_rows
from cardwatch.replay.arrow import prefixed, to_codes, to_text_column, to_texts, translated
from cardwatch.replay.mapping import parse_mapping
from cardwatch.replay.source import Transactions

texts = st.lists(st.none() | st.text(max_size=6), max_size=10)


@given(texts, st.integers(0, 10), st.integers(0, 10))
def test_texts_change_hands(given_texts: list[str | None], start: int, count: int) -> None:
    """Whole or sliced, with null and empty texts, which are both missing; and through every change of the texts."""
    expected = [text or None for text in given_texts[start : start + count]]
    array = pa.array(given_texts, pa.string()).slice(start, count)
    assert to_text_column(array) == expected
    clean = to_texts(array)
    assert clean.to_pylist() == expected
    assert prefixed("p-", clean).to_pylist() == [text and f"p-{text}" for text in expected]
    assert translated(clean, str.upper).to_pylist() == [text and text.upper() for text in expected]
    assert to_codes(clean, len).tolist() == [len(text) if text else 0 for text in expected]


def test_texts_of_numbers() -> None:
    """Whatever type their column has, ids are texts."""
    assert to_text_column(to_texts(pa.array([7, None, 42]))) == ["7", None, "42"]


def test_the_last_row_of_an_identity_counts() -> None:
    """Where a file has an identity twice, a label is of the later; one that is not there has no row."""
    found = _last_rows(pa.array(["b", "x", "a"]), pa.array(["a", "b", "b"]))
    assert found.tolist() == [2, -1, 0]


def test_constants_are_columns() -> None:
    """A constant of any field is the same for every row, enumerations as codes; a word that is none is named."""
    content: dict[str, Any] = {
        "columns": {"event_time_ms": "t", "card_token": "c", "amount_minor": "a"},
        "constants": {"currency": "EUR", "channel": "atm", "mcc": "5411", "latitude": 1.5, "transaction_id": "x"},
    }
    table = pa.table({"t": [1, 2], "c": ["a", "b"], "a": [1, 2]})
    slab = Transactions(table, parse_mapping(content), bytes(16)).slab(0, 2)
    assert slab.columns["currency"] == ["EUR", "EUR"]
    assert slab.columns["transaction_id"] == ["x", "x"]
    assert slab.columns["channel"].tolist() == [3, 3]
    assert slab.columns["mcc"].tolist() == [5411, 5411]
    assert np.array_equal(slab.columns["latitude"], [1.5, 1.5])
    content["constants"]["channel"] = "fax"
    with pytest.raises(ReplayError, match="channel"):
        Transactions(table, parse_mapping(content), bytes(16)).slab(0, 2)
