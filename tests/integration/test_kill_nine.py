"""The whole of cardwatch under load, its processes killed at random moments: nothing lost, nothing twice.

`CARDWATCH_TEST_KILLS=10 make test-kafka ARGS="-s -k kill_nine"` kills more often and shows the table.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cardwatch.simulator import ATTACK_NAMES, Simulator, WorldSettings
from cardwatch.simulator.pacing import paced
from cardwatch.simulator.wire import to_records
from cardwatch.simulator.world import DAY_MS
from streams.topics import DEAD_LETTERS, TRANSACTIONS
from tests.integration.installation import Installation, Worker
from tests.integration.load import SimulatedLoad, decisions, now_ms
from tests.integration.oracle import examine, is_done
from tests.services.process import wait_until
from tests.streams.kafka_world import World

KILLS = int(os.environ.get("CARDWATCH_TEST_KILLS", "3"))
SEED = 20261122
CARD_NUMBER = "4111111111111111"
REFUSED = {b"broken": b"not_json", CARD_NUMBER.encode(): b"card_number_in_clear"}
_PAYMENTS_A_SECOND = 300.0
_PAYMENTS_BETWEEN_ATTACKS = 300
_ANSWERED_WITHIN_S = 240.0

pytestmark = [
    pytest.mark.kafka, pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(300 + 120 * KILLS)
]  # fmt: skip


class Load(SimulatedLoad):
    """Payments of a simulated world with attacks among them, until told to end.

    They begin 20 hours back. Once all up to now are sent, they come as slowly as the world's cards pay: for each 20,000
    cards there is a load for not quite three minutes.
    """

    def __init__(self, servers: str, cards: int) -> None:
        super().__init__(servers)
        self._cards = cards

    def _play(self) -> None:
        simulator = Simulator(WorldSettings(seed=SEED, cards=self._cards, attacks_per_thousand_cards_day=0.0))
        stream = simulator.stream(now_ms() - 5 * DAY_MS // 6)
        sent = attacks = 0
        with self._sender as sender:
            for payments in paced(
                stream, rate_per_s=_PAYMENTS_A_SECOND, count=None, now_ms=now_ms, wait_s=self._end.wait
            ):
                sender.send(to_records(stream.world, payments))
                sent += len(payments)
                while attacks < sent // _PAYMENTS_BETWEEN_ATTACKS:
                    sender.send(simulator.attack(ATTACK_NAMES[attacks % len(ATTACK_NAMES)], now_ms()))
                    attacks += 1


@contextmanager
def loading(servers: str, cards: int = 20_000) -> Iterator[Load]:
    load = Load(servers, cards)
    load.start()
    try:
        yield load
    finally:
        load.finish()


def test_kill_9_of_the_whole_system_loses_and_doubles_nothing(
    world: World, installation: Installation, empty_redis: str
) -> None:
    """Decisions, alerts, cards, cases and notices: each once, however often which process is killed."""
    installation.run("warm", "--publish")
    rng = random.Random(SEED)
    worker = Worker(installation)
    try:
        with loading(world.settings.bootstrap_servers) as load:
            _awaitdecisions(world, 1_000)
            _send_broken_records(world)
            for number in range(KILLS):
                target = ("score", "respond", "learn")[number // 2 % 3] if number % 2 else "all"
                if rng.random() < 0.75:
                    _awaitdecisions(world, decisions(world) + rng.randrange(1, 2_000))
                threading.Event().wait(rng.uniform(0.0, 1.5))
                print(f"kill {number + 1}: {target}, after {decisions(world):,} decisions", flush=True)
                worker.kill(target)
            _awaitdecisions(world, decisions(world) + 1_000)
        acknowledged = load.acknowledged + len(REFUSED)
        wait_until(
            lambda: is_done(world, empty_redis, len(REFUSED)), seconds=_ANSWERED_WITHIN_S, what="everything is done"
        )
        worker.stop()
    finally:
        worker.clean_up()
        findings = examine(world, empty_redis, REFUSED, load.acknowledged + len(REFUSED))
        print(f"\nkill -9, {KILLS} times:\n{findings.table()}", flush=True)
    assert acknowledged > 2_000
    assert not {name: count for name, count in findings.faults.items() if count}
    assert findings.facts["cards with a FREEZE decision"] > 0
    assert not [letter for letter in world.read(DEAD_LETTERS) if CARD_NUMBER.encode() in repr(letter).encode()]


def _send_broken_records(world: World) -> None:
    """What must not stop the stream, and comes out as dead letters."""
    world.write(TRANSACTIONS, "broken", b'{"transaction_id": ')
    payment = {
        "transaction_id": "t-in-clear", "card_token": CARD_NUMBER, "event_time_ms": now_ms(), "amount_minor": 100,
        "currency": "EUR",
    }  # fmt: skip
    world.write(TRANSACTIONS, CARD_NUMBER, json.dumps(payment).encode())
    assert world.writer.flush(30) == 0


def _awaitdecisions(world: World, count: int) -> None:
    wait_until(lambda: decisions(world) >= count, seconds=_ANSWERED_WITHIN_S, what=f"{count} decisions")
