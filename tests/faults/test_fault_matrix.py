"""Real faults on a real Kafka and Redis, one after the other under load; then everything is counted from outside.

`make test-faults` does each once. `CARDWATCH_FAULTS=300 CARDWATCH_FAULTS_LONG=1 make test-faults ARGS=-s` goes on for
hours, with a broker away for five minutes, and `CARDWATCH_FAULTS_PAGE=1` writes the table into docs/guarantees.md.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks import results
from streams.topics import DEAD_LETTERS, DECISIONS
from tests.faults.judge import HEAD, PAGE, Row, judge, table
from tests.faults.matrix import FAULTS, Fault
from tests.faults.stack import Stack, running_stack
from tests.integration.oracle import examine, is_done
from tests.services.kafka_broker import KafkaBroker
from tests.services.process import wait_until
from tests.services.redis_server import RedisServer
from tests.streams.kafka_world import World, real_world

SEED = int(os.environ.get("CARDWATCH_FAULTS_SEED", "20261127"))
TIMES = int(os.environ.get("CARDWATCH_FAULTS", str(len(FAULTS))))
ONLY = os.environ.get("CARDWATCH_FAULTS_ONLY", "")
_DONE_WITHIN_S = 300.0
# Second decisions of a worker that slept beyond its session; they stand nowhere, as the others show.
_ALLOWED = {"second decisions on a transaction", "second decisions that contradict the first"}

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1200 + 120 * TIMES)]


@pytest.fixture
def world(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[World]:
    with real_world(kafka_broker.bootstrap_servers, f"file://{tmp_path}/unused") as made:
        yield made


def test_faults_lose_nothing_and_double_nothing(
    world: World, kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Each payment is decided, counted once in state; each FREEZE ends once, in one case, with one notice."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    inflicted: list[tuple[str, int]] = []
    with running_stack(world, kafka_broker, redis_server, tmp_path, SEED) as stack:
        wait_until(lambda: _decided(stack.world) > 100, seconds=_DONE_WITHIN_S, what="the first answers")
        for fault in _order():
            started_s = time.monotonic()
            inflicted.append((fault.name, time.time_ns() // 1_000_000))
            fault.inflict(stack)
            stack.wait_caught_up()
            print(f"{len(inflicted):4} {fault.name}: {time.monotonic() - started_s:.1f} s", flush=True)
        stack.load.finish()
        refused = stack.load.refused
        wait_until(
            lambda: is_done(stack.world, redis_server.url, len(refused)), seconds=_DONE_WITHIN_S, what="all is done"
        )
        rows = judge(stack.world, redis_server.url, inflicted, set(refused))
        ends = stack.fleet.ends
        findings = examine(stack.world, redis_server.url, refused, stack.load.acknowledged)
    _show(rows, ends)
    print(findings.table(), flush=True)
    assert stack.load.failure is None
    letters = "dead letters for nothing, or twice"
    findings.faults[letters] -= len(_poisoned(stack))
    assert len(_poisoned(stack)) == stack.load.poisoned
    assert not {name: n for name, n in findings.faults.items() if n and name not in _ALLOWED}
    assert not [row for row in rows if row.lost or row.doubled]
    _check_counts(stack.world)


def _order() -> list[Fault]:
    """Every fault once in the order of the seed, again and again."""
    rng = random.Random(SEED)
    wanted = [fault for fault in FAULTS if ONLY in fault.name]
    order: list[Fault] = []
    while len(order) < TIMES:
        order += rng.sample(wanted, len(wanted))
    return order[:TIMES]


def _decided(world: World) -> int:
    return len(world.read(DECISIONS))


def _poisoned(stack: Stack) -> set[tuple[int, int]]:
    """Where payments stood that our own code failed on; a worker that slept may have put one aside again."""
    headers = [dict(letter.headers) for letter in stack.world.read(DEAD_LETTERS)]
    return {
        (int(each["source_partition"] or b""), int(each["source_offset"] or b""))
        for each in headers
        if each["reason"] == b"scoring_failed"
    }


def _check_counts(world: World) -> None:
    """The stand-in's score counts the card's payments: a lost or doubled change of state shows in it."""
    first: dict[tuple[int, int], dict[str, Any]] = {}
    for record in sorted(world.read(DECISIONS), key=lambda record: (record.partition, record.offset)):
        decision = json.loads(record.value or b"")
        first.setdefault((decision["source"]["partition"], decision["source"]["offset"]), decision)
    scores: dict[str, dict[str, float]] = {}
    for decision in first.values():
        if "degraded" not in decision["flags"]:
            scores.setdefault(str(decision["card_token"]), {})[str(decision["transaction_id"])] = decision["score"]
    wrong = Counter(
        card for card, by_id in scores.items() if sorted(by_id.values()) != [n / 1000 for n in range(1, len(by_id) + 1)]
    )
    assert not wrong


def _show(rows: list[Row], ends: int) -> None:
    """Print the table; write it into the page where asked to."""
    text = results.table(HEAD, table(rows))
    print(f"\n{text}\n{len(rows)} faults, {ends} processes ended", flush=True)
    if os.environ.get("CARDWATCH_FAULTS_PAGE"):
        intro = f"{len(rows)} faults under load, seed {SEED}; {ends} processes ended. {results.machine_lines(0.0)}"
        results.write_section("faults", f"{intro}\n\n{text}", PAGE)
