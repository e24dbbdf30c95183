"""A server process under a test's control."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0
_LOG_TAIL_CHARACTERS = 3_000


class ServiceError(Exception):
    """A server did not start, or ended by itself; the message ends with the tail of its log."""


def free_ports(count: int) -> list[int]:
    """Find different ports that are free on loopback; nobody else is kept from taking them before their use."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it did not hold within `seconds`; the message says `what` was awaited.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"not within {seconds:g} s: {what}"
            raise TimeoutError(message)
        time.sleep(_POLL_SECONDS)


def ends_in_order(pid: int) -> bool:
    """Whether a process has come so far that it ends in order on SIGTERM."""
    with contextlib.suppress(FileNotFoundError, IndexError):
        status = Path(f"/proc/{pid}/status").read_text()
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << (signal.SIGTERM - 1))
    return False


class ServerProcess:
    """A process with its log in a file; may be stopped, killed and started again."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Take the command; nothing is started yet.

        Args:
            command: program and arguments.
            log: file that standard output and error are appended to.
            environment: variables to add to ours.
        """
        self._command = list(command)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Start and wait until `ready()`.

        Raises:
            ServiceError: the process ended, or was not ready within `seconds`.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        try:
            wait_until(lambda: not self.alive or ready(), seconds=seconds, what="ready")
        except TimeoutError as error:
            self.kill()
            raise ServiceError(self._complaint(f"not ready within {seconds:g} s")) from error
        if not self.alive:
            raise ServiceError(self._complaint(f"ended with status {self._process.returncode}"))

    def stop(self) -> None:
        """Ask the process to end (SIGTERM) and wait; one that does not is killed."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def signal(self, number: int) -> None:
        """Send a signal to a process that runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _complaint(self, what: str) -> str:
        tail = self._log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        return f"{self._command[0]}: {what}\n{tail}"
