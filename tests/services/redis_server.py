"""A real Redis server: Debian's `redis-server`, appending every write to disk, as cardwatch ships its configuration."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.services.process import LOOPBACK, ServerProcess, ServiceError, free_ports

_START_SECONDS = 20.0


def redis_program() -> str | None:
    """The `redis-server` on the PATH, if there is one."""
    return shutil.which("redis-server")


class RedisServer:
    """A server with data in a directory; `stop`, `kill` and `start` again keep port and data."""

    def __init__(self, program: str, directory: Path, *, of: RedisServer | None = None) -> None:
        """Choose a port; nothing is started yet. With `of`, it begins as a replica of that server."""
        (self.port,) = free_ports(1)
        directory.mkdir(parents=True, exist_ok=True)
        options = {"bind": LOOPBACK, "port": str(self.port), "dir": str(directory), "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "always"}
        if of is not None:
            options["replicaof"] = f"{LOOPBACK} {of.port}"
        command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._process = ServerProcess(command, directory / "redis.log")

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process.alive

    def start(self) -> None:
        """Start and wait until a client is answered.

        Raises:
            ServiceError: the server does not come up.
        """
        self._process.start(self._answers, seconds=_START_SECONDS)

    def stop(self) -> None:
        """Shut down in order."""
        self._process.stop()

    def pause(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:  # also "loading the data set in memory"
                return False


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """Run a server for the time of a `with` block.

    Raises:
        ServiceError: there is no `redis-server`, or it does not come up.
    """
    program = redis_program()
    if program is None:
        message = "redis-server is not on the PATH: install Debian's package redis-server"
        raise ServiceError(message)
    server = RedisServer(program, directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
