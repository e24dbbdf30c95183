"""From the start of a score worker's process to its first decision, with and without compiled kernels on disk."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import broker, results, workload
from benchmarks.options import Options
from benchmarks.processes import Watched
from cardwatch import warm
from cardwatch.settings import KafkaSettings
from streams.topics import DECISIONS

NAME = "start"
PURPOSE = "from the start of a score worker to its first decision, cold and warm"

_PAYMENTS = 10_000
_ROUNDS = 3
_WITHIN_S = 600.0
_LOOK_S = 0.02


def run(options: Options) -> None:
    """Measure, save, and write the table."""
    few = replace(options, records=_PAYMENTS)
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    for kind, seconds in found.items():
        for number in range(1 if kind == "cold" else _ROUNDS):
            with broker.own_cluster() as (kafka, folder):
                warm.publish(kafka, workload.warmed_model())
                broker.produce(kafka, workload.stream_file(_PAYMENTS, options.say), few)
                seconds.append(_first_decision_s(kafka, folder, is_cold=kind == "cold"))
                options.say(f"{kind} start {number + 1}: {seconds[-1]:.1f} s")
    results.save(NAME, found)
    rows = [
        ["cold: the kernels are compiled", f"{found['cold'][0]:.1f}"],
        [f"warm, the median of {_ROUNDS}", f"{sorted(found['warm'])[_ROUNDS // 2]:.1f}"],
    ]
    table = results.table(("start of a score worker to its first decision", "seconds"), rows)
    results.write_section(NAME, f"{results.machine_lines(options.busy_before)}\n\n{table}")


def _first_decision_s(kafka: KafkaSettings, folder: Path, *, is_cold: bool) -> float:
    """Seconds from the start of the process until a decision lies in Kafka.

    Raises:
        TimeoutError: there was none in time.
    """
    environment = {
        "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
        "CARDWATCH_METRICS__SCORE_PORT": "0",
        "XDG_CACHE_HOME": str(folder / "cache") if is_cold else os.environ.get("XDG_CACHE_HOME", ""),
    }
    words = ["cardwatch", "worker", "--roles", "score", "--broker", kafka.bootstrap_servers]
    ends = broker.Ends(kafka)
    ends.records(DECISIONS)
    started_s = time.monotonic()
    worker = Watched([*words, "--data-dir", str(folder / "data")], folder / "worker.log", environment)
    try:
        while time.monotonic() - started_s < _WITHIN_S:
            worker.require_alive()
            if ends.records(DECISIONS):
                return time.monotonic() - started_s
            time.sleep(_LOOK_S)
    finally:
        worker.stop()
    message = f"no decision within {_WITHIN_S:.0f} s"
    raise TimeoutError(message)
