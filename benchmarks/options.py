"""What a run of the benchmarks is told."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of the command line.

    Attributes:
        records: how many payments each benchmark plays.
        handbook: file of the Fraud Detection Handbook's transactions, to be replayed as well.
        peer_seconds: how long each peer may run.
        with_headers: whether payments carry CloudEvents headers, as the contract says.
        with_peers: whether `quality` and `worlds` measure their peers as well, which takes most of their time.
        busy_before: processes that wanted to run in the minute before, on average; above 0 somebody else was at work.
        started_s: when the run began, on the monotonic clock.
    """

    records: int
    handbook: Path | None
    peer_seconds: float
    with_headers: bool = True
    with_peers: bool = True
    busy_before: float = field(default_factory=lambda: os.getloadavg()[0])
    started_s: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Tell what is going on, with the seconds since the beginning."""
        print(f"[{time.monotonic() - self.started_s:6.1f} s] {text}", file=sys.stderr, flush=True)
