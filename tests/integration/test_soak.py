"""A whole installation for half an hour, its processes never ended: its memory stays bounded, and nothing is lost.

Two months of a simulated world are played in whatever time it takes, so the windows of 30 days are full before half of
it, and what grows after that leaks. Meanwhile a second score worker comes and goes, and Redis and the broker are killed
and started: what each of that leaves behind in the others would add up.

`CARDWATCH_SOAK_MINUTES=30 CARDWATCH_FAULTS_PAGE=1 make test-faults ARGS="-k soak"` writes docs/guarantees.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from benchmarks import results
from cardwatch.embedded import DataDirectory
from cardwatch.metrics import PROCESS_VARIABLE, read_url
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.pacing import paced
from cardwatch.simulator.wire import to_labels, to_records
from cardwatch.simulator.world import DAY_MS
from streams.topics import LABELS
from tests.faults.judge import PAGE
from tests.integration.installation import ROLES, Installation, Worker, command
from tests.integration.load import SimulatedLoad, decisions, now_ms
from tests.integration.oracle import examine, is_done
from tests.services.kafka_broker import KafkaBroker
from tests.services.process import ends_in_order, wait_until
from tests.services.redis_server import RedisServer
from tests.streams.kafka_world import World

MINUTES = float(os.environ.get("CARDWATCH_SOAK_MINUTES", "2"))
_SEED = 20261128
_PAYMENTS_A_SECOND = 400.0
_DAYS = 62
_PAYMENTS_A_CARD_DAY = 3.0
_LABEL_DELAY_DAYS = 7
_DISTURBED_EVERY_S = max(25.0, MINUTES * 60 / 18)
# Whoever writes to a broker that dies at the end waits for it longer than tools do.
_DISTURBED_UNTIL = 0.85
_LOOK_S = 1.0
_DONE_WITHIN_S = 600.0
# What a process may hold more in the last eighth than in the fifth: of what it held, and whatever it held.
_GROWN_SHARE, _GROWN_MIB = 0.05, 12.0
_HEAD = ("process", *(f"{eighth}/8" for eighth in range(1, 9)), "open files", "threads")

pytestmark = [
    pytest.mark.faults, pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(1800 + 120 * MINUTES)
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: memory in MiB, and counts."""

    memory_mib: float
    files: int
    threads: int


class Load(SimulatedLoad):
    """Two months of payments and their labels at a steady rate, as fast as to end in time."""

    def __init__(self, servers: str) -> None:
        # A broker is away now and then, which its clients need not say.
        quiet = {"log_level": "0"}
        super().__init__(servers, quiet)
        self._payments = int(MINUTES * 60 * _PAYMENTS_A_SECOND)
        self._cards = max(100, round(self._payments / (_DAYS * _PAYMENTS_A_CARD_DAY)))
        self._labels = Producer(
            quiet | {"bootstrap.servers": servers, "partitioner": "murmur2_random", "enable.idempotence": True}
        )

    def _play(self) -> None:
        world = WorldSettings(seed=_SEED, cards=self._cards, payments_per_card_day=_PAYMENTS_A_CARD_DAY)
        stream = Simulator(world).stream(now_ms() - (_DAYS + 8) * DAY_MS)
        with self._sender as sender:
            for payments in paced(
                stream, rate_per_s=_PAYMENTS_A_SECOND, count=self._payments, now_ms=now_ms, wait_s=self._end.wait
            ):
                sender.send(to_records(stream.world, payments))
                labels = to_labels(stream.world, payments, _LABEL_DELAY_DAYS * DAY_MS)
                for number in range(len(labels["label"])):
                    self._label({name: column[number] for name, column in labels.items()})
                self._labels.poll(0)
        self._labels.flush(60)

    def _label(self, known: dict[str, object]) -> None:
        """A chargeback, or word that there was none."""
        label = {
            "transaction_id": known["transaction_id"], "card_token": known["card_token"],
            "label": "fraud" if known["label"] else "genuine", "source": "import",
            "label_time_ms": int(str(known["label_time_ms"])),
        }  # fmt: skip
        self._labels.produce(LABELS, json.dumps(label).encode(), str(known["card_token"]).encode())


