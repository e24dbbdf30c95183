"""The simulator's front: streams of payments in time order, and single attacks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cardwatch.simulator import wire
from cardwatch.simulator.attacks import ATTACK_NAMES, Scene, attack_number, play
from cardwatch.simulator.errors import SettingError
from cardwatch.simulator.genuine import Serials, genuine_payments
from cardwatch.simulator.payments import Payments, concatenate, in_time_order
from cardwatch.simulator.world import DAY_MS, World, WorldSettings, build_world

LATEST_START_MS = 4_102_444_800_000  # the year 2100: everything stays within what JSON readers call exact
_CHUNK_PAYMENTS = 50_000
_SHORTEST_CHUNK_MS = 1_000
_RECORDS_AT_ONCE = 2_000
_STREAM, _STREAM_IDS, _ATTACK, _ATTACK_IDS = 1, 2, 3, 4


def _generator(*entropy: int) -> np.random.Generator:
    """One generator for each purpose and place, independent of all others."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _salt(*entropy: int) -> int:
    """A 64-bit salt for transaction ids."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def _check_time(time_ms: int) -> None:
    """Refuse times that are not epoch milliseconds of this century."""
    if not 0 <= time_ms <= LATEST_START_MS:
        message = f"{time_ms} is no time; give UTC epoch milliseconds, 0 to {LATEST_START_MS}"
        raise SettingError(message)


class Stream:
    """An endless stream of payments in order of event time, genuine ones with attacks among them.

    What comes out does not depend on how it is cut: `take(3)` twice is `take(6)`.
    """

    def __init__(self, world: World, start_ms: int) -> None:
        """Begin at `start_ms`; use `Simulator.stream`."""
        settings = world.settings
        per_ms = settings.cards * settings.payments_per_card_day / DAY_MS
        self.world = world
        self._start_ms = start_ms
        self._chunk_ms = min(max(int(_CHUNK_PAYMENTS / per_ms), _SHORTEST_CHUNK_MS), DAY_MS)
        self._chunk = 0
        self._serials = Serials(_salt(settings.seed, _STREAM_IDS, start_ms))
        # An empty stretch of time has no payments: the columns' types without rows.
        self._ready = genuine_payments(world, _generator(0), self._serials, start_ms, start_ms + 1)[:0]
        self._later = self._ready

    def take(self, count: int) -> Payments:
        """Return the next `count` payments."""
        parts, wanted = [self._ready[:count]], count
        self._ready = self._ready[count:]
        wanted -= len(parts[0])
        while wanted > 0:
            chunk = self._next_chunk()
            parts.append(chunk[:wanted])
            self._ready = chunk[wanted:]
            wanted -= len(parts[-1])
        return concatenate(parts)

    def columns(self, count: int) -> wire.Columns:
        """Return the next `count` payments as columns for `build_batch`."""
        return wire.to_columns(self.world, self.take(count))

    def records(self, count: int) -> list[wire.Record]:
        """Return the next `count` payments as records of the contract."""
        return wire.to_records(self.world, self.take(count))

    def __iter__(self) -> Iterator[wire.Record]:
        """Yield records without end."""
        while True:
            yield from self.records(_RECORDS_AT_ONCE)

    def _next_chunk(self) -> Payments:
        """Play the next stretch of time; what attacks and reversals do after it waits."""
        settings = self.world.settings
        begin_ms = self._start_ms + self._chunk * self._chunk_ms
        end_ms = begin_ms + self._chunk_ms
        rng = _generator(settings.seed, _STREAM, self._start_ms, self._chunk)
        self._chunk += 1
        parts = [self._later, genuine_payments(self.world, rng, self._serials, begin_ms, end_ms)]
        days = self._chunk_ms / DAY_MS
        attacks = int(rng.poisson(settings.attacks_per_thousand_cards_day * settings.cards / 1000 * days))
        for _ in range(attacks):
            name = ATTACK_NAMES[int(rng.integers(0, len(ATTACK_NAMES)))]
            scene = Scene(self.world, rng, int(rng.integers(begin_ms, end_ms)), compressed=False)
            parts.append(play(scene, name, self._serials))
        payments = in_time_order(concatenate(parts))
        split = int(np.searchsorted(payments.event_time_ms, end_ms))
        self._later = payments[split:]
        return payments[:split]


class Simulator:
    """A world by seed, its streams and attacks. Needs no clock: times are arguments."""

    def __init__(self, settings: WorldSettings | None = None) -> None:
        """Build the world; the same settings build the same world."""
        self.world = build_world(settings or WorldSettings())

    def stream(self, start_ms: int) -> Stream:
        """Begin a stream of payments.

        Args:
            start_ms: UTC epoch milliseconds of its beginning.

        Raises:
            SettingError: the start is no time of this century.
        """
        _check_time(start_ms)
        return Stream(self.world, start_ms)

    def attack_payments(self, name: str, at_ms: int) -> Payments:
        """Play one attack on the world's cards, compressed, with its truth.

        Args:
            name: one of `ATTACK_NAMES`.
            at_ms: event time of its last payment; the first is at most three hours before.

        Raises:
            UnknownAttackError: there is no such attack.
            SettingError: `at_ms` is no time of this century.
        """
        _check_time(at_ms)
        place = (self.world.settings.seed, attack_number(name), at_ms)
        serials = Serials(_salt(_ATTACK_IDS, *place))
        scene = Scene(self.world, _generator(_ATTACK, *place), at_ms, compressed=True)
        payments = play(scene, name, serials)
        payments.event_time_ms[:] += at_ms - payments.event_time_ms[-1]
        return payments

    def attack(self, name: str, at_ms: int) -> list[wire.Record]:
        """Play one attack as records of the contract, in time order; see `attack_payments`."""
        return wire.to_records(self.world, self.attack_payments(name, at_ms))
