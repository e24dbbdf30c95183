"""Processes under measurement: their memory and processor time, read from Linux's /proc."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import REPOSITORY

_MIB = 1024.0
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_S = 30.0
_LOG_TAIL_CHARACTERS = 3_000


class ProcessEndedError(Exception):
    """A process under measurement ended by itself; the message ends with the tail of its log."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    peak_rss_mib: float
    processor_s: float


def usage_of(pid: int) -> Usage:
    """Peak memory and processor time of a living process."""
    process = Path("/proc") / str(pid)
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    # The second field is the command in brackets and may hold blanks; user and system time are fields 14 and 15.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return Usage(int(peak[1]) / _MIB if peak else 0.0, (int(fields[11]) + int(fields[12])) / _TICKS)


def kafka_pid(properties: Path) -> int:
    """The process of the broker that was started with this configuration file.

    Raises:
        ProcessEndedError: there is none.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(properties).encode() in words and b"kafka.Kafka" in words:
                return int(entry.name)
    message = "the broker has ended"
    raise ProcessEndedError(message)


class Watched:
    """A Python process under measurement, its output in a file."""

    def __init__(self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start `python -m` with these words, in the repository."""
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
            )

    def usage(self) -> Usage:
        """What it has used.

        Raises:
            ProcessEndedError: it has ended.
        """
        self.require_alive()
        return usage_of(self._process.pid)

    def require_alive(self) -> None:
        """Raise unless it runs.

        Raises:
            ProcessEndedError: it has ended.
        """
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
            message = f"ended with status {self._process.returncode}\n{tail}"
            raise ProcessEndedError(message)

    def stop(self) -> None:
        """Ask it to end, and wait; one that does not is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
