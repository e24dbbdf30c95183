"""The fault matrix: what is done to a running installation, each with what it is called in the table."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import redis

from streams import failpoints
from streams.topics import ALERTS, DECISIONS
from tests.faults.fleet import Place
from tests.faults.stack import SESSION_S, Stack

LONG = bool(os.environ.get("CARDWATCH_FAULTS_LONG"))
_AWAY_S = 300.0 if LONG else 12.0


@dataclass(frozen=True)
class Fault:
    """One row of the matrix."""

    name: str
    inflict: Callable[[Stack], None]


def wait(seconds: float) -> None:
    """Load goes on meanwhile."""
    threading.Event().wait(seconds)


def _kill(role: str, stack: Stack) -> None:
    stack.fleet.send(stack.rng.choice(stack.fleet.names(role)), signal.SIGKILL)
    wait(0.5)


def _kill_all(stack: Stack) -> None:
    for role in ("score", "respond"):
        for name in stack.fleet.names(role):
            stack.fleet.send(name, signal.SIGKILL)
    wait(0.5)


def _in_script(stack: Stack) -> None:
    """The step is on its way to Redis when the one who asked for it dies."""
    passed = threading.Event()

    def die() -> None:
        stack.fleet.send("r0", signal.SIGKILL)
        passed.set()

    stack.proxy.passed = die
    stack.proxy.watched = b"EVALSHA"
    if not passed.wait(60):
        message = "no step went to Redis"
        raise TimeoutError(message)


def _sleep(role: str, stack: Stack) -> None:
    """SIGSTOP for longer than the session, then SIGCONT."""
    name = stack.rng.choice(stack.fleet.names(role))
    stack.fleet.send(name, signal.SIGSTOP)
    wait(SESSION_S + stack.rng.uniform(2.0, 5.0))
    stack.fleet.send(name, signal.SIGCONT)
    wait(1.0)


def _join_and_leave(stack: Stack) -> None:
    """A worker joins under load, takes partitions, and leaves in order."""
    stack.fleet.want("s2", Place("score"))
    stack.fleet.wait_ready("s2")
    wait(4.0)
    if (code := stack.fleet.dismiss("s2")) != 0:
        message = f"a worker that leaves ends with {code}"
        raise AssertionError(message)


def _terminate(role: str, stack: Stack) -> None:
    """SIGTERM under load: saved, committed, left; another one takes its place."""
    stack.fleet.send(stack.rng.choice(stack.fleet.names(role)), signal.SIGTERM)
    wait(2.0)


def _spare_takes_over(stack: Stack) -> None:
    """Somebody idle is in the group already when an owner dies and does not come back."""
    stack.fleet.want("spare", Place("score"))
    stack.fleet.wait_ready("spare")
    wait(3.0)
    stack.fleet.send("s1", signal.SIGKILL)
    wait(SESSION_S + 2.0)
    stack.fleet.dismiss("spare")


def _clocks_apart(stack: Stack) -> None:
    """A worker whose clock is ten minutes ahead takes over, and one whose clock is behind."""
    for name, skew_ms in (("ahead", 600_000), ("behind", -600_000)):
        stack.fleet.want(name, Place("score", skew_ms))
        stack.fleet.wait_ready(name)
        wait(3.0)
        stack.fleet.send("s0", signal.SIGKILL)
        wait(SESSION_S + 2.0)
        stack.fleet.dismiss(name)


def _broker_restarts(stack: Stack) -> None:
    stack.broker.kill()
    stack.broker.start()


def _broker_away(stack: Stack) -> None:
    stack.broker.kill()
    wait(_AWAY_S)
    stack.broker.start()


def _coordinator_gone(stack: Stack) -> None:
    """The broker dies before, while or after the group deals out a dead worker's partitions."""
    stack.fleet.send(stack.rng.choice(["s0", "s1"]), signal.SIGKILL)
    wait(SESSION_S + stack.rng.uniform(-0.5, 2.0))
    stack.broker.kill()
    stack.broker.start()


def _redis_killed(stack: Stack) -> None:
    stack.redis.kill()
    wait(2.0)
    stack.redis.start()


def _redis_slow(stack: Stack) -> None:
    stack.proxy.delay_s = 0.2
    wait(8.0)
    stack.proxy.delay_s = 0.0


def _redis_full(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis.url) as client:
        client.config_set("maxmemory", "1")
        wait(6.0)
        client.config_set("maxmemory", "0")


def _broken_records(stack: Stack) -> None:
    for _ in range(5):
        stack.load.send_broken()
    wait(1.0)


