"""`cardwatch demo` as a user runs it: the whole story, Ctrl-C, and what is left after a kill."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cardwatch.embedded import DataDirectory
from cardwatch.services import RunningServices

STEPS = (
    "services up",
    "model warm",
    "workers and API ready",
    "payments flow",
    "attack",
    "card frozen",
    "case open",
    "cardholder verified",
    "agent overrules",
    "card active again",
    "card state published",
    "card pays again",
    "labels published",
    "model has learned",
    "model in use",
    "done",
)
# Compiling all kernels for the first time takes a minute of one core, and the machine may be busy.
STORY_S = 500

pytestmark = [pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(600)]


def demo_command(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cardwatch", "demo", "--data-dir", str(data), *arguments]


def demo_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CARDWATCH_")}
    # A free port: somebody may be watching a demo of their own meanwhile.
    return kept | {"PYTHONUNBUFFERED": "1", "CARDWATCH_API__PORT": "0"}


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def processes_of(data: Path) -> list[str]:
    """Command lines and environments of living processes that name the data directory, this test's own not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(data).encode() in command + environment:
                found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory for all demos here, one after the other, as a user has it; the warm model is trained once."""
    return tmp_path_factory.mktemp("demo") / "data"


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A run in the background of a shell ignores SIGINT, and so would what it starts; what has a handler does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def running(data: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo with a live view, without an attack, that other commands can find."""
    with subprocess.Popen(
        demo_command(data, "--attack", "none", "--rate", "20"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=demo_environment(),
    ) as process:
        try:
            assert eventually(
                lambda: RunningServices.find(DataDirectory(data)) is not None or process.poll() is not None, STORY_S
            )
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            yield process, data
        finally:
            process.kill()


def test_the_whole_story_happens(data: Path) -> None:
    """One command, nothing installed or configured: an attack is caught, overruled, and learned from; exit code 0."""
    ended = subprocess.run(
        demo_command(data, "--until-case", "--timeout", str(STORY_S)),
        capture_output=True,
        text=True,
        check=False,
        env=demo_environment(),
    )
    told = ended.stdout + ended.stderr
    assert ended.returncode == 0, told
    assert tuple(re.findall(r"^\[ *[\d.]+ s\] ([a-zA-Z ]+)", ended.stdout, re.MULTILINE)) == STEPS, told
    assert processes_of(data) == []


def test_a_story_that_does_not_happen_in_time_fails(data: Path) -> None:
    """Exit code 1 and the step that is missing, never a hang and never a false success."""
    arguments = ("--until-case", "--timeout", "0.1", "--rate", "1")
    ended = subprocess.run(
        demo_command(data, *arguments), capture_output=True, text=True, check=False, env=demo_environment()
    )
    assert ended.returncode == 1
    assert "this did not happen in time: payments are answered" in ended.stderr
    assert processes_of(data) == []


def test_ctrl_c_ends_everything_cleanly(running: tuple[subprocess.Popen[str], Path]) -> None:
    """Ctrl-C is a clean end: exit code 0, no process, and nothing for other commands to find; none had to be killed."""
    process, data = running
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "was killed" not in said
    assert RunningServices.find(DataDirectory(data)) is None
    assert processes_of(data) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_killed_demo_leaves_nothing_behind(running: tuple[subprocess.Popen[str], Path]) -> None:
    """After `kill -9` of the demo its whole tree ends by itself, and the next demo may start."""
    process, data = running
    process.kill()
    process.wait()
    assert eventually(lambda: not processes_of(data), 120), processes_of(data)
    assert RunningServices.find(DataDirectory(data)) is None
