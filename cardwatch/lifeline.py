"""Runs a command that must not outlive the process that started it: `python lifeline.py PARENT_PID COMMAND...`.

On Linux the kernel is asked to send SIGTERM when the parent dies (PR_SET_PDEATHSIG survives exec, so the command takes
this process over). Elsewhere this process stays, starts the command and watches its own parent. It imports nothing of
ours, so that it may be started as a plain file, without site-packages, in about 15 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_WATCH_INTERVAL_S = 0.5


def _tie_to_parent_by_kernel() -> bool:
    """Ask the kernel for SIGTERM at the parent's death. False where there is no such kernel."""
    # Only Linux's C library has prctl: elsewhere the attribute is missing.
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)) == 0
    return False


def _run_watching_parent(parent_pid: int, command: list[str]) -> int:
    """Run the command as a child; forward SIGTERM to it, and send it one when the parent has gone."""
    child = subprocess.Popen(command)  # noqa: S603  the supervisor's own command line
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(_WATCH_INTERVAL_S)
        if os.getppid() != parent_pid:
            child.terminate()
            time.sleep(_WATCH_INTERVAL_S)


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)  # noqa: S606  taking over this process is the point


def main(arguments: list[str]) -> int:
    """Tie this process to the parent, then become (or run) the command.

    Args:
        arguments: the parent's process id, then the command line.

    Returns:
        The command's exit code, or 1 when the parent had already gone.
    """
    parent_pid, command = int(arguments[0]), arguments[1:]
    tied = _tie_to_parent_by_kernel()
    # The parent may have died between the fork and the request, which then never fires.
    if os.getppid() != parent_pid:
        return 1
    if tied:
        _become(command)
    return _run_watching_parent(parent_pid, command)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