def _handler_bug(stack: Stack) -> None:
    for _ in range(5):
        stack.load.send_poison()
    wait(1.0)


def _corrupt_checkpoint(stack: Stack) -> None:
    """The newest objects of every partition are damaged, then their owners die."""
    files = sorted((f for f in stack.checkpoints.rglob("*") if f.is_file()), key=lambda file: file.stat().st_mtime)
    for file in files[-6:]:
        data = bytearray(file.read_bytes())
        if data:
            data[len(data) // 2] ^= 0xFF
            file.write_bytes(data)
    _kill_all(stack)


def _disk_full(stack: Stack) -> None:
    """No file can grow while checkpoints are due; then the workers die."""
    names = stack.fleet.names("score")
    for name in names:
        resource.prlimit(stack.fleet.pid(name), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    wait(4.0)
    for name in names:
        stack.fleet.send(name, signal.SIGKILL)
    wait(0.5)


def _too_large(topic: str, stack: Stack) -> None:
    """Every output of a topic is refused as too large, until an operator has seen it."""
    stack.topic_setting(topic, "max.message.bytes", "10")
    wait(4.0)
    stack.topic_setting(topic, "max.message.bytes", None)


def _no_replicas(stack: Stack) -> None:
    """Fewer replicas are in sync than the topic asks for."""
    stack.topic_setting(DECISIONS, "min.insync.replicas", "2")
    wait(4.0)
    stack.topic_setting(DECISIONS, "min.insync.replicas", None)


def _gaps(stack: Stack) -> None:
    """Payments come in Kafka's transactions; an owner dies among the offsets that no record has."""
    stack.load.in_transactions = True
    wait(3.0)
    _kill("score", stack)
    wait(1.0)
    stack.load.in_transactions = False


def _points() -> list[Fault]:
    names = {
        failpoints.AFTER_DECODE: "after decoding", failpoints.AFTER_SCORING: "after scoring",
        failpoints.AFTER_PRODUCE: "after producing", failpoints.BEFORE_CHECKPOINT: "before a checkpoint",
        failpoints.BEFORE_COMMIT: "between checkpoint and commit", failpoints.AFTER_COMMIT: "after a commit",
        failpoints.BEFORE_STEP: "before the step in Redis", failpoints.AFTER_STEP: "after the step in Redis",
        failpoints.AFTER_ALERTS_COMMIT: "after the commit of alerts",
        failpoints.OUTBOX_READ: "between Redis and the outbox's record",
        failpoints.OUTBOX_SENT: "between Kafka and the outbox's trim",
    }  # fmt: skip
    return [Fault(f"kill -9 {when}", partial(_arm, place)) for place, when in names.items()]


def _arm(place: str, stack: Stack) -> None:
    stack.arm(place)


FAULTS: tuple[Fault, ...] = (
    *_points(),
    Fault("kill -9 with the script on its way to Redis", _in_script),
    Fault("kill -9 of a score worker, at any moment", partial(_kill, "score")),
    Fault("kill -9 of the respond worker, at any moment", partial(_kill, "respond")),
    Fault("kill -9 of everything", _kill_all),
    Fault("SIGTERM of a score worker", partial(_terminate, "score")),
    Fault("SIGTERM of the respond worker", partial(_terminate, "respond")),
    Fault("a score worker joins and leaves", _join_and_leave),
    Fault("an idle spare takes over", _spare_takes_over),
    Fault("SIGSTOP of a score worker beyond its session", partial(_sleep, "score")),
    Fault("SIGSTOP of the respond worker beyond its session", partial(_sleep, "respond")),
    Fault("clocks ten minutes apart", _clocks_apart),
    Fault("broker killed and started", _broker_restarts),
    Fault(f"broker away for {_AWAY_S:.0f} s", _broker_away),
    Fault("coordinator gone in a rebalance", _coordinator_gone),
    Fault("Redis killed for 2 s", _redis_killed),
    Fault("Redis slow, 200 ms a request", _redis_slow),
    Fault("Redis full", _redis_full),
    Fault("records that are no payments", _broken_records),
    Fault("payments that our own code fails on", _handler_bug),
    Fault("newest checkpoints corrupt, everything killed", _corrupt_checkpoint),
    Fault("disk full while checkpointing", _disk_full),
    Fault("decisions refused: too large", partial(_too_large, DECISIONS)),
    Fault("alerts refused: too large", partial(_too_large, ALERTS)),
    Fault("decisions refused: not enough replicas", _no_replicas),
    Fault("offsets that no record takes", _gaps),
)
