"""audit, rebuild, dlq and breaker in a terminal, on an installation that runs on real servers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import redis

from cardwatch.cli import main
from streams.clock import epoch_ms
from streams.events import iso_time
from streams.topics import ALERTS, DEAD_LETTERS
from tests.integration.installation import Installation, command
from tests.services.process import ServerProcess, wait_until
from tests.streams.kafka_world import World

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]
_WITHIN_S = 240.0
CARD_NUMBER = "4111111111111111"


@pytest.fixture
def strict_installation(world: World, empty_redis: str, tmp_path: Path) -> Installation:
    """An installation whose breaker opens after five freezes a minute."""
    return Installation(tmp_path / "data", world, empty_redis, freezes_per_minute=5)


@contextmanager
def responding(installation: Installation) -> Iterator[None]:
    """The respond role alone: what follows decisions needs no engine."""
    log = installation.data / "respond.log"
    process = ServerProcess(command("worker", "--roles", "respond"), log, installation.environment)
    process.start(lambda: True, seconds=_WITHIN_S)
    try:
        yield
    finally:
        process.kill()


def ended(installation: Installation, *arguments: str) -> tuple[int, str]:
    """Run a command as the terminal does, in this process; its exit code, and all that it said."""
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, installation.environment),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        code = main(arguments)
    return code, said.getvalue()


def done(installation: Installation, *arguments: str) -> str:
    """Run a command that must end well; what it said."""
    code, said = ended(installation, *arguments)
    assert code == 0, said
    return said


def alert(world: World, number: int) -> None:
    """A FREEZE alert, as the score role writes it."""
    now_ms = epoch_ms()
    body = {
        "alert_id": f"al-{number}", "transaction_id": f"t-{number}", "card_token": f"card-{number}",
        "event_time_ms": now_ms, "action": "FREEZE", "reasons": ["new_country"], "policy_version": "p-storm",
    }  # fmt: skip
    world.write(ALERTS, f"card-{number}", json.dumps(body).encode(), [("ce_time", iso_time(now_ms).encode())])


def test_an_operators_day(world: World, strict_installation: Installation, empty_redis: str) -> None:
    """A storm is held and released; dead letters are retried; Redis agrees with Kafka, is lost, and rebuilt."""
    installation = strict_installation
    with responding(installation):
        world.write(ALERTS, "card-x", b'{"alert_id": "x"')
        world.write(ALERTS, "card-y", json.dumps({"card_token": CARD_NUMBER}).encode())
        for number in range(9):
            alert(world, number)
        world.writer.flush()
        wait_until(lambda: _outcomes(empty_redis) >= 9, seconds=_WITHIN_S, what="nine alerts handled")
        wait_until(lambda: len(world.read(DEAD_LETTERS)) >= 2, seconds=_WITHIN_S, what="two dead letters")
        _breaker(installation)
        _dead_letters(installation)
        wait_until(lambda: ended(installation, "audit")[0] == 0, seconds=_WITHIN_S, what="nothing differs")
    _rebuild(installation, empty_redis)


def _outcomes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(1 for _ in client.scan_iter("cardwatch:{*}:step:alert-al-*", count=1000))


def _breaker(installation: Installation) -> None:
    """The storm's policy is held, and let go by name and reason."""
    assert "p-storm                  open" in done(installation, "breaker", "list")
    told = done(installation, "breaker", "release", "p-storm", "--reason", "understood", "--actor", "ann")
    assert "p-storm                  closed" in told
    assert "by ann: understood" in told
    code, told = ended(installation, "breaker", "release", "p-unknown", "--reason", "understood")
    assert (code, "no breaker of this policy is known" in told) == (2, True)


def _dead_letters(installation: Installation) -> None:
    """Two letters: one is sent again and comes back; the other had a card number in it and can only be dropped."""
    letters = [
        json.loads(line) for line in done(installation, "dlq", "list", "--source", "alerts", "--json").splitlines()
    ]
    assert [letter["reason"] for letter in letters] == ["alert_failed"] * 2
    assert CARD_NUMBER not in json.dumps(letters)
    broken = next(letter for letter in letters if letter["can_be_retried"])
    number = next(letter for letter in letters if not letter["can_be_retried"])
    assert "[card number removed]" in done(installation, "dlq", "show", number["id"])
    code, told = ended(installation, "dlq", "retry", broken["id"], number["id"], "--note", "seen")
    assert (code, "1 letter retried" in told, "a card number was taken out" in told) == (1, True, True), told
    assert "1 letter dropped" in done(installation, "dlq", "drop", number["id"])

    def waiting() -> list[str]:
        return done(installation, "dlq", "list", "--json").splitlines()

    wait_until(lambda: len(waiting()) == 1, seconds=_WITHIN_S, what="it came back")
    again = json.loads(waiting()[0])
    assert again["id"] != broken["id"]
    assert again["value"] == broken["value"]
    states = [json.loads(line)["state"] for line in done(installation, "dlq", "list", "--all", "--json").splitlines()]
    assert sorted(states) == ["dropped", "retried", "waiting"]


def _rebuild(installation: Installation, url: str) -> None:
    """A Redis that lost everything: the worker does not start on it; rebuilt, it agrees with Kafka."""
    code, told = ended(installation, "rebuild", "redis")
    assert (code, "Redis holds data of cardwatch" in told) == (2, True)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    words = command("worker", "--roles", "respond")
    refused = subprocess.run(
        words, env=installation.environment, capture_output=True, text=True, check=False, timeout=_WITHIN_S
    )
    assert (refused.returncode, "cardwatch rebuild redis" in refused.stderr) == (2, True), refused.stderr
    told = done(installation, "rebuild", "redis")
    assert "put back: " in told
    assert "This is what the outbox had relayed up to" in told
    report = json.loads(done(installation, "audit", "--json"))
    assert (report["differences"], report["fenced_shards"]) == ([], [])
    assert report["cards"] >= 9
    assert "p-storm                  closed" in done(installation, "breaker", "list")
