"""What cardholders do by themselves: the genuine payments of a stretch of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cardwatch.simulator.payments import APPROVED, NONE, Float64, Int64, Payments, Uint64, concatenate
from cardwatch.simulator.places import CASH_MACHINE, CATEGORIES, CITIES, DAY_PROFILES, ONLINE
from cardwatch.simulator.words import mix
from cardwatch.simulator.world import (
    DAY_MS,
    ONLINE_FAVOURITES,
    STREET_FAVOURITES,
    World,
    banknotes,
    city_currencies,
    minor_units,
)
from detector.vocabulary import Channel, EntryMode, Kind

_HOUR_MS = 3_600_000
_ONLINE_SHARE = 0.22
_FAVOURITE_SHARE = 0.75
# The first favourite is met most: shares of a harmonic series.
_STREET_HABIT = np.cumsum(1.0 / np.arange(1, STREET_FAVOURITES + 1))
_ONLINE_HABIT = np.cumsum(1.0 / np.arange(1, ONLINE_FAVOURITES + 1))
_REFUND_SHARE, _VERIFICATION_SHARE, _REVERSAL_SHARE = 0.007, 0.01, 0.004
_REVERSAL_LATEST_MS = 30 * 60_000
_DECLINED_SHARE = 0.012
# Codes of RESPONSE_CODES with which genuine payments are declined: mostly not enough money.
_GENUINE_DECLINES = np.array([3, 3, 3, 1, 5])
_FOREIGN_IP_SHARE = 0.02
_CONTACTLESS_LIMIT_EURO = 50.0

CATEGORY_PLACES = tuple(category.place for category in CATEGORIES)
IS_CASH_MACHINE = np.array([place == CASH_MACHINE for place in CATEGORY_PLACES])
IS_ONLINE = np.array([place == ONLINE for place in CATEGORY_PLACES])
MEDIAN_EURO = np.array([category.median_euro for category in CATEGORIES])
SIGMA = np.array([category.sigma for category in CATEGORIES])
_UTC_OFFSET_MS = np.array([city.utc_offset_hours for city in CITIES], dtype=np.int64) * _HOUR_MS
_PROFILES = np.array(DAY_PROFILES) / np.max(np.array(DAY_PROFILES), axis=1, keepdims=True)


@dataclass(slots=True)
class Serials:
    """Hands out transaction words, no two alike within one salt."""

    salt: int
    used: int = 0

    def take(self, count: int) -> Uint64:
        """Return the words of the next `count` transactions."""
        numbers = np.arange(self.used, self.used + count, dtype=np.uint64)
        self.used += count
        return mix(numbers, self.salt)


def _visits(world: World, rng: np.random.Generator, begin_ms: int, end_ms: int) -> tuple[Int64, Int64, Int64]:
    """Draw who pays when: times in order, cards, and the city each one is in; thinned by the pulse of the local day."""
    settings = world.settings
    mean_profile = float(_PROFILES[world.cards.profile[:1000]].mean())
    expected = settings.cards * settings.payments_per_card_day * (end_ms - begin_ms) / DAY_MS / mean_profile
    count = int(rng.poisson(expected))
    time_ms = np.sort(rng.integers(begin_ms, end_ms, size=count))
    card = np.searchsorted(world.cards.activity_sum, rng.random(count), side="right").astype(np.int64)
    city, travelling = world.whereabouts(card, time_ms)
    hour = (time_ms + _UTC_OFFSET_MS[city]) % DAY_MS // _HOUR_MS
    chosen = (rng.random(count) < _PROFILES[world.cards.profile[card], hour]) & ~travelling
    return time_ms[chosen], card[chosen], city[chosen]


def _merchants(world: World, rng: np.random.Generator, card: Int64, city: Int64) -> Int64:
    """Choose where each one pays: mostly at favourites when at home, anywhere in the city when abroad."""
    count, merchants, favourites = len(card), world.merchants, world.cards.favourites
    pick, which = rng.random(count), rng.random(count)
    street_favourite = favourites[card, np.searchsorted(_STREET_HABIT, which * _STREET_HABIT[-1], side="right")]
    online_rank = STREET_FAVOURITES + np.searchsorted(_ONLINE_HABIT, which * _ONLINE_HABIT[-1], side="right")
    online_favourite = favourites[card, online_rank]
    anywhere = merchants.city_first[city] + (pick * merchants.city_count[city]).astype(np.int64)
    online_count = len(merchants) - merchants.online_first
    any_online = merchants.online_first + (pick * online_count).astype(np.int64)
    habitual = rng.random(count) < _FAVOURITE_SHARE
    at_home = city == world.cards.city[card]
    street = np.where(habitual & at_home, street_favourite, anywhere)
    online = np.where(habitual, online_favourite, any_online)
    return np.where(rng.random(count) < _ONLINE_SHARE, online, street).astype(np.int64)


def usual_euro(world: World, rng: np.random.Generator, card: Int64, merchant: Int64) -> Float64:
    """Draw what such a cardholder pays at such a merchant: lognormal around the trade's median."""
    category = world.merchants.category[merchant]
    spread = np.exp(rng.normal(0.0, 1.0, size=len(card)) * SIGMA[category])
    return np.asarray(
        MEDIAN_EURO[category] * world.merchants.price[merchant] * world.cards.spending[card] * spread, dtype=np.float64
    )


