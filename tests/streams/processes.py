"""Workers as processes of their own, so that they can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.streams.kafka_world import World

_ROOT = Path(__file__).parents[2]


class Worker:
    """A worker process, started at once.

    Args:
        world: whose settings it has.
        module: that it runs.
        name: of the worker; no two at a time have the same.
    """

    def __init__(self, world: World, module: str = "tests.streams.worker_process", name: str = "w0") -> None:
        self._module = module
        self._known = world.as_json()
        self.start(name)

    def start(self, name: str) -> None:
        text = json.dumps(self._known | {"worker_name": name})
        self._process = subprocess.Popen([sys.executable, "-m", self._module, text], cwd=_ROOT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.terminate()
        return self._process.wait(30)
