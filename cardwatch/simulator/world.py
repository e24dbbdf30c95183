"""The simulated world: cardholders with habits, merchants with terminals, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardwatch.simulator.errors import SettingError
from cardwatch.simulator.payments import Float64, Int64, Uint64
from cardwatch.simulator.places import CASH_MACHINE, CATEGORIES, CITIES, CURRENCIES, ONLINE, STREET
from cardwatch.simulator.words import mix, mixed, unit

STREET_FAVOURITES = 5
ONLINE_FAVOURITES = 3
CARDS_PER_RANGE = 50
DAY_MS = 86_400_000
_MAXIMUM_TERMINALS = 6
_CITY_RADIUS_DEGREES = 0.05
_CARD_BITS = 40
_ODD = np.uint64(0x9E3779B97F)
# A quarter of all cardholders have their card with a second one of the same customer.
_SHARED_CUSTOMERS = 4
# Trips: one period of 45 days in four brings a trip of 2 to 10 days.
TRIP_PERIOD_MS = 45 * DAY_MS
_TRIP_SHARE = 0.25
_TRIP_SHORTEST_DAYS, _TRIP_LONGEST_DAYS = 2, 10
# On the way nothing is paid; no genuine cardholder is faster than an aeroplane.
JOURNEY_MS = DAY_MS // 2

_SALT_RANGE, _SALT_CUSTOMER, _SALT_DEVICE, _SALT_MERCHANT, _SALT_TERMINAL, _SALT_PHASE = range(1, 7)
_SALT_TRIP, _SALT_START, _SALT_LENGTH, _SALT_DESTINATION = range(7, 11)


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What a world is made from.

    Attributes:
        seed: chooses everything that is left to chance.
        cards: number of cards, 100 to 10,000,000.
        merchants: number of merchants, 500 to 1,000,000.
        payments_per_card_day: mean number of genuine payments of a card in a day.
        attacks_per_thousand_cards_day: mean number of attacks a day for every thousand cards, all kinds together;
            0 for none. 1.0 makes about one payment in a hundred fraudulent.
    """

    seed: int = 7
    cards: int = 5_000
    merchants: int = 1_500
    payments_per_card_day: float = 3.0
    attacks_per_thousand_cards_day: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SettingError: a value is out of its range.
        """
        ranges: tuple[tuple[str, float, float, float], ...] = (
            ("seed", self.seed, 0, 2**63 - 1),
            ("cards", self.cards, 100, 10_000_000),
            ("merchants", self.merchants, 500, 1_000_000),
            ("payments_per_card_day", self.payments_per_card_day, 0.01, 1000.0),
            ("attacks_per_thousand_cards_day", self.attacks_per_thousand_cards_day, 0.0, 1000.0),
        )
        for name, value, least, most in ranges:
            if not least <= value <= most:
                message = f"{name} is {value}; it must be {least} to {most}"
                raise SettingError(message)


@dataclass(frozen=True, slots=True)
class Merchants:
    """Merchants, those with a place first, ordered by city; online ones last.

    `city` is where an online merchant is registered. Terminals of a merchant are `terminal_first` and the next
    `terminal_count - 1` numbers.
    """

    category: Int64
    city: Int64
    latitude: Float64
    longitude: Float64
    price: Float64
    terminal_first: Int64
    terminal_count: Int64
    city_first: Int64
    city_count: Int64
    online_first: int

    def __len__(self) -> int:
        """Number of merchants."""
        return len(self.category)


@dataclass(frozen=True, slots=True)
class Cards:
    """Cardholders' habits.

    `activity_sum` is the running sum of how much each pays, ending with 1; `spending` scales amounts; `profile` is a
    row of `DAY_PROFILES`; `favourites` are merchants, street ones first; `wallet` is 1 for those who pay by telephone.
    """

    city: Int64
    latitude: Float64
    longitude: Float64
    activity_sum: Float64
    spending: Float64
    profile: Int64
    favourites: Int64
    wallet: Int64

    def __len__(self) -> int:
        """Number of cards."""
        return len(self.city)


@dataclass(frozen=True, slots=True)
class World:
    """All that exists before the first payment."""

    settings: WorldSettings
    cards: Cards
    merchants: Merchants

    def card_words(self, card: Int64) -> Uint64:
        """Words of card tokens: 24 bits of the issuer's range, then 40 bits that differ for every card."""
        block = (
            mixed(card // CARDS_PER_RANGE, self._salt(_SALT_RANGE)) >> np.uint64(_CARD_BITS) << np.uint64(_CARD_BITS)
        )
        own = (card.astype(np.uint64) * _ODD + np.uint64(self.settings.seed)) & np.uint64(2**_CARD_BITS - 1)
        return np.asarray(block | own, dtype=np.uint64)

    def customer_words(self, card: Int64) -> Uint64:
        """Words of customer ids: every fourth card belongs to the customer of the card before it."""
        owner = card - (card % _SHARED_CUSTOMERS == _SHARED_CUSTOMERS - 1)
        return mixed(owner, self._salt(_SALT_CUSTOMER))

    def device_words(self, card: Int64, number: Int64) -> Uint64:
        """Words of the cardholder's own devices: 0 is the telephone, 1 the computer. Never 0."""
        return mixed(card * 2 + number, self._salt(_SALT_DEVICE)) | np.uint64(1)

    def merchant_words(self, merchant: Int64) -> Uint64:
        """Words of merchant ids."""
        return mixed(merchant, self._salt(_SALT_MERCHANT))

    def terminal_words(self, terminal: Int64) -> Uint64:
        """Words of terminal ids."""
        return mixed(terminal, self._salt(_SALT_TERMINAL))

    def whereabouts(self, card: Int64, time_ms: Int64) -> tuple[Int64, NDArray[np.bool_]]:
        """Where cardholders are at given times.

        Returns:
            the city of each, and whether it is on a journey (when nothing is paid).
        """
        phase = unit(mixed(card, self._salt(_SALT_PHASE))) * TRIP_PERIOD_MS
        shifted = time_ms + phase.astype(np.int64)
        period, within = shifted // TRIP_PERIOD_MS, shifted % TRIP_PERIOD_MS
        trip = mix(mixed(card, self._salt(_SALT_TRIP)) ^ period.astype(np.uint64), self._salt(_SALT_TRIP))
        travels = unit(trip) < _TRIP_SHARE
        days = _TRIP_SHORTEST_DAYS + unit(mix(trip, _SALT_LENGTH)) * (_TRIP_LONGEST_DAYS - _TRIP_SHORTEST_DAYS)
        length = (days * DAY_MS).astype(np.int64)
        # The journeys there and back lie wholly within the period.
        start = (JOURNEY_MS + unit(mix(trip, _SALT_START)) * (TRIP_PERIOD_MS - length - 2 * JOURNEY_MS)).astype(
            np.int64
        )
        visits = np.cumsum([city.visit_weight for city in CITIES])
        destination = np.searchsorted(visits, unit(mix(trip, _SALT_DESTINATION)) * visits[-1], side="right")
        away = travels & (within >= start) & (within < start + length)
        leaving = travels & (within >= start - JOURNEY_MS) & (within < start)
        returning = travels & (within >= start + length) & (within < start + length + JOURNEY_MS)
        return np.where(away, destination, self.cards.city[card]).astype(np.int64), leaving | returning

    def _salt(self, purpose: int) -> int:
        """One salt for every seed and purpose."""
        return self.settings.seed * 64 + purpose


def _build_merchants(settings: WorldSettings, rng: np.random.Generator) -> Merchants:
    """Place merchants: one of every street trade in every city, the rest by the cities' and trades' weights."""
    street = np.array([i for i, trade in enumerate(CATEGORIES) if trade.place in (STREET, CASH_MACHINE)])
    online = np.array([i for i, trade in enumerate(CATEGORIES) if trade.place == ONLINE])
    weights = np.array([trade.weight for trade in CATEGORIES])
    online_count = max(len(online), settings.merchants // 5)
    extra = settings.merchants - online_count - len(street) * len(CITIES)
    city_weights = np.array([place.home_weight + place.visit_weight for place in CITIES], dtype=np.float64)
    extra_city = rng.choice(len(CITIES), size=extra, p=city_weights / city_weights.sum())
    extra_category = rng.choice(street, size=extra, p=weights[street] / weights[street].sum())
    cities = np.concatenate([np.repeat(np.arange(len(CITIES)), len(street)), extra_city])
    categories = np.concatenate([np.tile(street, len(CITIES)), extra_category])
    order = np.argsort(cities, kind="stable")
    more_online = rng.choice(online, size=online_count - len(online), p=weights[online] / weights[online].sum())
    online_city = rng.choice(len(CITIES), size=online_count, p=city_weights / city_weights.sum())
    category = np.concatenate([categories[order], online, more_online]).astype(np.int64)
    city = np.concatenate([cities[order], online_city]).astype(np.int64)
    count = len(category)
    terminals = rng.integers(1, _MAXIMUM_TERMINALS + 1, size=count)
    terminals[len(cities) :] = 1
    centre = np.array([(place.latitude, place.longitude) for place in CITIES])[city]
    spread = rng.normal(0.0, _CITY_RADIUS_DEGREES, size=(count, 2))
    return Merchants(
        category=category,
        city=city,
        latitude=np.round(centre[:, 0] + spread[:, 0], 5),
        longitude=np.round(centre[:, 1] + spread[:, 1], 5),
        price=np.exp(rng.normal(0.0, 0.2, size=count)),
        terminal_first=np.cumsum(terminals) - terminals,
        terminal_count=terminals.astype(np.int64),
        city_first=np.searchsorted(cities[order], np.arange(len(CITIES))).astype(np.int64),
        city_count=np.bincount(cities, minlength=len(CITIES)).astype(np.int64),
        online_first=len(cities),
    )


def _build_cards(settings: WorldSettings, merchants: Merchants, seeds: np.random.SeedSequence) -> Cards:
    """Give every cardholder a home, habits and favourite merchants.

    Every habit is drawn from a generator of its own, so the first cards of a larger world are those of a smaller one:
    an attack chosen in a small world hits cards that live in the large one too.
    """
    count = settings.cards
    draw = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds.spawn(8)]
    home_weights = np.array([city.home_weight for city in CITIES], dtype=np.float64)
    city = draw[0].choice(len(CITIES), size=count, p=home_weights / home_weights.sum()).astype(np.int64)
    centre = np.array([(place.latitude, place.longitude) for place in CITIES])[city]
    spread = draw[1].normal(0.0, _CITY_RADIUS_DEGREES, size=(count, 2))
    nearby = draw[2].random((count, STREET_FAVOURITES)) * merchants.city_count[city][:, None]
    street = merchants.city_first[city][:, None] + nearby.astype(np.int64)
    online = draw[3].integers(merchants.online_first, len(merchants), size=(count, ONLINE_FAVOURITES))
    activity = np.cumsum(np.exp(draw[4].normal(0.0, 0.6, size=count)))
    return Cards(
        city=city,
        latitude=np.round(centre[:, 0] + spread[:, 0], 5),
        longitude=np.round(centre[:, 1] + spread[:, 1], 5),
        activity_sum=activity / activity[-1],
        spending=np.exp(draw[5].normal(0.0, 0.35, size=count)),
        profile=(draw[6].random(count) < 0.1).astype(np.int64),
        favourites=np.concatenate([street, online], axis=1),
        wallet=(draw[7].random(count) < 0.3).astype(np.int64),
    )


def build_world(settings: WorldSettings) -> World:
    """Build the world of these settings: the same settings, the same world."""
    merchant_seed, card_seed = np.random.SeedSequence([settings.seed, 0]).spawn(2)
    merchants = _build_merchants(settings, np.random.Generator(np.random.PCG64(merchant_seed)))
    return World(settings=settings, cards=_build_cards(settings, merchants, card_seed), merchants=merchants)


def minor_units(euro: Float64, currency: Int64) -> Int64:
    """Convert euro to whole minor units of each row's currency, at least one."""
    factor = np.array([c.units_per_euro * 10.0**c.minor_digits for c in CURRENCIES])
    minor: Int64 = np.maximum(np.rint(euro * factor[currency]), 1.0).astype(np.int64)
    return minor


def banknotes(euro: Float64, currency: Int64) -> Int64:
    """Convert euro to minor units in whole banknotes of each row's currency, at least one."""
    units = np.array([c.units_per_euro for c in CURRENCIES])
    note = np.array([float(c.banknote_units) for c in CURRENCIES])[currency]
    minor = np.array([10**c.minor_digits for c in CURRENCIES], dtype=np.int64)
    count = np.maximum(np.rint(euro * units[currency] / note), 1.0)
    return np.asarray((count * note).astype(np.int64) * minor[currency], dtype=np.int64)


def city_currencies(city: Int64) -> Int64:
    """Index into `CURRENCIES` of each city's currency."""
    codes = [currency.code for currency in CURRENCIES]
    numbers = np.array([codes.index(place.currency) for place in CITIES], dtype=np.int64)
    return np.asarray(numbers[city], dtype=np.int64)
