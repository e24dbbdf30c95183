"""Kafka over TLS with SCRAM-SHA-512, Redis over TLS with just the documented rights: all of cardwatch works on them."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.clock import epoch_ms
from streams.events import iso_time
from streams.topics import ALERTS, CARD_STATES, DECISIONS
from tests.integration.installation import Installation, Worker, command
from tests.services.certificates import Authority
from tests.services.kafka_broker import KafkaBroker, Secured, running_kafka
from tests.services.process import wait_until
from tests.services.redis_server import RedisServer, documented_guard, redis_program, running_redis
from tests.streams.kafka_world import World, real_world

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.compiled,
    pytest.mark.timeout(600),
    pytest.mark.skipif(redis_program() is None, reason="redis-server is not installed"),
]
USER = "cardwatch"
_WITHIN_S = 240.0


@dataclass(frozen=True)
class Servers:
    """A Kafka and a Redis that let in one user each, over TLS; the test itself looks at Kafka through another door."""

    authority: Authority
    password: str
    kafka: KafkaBroker
    redis: RedisServer

    def secrets(self) -> set[str]:
        """What must not stand in any output."""
        return {self.password, self.redis.url.split(":")[2].split("@")[0]}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder, password = tmp_path_factory.mktemp("secured"), secrets.token_hex(16)
    authority = Authority(folder / "authority")
    secured = Secured(USER, password, authority.issue("kafka"))
    with (
        running_kafka(folder / "kafka", secured=secured) as kafka,
        running_redis(folder / "redis", guard=documented_guard(folder / "redis-authority")) as redis,
    ):
        yield Servers(authority, password, kafka, redis)


@pytest.fixture
def eye(servers: Servers, tmp_path: Path) -> Iterator[World]:
    with real_world(servers.kafka.bootstrap_servers, f"file://{tmp_path}/checkpoints") as made:
        yield made


@pytest.fixture
def secured(servers: Servers, eye: World, tmp_path: Path) -> Installation:
    """Settings as an operator gives them: what is secret in files of its own."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "kafka__client__sasl.password").write_text(servers.password)
    (folder / "redis__url").write_text(servers.redis.url)
    made = Installation(tmp_path / "data", eye, "")
    del made.environment["CARDWATCH_REDIS__URL"]
    made.environment |= {
        "CARDWATCH_SECRETS_DIR": str(folder),
        "CARDWATCH_KAFKA__BOOTSTRAP_SERVERS": servers.kafka.secure_servers,
        "CARDWATCH_KAFKA__CLIENT": json.dumps(client_of(servers)),
        "CARDWATCH_KAFKA__REPLICATION_FACTOR": "1",
        "CARDWATCH_DESK__CODE_SECRET": secrets.token_hex(32),
    }
    return made


def client_of(servers: Servers) -> dict[str, str]:
    """`kafka.client` without its secret."""
    return {
        "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": USER,
        "ssl.ca.location": str(servers.authority.file),
    }  # fmt: skip


def alert(world: World, card: str) -> None:
    """A FREEZE alert, as the score role writes it."""
    now_ms = epoch_ms()
    body = {
        "alert_id": f"al-{card}", "transaction_id": f"t-{card}", "card_token": card, "event_time_ms": now_ms,
        "action": "FREEZE", "reasons": ["new_country"], "policy_version": "p-1",
    }  # fmt: skip
    world.write(ALERTS, card, json.dumps(body).encode(), [("ce_time", iso_time(now_ms).encode())])


def test_all_roles_work_over_tls(servers: Servers, eye: World, secured: Installation, warm_cache: Path) -> None:
    """A payment is decided, an alert freezes its card and is told, Redis agrees with Kafka; no secret is in any log."""
    shutil.copytree(warm_cache, secured.data / "cache")
    said = secured.run("topics", "diff") + secured.run("warm", "--publish")
    worker = Worker(secured)
    try:
        eye.pay("t-1")
        alert(eye, "card-b")
        assert eye.writer.flush(30) == 0
        wait_until(lambda: len(eye.values(DECISIONS)) == 1, seconds=_WITHIN_S, what="the payment is decided")
        wait_until(lambda: "frozen" in states(eye), seconds=_WITHIN_S, what="the card is frozen")
        said += secured.run("audit") + secured.run("breaker", "list") + secured.run("dlq", "list")
        worker.stop()
    finally:
        worker.clean_up()
    said += secured.run("rebuild", "redis", "--wipe") + secured.run("audit")
    logs = [*secured.data.glob("logs/*"), secured.data.parent / "worker.log"]
    assert len(logs) >= 6
    written = said + "".join(path.read_text(errors="replace") for path in logs)
    assert not [secret for secret in servers.secrets() if secret in written]


def test_doctor_looks_into_both(servers: Servers, secured: Installation) -> None:
    """By the same user and rights; what it finds wrong is not the way in."""
    told = ended(secured, {}, "doctor")
    assert f"kafka: broker at {servers.kafka.secure_servers}" in told.stdout, told.stdout + told.stderr
    assert "redis: appendonly is yes" in told.stdout
    assert "does not answer" not in told.stdout
    assert not [secret for secret in servers.secrets() if secret in told.stderr + told.stdout]


def states(world: World) -> set[str]:
    return {str(state["state"]) for state in world.values(CARD_STATES)}


@pytest.mark.parametrize("role", ["score", "respond"])
def test_a_worker_with_a_wrong_password_says_what_to_check(servers: Servers, secured: Installation, role: str) -> None:
    """It ends before it has joined anything, as with every wrong setting, and repeats no secret."""
    wrong = secrets.token_hex(16)
    changed = {"score": "CARDWATCH_KAFKA__CLIENT__SASL.PASSWORD", "respond": "CARDWATCH_REDIS__URL"}[role]
    value = (
        wrong if role == "score" else servers.redis.url.replace(servers.redis.url.split(":")[2].split("@")[0], wrong)
    )
    told = ended(secured, {changed: value}, "worker", "--roles", role)
    named = {"score": "check sasl.username, sasl.password and sasl.mechanism", "respond": "check redis.url"}[role]
    assert (told.returncode, named in told.stderr) == (2, True), told.stderr
    assert not [secret for secret in {wrong, *servers.secrets()} if secret in told.stderr + told.stdout]


def test_a_broker_of_another_authority_is_not_trusted(servers: Servers, secured: Installation, tmp_path: Path) -> None:
    """Whoever pretends to be the broker gets nothing; the message names the file to check."""
    changed = client_of(servers) | {"ssl.ca.location": str(Authority(tmp_path / "other").file)}
    told = ended(secured, {"CARDWATCH_KAFKA__CLIENT": json.dumps(changed)}, "topics", "diff")
    assert (told.returncode, "check ssl.ca.location of kafka.client" in told.stderr) == (3, True), told.stderr
    assert not [secret for secret in servers.secrets() if secret in told.stderr + told.stdout]


def ended(installation: Installation, changed: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with some variables changed."""
    return subprocess.run(
        command(*arguments), env={**installation.environment, **changed}, capture_output=True, text=True, check=False,
        timeout=_WITHIN_S,
    )  # fmt: skip
