"""`cardwatch worker` with a watch on its stages and threads: `python -m benchmarks.staged_worker OUT.json WORDS...`.

WORDS are those of `cardwatch`. When the command ends, OUT.json holds the own time of each stage of the event loop's
thread, and the processor time of each thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import streams.scoring
from benchmarks.stages import ENGINE, Place, StageClock
from cardwatch import cli
from streams.checkpointing import Checkpointer
from streams.codecs import TransactionCodec
from streams.detector_core import DetectorCore
from streams.producer import Producer

PLACES = (
    *ENGINE,
    Place(TransactionCodec, "decode", "decode and check JSON"),
    Place(DetectorCore, "build", "build_batch: fingerprints and columns"),
    Place(DetectorCore, "assess", "rest of assess_batch"),
    Place(streams.scoring, "encode_plain", "encode ALLOW"),
    Place(streams.scoring, "encode_full", "encode the others"),
    Place(Checkpointer, "batch_done", "checkpoint: copy what changed"),
)
# These wait now and then, with the loop free for others: their time is from call to return.
WAITING = (
    Place(Producer, "send", "hand to the producer"),
    Place(Producer, "send_many", "hand to the producer"),
    Place(Checkpointer, "checkpoint", "checkpoint: copy what is left"),
)
_SAMPLE_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run the command under watch."""
    out, clock, threads = Path(sys.argv[1]), StageClock(), _Threads()
    for place in WAITING:
        setattr(place.owner, place.name, _timed_waiting(clock, getattr(place.owner, place.name), place.stage))
    threads.start()
    try:
        with clock.watching(PLACES):
            return cli.main(sys.argv[2:])
    finally:
        out.write_text(json.dumps({"stages_s": clock.seconds, "threads_s": threads.seconds}), encoding="utf-8")


def _timed_waiting(
    clock: StageClock, function: Callable[..., Awaitable[Any]], stage: str
) -> Callable[..., Awaitable[Any]]:
    """A coroutine function that counts its time for a stage, on its own beside the stack of the others."""

    async def measured(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("complete"):
            # The last checkpoint of a worker that ends: nothing waits for it that is measured.
            return await function(*args, **kwargs)
        started_s = time.perf_counter()
        try:
            return await function(*args, **kwargs)
        finally:
            clock.seconds[stage] = clock.seconds.get(stage, 0.0) + time.perf_counter() - started_s

    return measured


class _Threads(threading.Thread):
    """Looks now and then how much processor time each thread of this process has had.

    Attributes:
        seconds: by the thread's name; threads that are not Python's, as librdkafka's, count together.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True, name="benchmark's watch")
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            time.sleep(_SAMPLE_S)
            names = {thread.native_id: thread.name for thread in threading.enumerate()}
            found: dict[str, float] = {}
            for task in Path("/proc/self/task").iterdir():
                with contextlib.suppress(OSError):
                    fields = (task / "stat").read_text().rpartition(")")[2].split()
                    name = names.get(int(task.name), "threads of libraries")
                    found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
            self.seconds = found


if __name__ == "__main__":
    sys.exit(main())
