"""The processes under test: started again when they end, as a supervisor does; killed or paused at will."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from streams import failpoints
from streams.settings import StreamSettings
from tests.services.process import ends_in_order, wait_until

ROOT = Path(__file__).parents[2]
_LOOKS_S = 0.2
_READY_WITHIN_S = 120.0


@dataclass(frozen=True)
class Place:
    """What runs under a name: a role, how wrong its clock is, and whose code it is."""

    role: str
    skew_ms: int = 0
    code: Path = ROOT


class Fleet:
    """Processes by name.

    Attributes:
        ends: how many processes have ended, for whatever reason.
    """

    def __init__(self, settings: StreamSettings, redis_url: str, points: Path, log: Path) -> None:
        """Nothing runs yet; failpoints are armed by files in `points`."""
        self._settings = settings
        self._redis_url = redis_url
        self._environment = os.environ | {failpoints.VARIABLE: str(points)}
        self._log = log
        self._places: dict[str, Place] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.ends = 0
        self._thread = threading.Thread(target=self._supervise, name="fleet")

    @contextmanager
    def running(self) -> Iterator[Fleet]:
        """Supervise until the end of the block, then leave nothing behind."""
        self._thread.start()
        try:
            yield self
        finally:
            self._end.set()
            self._thread.join()
            for process in self._processes.values():
                process.kill()
                process.wait()

    def want(self, name: str, place: Place) -> None:
        """Run something under a name from now on."""
        with self._lock:
            self._places[name] = place
            self._start(name)

    def dismiss(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """A signal that ends a process, which is not started again; the exit code."""
        with self._lock:
            del self._places[name]
            process = self._processes.pop(name)
        process.send_signal(number)
        return process.wait(60)

    def wait_ready(self, name: str) -> None:
        """Return when the process under a name has come so far that it ends in order on SIGTERM."""
        wait_until(lambda: ends_in_order(self.pid(name)), seconds=_READY_WITHIN_S, what=f"{name} is ready")

    def names(self, role: str) -> list[str]:
        return [name for name, place in self._places.items() if place.role == role]

    def send(self, name: str, number: signal.Signals) -> None:
        """A signal to the process under a name."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._processes[name].pid, number)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def _start(self, name: str) -> None:
        place = self._places[name]
        settings = asdict(replace(self._settings, worker_name=name))
        del settings["fingerprint_key"]
        if place.role == "score":
            module, known = "tests.faults.score_process", {"settings": settings, "skew_ms": place.skew_ms}
        else:
            redis = {"url": self._redis_url, "sentinels": [], "service": ""}
            module, known = "tests.streams.respond_process", {"settings": settings, "redis": redis, "replicas": 0}
        with self._log.open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(known)],
                cwd=place.code, env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip

    def _supervise(self) -> None:
        while not self._end.wait(_LOOKS_S):
            with self._lock:
                for name in self._places:
                    if self._processes[name].poll() is not None:
                        self.ends += 1
                        self._start(name)
