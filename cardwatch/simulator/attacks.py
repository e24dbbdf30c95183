"""Attacks by name. Each is a small scene: victims, a plan in relative time, and payments that are fraud or prelude.

A scene is played compressed (`cardwatch trigger`: hours and weeks become minutes, so that it ends now) or at its
natural pace (background attacks of a stream, for training).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cardwatch.simulator.errors import UnknownAttackError
from cardwatch.simulator.genuine import (
    CATEGORY_PLACES,
    IS_CASH_MACHINE,
    IS_ONLINE,
    Serials,
    choose_terminals,
    priced,
    usual_euro,
)
from cardwatch.simulator.payments import APPROVED, NONE, Float64, Int64, Payments, Uint64, concatenate, in_time_order
from cardwatch.simulator.places import CATEGORIES, CITIES, STREET
from cardwatch.simulator.words import mix
from cardwatch.simulator.world import CARDS_PER_RANGE, DAY_MS, World
from detector.vocabulary import Channel, EntryMode, Kind

_SECOND_MS, _MINUTE_MS, _HOUR_MS = 1_000, 60_000, 3_600_000
_FAR_DEGREES = 15.0
_CANDIDATES = 16
_DECLINES = np.array([1, 2, 3, 4])
_LUXURY = tuple(i for i, c in enumerate(CATEGORIES) if c.name in ("electronics", "clothing", "cash machine"))
_RESALE = tuple(i for i, c in enumerate(CATEGORIES) if c.name in ("online electronics", "gift cards", "travel agency"))


@dataclass(frozen=True, slots=True)
class Scene:
    """What an attack is made from: the world, chance, the moment it starts, and whether time is compressed."""

    world: World
    rng: np.random.Generator
    begin_ms: int
    compressed: bool

    def victims(self, count: int) -> Int64:
        """Choose cards that pay often and are at home when the attack begins."""
        cards = self.world.cards
        drawn = np.unique(np.searchsorted(cards.activity_sum, self.rng.random(count * _CANDIDATES), side="right"))
        pool = self.rng.permutation(drawn).astype(np.int64)
        city, travelling = self.world.whereabouts(pool, np.full(len(pool), self.begin_ms, dtype=np.int64))
        at_home = (city == cards.city[pool]) & ~travelling
        return np.concatenate([pool[at_home], pool[~at_home]])[:count]

    def far_city(self, card: int) -> int:
        """Choose a city in another country, far from the cardholder's home."""
        home = CITIES[int(self.world.cards.city[card])]
        far = [
            number
            for number, city in enumerate(CITIES)
            if city.country != home.country
            and abs(city.latitude - home.latitude) + abs(city.longitude - home.longitude) > _FAR_DEGREES
        ]
        return int(self.rng.choice(far))

    def merchants(self, categories: tuple[int, ...], count: int, city: int | None = None) -> Int64:
        """Choose merchants of some trades, in one city or anywhere."""
        fits = np.isin(self.world.merchants.category, categories)
        if city is not None:
            fits &= self.world.merchants.city == city
        return self.rng.choice(np.flatnonzero(fits), size=count).astype(np.int64)

    def times(self, count: int, shortest_ms: int, longest_ms: int, after_ms: int = 0) -> Int64:
        """Space payments out: the first one gap after `after_ms`, each a random gap after the one before."""
        return after_ms + np.cumsum(self.rng.integers(shortest_ms, longest_ms, size=count)).astype(np.int64)

    def euros(self, least: float, most: float, count: int) -> Float64:
        """Draw amounts evenly on the logarithm."""
        return np.exp(self.rng.uniform(np.log(least), np.log(most), size=count))

    def devices(self, count: int) -> Uint64:
        """Make up devices that nobody owns."""
        return mix(self.rng.integers(1, 2**62, size=count).astype(np.uint64), self.begin_ms) | np.uint64(1)

    def refusals(self, count: int, share: float) -> Int64:
        """Draw response codes of which a share are refusals."""
        refused = self.rng.random(count) < share
        return np.where(refused, self.rng.choice(_DECLINES, size=count), APPROVED).astype(np.int64)

    def pay(self, card: Int64, time_ms: Int64, merchant: Int64, euro: Float64, entry_mode: EntryMode) -> Payments:
        """Make approved payments without a device; `replace` adds what a scene has besides."""
        count = len(card)
        category = self.world.merchants.category[merchant]
        currency, amount = priced(self.world, card, merchant, euro)
        cash = IS_CASH_MACHINE[category]
        channel = np.select([IS_ONLINE[category], cash], [int(Channel.ECOM), int(Channel.ATM)], int(Channel.POS))
        return Payments(
            transaction=np.zeros(count, dtype=np.uint64),
            refers_to=np.zeros(count, dtype=np.uint64),
            event_time_ms=time_ms,
            card=card,
            merchant=merchant,
            terminal=choose_terminals(self.world, self.rng, merchant),
            amount_minor=amount,
            currency=currency,
            kind=np.where(cash, int(Kind.CASH), int(Kind.PURCHASE)).astype(np.int64),
            channel=channel.astype(np.int64),
            entry_mode=np.full(count, int(entry_mode), dtype=np.int64),
            device=np.zeros(count, dtype=np.uint64),
            ip_city=np.full(count, NONE, dtype=np.int64),
            response=np.full(count, APPROVED, dtype=np.int64),
            attack=np.ones(count, dtype=np.int64),
        )

    def usual(self, card: Int64, time_ms: Int64, merchant: Int64) -> Payments:
        """Make genuine payments of the cardholders, as preludes."""
        euro = usual_euro(self.world, self.rng, card, merchant)
        payments = self.pay(card, time_ms, merchant, euro, EntryMode.CHIP)
        return replace(payments, attack=np.zeros(len(card), dtype=np.int64))