class Watch(threading.Thread):
    """Looks at processes once a second, and asks the service what agents ask it.

    Attributes:
        seen: by process, what it held when; the time as a share of the whole.
        passed: that share now.
    """

    def __init__(self, installation: Installation, pids: dict[str, int]) -> None:
        super().__init__(name="watch")
        self.seen: dict[str, list[tuple[float, Held]]] = {name: [] for name in pids}
        self._installation = installation
        self._pids = pids
        self._end = threading.Event()
        self.passed = 0.0

    def run(self) -> None:
        """Look until told to end, or until a process is gone, which the test will notice."""
        started_s = time.monotonic()
        with contextlib.suppress(FileNotFoundError):
            while not self._end.wait(_LOOK_S):
                self.passed = (time.monotonic() - started_s) / (MINUTES * 60)
                for name, pid in self._pids.items():
                    self.seen[name].append((self.passed, _held(pid)))
                _ask(self._installation)

    def finish(self) -> None:
        """End."""
        self._end.set()
        self.join()


class Disturbances:
    """What is done to the installation, in turn, without ending any of its own processes."""

    def __init__(self, installation: Installation, broker: KafkaBroker, server: RedisServer) -> None:
        self._installation, self._broker, self._redis = installation, broker, server
        self._second: subprocess.Popen[bytes] | None = None
        self._turns: list[Callable[[], None]] = [self._join, self._redis_dies, self._leave, self._broker_dies]
        self.times = 0

    def next(self) -> None:
        """The next one."""
        turn = self._turns[self.times % len(self._turns)]
        print(f"{time.strftime('%H:%M:%S')} {turn.__name__.strip('_')}", flush=True)
        turn()
        self.times += 1

    def end(self) -> None:
        """Leave nothing behind."""
        if self._second is not None:
            self._leave()

    def _join(self) -> None:
        with (self._installation.data.parent / "second.log").open("ab") as log:
            self._second = subprocess.Popen(
                command("worker", "--roles", "score"), env=self._installation.environment, stdout=log, stderr=log
            )
        pid = self._second.pid
        wait_until(lambda: ends_in_order(pid), seconds=60, what="a second score worker has begun")

    def _leave(self) -> None:
        if self._second is not None:
            self._second.terminate()
            assert self._second.wait(60) == 0
            self._second = None

    def _redis_dies(self) -> None:
        self._redis.kill()
        threading.Event().wait(2.0)
        self._redis.start()

    def _broker_dies(self) -> None:
        self._broker.kill()
        self._broker.start()


def test_a_soak_leaks_nothing_and_loses_nothing(
    world: World, installation: Installation, kafka_broker: KafkaBroker, redis_server: RedisServer
) -> None:
    """Each payment is decided, each freeze ends once; no process holds more at the end than when windows were full."""
    installation.run("warm", "--publish")
    worker = Worker(installation)
    load, disturbances = Load(world.settings.bootstrap_servers), Disturbances(installation, kafka_broker, redis_server)
    try:
        with _api(installation) as api:
            pids = _pids(worker) | {"api": api.pid}
            watch = Watch(installation, pids)
            load.start()
            watch.start()
            while load.is_alive():
                load.join(_DISTURBED_EVERY_S)
                if load.is_alive() and watch.passed < _DISTURBED_UNTIL:
                    disturbances.next()
            load.finish()
            watch.finish()
            disturbances.end()
            wait_until(lambda: decisions(world) >= load.acknowledged, seconds=_DONE_WITHIN_S, what="all decisions")
            wait_until(lambda: is_done(world, redis_server.url, 0), seconds=_DONE_WITHIN_S, what="everything is done")
            assert _pids(worker) | {"api": api.pid} == pids, "a process has ended and was started again"
        worker.stop()
    finally:
        worker.clean_up()
        disturbances.end()
    findings = examine(world, redis_server.url, {}, load.acknowledged)
    table = _table(watch.seen)
    print(f"\n{table}\n{findings.table()}", flush=True)
    _show(table, load.acknowledged, disturbances.times, findings.faults)
    assert not {name: count for name, count in findings.faults.items() if count}
    assert not {name: grown for name, looks in watch.seen.items() if (grown := _grown(looks))}


