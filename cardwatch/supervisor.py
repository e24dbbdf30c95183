"""One supervised tree of processes: started in stages, probed until ready, restarted with backoff, stopped in reverse.

The supervisor has no thread of its own: whoever owns it calls `watch()` a few times a second. That keeps a restart from
racing with a stop, and keeps all forks on the main thread (Linux ties a child to the *thread* that forked it).

Each process writes to `<logs>/<name>.log`, leads its own session, so that Ctrl-C reaches only the supervisor, which
then stops the tree in order, and runs under `cardwatch.lifeline`, so that it never outlives the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cardwatch import lifeline
from cardwatch.errors import RestartLimitError, ServiceError

_PROBE_INTERVAL_S = 0.05
_LOG_TAIL_LINES = 15
# One run's log is kept beside the current one; a longer history belongs to a log collector.
_LOG_LIMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a process that ended by itself is started again.

    Attributes:
        limit: restarts allowed within `window_s`; one more ends the tree.
        window_s: seconds over which restarts are counted.
        first_delay_s, longest_delay_s: the delay doubles from the first to the longest.
    """

    limit: int = 5
    window_s: float = 120.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 15.0

    def delay_s(self, restarts_within_window: int) -> float:
        """Seconds to wait before the next start, after so many restarts within the window."""
        return float(min(self.longest_delay_s, self.first_delay_s * 2.0**restarts_within_window))


