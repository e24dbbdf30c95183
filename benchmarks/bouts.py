"""A world of bouts at night: cardholders with a home, purchases by category and hour, and thieves who shop at night.

It has the shape of public simulated data on which many papers report (US dollars, merchant categories, coordinates of
home and merchant, little more than one payment in two hundred fraudulent), written from that description alone: no row
and no number of anybody's file is in it. A thief has a card for two nights or three and buys what sells on, at amounts
that each category has for thieves. Merchants lie anywhere around the home, so that distance says nothing.

Nothing here is cardwatch's: the columns have names of their own, and a mapping says which is which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

START_S = 1_735_689_600  # 2025-01-01
DAY_S = 86_400
_HOUR_S = 3_600

MAPPING: dict[str, Any] = {
    "columns": {
        "event_time_ms": "purchased_at", "card_token": "card_number", "amount_minor": "usd", "merchant_id": "shop",
        "merchant_category": "category", "home_latitude": "home_lat", "home_longitude": "home_long",
        "latitude": "shop_lat", "longitude": "shop_long",
    },
    "constants": {"currency": "USD"},
    "time": {"unit": "iso"},
    "amount": {"unit": "major"},
    "id": {"from": "row"},
    "tokenize": {"columns": ["card_number"]},
    "label": {"column": "stolen", "fraud": 1},
}  # fmt: skip


class Category(NamedTuple):
    """What people and thieves do with one category.

    Attributes:
        name: of the category.
        share: of genuine payments, relative to the other categories.
        usd: median amount of genuine payments.
        spread: sigma of their lognormal.
        night_share: of genuine payments between 22 and 4 o'clock.
        thieves_share: of a thief's payments, relative to the others.
        thieves_usd: median amount of a thief's, of a narrow lognormal.
    """

    name: str
    share: float
    usd: float
    spread: float
    night_share: float
    thieves_share: float
    thieves_usd: float


CATEGORIES = (
    Category("supermarket", 0.14, 85.0, 0.45, 0.10, 0.20, 320.0),
    Category("fuel", 0.12, 60.0, 0.25, 0.25, 0.07, 12.0),
    Category("restaurant", 0.11, 35.0, 0.75, 0.20, 0.01, 120.0),
    Category("household", 0.10, 40.0, 0.90, 0.10, 0.02, 250.0),
    Category("shop online", 0.09, 45.0, 1.30, 0.30, 0.24, 950.0),
    Category("shop", 0.09, 45.0, 1.30, 0.15, 0.11, 850.0),
    Category("leisure", 0.08, 50.0, 0.80, 0.30, 0.03, 500.0),
    Category("children", 0.08, 40.0, 0.90, 0.10, 0.02, 20.0),
    Category("health", 0.07, 35.0, 0.95, 0.10, 0.02, 20.0),
    Category("other online", 0.05, 40.0, 1.25, 0.30, 0.20, 780.0),
    Category("other", 0.05, 35.0, 1.10, 0.15, 0.05, 200.0),
    Category("travel", 0.02, 60.0, 1.60, 0.20, 0.03, 9.0),
)
_THIEVES_SPREAD = 0.15
_ACTIVITY_SPREAD = 0.6
# Cardholders buy a little dearer or cheaper than others, whatever it is.
_PRICE_SPREAD = 0.2
_BOUT_LEAST, _BOUT_MOST = 7, 13
_NIGHT_FROM_H, _NIGHT_HOURS = 22, 6
_AWAY_DEGREES = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a world is made of.

    Attributes:
        cards, shops, days: how many.
        payments_a_card_day: genuine ones, on average.
        fraud_share: of all payments.
        seed: of everything.
    """

    cards: int = 900
    shops: int = 700
    days: int = 100
    payments_a_card_day: float = 2.0
    fraud_share: float = 0.006
    seed: int = 41


def make(setting: Setting) -> pa.Table:
    """All payments, in no particular order of cards and in the order of time.

    Returns:
        Columns `purchased_at` (timestamp[s], UTC), `card_number` (text), `category`, `shop`, `usd` (float64),
        `home_lat`, `home_long`, `shop_lat`, `shop_long` (degrees), `stolen` (1 fraud, 0 genuine).
    """
    rng = np.random.default_rng(setting.seed)
    card, category, time_s = _genuine(rng, setting)
    stolen_card, stolen_category, stolen_time_s = _bouts(rng, setting, len(card))
    fraud = np.repeat([0, 1], [len(card), len(stolen_card)])
    card, category = np.concatenate([card, stolen_card]), np.concatenate([category, stolen_category])
    time_s = np.concatenate([time_s, stolen_time_s])
    order = np.argsort(time_s, kind="stable")
    return _table(rng, setting, card[order], category[order], time_s[order], fraud[order])


