"""Two versions side by side under load, in both orders: by the runbooks from the one before to this one, and back.

The one before is a commit whose checkpoints, models, records, Redis documents and tables this one reads, and that reads
those of this one: whoever changes a format moves it. `CARDWATCH_UPGRADE_FROM` names another.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from benchmarks import results
from cardwatch.embedded import DataDirectory
from cardwatch.metrics import PROCESS_VARIABLE, read_url
from streams.topics import DECISIONS
from tests.faults.fleet import ROOT, Place
from tests.faults.judge import HEAD, judge, table
from tests.faults.stack import Stack, running_stack
from tests.integration.installation import Installation, command
from tests.integration.oracle import examine, is_done
from tests.integration.test_kill_nine import loading
from tests.services.kafka_broker import KafkaBroker
from tests.services.process import wait_until
from tests.services.redis_server import RedisServer
from tests.streams.kafka_world import World, real_world

BEFORE = os.environ.get("CARDWATCH_UPGRADE_FROM", "ed14fc5")
SEED = 20261128
_DONE_WITHIN_S = 300.0
# Whose payments do not run dry before the last role is back, also where a start takes half a minute.
_CARDS = 100_000
# In the order of docs/runbooks/upgrade.md; docs/runbooks/rollback.md is the same backwards.
_UPGRADE = (("r0", "respond"), ("s0", "score"), ("s1", "score"))

_ROLES = ("learn", "respond", "history", "notify", "score")

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def world(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[World]:
    with real_world(kafka_broker.bootstrap_servers, f"file://{tmp_path}/unused") as made:
        yield made


@pytest.fixture
def code_before(tmp_path: Path) -> Path:
    """A folder with the version before; skips where the clone has no history."""
    folder, packed = tmp_path / "before", tmp_path / "before.tar"
    command = ["git", "archive", "--format=tar", f"--output={packed}", BEFORE]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"this clone has no commit {BEFORE}")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_two_versions_side_by_side_lose_nothing_and_double_nothing(
    world: World, kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path, code_before: Path
) -> None:
    """One process after the other, each ends in order; each payment is decided once, each freeze happens once."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    done: list[tuple[str, int]] = []
    with running_stack(world, kafka_broker, redis_server, tmp_path, SEED, code_before) as stack:
        wait_until(lambda: len(stack.world.read(DECISIONS)) > 100, seconds=_DONE_WITHIN_S, what="the first answers")
        for name, role in _UPGRADE:
            done.append((f"upgrade of {role}", _now_ms()))
            _replace(stack, name, Place(role))
        for name, role in reversed(_UPGRADE):
            done.append((f"rollback of {role}", _now_ms()))
            _replace(stack, name, Place(role, code=code_before))
        stack.load.finish()
        wait_until(lambda: is_done(stack.world, redis_server.url, 0), seconds=_DONE_WITHIN_S, what="all is done")
        rows = judge(stack.world, redis_server.url, done, set())
        findings = examine(stack.world, redis_server.url, {}, stack.load.acknowledged)
        ends = stack.fleet.ends
    print(f"\nfrom {BEFORE} and back\n{results.table(HEAD, table(rows))}\n{findings.table()}", flush=True)
    assert stack.load.failure is None
    assert not {name: n for name, n in findings.faults.items() if n}
    assert not [row for row in rows if row.lost or row.doubled or not row.sent]
    # None ended by itself: a format that the other cannot read would end it again and again.
    assert ends == 0


class Versions:
    """A whole installation, each role a process of its own and of one of two versions."""

    def __init__(self, installation: Installation, log: Path) -> None:
        self._installation = installation
        self._log = log
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str, code: Path) -> None:
        """Start a role, and return when it is ready."""
        with self._log.open("ab") as log:
            self._processes[role] = subprocess.Popen(
                command("worker", "--roles", role),
                cwd=code, env=self._installation.environment | {PROCESS_VARIABLE: role}, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(lambda: self._is_ready(role), seconds=_DONE_WITHIN_S, what=f"{role} of {code} is ready")

    def stop(self, role: str) -> int:
        """SIGTERM; the exit code, which is another one where it had ended by itself."""
        ended = self._processes.pop(role)
        ended.terminate()
        return ended.wait(60)

    def kill_all(self) -> None:
        """Leave nothing behind."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _is_ready(self, role: str) -> bool:
        assert self._processes[role].poll() is None, self._log.read_text()[-5_000:]
        url = read_url(DataDirectory(self._installation.data), role)
        try:
            return url is not None and httpx.get(f"{url}/readyz").is_success
        except httpx.HTTPError:  # the address of the one before it
            return False


@pytest.mark.compiled
def test_a_whole_installation_is_upgraded_and_rolled_back(
    world: World, redis_server: RedisServer, tmp_path: Path, code_before: Path
) -> None:
    """The engine, models, history and notices of both versions read each other's; the oracle finds nothing missing."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    installation = Installation(tmp_path / "data", world, redis_server.url)
    installation.environment["CARDWATCH_DESK__CODE_SECRET"] = secrets.token_hex(32)
    # Compiles the kernels of the version before; those of this one were compiled when it was installed.
    warm = subprocess.run(command("warm", "--publish"), cwd=code_before, env=installation.environment, check=False)
    assert warm.returncode == 0
    versions = Versions(installation, tmp_path / "versions.log")
    try:
        for role in _ROLES:
            versions.start(role, code_before)
        with loading(world.settings.bootstrap_servers, _CARDS) as load:
            for code, roles in ((ROOT, _ROLES), (code_before, _ROLES[::-1])):
                for role in roles:
                    decided = len(world.read(DECISIONS))
                    assert versions.stop(role) == 0, (tmp_path / "versions.log").read_text()[-5_000:]
                    versions.start(role, code)
                    wait_until(
                        lambda seen=decided: len(world.read(DECISIONS)) > seen + 500,  # type: ignore[misc]
                        seconds=_DONE_WITHIN_S, what="payments are decided",
                    )  # fmt: skip
        wait_until(lambda: is_done(world, redis_server.url, 0), seconds=_DONE_WITHIN_S, what="all is done")
        assert {versions.stop(role) for role in _ROLES} == {0}
    finally:
        versions.kill_all()
    findings = examine(world, redis_server.url, {}, load.acknowledged)
    print(f"\na whole installation, from {BEFORE} and back\n{findings.table()}", flush=True)
    assert not {name: n for name, n in findings.faults.items() if n}
    assert findings.facts["cards with a FREEZE decision"] > 0


def _replace(stack: Stack, name: str, place: Place) -> None:
    """SIGTERM, then the other version under the same name; answers keep up again before anybody goes on."""
    assert stack.fleet.dismiss(name) == 0
    stack.fleet.want(name, place)
    stack.fleet.wait_ready(name)
    stack.wait_caught_up()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
