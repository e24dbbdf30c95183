"""A real Redis server: Debian's `redis-server`, appending every write to disk, as cardwatch ships its configuration."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.services.certificates import Authority
from tests.services.process import LOOPBACK, ServerProcess, ServiceError, free_ports

_START_SECONDS = 20.0
_DEPLOYMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"


def redis_program() -> str | None:
    """The `redis-server` on the PATH, if there is one."""
    return shutil.which("redis-server")


@dataclass(frozen=True)
class Guard:
    """Lets one user in, over TLS alone.

    Attributes:
        authority: signs the server's certificate.
        user: as Redis' ACL file has it: name, password and rights.
        login: that name and password as an address has them.
    """

    authority: Authority
    user: str
    login: str


def documented_guard(directory: Path) -> Guard:
    """The user of docs/deployment.md, with just the rights that it names, and an authority of its own."""
    (user,) = re.findall(r"^user cardwatch on .*$", _DEPLOYMENT.read_text("utf-8"), re.MULTILINE)
    password = secrets.token_hex(16)
    return Guard(Authority(directory), user.replace("PASSWORD", password), f"cardwatch:{password}")


class RedisServer:
    """A server with data in a directory; `stop`, `kill` and `start` again keep port and data."""

    def __init__(
        self, program: str, directory: Path, *, of: RedisServer | None = None, guard: Guard | None = None
    ) -> None:
        """Choose a port; nothing is started yet. With `of`, it begins as a replica of that server."""
        (self.port,) = free_ports(1)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        options = {"bind": LOOPBACK, "port": str(self.port), "dir": str(directory), "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "always"}
        if of is not None:
            options["replicaof"] = f"{LOOPBACK} {of.port}"
        self._guard = guard
        if guard is not None:
            options |= self._guarded(guard)
        command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._process = ServerProcess(command, directory / "redis.log")

    def _guarded(self, guard: Guard) -> dict[str, str]:
        """Settings under which nobody else is let in."""
        users = self.directory / "users.acl"
        users.write_text(f"user default off\n{guard.user}\n")
        certificate = guard.authority.issue(f"redis-{self.port}")
        return {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(certificate.certificate),
            "tls-key-file": str(certificate.key),
            "tls-ca-cert-file": str(guard.authority.file),
            "tls-auth-clients": "no",
            "aclfile": str(users),
        }

    @property
    def url(self) -> str:
        """What clients connect to."""
        if self._guard is not None:
            return f"rediss://{self._guard.login}@{LOOPBACK}:{self.port}/0?ssl_ca_certs={self._guard.authority.file}"
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
def running_redis(directory: Path, *, guard: Guard | None = None) -> Iterator[RedisServer]:
    """Run a server for the time of a `with` block.

    Raises:
        ServiceError: there is no `redis-server`, or it does not come up.
    """
    program = redis_program()
    if program is None:
        message = "redis-server is not on the PATH: install Debian's package redis-server"
        raise ServiceError(message)
    server = RedisServer(program, directory, guard=guard)
    server.start()
    try:
        yield server
    finally:
        server.stop()
