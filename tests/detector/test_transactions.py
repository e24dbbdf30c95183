"""Batches: from columns in whatever form they come, and what would break a kernel is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import BatchError
from detector.texts import TextColumn, pack_letters
from detector.tokens import fingerprint_many
from detector.transactions import MISSING_MICRODEGREES, TransactionBatch, build_batch
from detector.vocabulary import StepUp
from tests.naive_payment import is_refused

KEY = bytes(range(16))
COLUMNS: dict[str, Any] = {
    "transaction_id": ["a", "b"], "card_token": ["c", "d"], "event_time_ms": [1, 2], "amount_minor": [5, 6],
    "currency": ["EUR", "USD"], "country": ["DE", None], "terminal_id": [None, "t"], "merchant_id": ["m", ""],
    "latitude": [52.5, None], "longitude": [13.25, float("nan")],
}  # fmt: skip


def test_texts_codes_and_places() -> None:
    """Fingerprints stand side by side, codes are packed, degrees become microdegrees; what is not given is missing."""
    batch = build_batch(COLUMNS, key=KEY)
    assert np.array_equal(batch.terminal, fingerprint_many([None, "t"], KEY))
    assert np.array_equal(batch.merchant, fingerprint_many(["m", None], KEY))
    assert np.array_equal(batch.country, fingerprint_many(["DE", None], KEY))
    assert not batch.device.any()
    assert np.array_equal(batch.identity, fingerprint_many(["c\x1fa", "d\x1fb"], KEY))
    assert not batch.refers_to.any()
    assert batch.currency.tolist() == pack_letters(["EUR", "USD"], 3).tolist()
    missing = int(MISSING_MICRODEGREES)
    assert batch.places.tolist() == [[52_500_000, 13_250_000, missing, missing], [missing] * 4]
    assert batch.merchant_id == ["m", None]


def test_the_form_of_a_column_makes_no_difference() -> None:
    """Lists and texts in buffers, degrees and microdegrees make the same batch, whole or cut."""
    texts = {
        name: TextColumn.from_strings(column) for name, column in COLUMNS.items() if isinstance(column[0] or "", str)
    }
    places = {"latitude": np.array([52_500_000, MISSING_MICRODEGREES]), "longitude": np.array([13.25, np.nan])}
    batch, other = build_batch(COLUMNS, key=KEY), build_batch(COLUMNS | texts | places, key=KEY)
    cut = build_batch({name: column[1:] for name, column in (COLUMNS | texts).items()}, key=KEY, offset=np.array([1]))
    for field in fields(TransactionBatch):
        whole, same = getattr(batch, field.name), getattr(other, field.name)
        assert np.array_equal(whole, same), field.name
        if field.name != "partition":
            assert np.array_equal(whole[1:], getattr(cut, field.name)), field.name
            assert np.array_equal(whole[1:], getattr(batch[1:], field.name)), field.name


codes = st.sampled_from([None, "", "00", "05", "08", "85", "8", "000", "Z1"])


@given(st.lists(st.tuples(codes, st.sampled_from(StepUp)), min_size=1, max_size=8))
def test_outcomes_equal_the_naive_twin(rows: list[tuple[str | None, StepUp]]) -> None:
    """A record is refused if authorisation or the cardholder said so; an empty code is one that is not given."""
    count = len(rows)
    given_columns: dict[str, Any] = {
        "transaction_id": [str(row) for row in range(count)], "card_token": ["c"] * count, "event_time_ms": [1] * count,
        "amount_minor": [1] * count, "currency": ["EUR"] * count, "response_code": [code for code, _ in rows],
        "step_up": [int(step) for _, step in rows],
    }  # fmt: skip
    batch = build_batch(given_columns, key=KEY)
    records = [{"response_code": code or None, "step_up": step.wire} for code, step in rows]
    assert batch.refused.tolist() == [int(is_refused(record)) for record in records]
    assert batch.outcome_known.tolist() == [int(bool(code) or step is not StepUp.NONE) for code, step in rows]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"currency": ["EUR"]}, "another length"),
        ({"amount_minor": [5, -1]}, "amount_minor"),
        ({"amount_minor": [5, 10**13 + 1]}, "amount_minor"),
        ({"currency": ["EUR", "usd"]}, "capital letters"),
        ({"country": ["DE", "d1"]}, "capital letters"),
    ],
)
def test_what_would_break_a_kernel_is_refused(change: dict[str, Any], named: str) -> None:
    """With words for what is wrong."""
    with pytest.raises(BatchError, match=named):
        build_batch(COLUMNS | change, key=KEY)
    with pytest.raises(BatchError, match="missing: currency"):
        build_batch({name: column for name, column in COLUMNS.items() if name != "currency"}, key=KEY)
    with pytest.raises(BatchError, match="offset"):
        build_batch(COLUMNS, key=KEY, offset=np.array([3, 3]))
