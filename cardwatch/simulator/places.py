"""The simulated world's geography and trades: currencies, cities and merchant categories.

Rates and prices are round figures that only have to be plausible beside each other.
"""

from __future__ import annotations

from typing import NamedTuple


class Currency(NamedTuple):
    """A currency: units for one euro, minor digits, and the banknote that cash machines count in."""

    code: str
    units_per_euro: float
    minor_digits: int
    banknote_units: int


class City(NamedTuple):
    """A place where people live and pay.

    `home_weight` is the share of cardholders who live here (relative), `visit_weight` that of travellers who come.
    """

    name: str
    country: str
    currency: str
    utc_offset_hours: int
    latitude: float
    longitude: float
    home_weight: float
    visit_weight: float


class Category(NamedTuple):
    """A trade: its MCC, the median and spread (of the logarithm) of a payment in euro, and where it happens."""

    name: str
    mcc: str
    median_euro: float
    sigma: float
    place: str
    weight: float


STREET, ONLINE, CASH_MACHINE = "street", "online", "cash_machine"

CURRENCIES: tuple[Currency, ...] = (
    Currency("EUR", 1.0, 2, 10),
    Currency("GBP", 0.85, 2, 10),
    Currency("USD", 1.1, 2, 20),
    Currency("CHF", 0.95, 2, 10),
    Currency("SEK", 11.3, 2, 100),
    Currency("PLN", 4.3, 2, 50),
    Currency("CZK", 25.0, 2, 200),
    Currency("JPY", 165.0, 0, 1000),
    Currency("TRY", 36.0, 2, 100),
    Currency("THB", 38.0, 2, 500),
    Currency("BRL", 6.1, 2, 50),
    Currency("CAD", 1.5, 2, 20),
    Currency("AUD", 1.65, 2, 20),
    Currency("SGD", 1.45, 2, 50),
)

CITIES: tuple[City, ...] = (
    City("Berlin", "DE", "EUR", 1, 52.52, 13.405, 9, 4),
    City("Hamburg", "DE", "EUR", 1, 53.551, 9.994, 5, 2),
    City("Munich", "DE", "EUR", 1, 48.137, 11.575, 5, 3),
    City("Cologne", "DE", "EUR", 1, 50.938, 6.96, 4, 2),
    City("Paris", "FR", "EUR", 1, 48.857, 2.352, 8, 6),
    City("Lyon", "FR", "EUR", 1, 45.764, 4.836, 3, 1),
    City("Madrid", "ES", "EUR", 1, 40.417, -3.704, 5, 4),
    City("Barcelona", "ES", "EUR", 1, 41.385, 2.173, 4, 6),
    City("Palma", "ES", "EUR", 1, 39.57, 2.65, 0, 6),
    City("Rome", "IT", "EUR", 1, 41.903, 12.496, 4, 6),
    City("Milan", "IT", "EUR", 1, 45.464, 9.19, 4, 3),
    City("Vienna", "AT", "EUR", 1, 48.208, 16.374, 4, 4),
    City("Amsterdam", "NL", "EUR", 1, 52.368, 4.904, 4, 4),
    City("Brussels", "BE", "EUR", 1, 50.85, 4.352, 3, 2),
    City("Lisbon", "PT", "EUR", 0, 38.722, -9.139, 2, 4),
    City("Athens", "GR", "EUR", 2, 37.984, 23.728, 2, 4),
    City("London", "GB", "GBP", 0, 51.507, -0.128, 7, 6),
    City("Manchester", "GB", "GBP", 0, 53.481, -2.242, 3, 1),
    City("Zurich", "CH", "CHF", 1, 47.377, 8.541, 3, 2),
    City("Stockholm", "SE", "SEK", 1, 59.329, 18.069, 3, 2),
    City("Warsaw", "PL", "PLN", 1, 52.23, 21.012, 4, 2),
    City("Prague", "CZ", "CZK", 1, 50.075, 14.437, 2, 4),
    City("New York", "US", "USD", -5, 40.713, -74.006, 3, 5),
    City("Miami", "US", "USD", -5, 25.762, -80.192, 0, 2),
    City("Los Angeles", "US", "USD", -8, 34.052, -118.244, 1, 2),
    City("Toronto", "CA", "CAD", -5, 43.651, -79.347, 0, 2),
    City("Sao Paulo", "BR", "BRL", -3, -23.55, -46.633, 0, 1),
    City("Istanbul", "TR", "TRY", 3, 41.008, 28.978, 0, 3),
    City("Bangkok", "TH", "THB", 7, 13.756, 100.502, 0, 3),
    City("Singapore", "SG", "SGD", 8, 1.352, 103.82, 0, 2),
    City("Tokyo", "JP", "JPY", 9, 35.682, 139.76, 0, 2),
    City("Sydney", "AU", "AUD", 10, -33.869, 151.209, 0, 1),
)

CATEGORIES: tuple[Category, ...] = (
    Category("groceries", "5411", 28.0, 0.6, STREET, 26),
    Category("restaurant", "5812", 24.0, 0.5, STREET, 14),
    Category("fast food", "5814", 9.0, 0.4, STREET, 12),
    Category("fuel", "5541", 48.0, 0.35, STREET, 7),
    Category("local transport", "4111", 3.2, 0.4, STREET, 6),
    Category("pharmacy", "5912", 16.0, 0.6, STREET, 5),
    Category("clothing", "5651", 45.0, 0.6, STREET, 5),
    Category("electronics", "5732", 130.0, 0.8, STREET, 2),
    Category("hotel", "7011", 140.0, 0.5, STREET, 1),
    Category("cash machine", "6011", 80.0, 0.5, CASH_MACHINE, 6),
    Category("online marketplace", "5399", 32.0, 0.8, ONLINE, 9),
    Category("streaming", "4899", 11.0, 0.2, ONLINE, 3),
    Category("online games", "5816", 8.0, 0.7, ONLINE, 2),
    Category("travel agency", "4722", 210.0, 0.7, ONLINE, 1),
    Category("online electronics", "5734", 110.0, 0.8, ONLINE, 2),
    Category("gift cards", "5947", 40.0, 0.6, ONLINE, 1),
)

# The pulse of a day in local time, an entry an hour: most people, and those who pay at night.
DAY_PROFILES: tuple[tuple[float, ...], ...] = (
    (1, 0.5, 0.3, 0.2, 0.3, 1, 3, 6, 8, 8, 9, 11, 13, 12, 10, 10, 12, 14, 14, 11, 8, 6, 4, 2),
    (7, 5, 4, 2, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12, 12, 12, 11, 9),
)
