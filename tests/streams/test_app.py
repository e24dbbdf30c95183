"""A worker ends, with its reason, whatever hangs."""

from __future__ import annotations

import subprocess
import sys

HANGING = """
import asyncio, logging
from streams import app
from streams.errors import WorkerError

class Hanging:
    async def start(self):
        pass
    async def stop(self):
        await asyncio.Event().wait()
    async def wait_broken(self):
        raise WorkerError("role score failed") from WorkerError("no progress for 60 s")

app._STOP_WITHIN_S = 0.5
app.run_worker(lambda: [Hanging()])
"""


def test_a_worker_whose_role_has_failed_ends_although_it_does_not_stop() -> None:
    """A supervisor can start another one only when this one is gone; why it went stands in the log."""
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the worker ends: role score failed (no progress for 60 s)" in done.stderr
    assert "Timeout" in done.stderr
