"""Exchange rates: exact, versioned, and never a reason to lose a payment."""

from __future__ import annotations

import importlib.resources
import tomllib
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigurationError
from detector.rates import RateTable
from detector.texts import pack_letters
from detector.transactions import MAXIMUM_AMOUNT_MINOR


def _shipped() -> dict[str, Any]:
    return tomllib.loads((importlib.resources.files("configs") / "rates.toml").read_text())


def _table() -> RateTable:
    return RateTable.from_mapping(
        {
            "version": "test-1",
            "reference_currency": "EUR",
            "currencies": {
                "EUR": {"exponent": 2, "rate": 1.0},
                "USD": {"exponent": 2, "rate": 0.5},
                "JPY": {"exponent": 0, "rate": 0.00625},
                "KWD": {"exponent": 3, "rate": 3.25},
            },
        }
    )


def test_minor_units_of_each_currency_are_respected() -> None:
    """100 JPY, 1.000 KWD and 1.00 USD have three different exponents."""
    amounts = np.array([100, 1000, 100, 100])
    converted, missing = _table().convert(amounts, pack_letters(["JPY", "KWD", "USD", "EUR"], 3))
    assert converted.tolist() == [62, 325, 50, 100]
    assert not missing.any()


def test_missing_rate_takes_the_amount_as_it_is() -> None:
    """A payment in an unknown currency is marked and goes on."""
    converted, missing = _table().convert(np.array([100, 7]), pack_letters(["USD", "XXX"], 3))
    assert converted.tolist() == [50, 7]
    assert missing.tolist() == [False, True]


@given(st.lists(st.tuples(st.integers(0, MAXIMUM_AMOUNT_MINOR), st.sampled_from(["EUR", "USD", "JPY", "KWD", "ZZZ"]))))
def test_equals_exact_decimal_twin(rows: list[tuple[int, str]]) -> None:
    """The factor times the amount, rounded half to even, row for row and however the rows are cut."""
    factors = {"EUR": Decimal(1), "USD": Decimal("0.5"), "JPY": Decimal("0.625"), "KWD": Decimal("0.325")}
    amounts, currencies = np.array([a for a, _ in rows], dtype=np.int64), [c for _, c in rows]
    codes = pack_letters(currencies, 3)
    converted, missing = _table().convert(amounts, codes)
    for row, (amount, currency) in enumerate(rows):
        exact = Decimal(amount) * factors.get(currency, Decimal(1))
        assert abs(int(converted[row]) - exact.quantize(Decimal(1), ROUND_HALF_EVEN)) <= (amount * 1e-15 > 0.1)
        assert missing[row] == (currency not in factors)
        assert _table().convert(amounts[row : row + 1], codes[row : row + 1])[0][0] == converted[row]


def test_amounts_out_of_the_contract_are_refused() -> None:
    """Sums of amounts must stay within int64."""
    for amount in (-1, MAXIMUM_AMOUNT_MINOR + 1):
        with pytest.raises(ValueError, match="amount_minor"):
            _table().convert(np.array([amount]), pack_letters(["EUR"], 3))


def test_shipped_table_is_valid() -> None:
    """The shipped rates load, with ISO's exponents where they are not 2."""
    table = RateTable.from_mapping(_shipped())
    assert table.reference_currency == "EUR"
    assert {"EUR", "USD", "GBP", "JPY", "PHP", "CNY", "KWD"} <= table.currencies
    converted, _ = table.convert(np.array([10_000, 10_000]), pack_letters(["JPY", "KWD"], 3))
    assert converted.tolist() == [5_800, 3_000]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": ""}, "version: must be a text"),
        ({"reference_currency": "USD"}, "reference_currency: must be a currency of the table, with rate 1.0"),
        ({"reference_currency": "XXX"}, "reference_currency: must be"),
        ({"currencies": []}, "currencies: must be a table"),
        ({"currencies": {"eur": {}}}, "currencies.eur: must be named by"),
        ({"currencies": {"EUR": {"exponent": 2, "rate": 0}}}, r"currencies.EUR.rate: must be a number"),
        ({"currencies": {"EUR": {"exponent": 2.5, "rate": 1.0}}}, r"currencies.EUR.exponent: must be an integer"),
        ({"currencies": {"EUR": {"exponent": 2, "rate": 1.0, "name": "euro"}}}, r"currencies.EUR.name: unknown"),
        (
            {"currencies": {"EUR": {"exponent": 2, "rate": 1.0}, "XAU": {"exponent": 0, "rate": 2.0}}},
            "currencies.XAU: must be worth at most",
        ),
        ({"base": "EUR"}, "base: unknown"),
    ],
)
def test_wrong_setting_is_named(change: dict[str, Any], named: str) -> None:
    """The message has the setting's path and what would be right."""
    with pytest.raises(ConfigurationError, match=named):
        RateTable.from_mapping(_shipped() | change)