def priced(world: World, card: Int64, merchant: Int64, euro: Float64) -> tuple[Int64, Int64]:
    """Price payments: online in the cardholder's own currency, elsewhere in the place's; cash in banknotes.

    Returns:
        currency numbers and amounts in minor units.
    """
    category = world.merchants.category[merchant]
    city = np.where(IS_ONLINE[category], world.cards.city[card], world.merchants.city[merchant])
    currency = city_currencies(city)
    amount = np.where(IS_CASH_MACHINE[category], banknotes(euro, currency), minor_units(euro, currency))
    return currency, amount.astype(np.int64)


def choose_terminals(world: World, rng: np.random.Generator, merchant: Int64) -> Int64:
    """Choose one of each merchant's terminals."""
    offset = (rng.random(len(merchant)) * world.merchants.terminal_count[merchant]).astype(np.int64)
    return np.asarray(world.merchants.terminal_first[merchant] + offset, dtype=np.int64)


def _presentation(
    world: World, rng: np.random.Generator, card: Int64, merchant: Int64, euro: Float64
) -> tuple[Int64, Int64, Uint64]:
    """Choose channel, entry mode and device."""
    count = len(card)
    category = world.merchants.category[merchant]
    online, cash = IS_ONLINE[category], IS_CASH_MACHINE[category]
    by_wallet = ~online & ~cash & (world.cards.wallet[card] == 1) & (rng.random(count) < 0.6)
    habit = rng.random(count)
    touch = (euro < _CONTACTLESS_LIMIT_EURO) & (habit < 0.75)
    swiped = habit > 0.995
    street_mode = np.select(
        [swiped, touch], [int(EntryMode.MAGSTRIPE), int(EntryMode.CONTACTLESS)], int(EntryMode.CHIP)
    )
    online_mode = np.where(habit < 0.6, int(EntryMode.CREDENTIAL_ON_FILE), int(EntryMode.MANUAL))
    entry_mode = np.select(
        [online, cash, by_wallet], [online_mode, int(EntryMode.CHIP), int(EntryMode.TOKEN)], street_mode
    )
    channel = np.select(
        [online, cash, by_wallet], [int(Channel.ECOM), int(Channel.ATM), int(Channel.WALLET)], int(Channel.POS)
    )
    computer = (online & (rng.random(count) < 0.4)).astype(np.int64)
    device = np.where(online | by_wallet, world.device_words(card, computer), np.uint64(0))
    return channel.astype(np.int64), entry_mode.astype(np.int64), device


def _kinds(rng: np.random.Generator, merchant_category: Int64) -> Int64:
    """Choose kinds: cash at cash machines, elsewhere purchases, a few refunds and (online) verifications."""
    lot = rng.random(len(merchant_category))
    cash = IS_CASH_MACHINE[merchant_category]
    refund = ~cash & (lot < _REFUND_SHARE)
    verification = IS_ONLINE[merchant_category] & (lot > 1.0 - _VERIFICATION_SHARE)
    return np.select(
        [cash, refund, verification], [int(Kind.CASH), int(Kind.REFUND), int(Kind.VERIFICATION)], int(Kind.PURCHASE)
    ).astype(np.int64)


def _reversals(payments: Payments, rng: np.random.Generator, serials: Serials) -> Payments:
    """Take back a few approved purchases within half an hour."""
    purchases = (payments.kind == Kind.PURCHASE) & (payments.response == APPROVED)
    chosen = payments[purchases & (rng.random(len(payments)) < _REVERSAL_SHARE)]
    count = len(chosen)
    return replace(
        chosen,
        refers_to=chosen.transaction,
        transaction=serials.take(count),
        event_time_ms=chosen.event_time_ms + rng.integers(1_000, _REVERSAL_LATEST_MS, size=count),
        kind=np.full(count, int(Kind.REVERSAL), dtype=np.int64),
        response=np.full(count, NONE, dtype=np.int64),
    )


def genuine_payments(world: World, rng: np.random.Generator, serials: Serials, begin_ms: int, end_ms: int) -> Payments:
    """Draw the genuine payments of [begin_ms, end_ms), and the reversals that follow within half an hour."""
    time_ms, card, city = _visits(world, rng, begin_ms, end_ms)
    count = len(card)
    merchant = _merchants(world, rng, card, city)
    category = world.merchants.category[merchant]
    euro = usual_euro(world, rng, card, merchant)
    currency, amount = priced(world, card, merchant, euro)
    kind = _kinds(rng, category)
    channel, entry_mode, device = _presentation(world, rng, card, merchant, euro)
    foreign_ip = rng.random(count) < _FOREIGN_IP_SHARE
    ip_city = np.where(foreign_ip, rng.integers(0, len(CITIES), size=count), city)
    declined: NDArray[np.bool_] = (rng.random(count) < _DECLINED_SHARE) & (kind != Kind.REFUND)
    reason = _GENUINE_DECLINES[rng.integers(0, len(_GENUINE_DECLINES), size=count)]
    payments = Payments(
        transaction=serials.take(count),
        refers_to=np.zeros(count, dtype=np.uint64),
        event_time_ms=time_ms,
        card=card,
        merchant=merchant,
        terminal=choose_terminals(world, rng, merchant),
        amount_minor=np.where(kind == Kind.VERIFICATION, 0, amount).astype(np.int64),
        currency=currency,
        kind=kind,
        channel=channel,
        entry_mode=entry_mode,
        device=device,
        ip_city=np.where(IS_ONLINE[category], ip_city, NONE).astype(np.int64),
        response=np.where(declined, reason, APPROVED).astype(np.int64),
        attack=np.zeros(count, dtype=np.int64),
    )
    return concatenate([payments, _reversals(payments, rng, serials)])