def _stolen_card(scene: Scene) -> Payments:
    """Pay at home as usual, then within minutes high amounts by magnetic stripe far abroad."""
    victim = scene.victims(1)
    count = int(scene.rng.integers(6, 11))
    card = np.repeat(victim, count)
    prelude = scene.usual(victim, np.zeros(1, dtype=np.int64), scene.world.cards.favourites[victim, 0])
    merchant = scene.merchants(_LUXURY, count, scene.far_city(int(victim[0])))
    times = scene.times(count, 2 * _MINUTE_MS, 6 * _MINUTE_MS, after_ms=20 * _MINUTE_MS)
    frauds = scene.pay(card, times, merchant, scene.euros(250.0, 1200.0, count), EntryMode.MAGSTRIPE)
    touch = scene.rng.random(count) < 0.2
    entry_mode = np.where(touch & (frauds.channel == Channel.POS), int(EntryMode.CONTACTLESS), frauds.entry_mode)
    response = scene.refusals(count, 0.15)
    response[0] = APPROVED
    return concatenate([prelude, replace(frauds, entry_mode=entry_mode, response=response)])


def _card_testing(scene: Scene) -> Payments:
    """Try a few cards with tiny amounts at one online merchant, most refused, then spend high on those that work."""
    parts = []
    online = tuple(i for i in range(len(CATEGORIES)) if IS_ONLINE[i])
    tested_at = scene.merchants(online, 1)
    device, city = scene.devices(1), int(scene.rng.integers(0, len(CITIES)))
    for victim in scene.victims(4):
        tests, spends = int(scene.rng.integers(10, 18)), int(scene.rng.integers(2, 5))
        card = np.full(tests + spends, victim, dtype=np.int64)
        test_times = scene.times(tests, 4 * _SECOND_MS, 20 * _SECOND_MS)
        spend_times = scene.times(spends, 60 * _SECOND_MS, 180 * _SECOND_MS, after_ms=int(test_times[-1]))
        euro = np.concatenate([scene.euros(0.5, 2.0, tests), scene.euros(250.0, 900.0, spends)])
        merchant = np.concatenate([np.repeat(tested_at, tests), scene.merchants(_RESALE, spends)])
        frauds = scene.pay(card, np.concatenate([test_times, spend_times]), merchant, euro, EntryMode.MANUAL)
        response = np.concatenate([scene.refusals(tests, 0.6), scene.refusals(spends, 0.1)])
        parts.append(_online(replace(frauds, response=response), device, city))
    return concatenate(parts)


def _compromised_terminal(scene: Scene) -> Payments:
    """Copy the cards that pay at one terminal; for weeks their copies are swiped abroad."""
    street = tuple(i for i, place in enumerate(CATEGORY_PLACES) if place == STREET)
    victims = scene.victims(int(scene.rng.integers(8, 14)))
    home = int(scene.world.cards.city[victims[0]])
    neighbours = np.flatnonzero(scene.world.cards.city == home)
    victims = scene.rng.choice(neighbours, size=min(len(victims), len(neighbours)), replace=False).astype(np.int64)
    shop = np.repeat(scene.merchants(street, 1, home), len(victims))
    skim_ms, wait_ms, span_ms = (
        (2 * _HOUR_MS, 10 * _MINUTE_MS, 20 * _MINUTE_MS) if scene.compressed else (3 * DAY_MS, DAY_MS, 21 * DAY_MS)
    )
    visits = np.sort(scene.rng.integers(0, skim_ms, size=len(victims)))
    skimmed = scene.usual(victims, visits, shop)
    skimmed = replace(skimmed, terminal=np.repeat(skimmed.terminal[:1], len(victims)))
    parts = [skimmed]
    for victim in victims:
        count = int(scene.rng.integers(2, 5))
        start = skim_ms + wait_ms + int(scene.rng.integers(0, span_ms))
        times = scene.times(count, _MINUTE_MS, 4 * _MINUTE_MS, after_ms=start)
        merchant = scene.merchants(_LUXURY, count, scene.far_city(int(victim)))
        card = np.full(count, victim, dtype=np.int64)
        parts.append(scene.pay(card, times, merchant, scene.euros(150.0, 800.0, count), EntryMode.MAGSTRIPE))
    return concatenate(parts)


