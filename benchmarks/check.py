"""Whether the hot path has become slower than it was at the last release: `make bench-check`.

Both checkouts run the pieces of `benchmarks.pieces` in turn on the same core of the same machine, in pairs, so that
what counts is a ratio and not how busy or quick the machine is. A piece has become slower where more than one tenth is
beyond doubt: where the median of its ratios lies above 1.1 with a confidence of 97%.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import CACHE, REPOSITORY, table

RELEASE_FILE = REPOSITORY / "benchmarks" / "release.txt"
_SLOWER = 1.10
# Of eleven ratios the third smallest is below the median with a probability of 96.7% (binomial distribution).
_ROUNDS, _LOWER_PLACE = 11, 2


class CheckError(Exception):
    """Nothing can be compared; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One piece.

    Attributes:
        name: of the piece.
        before_us, now_us: processor time of a row, of each round.
    """

    name: str
    before_us: Sequence[float]
    now_us: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Now over before, round by round, the smallest first."""
        return sorted(now / before for before, now in zip(self.before_us, self.now_us, strict=True))

    @property
    def at_least(self) -> float:
        """What the ratio is at least, beyond doubt."""
        return self.ratios[_LOWER_PLACE]

    @property
    def is_slower(self) -> bool:
        """Whether it has become slower by more than is allowed."""
        return self.at_least > _SLOWER

    def row(self) -> list[str]:
        """A row of the table."""
        before, now, ratio = (float(np.median(values)) for values in (self.before_us, self.now_us, self.ratios))
        verdict = "slower" if self.is_slower else "no"
        return [self.name, f"{before:.3f}", f"{now:.3f}", f"{ratio:.2f}", f"{self.at_least:.2f}", verdict]


class Runner:
    """The pieces of one checkout, in a process of their own."""

    def __init__(self, checkout: Path) -> None:
        """Start it; it prepares itself while others do."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pieces"],
            cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def pieces(self) -> list[str]:
        """Wait until it is ready; what it has.

        Raises:
            CheckError: it has ended.
        """
        found: list[str] = self._answer()
        return found

    def run(self, piece: str) -> float:
        """Run a piece; microseconds a row.

        Raises:
            CheckError: it has ended.
        """
        if self._process.stdin is not None:
            self._process.stdin.write(f"{piece}\n")
            self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            message = f"the pieces ended with status {self._process.wait()}; what went wrong stands above"
            raise CheckError(message)
        return json.loads(line)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def checkout_of(commit: str) -> Path:
    """A checkout of a commit, kept for the next time, since compiling its kernels takes a minute or two.

    Raises:
        CheckError: this repository does not have it, or it has no pieces.
    """
    folder = CACHE / "checkouts" / commit
    if not folder.exists():
        made = subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", "--force", str(folder), commit],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            message = f"{commit} cannot be checked out ({made.stderr.strip()}): git fetch --unshallow, or --base COMMIT"
            raise CheckError(message)
    if not (folder / "benchmarks" / "pieces.py").exists():
        message = f"{commit} is from before there were pieces to compare: --base COMMIT"
        raise CheckError(message)
    return folder


def compare(before: Path, now: Path, rounds: int) -> list[Compared]:
    """Run the pieces that both have, in pairs; which of the two goes first changes with every round.

    Raises:
        CheckError: one of them has ended.
    """
    with ExitStack() as stack:
        runners = []
        for checkout in (before, now):
            runners.append(Runner(checkout))
            stack.callback(runners[-1].stop)
        names, also = (runner.pieces() for runner in runners)
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names if name in also}
        for number in range(rounds):
            for name, times in found.items():
                for place in (0, 1) if number % 2 else (1, 0):
                    times[place].append(runners[place].run(name))
    return [Compared(name, *times) for name, times in found.items()]


def main() -> int:
    """Compare; 0 where nothing is slower, 1 where something is, 3 where nothing could be compared."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("--base", metavar="COMMIT", help=f"instead of the one in {RELEASE_FILE.name}")
    args = parser.parse_args()
    commit = args.base or RELEASE_FILE.read_text().split()[0]
    try:
        compared = compare(checkout_of(commit), REPOSITORY, _ROUNDS)
    except CheckError as error:
        print(f"bench-check: {error}", file=sys.stderr)
        return 3
    head = ("piece", "before, µs a row", "now, µs a row", "now / before", "at least", f"slower than {_SLOWER:g}")
    print(f"Since {commit}, medians of {_ROUNDS} pairs of runs on one core:\n")
    print(table(head, [each.row() for each in compared]))
    return int(any(each.is_slower for each in compared))


if __name__ == "__main__":
    sys.exit(main())
