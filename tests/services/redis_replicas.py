"""Debian's Redis as a master with replicas, and sentinels that fail it over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.services.process import LOOPBACK, ServerProcess, free_ports, wait_until
from tests.services.redis_server import RedisServer, redis_program

SERVICE = "cardwatch"
_START_SECONDS = 30.0
_SENTINELS = 3
# Sentinels agree within a second that a master is gone, so that a test waits for the failover and not for them.
_SENTINEL_SETTINGS = """\
bind {host}
port {port}
dir {directory}
sentinel monitor {service} {host} {master} 2
sentinel down-after-milliseconds {service} 700
sentinel failover-timeout {service} 5000
sentinel parallel-syncs {service} 1
"""


@dataclass
class Replicated:
    """A master, its replicas, and the sentinels' addresses."""

    master: RedisServer
    replicas: list[RedisServer]
    sentinels: str

    def in_step(self) -> bool:
        """Whether every replica follows the master."""
        with redis.Redis.from_url(self.master.url) as client:
            info = client.info("replication")
        states = [info[f"slave{place}"]["state"] for place in range(info["connected_slaves"])]
        return states == ["online"] * len(self.replicas)


@contextmanager
def replicated_redis(directory: Path, replicas: int = 1, *, with_sentinels: bool = False) -> Iterator[Replicated]:
    """Run them for the time of a `with` block."""
    program = redis_program() or ""
    with ExitStack() as stack:
        master = RedisServer(program, directory / "master")
        followers = [RedisServer(program, directory / f"replica-{place}", of=master) for place in range(replicas)]
        for server in (master, *followers):
            server.start()
            stack.callback(server.kill)
        made = Replicated(master, followers, "")
        wait_until(made.in_step, seconds=_START_SECONDS, what="the replicas follow")
        if with_sentinels:
            ports = free_ports(_SENTINELS)
            for port in ports:
                stack.callback(_sentinel(directory / f"sentinel-{port}", port, master.port).kill)
            made.sentinels = ",".join(f"{LOOPBACK}:{port}" for port in ports)
            wait_until(lambda: _agree(ports, replicas), seconds=_START_SECONDS, what="the sentinels know everybody")
        yield made


def _sentinel(directory: Path, port: int, master: int) -> ServerProcess:
    directory.mkdir(parents=True)
    settings = directory / "sentinel.conf"
    settings.write_text(
        _SENTINEL_SETTINGS.format(host=LOOPBACK, port=port, directory=directory, service=SERVICE, master=master)
    )
    # What Debian's `redis-sentinel` is a link to.
    process = ServerProcess([redis_program() or "", str(settings), "--sentinel"], directory / "sentinel.log")
    process.start(lambda: _answers(port), seconds=_START_SECONDS)
    return process


def _answers(port: int) -> bool:
    with redis.Redis(host=LOOPBACK, port=port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def _agree(ports: list[int], replicas: int) -> bool:
    """Whether each sentinel knows the replicas and the other sentinels."""
    for port in ports:
        with redis.Redis(host=LOOPBACK, port=port, decode_responses=True) as client:
            known = client.sentinel_master(SERVICE)
            if known["num-slaves"] < replicas or known["num-other-sentinels"] < len(ports) - 1:
                return False
    return True