def _account_takeover(scene: Scene) -> Payments:
    """Take over an account: the owner's own purchase, then a new device in another country buys what resells."""
    victim = scene.victims(1)
    count = int(scene.rng.integers(5, 9))
    favourite = scene.world.cards.favourites[victim, -1]
    own = scene.usual(victim, np.zeros(1, dtype=np.int64), favourite)
    own_device = scene.world.device_words(victim, np.zeros(1, dtype=np.int64))
    mode = np.full(1, int(EntryMode.CREDENTIAL_ON_FILE), dtype=np.int64)
    own = replace(own, entry_mode=mode, device=own_device, ip_city=scene.world.cards.city[victim])
    times = scene.times(count, 2 * _MINUTE_MS, 8 * _MINUTE_MS, after_ms=_HOUR_MS)
    merchant = scene.merchants(_RESALE, count)
    euro = scene.euros(300.0, 1500.0, count)
    frauds = scene.pay(np.repeat(victim, count), times, merchant, euro, EntryMode.MANUAL)
    city = scene.far_city(int(victim[0]))
    return concatenate([own, _online(frauds, scene.devices(1), city)])


def _card_range_burst(scene: Scene) -> Payments:
    """Spend on guessed numbers: many cards whose tokens start alike, at one online merchant, within minutes."""
    ranges = max(len(scene.world.cards) // CARDS_PER_RANGE, 1)
    first = int(scene.rng.integers(0, ranges)) * CARDS_PER_RANGE
    count = int(scene.rng.integers(20, 41))
    card = first + scene.rng.permutation(CARDS_PER_RANGE)[:count].astype(np.int64)
    merchant = np.repeat(scene.merchants(_RESALE, 1), 2 * count)
    times = scene.rng.integers(0, 4 * _MINUTE_MS, size=2 * count)
    euro = scene.euros(80.0, 400.0, 2 * count)
    frauds = scene.pay(np.tile(card, 2), times, merchant, euro, EntryMode.MANUAL)
    pair = scene.devices(2)[scene.rng.integers(0, 2, size=2 * count)]
    city = int(scene.rng.integers(0, len(CITIES)))
    return _online(replace(frauds, response=scene.refusals(2 * count, 0.4)), pair, city)


def _online(payments: Payments, device: Uint64, ip_city: int) -> Payments:
    """Add an attacker's device, one for all or one each, and where it seems to be."""
    count = len(payments)
    devices = device if len(device) == count else np.repeat(device, count)
    return replace(payments, device=devices, ip_city=np.full(count, ip_city, dtype=np.int64))


_SCENES: dict[str, Callable[[Scene], Payments]] = {
    "stolen_card": _stolen_card,
    "card_testing": _card_testing,
    "compromised_terminal": _compromised_terminal,
    "account_takeover": _account_takeover,
    "card_range_burst": _card_range_burst,
}
ATTACK_NAMES: tuple[str, ...] = tuple(_SCENES)


def attack_number(name: str) -> int:
    """Index of an attack in `ATTACK_NAMES`.

    Raises:
        UnknownAttackError: there is no such attack.
    """
    if name not in ATTACK_NAMES:
        message = f"no attack named {name!r}; there are {', '.join(ATTACK_NAMES)}"
        raise UnknownAttackError(message)
    return ATTACK_NAMES.index(name)


def play(scene: Scene, name: str, serials: Serials) -> Payments:
    """Play an attack.

    Args:
        scene: world, chance and start.
        name: one of `ATTACK_NAMES`.
        serials: source of transaction ids.

    Returns:
        its payments in time order, the first at `scene.begin_ms`; `attack` is 0 on genuine preludes.

    Raises:
        UnknownAttackError: there is no such attack.
    """
    number = attack_number(name)
    payments = in_time_order(_SCENES[name](scene))
    return replace(
        payments,
        event_time_ms=payments.event_time_ms - payments.event_time_ms[0] + scene.begin_ms,
        transaction=serials.take(len(payments)),
        attack=np.where(payments.attack > 0, number + 1, 0).astype(np.int64),
    )
