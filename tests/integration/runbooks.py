"""The commands of a runbook, executed as whoever is on call would type them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cardwatch.test_demo import demo_environment

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
_BLOCK = re.compile(r"^```console\n\$ (cardwatch [^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WITHIN_S = 60
# Done, and not done: a check that found something wrong. Others mean that the command itself is wrong.
_ANSWERED = {0, 1}


@dataclass(frozen=True)
class Command:
    """A command and what it is said to print; `...` stands for anything."""

    words: tuple[str, ...]
    expected: str

    def problem(self, data: Path) -> str:
        """Run it against the system in a data directory; what is wrong with its answer, empty if nothing is."""
        command = [sys.executable, "-m", "cardwatch", self.words[1], "--data-dir", str(data), *self.words[2:]]
        done = subprocess.run(
            command, capture_output=True, text=True, env=demo_environment() | {"COLUMNS": "120"}, timeout=_WITHIN_S,
            check=False,
        )  # fmt: skip
        if done.returncode not in _ANSWERED or "Traceback" in done.stderr:
            return f"{shlex.join(self.words)} ended with {done.returncode}: {done.stderr}"
        wanted = re.escape(self.expected.strip()).replace(r"\.\.\.", ".*")
        if not re.fullmatch(wanted, done.stdout.strip(), re.DOTALL):
            return f"{shlex.join(self.words)} printed something else than {self.expected!r}:\n{done.stdout}"
        return ""


def commands_of(page: str) -> list[Command]:
    """The commands of a page, in order."""
    text = (FOLDER / f"{page}.md").read_text("utf-8")
    return [Command(tuple(shlex.split(command)), expected) for command, expected in _BLOCK.findall(text)]
