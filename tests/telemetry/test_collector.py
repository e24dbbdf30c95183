"""What the garbage collector looks at in a process that serves."""

from __future__ import annotations

import subprocess
import sys

_STORY = """
import gc
import fastapi
from telemetry import collector

class Node:
    pass

before = gc.get_threshold()
collector.settle()
assert len(gc.get_objects()) < 1_000 < gc.get_freeze_count(), (len(gc.get_objects()), gc.get_freeze_count())
assert gc.isenabled() and gc.get_threshold()[0] > before[0]
node = Node()
node.itself = node
del node
assert gc.collect() >= 1
"""


def test_what_a_process_was_started_with_is_not_looked_at_again() -> None:
    """What comes later is, so that circles of requests do not pile up."""
    done = subprocess.run([sys.executable, "-c", _STORY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
