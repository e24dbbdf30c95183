"""The versioned table of exchange rates: amounts of every currency in one reference currency.

Features add and compare amounts, so they need one currency; a fixed, named table keeps them exact and repeatable.
Rates need not be of today: they scale features, they book nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.jit import kernel
from detector.section import Section
from detector.texts import LETTER_BITS, pack_code
from detector.transactions import CURRENCY_LETTERS, MAXIMUM_AMOUNT_MINOR

_CURRENCY = re.compile(r"[A-Z]{3}")
# With the largest amount of the contract this keeps the largest sum of thousands of payments within int64.
_LARGEST_FACTOR = 100.0
_CODES = 1 << (LETTER_BITS * CURRENCY_LETTERS)


def by_currency(values: Mapping[str, float], otherwise: float) -> NDArray[np.float64]:
    """A table by packed currency code: what `values` says of a currency, or `otherwise`.

    Args:
        values: by ISO 4217 code; texts that are none are passed over.
        otherwise: for every other code.
    """
    table = np.full(_CODES, otherwise)
    for currency, value in values.items():
        if (code := pack_code(currency, CURRENCY_LETTERS)) >= 0:
            table[code] = value
    return table


@kernel
def _convert_rows(
    amount_minor: NDArray[np.int64],
    currency: NDArray[np.int64],
    factors: NDArray[np.float64],
    converted: NDArray[np.int64],
    missing: NDArray[np.bool_],
) -> None:
    """Convert amounts by the factors of their currencies; NaN is no factor."""
    for row in range(amount_minor.shape[0]):
        factor = factors[currency[row]]
        missing[row] = np.isnan(factor)
        converted[row] = amount_minor[row] if np.isnan(factor) else np.int64(np.rint(amount_minor[row] * factor))


class RateTable:
    """Converts amounts to minor units of the reference currency.

    Attributes:
        version: name of the table, written into every decision.
        reference_currency: ISO 4217 code.
        currencies: codes that the table knows.
    """

    def __init__(self, version: str, reference_currency: str, factors: Mapping[str, float]) -> None:
        """Take factors from minor units of a currency to minor units of the reference currency."""
        self.version = version
        self.reference_currency = reference_currency
        self._factors = by_currency(factors, np.nan)
        self.currencies = frozenset(factors)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RateTable:
        """Parse the content of `configs/rates.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or out of bounds; the message names it.
        """
        root = Section(mapping, "")
        root.refuse_unknown(("version", "reference_currency", "currencies"))
        reference = root.text("reference_currency")
        table = root.section("currencies")
        rates: dict[str, tuple[float, int]] = {}
        for currency in table.keys():  # noqa: SIM118 - a Section is no dictionary
            if not _CURRENCY.fullmatch(currency):
                table.refuse(currency, "named by an ISO 4217 code of three capitals")
            entry = table.section(currency)
            entry.refuse_unknown(("exponent", "rate"))
            rates[currency] = (entry.number("rate", 1e-9, 1e9), entry.integer("exponent", 0, 4))
        if reference not in rates or rates[reference][0] != 1.0:
            root.refuse("reference_currency", "a currency of the table, with rate 1.0")
        reference_exponent = rates[reference][1]
        factors = {name: rate * 10.0 ** (reference_exponent - exponent) for name, (rate, exponent) in rates.items()}
        for currency, factor in factors.items():
            if factor > _LARGEST_FACTOR:
                table.refuse(currency, f"worth at most {_LARGEST_FACTOR:g} minor units of {reference} a minor unit")
        return cls(root.text("version"), reference, factors)

    def convert_one(self, amount_minor: int, currency: str) -> int | None:
        """One amount, outside of the engine; None where the currency has no rate."""
        if currency not in self.currencies:
            return None
        return round(amount_minor * float(self._factors[pack_code(currency, CURRENCY_LETTERS)]))

    def convert(
        self, amount_minor: NDArray[np.int64], currency: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Convert amounts; one in a currency without a rate is taken as it is and marked.

        Args:
            amount_minor: int64, minor units of their currency, 0 to 10^13.
            currency: int64, ISO 4217 code of each as `texts.pack_letters` packs it.

        Returns:
            (amount in minor units of the reference currency, rounded half to even; whether the rate is missing).
        """
        if len(amount_minor) and (amount_minor.min() < 0 or amount_minor.max() > MAXIMUM_AMOUNT_MINOR):
            message = f"amount_minor must be 0 to {MAXIMUM_AMOUNT_MINOR}"
            raise ValueError(message)
        converted, missing = np.empty_like(amount_minor), np.empty(len(amount_minor), dtype=np.bool_)
        _convert_rows(amount_minor, currency, self._factors, converted, missing)
        return converted, missing
