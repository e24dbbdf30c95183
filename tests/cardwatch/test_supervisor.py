"""The supervised tree of processes, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cardwatch.errors import RestartLimitError, ServiceError
from cardwatch.supervisor import NEVER_RESTART, ProcessSpec, RestartPolicy, Supervisor

QUICK = RestartPolicy(limit=2, window_s=60.0, first_delay_s=0.01, longest_delay_s=0.02)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status != "Z"


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    tree = Supervisor(tmp_path / "logs", say=said.append)
    yield tree
    tree.stop()


def test_start_returns_when_the_probe_says_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """A stage has started only once every process of it does its work."""
    mark = tmp_path / "mark"
    spec = ProcessSpec(
        "writer",
        python(f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"),
        ready=mark.exists,
    )
    supervisor.start(spec)
    assert mark.exists()
    assert supervisor.pid("writer") is not None


def test_a_process_that_ends_too_early_is_reported_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    """A failed start says which process, its exit code, and what it wrote last."""
    spec = ProcessSpec("broken", python("raise SystemExit('no such setting')"), ready=lambda: False)
    with pytest.raises(ServiceError, match=r"(?s)broken ended with code 1 before it was ready.*no such setting"):
        supervisor.start(spec)


def test_a_process_that_is_never_ready_is_reported(supervisor: Supervisor) -> None:
    """A start is bounded in time."""
    spec = ProcessSpec("slow", python("import time; time.sleep(600)"), ready=lambda: False, ready_within_s=0.2)
    with pytest.raises(ServiceError, match=r"slow was not ready within 0\.2 s"):
        supervisor.start(spec)


def test_a_killed_process_is_started_again(supervisor: Supervisor, said: list[str]) -> None:
    """Whatever ends a process, it comes back, and the person at the terminal is told."""
    supervisor.start(ProcessSpec("worker", python("import time; time.sleep(600)"), restart=QUICK))
    first = supervisor.pid("worker")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert supervisor.wait_until(lambda: supervisor.pid("worker") not in {None, first}, 20.0, interval_s=0.01)
    assert supervisor.restarts() == 1
    assert "worker ended with code -9" in said[0]


def test_a_process_that_keeps_ending_ends_the_tree(supervisor: Supervisor) -> None:
    """Restarts are bounded: a process that cannot work does not spin for ever."""
    supervisor.start(ProcessSpec("looping", python("raise SystemExit(7)"), restart=QUICK))
    with pytest.raises(RestartLimitError, match="looping ended with code 7 again, 2 times within 60 s"):
        supervisor.wait_until(lambda: False, 20.0, interval_s=0.01)


def test_a_process_that_must_not_restart_ends_the_tree_at_once(supervisor: Supervisor) -> None:
    """The embedded broker's end is final: another one would be empty."""
    supervisor.start(ProcessSpec("kafka", python("pass"), restart=NEVER_RESTART))
    with pytest.raises(RestartLimitError, match="kafka ended with code 0"):
        supervisor.wait_until(lambda: False, 20.0, interval_s=0.01)


def test_delays_double_up_to_the_longest() -> None:
    """Backoff is exponential and bounded."""
    policy = RestartPolicy(first_delay_s=0.5, longest_delay_s=3.0)
    assert [policy.delay_s(count) for count in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_stop_goes_backwards_through_the_stages(supervisor: Supervisor, tmp_path: Path) -> None:
    """What depends on a service is stopped before it."""
    journal = tmp_path / "journal"
    code = """
        import pathlib, signal, sys, time
        def leave(*_):
            with open({journal!r}, "a") as out:
                out.write({name!r} + "\\n")
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        pathlib.Path({ready!r}).touch()
        time.sleep(600)
    """
    for name in ("service", "user"):
        ready = tmp_path / name
        source = textwrap.dedent(code).format(journal=str(journal), name=name, ready=str(ready))
        supervisor.start(ProcessSpec(name, python(source), ready=ready.exists))
    supervisor.stop()
    assert journal.read_text("utf-8").split() == ["user", "service"]


def test_a_process_that_ignores_sigterm_is_killed(supervisor: Supervisor, said: list[str]) -> None:
    """Stopping is bounded: SIGKILL follows SIGTERM."""
    spec = ProcessSpec(
        "stubborn",
        python(STUBBORN),
        ready=lambda: supervisor.log_path("stubborn").read_text("utf-8").endswith("up\n"),
        stop_within_s=0.2,
    )
    supervisor.start(spec)
    pid = supervisor.pid("stubborn")
    assert pid is not None
    supervisor.stop()
    assert not alive(pid)
    assert said == ["stubborn did not stop within 0.2 s and was killed"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    """`kill -9` of cardwatch leaves no process behind."""
    pid_file = tmp_path / "pid"
    source = f"""
        import pathlib, sys, time
        from cardwatch.supervisor import ProcessSpec, Supervisor
        tree = Supervisor(pathlib.Path({str(tmp_path / "logs")!r}), say=print)
        command = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")
        tree.start(ProcessSpec("child", command))
        written = pathlib.Path({str(pid_file)!r} + ".tmp")
        written.write_text(str(tree.pid("child")))
        written.rename({str(pid_file)!r})
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)])
    try:
        assert eventually(pid_file.exists)
        child = int(pid_file.read_text("utf-8"))
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not alive(child))


def test_a_task_is_run_to_its_end(supervisor: Supervisor, tmp_path: Path) -> None:
    """What has to happen once, before the rest starts, has happened when `run` returns."""
    mark = tmp_path / "mark"
    supervisor.run(ProcessSpec("task", python(f"import pathlib; pathlib.Path({str(mark)!r}).touch()")), 20.0)
    assert mark.exists()


def test_a_task_that_fails_or_hangs_is_reported(supervisor: Supervisor) -> None:
    """A failed task says its code and what it wrote last; a hanging one does not hang its caller."""
    with pytest.raises(ServiceError, match=r"(?s)task ended with code 1.*no room"):
        supervisor.run(ProcessSpec("task", python("raise SystemExit('no room')")), 20.0)
    with pytest.raises(ServiceError, match=r"task was not done within 0\.1 s"):
        supervisor.run(ProcessSpec("task", python("import time; time.sleep(600)")), 0.1)
