"""The versioned table of exchange rates: amounts of every currency in one reference currency.

Features add and compare amounts, so they need one currency; a fixed, named table keeps them exact and repeatable.
Rates need not be of today: they scale features, they book nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.section import Section
from detector.transactions import MAXIMUM_AMOUNT_MINOR

_CURRENCY = re.compile(r"[A-Z]{3}")
# With the largest amount of the contract this keeps the largest sum of thousands of payments within int64.
_LARGEST_FACTOR = 100.0


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
        self._factors = dict(factors)
        self.currencies = frozenset(self._factors)

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

    def convert(
        self, amount_minor: NDArray[np.int64], currency: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Convert amounts; one in a currency without a rate is taken as it is and marked.

        Args:
            amount_minor: int64, minor units of their currency, 0 to 10^13.
            currency: ISO 4217 code of each.

        Returns:
            (amount in minor units of the reference currency, rounded half to even; whether the rate is missing).
        """
        if len(amount_minor) and (amount_minor.min() < 0 or amount_minor.max() > MAXIMUM_AMOUNT_MINOR):
            message = f"amount_minor must be 0 to {MAXIMUM_AMOUNT_MINOR}"
            raise ValueError(message)
        known = {name: self._factors.get(name, float("nan")) for name in set(currency)}
        factors = np.array([known[name] for name in currency], dtype=np.float64)
        missing = np.isnan(factors)
        converted = np.rint(amount_minor * np.where(missing, 1.0, factors)).astype(np.int64)
        return converted, missing