def _genuine(rng: np.random.Generator, setting: Setting) -> tuple[NDArray[np.int64], ...]:
    """Who buys what category when: (card, category, seconds since 1970)."""
    activity = np.exp(rng.normal(0.0, _ACTIVITY_SPREAD, setting.cards))
    count = round(setting.cards * setting.days * setting.payments_a_card_day)
    card = rng.choice(setting.cards, count, p=activity / activity.sum())
    shares = np.array([each.share for each in CATEGORIES])
    category = rng.choice(len(CATEGORIES), count, p=shares / shares.sum())
    at_night = rng.random(count) < np.array([each.night_share for each in CATEGORIES])[category]
    by_day = rng.triangular(4.0, 15.0, _NIGHT_FROM_H, count)
    hour = np.where(at_night, _night_hours(rng, count), by_day)
    return card, category, _seconds(rng.integers(0, setting.days, count), hour)


def _bouts(rng: np.random.Generator, setting: Setting, genuine: int) -> tuple[NDArray[np.int64], ...]:
    """What thieves buy, likewise: a card for some nights in a row."""
    wanted = genuine * setting.fraud_share / (1.0 - setting.fraud_share)
    bouts = max(round(wanted / ((_BOUT_LEAST + _BOUT_MOST) / 2.0)), 1)
    sizes = rng.integers(_BOUT_LEAST, _BOUT_MOST + 1, bouts)
    count = int(sizes.sum())
    card = np.repeat(rng.integers(0, setting.cards, bouts), sizes)
    nights = rng.integers(2, 4, bouts)
    first = rng.integers(0, setting.days - 3, bouts)
    day = np.repeat(first, sizes) + (rng.random(count) * np.repeat(nights, sizes)).astype(np.int64)
    shares = np.array([each.thieves_share for each in CATEGORIES])
    category = rng.choice(len(CATEGORIES), count, p=shares / shares.sum())
    # One in ten is bought by day.
    hour = np.where(rng.random(count) < 0.9, _night_hours(rng, count), rng.uniform(10.0, 22.0, count))
    return card, category, _seconds(day, hour)


def _night_hours(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Hours of a night, as of the day on which it begins."""
    return _NIGHT_FROM_H + rng.random(count) * _NIGHT_HOURS


def _seconds(day: NDArray[np.int64], hour: NDArray[np.float64]) -> NDArray[np.int64]:
    """Seconds since 1970."""
    return START_S + day * DAY_S + (hour * _HOUR_S).astype(np.int64)


def _table(
    rng: np.random.Generator,
    setting: Setting,
    card: NDArray[np.int64],
    category: NDArray[np.int64],
    time_s: NDArray[np.int64],
    fraud: NDArray[np.int64],
) -> pa.Table:
    """Add amounts, shops and places."""
    count = len(card)
    price = np.exp(rng.normal(0.0, _PRICE_SPREAD, setting.cards))
    usual, spread, thieves = (
        np.array([getattr(each, name) for each in CATEGORIES]) for name in ("usd", "spread", "thieves_usd")
    )
    genuine_usd = usual[category] * price[card] * np.exp(rng.normal(0.0, 1.0, count) * spread[category])
    thieves_usd = thieves[category] * np.exp(rng.normal(0.0, _THIEVES_SPREAD, count))
    # Shops of a category are every twelfth.
    shop = category + len(CATEGORIES) * rng.integers(0, setting.shops // len(CATEGORIES), count)
    latitude, longitude = rng.uniform(27.0, 47.0, setting.cards)[card], rng.uniform(-120.0, -75.0, setting.cards)[card]
    away = rng.uniform(-_AWAY_DEGREES, _AWAY_DEGREES, (2, count))
    return pa.table(
        {
            "purchased_at": pa.array(time_s, pa.timestamp("s")),
            "card_number": [f"card number {number}" for number in card.tolist()],
            "category": [CATEGORIES[each].name for each in category.tolist()],
            "shop": [f"shop {number}" for number in shop.tolist()],
            "usd": np.round(np.maximum(np.where(fraud == 1, thieves_usd, genuine_usd), 1.0), 2),
            "home_lat": latitude, "home_long": longitude,
            "shop_lat": latitude + away[0], "shop_long": longitude + away[1],
            "stolen": fraud,
        }
    )  # fmt: skip