@contextmanager
def _api(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """The HTTP service of the installation."""
    with (installation.data.parent / "api.log").open("ab") as log:
        environment = installation.environment | {PROCESS_VARIABLE: "api"}
        process = subprocess.Popen(command("api"), env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _ask(installation), seconds=60, what="the service answers")
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _ask(installation: Installation) -> bool:
    """An agent looks at the queue, the closed cases and the page for people; whether all were answered."""
    address = read_url(DataDirectory(installation.data), "api")
    headers = {"Authorization": f"Bearer {installation.api_key}"}
    try:
        return address is not None and all(
            httpx.get(address + path, headers=headers, timeout=10).is_success
            for path in ("/v1/cases", "/v1/history?q=tok", "/readyz")
        )
    except httpx.HTTPError:
        return False


def _pids(worker: Worker) -> dict[str, int]:
    """Process ids by role, of all roles."""
    wait_until(lambda: worker.children().keys() == set(ROLES), seconds=60, what="all roles run")
    return worker.children()


def _held(pid: int) -> Held:
    """What a process holds at the moment; memory that it shares with files does not count."""
    status = Path(f"/proc/{pid}/status").read_text()
    lines = re.findall(r"^(RssAnon|RssShmem|Threads):\s+(\d+)", status, re.MULTILINE)
    found = {name: int(number) for name, number in lines}
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Held((found["RssAnon"] + found["RssShmem"]) / 1024, files, found["Threads"])


def _mean(looks: list[tuple[float, Held]], eighth: int) -> float:
    """Mean memory in MiB in one eighth of the time, from 0 on."""
    inside = [held.memory_mib for passed, held in looks if eighth <= passed * 8 < eighth + 1]
    return sum(inside) / len(inside)


def _grown(looks: list[tuple[float, Held]]) -> str:
    """How much more a process held in the last eighth than in the fifth; empty where that is bearable."""
    before, after = _mean(looks, 4), _mean(looks, 7)
    return f"{before:.0f} to {after:.0f} MiB" if after - before > _GROWN_SHARE * before + _GROWN_MIB else ""


def _table(seen: dict[str, list[tuple[float, Held]]]) -> str:
    """Memory by eighths, and counts at the fifth and at the end."""
    rows = []
    for name, looks in seen.items():
        first = next(held for passed, held in looks if passed * 8 >= 4)
        last = looks[-1][1]
        counts = (f"{first.files} → {last.files}", f"{first.threads} → {last.threads}")
        rows.append([name, *(f"{_mean(looks, eighth):,.0f}" for eighth in range(8)), *counts])
    return results.table(_HEAD, rows)


def _show(table: str, payments: int, disturbances: int, faults: dict[str, int]) -> None:
    """Write the table into the page where asked to."""
    if os.environ.get("CARDWATCH_FAULTS_PAGE"):
        intro = (
            f"{MINUTES:.0f} minutes, {payments:,} payments of {_DAYS} simulated days with their labels, {disturbances} "
            f"disturbances; lost, doubled or said twice: {sum(faults.values())}. {results.machine_lines(0.0)} "
            "Memory in MiB, the mean of each eighth of the time; open files and threads from the middle to the end."
        )
        results.write_section("soak", f"{intro}\n\n{table}", PAGE)