NEVER_RESTART = RestartPolicy(limit=0)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run and how to know that it works.

    Attributes:
        name: unique; names the log file.
        command: the command line.
        environment: added to the supervisor's own environment.
        ready: a probe that is True once the process does its work; it is asked often and must not block for long.
        ready_within_s: seconds until a start counts as failed.
        stop_within_s: seconds from SIGTERM to SIGKILL.
        restart: what happens when it ends by itself.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    ready_within_s: float = 60.0
    stop_within_s: float = 10.0
    restart: RestartPolicy = field(default_factory=RestartPolicy)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect only at the end of the block.

    A Ctrl-C between the fork and our knowing of the child would leave the child behind. Blocking the signals is no way:
    they would reach another thread of this process, and the handlers run all the same.
    """
    came: list[int] = []
    before = {it: signal.signal(it, lambda number, _: came.append(number)) for it in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for it, handler in before.items():
            signal.signal(it, handler)
        for number in came:
            signal.raise_signal(number)


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    restarted_at_s: list[float] = field(default_factory=list)
    start_again_at_s: float | None = None


class Supervisor:
    """Starts, watches and stops processes. Not thread-safe: one thread owns it, the main one."""

    def __init__(
        self,
        logs: Path,
        *,
        say: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create a supervisor without processes.

        Args:
            logs: directory of the log files; created when missing.
            say: told, in a sentence, of restarts and of processes that had to be killed.
            monotonic: the clock, in seconds; tests bring their own.
            sleep: waits so many seconds.
        """
        self._logs = logs
        self._say = say
        self._monotonic = monotonic
        self._sleep = sleep
        self._stages: list[list[_Child]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, *specs: ProcessSpec) -> None:
        """Start a stage: all its processes at once, and return when each is ready.

        Raises:
            ServiceError: one cannot be started, ended early or was not ready in time; it carries the end of its log.
        """
        stage = [_Child(spec) for spec in specs]
        self._stages.append(stage)
        for child in stage:
            self._launch(child)
        started_at_s = self._monotonic()
        for child in stage:
            self._await_ready(child, started_at_s)

    def run(self, spec: ProcessSpec, within_s: float) -> None:
        """Run a process to its end, the tree watched meanwhile.

        Raises:
            ServiceError: it ended with another code than 0, or not in time; it carries the end of its log.
        """
        child = _Child(spec)
        self._launch(child)
        once = child.process
        try:
            if once is None or not self.wait_until(lambda: once.poll() is not None, within_s, _PROBE_INTERVAL_S):
                message = f"{spec.name} was not done within {within_s:g} s{self._log_tail(spec.name)}"
                raise ServiceError(message)
            if once.returncode != 0:
                message = f"{spec.name} ended with code {once.returncode}{self._log_tail(spec.name)}"
                raise ServiceError(message)
        finally:
            self._kill(child)

    def watch(self) -> None:
        """Look at every process once; start again what ended and is due.

        Raises:
            RestartLimitError: a process ended more often than its policy allows.
        """
        now_s = self._monotonic()
        for child in self._children():
            if child.start_again_at_s is not None:
                if now_s >= child.start_again_at_s:
                    child.start_again_at_s = None
                    self._launch(child)
            elif child.process is not None and child.process.poll() is not None:
                self._plan_restart(child, now_s)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.2) -> bool:
        """Watch the tree until the condition holds. False when it did not within `timeout_s` seconds."""
        deadline_s = self._monotonic() + timeout_s
        while not condition():
            if self._monotonic() >= deadline_s:
                return False
            self.watch()
            self._sleep(interval_s)
        return True

    def pid(self, name: str) -> int | None:
        """Process id of the named process, None while it does not run."""
        for child in self._children():
            if child.spec.name == name and child.process is not None and child.process.poll() is None:
                return child.process.pid
        return None

    def restarts(self) -> int:
        """How often processes were started again, over all of them."""
        return sum(len(child.restarted_at_s) for child in self._children())

    def log_path(self, name: str) -> Path:
        """Where the named process writes."""
        return self._logs / f"{name}.log"

    def stop(self) -> None:
        """Stop stage by stage, the last first: SIGTERM, then SIGKILL for what is still there. May be called twice."""
        try:
            for stage in reversed(self._stages):
                self._stop_stage(stage)
        except KeyboardInterrupt:
            self._say("stopping at once")
            for child in self._children():
                self._kill(child)
        self._stages.clear()

    def _children(self) -> list[_Child]:
        return [child for stage in self._stages for child in stage]

    def _launch(self, child: _Child) -> None:
        spec = child.spec
        path = self.log_path(spec.name)
        if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        wrapper = (sys.executable, "-I", "-S", lifeline.__file__, str(os.getpid()))
        try:
            with path.open("ab") as log, _signals_held_back():
                child.process = subprocess.Popen(  # noqa: S603  command lines are made by cardwatch, never by input
                    (*wrapper, *spec.command),
                    env={**os.environ, **spec.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            message = f"{spec.name} cannot be started: {error.strerror}"
            raise ServiceError(message) from error

    def _await_ready(self, child: _Child, started_at_s: float) -> None:
        spec = child.spec
        if child.process is None or spec.ready is None:
            return
        while not spec.ready():
            code = child.process.poll()
            if code is not None:
                message = f"{spec.name} ended with code {code} before it was ready{self._log_tail(spec.name)}"
                raise ServiceError(message)
            if self._monotonic() - started_at_s > spec.ready_within_s:
                message = f"{spec.name} was not ready within {spec.ready_within_s:g} s{self._log_tail(spec.name)}"
                raise ServiceError(message)
            self._sleep(_PROBE_INTERVAL_S)

    def _plan_restart(self, child: _Child, now_s: float) -> None:
        spec, process = child.spec, child.process
        code = None if process is None else process.returncode
        recent = [at_s for at_s in child.restarted_at_s if now_s - at_s < spec.restart.window_s]
        if len(recent) >= spec.restart.limit:
            often = f" again, {len(recent)} times within {spec.restart.window_s:g} s" if recent else ""
            message = f"{spec.name} ended with code {code}{often}{self._log_tail(spec.name)}"
            raise RestartLimitError(message)
        delay_s = spec.restart.delay_s(len(recent))
        child.restarted_at_s = [*recent, now_s]
        child.start_again_at_s = now_s + delay_s
        child.process = None
        self._say(f"{spec.name} ended with code {code}; starting it again in {delay_s:g} s")

    def _log_tail(self, name: str) -> str:
        path = self.log_path(name)
        try:
            lines = path.read_text("utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        except OSError:
            lines = []
        tail = "".join(f"\n    {line}" for line in lines)
        return f"; see {path}{tail}"

    def _stop_stage(self, stage: list[_Child]) -> None:
        running: list[tuple[_Child, subprocess.Popen[bytes]]] = []
        for child in stage:
            child.start_again_at_s = None
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
                running.append((child, child.process))
        asked_at_s = self._monotonic()
        for child, process in running:
            left_s = child.spec.stop_within_s - (self._monotonic() - asked_at_s)
            try:
                process.wait(max(0.0, left_s))
            except subprocess.TimeoutExpired:
                self._say(f"{child.spec.name} did not stop within {child.spec.stop_within_s:g} s and was killed")
                self._kill(child)

    @staticmethod
    def _kill(child: _Child) -> None:
        if child.process is None or child.process.poll() is not None:
            return
        # It leads a session of its own, so its group holds whatever it started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
