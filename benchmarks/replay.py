"""Rows a second of `cardwatch replay`: the whole engine, scoring and learning from labels, on one core."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import cardwatch.replay
from benchmarks import results, workload
from benchmarks.one_core import one_core
from benchmarks.options import Options
from benchmarks.stages import REPLAY, StageClock

NAME = "replay"
PURPOSE = "`cardwatch replay`: scoring and learning from labels, and the time of its stages"

_WARM_UP_ROWS = 20_000
_QUALITY = ("AUC ROC", "Average Precision", "Card Precision@100")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One file replayed.

    Attributes:
        title: what the file is.
        rows: its transactions.
        engine_s: seconds of the engine's loop, decisions as a table included.
        command_s: seconds of the whole command, reading the file and judging included.
        said: what the command says of itself at its end.
        clock: time of the stages of the loop.
    """

    title: str
    rows: int
    engine_s: float
    command_s: float
    said: dict[str, str]
    clock: StageClock

    def row(self) -> list[str]:
        """A row of the table."""
        rates = [f"{self.rows:,}", f"{self.rows / self.engine_s:,.0f}", f"{self.rows / self.command_s:,.0f}"]
        return [self.title, *rates, *(self.said.get(name, "") for name in _QUALITY)]

    def as_json(self) -> dict[str, Any]:
        """What is kept."""
        return {
            "title": self.title, "rows": self.rows, "engine_s": self.engine_s, "command_s": self.command_s,
            "said": self.said, "stages_s": self.clock.seconds,
        }  # fmt: skip


def run(options: Options) -> None:
    """Replay the simulator's file, and the handbook's if it is given."""
    payments, labels = workload.replay_files(options.records, options.say)
    files = [("simulated, two months of 5,000 cards", [str(payments), "--labels", str(labels)])]
    if options.handbook is not None:
        mapping = str(resources.files("configs") / "mappings" / "handbook.toml")
        files.append(("Fraud Detection Handbook", [str(options.handbook), "--mapping", mapping, "--label-delay", "7d"]))
    with one_core(), tempfile.TemporaryDirectory() as folder:
        options.say("compiling, or loading what was compiled")
        start = Path(folder) / "start.parquet"
        pq.write_table(pq.read_table(payments).slice(0, _WARM_UP_ROWS), start)
        _replay("", [str(start), "--labels", str(labels)], Path(folder))
        replayed = []
        for title, words in files:
            options.say(f"replaying: {title}")
            replayed.append(_replay(title, words, Path(folder)))
    results.save(NAME, {"load_before": options.busy_before, "files": [each.as_json() for each in replayed]})
    results.write_section(NAME, _text(options, replayed))


def _replay(title: str, words: list[str], folder: Path) -> Replayed:
    """Run the command in this process, its stages watched."""
    parser = argparse.ArgumentParser()
    cardwatch.replay.add_arguments(parser)
    arguments = parser.parse_args([*words, "--out", str(folder / "decisions.parquet")])
    clock, out = StageClock(), io.StringIO()
    started_s = time.perf_counter()
    with clock.watching(REPLAY), contextlib.redirect_stdout(out):
        cardwatch.replay.run(arguments)
    command_s = time.perf_counter() - started_s
    text = out.getvalue()
    said = {name: found[1] for name in _QUALITY if (found := re.search(rf"^{name}\s+([\d.]+)", text, re.MULTILINE))}
    timed = re.search(r"^([\d,]+) rows in ([\d.]+) s", text, re.MULTILINE)
    if timed is None:
        message = f"`cardwatch replay` did not say how long it took:\n{text}"
        raise ValueError(message)
    return Replayed(title, int(timed[1].replace(",", "")), float(timed[2]), command_s, said, clock)


def _text(options: Options, replayed: list[Replayed]) -> str:
    """The tables."""
    head = ("file", "rows", "engine, rows/s", "whole command, rows/s", "AUC ROC", "AP", "CP@100")
    parts = [
        results.machine_lines(options.busy_before),
        "One core. Labels come seven days late; quality is over all labelled rows, from the first on:",
        results.table(head, [each.row() for each in replayed]),
    ]
    for each in replayed:
        parts += [
            f"Where the time of the engine goes ({each.title}):",
            results.table(("stage", "µs a row", "share"), each.clock.rows(each.rows, each.engine_s)),
        ]
    return "\n\n".join(parts)
