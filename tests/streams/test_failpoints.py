"""Failpoints: off, they are nothing; armed, each kills once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from streams import failpoints

_ROOT = Path(__file__).parents[2]
_PROGRAM = "from streams import failpoints; failpoints.reach('after_decode'); print('alive')"


def test_off_they_do_nothing() -> None:
    """Without the variable nothing is looked for."""
    assert failpoints.reach.__name__ == "_off"
    failpoints.reach(failpoints.AFTER_DECODE)


def test_an_armed_place_kills_the_first_that_reaches_it(tmp_path: Path) -> None:
    """Kill -9, once; whoever comes next goes on."""
    (tmp_path / failpoints.AFTER_DECODE).touch()
    environment = os.environ | {failpoints.VARIABLE: str(tmp_path)}
    ended = [
        subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, cwd=_ROOT, capture_output=True, check=False)
        for _ in range(2)
    ]
    assert [done.returncode for done in ended] == [-signal.SIGKILL, 0]
    assert ended[1].stdout == b"alive\n"
