"""Files of the simulator: three formats, one content, and the truth beside them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from cardwatch.simulator import SettingError, Simulator, WorldSettings
from cardwatch.simulator.output import write_files

START_MS = 1_767_225_600_000
COUNT = 2_000


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(WorldSettings(seed=2, cards=300, merchants=500, attacks_per_thousand_cards_day=20.0))


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a file, without the fields that are not given."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            return [{name: text for name, text in row.items() if text} for row in csv.DictReader(lines)]
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_holds_the_stream(simulator: Simulator, tmp_path: Path, suffix: str) -> None:
    """What is read back is what the stream says, in every format; written again, it is the same bytes."""
    path, labels = tmp_path / f"t{suffix}", tmp_path / f"l{suffix}"
    frauds = write_files(simulator.stream(START_MS), COUNT, path, labels, delay_ms=1_000)
    records = simulator.stream(START_MS).records(COUNT)
    if suffix == ".csv":
        records = [{name: str(value) for name, value in record.items()} for record in records]
    assert read(path) == records
    truth = read(labels)
    assert sum(int(row["label"]) for row in truth) == frauds > 0
    assert [int(row["label_time_ms"]) for row in truth] == sorted(int(row["label_time_ms"]) for row in truth)
    again = tmp_path / f"again{suffix}"
    write_files(simulator.stream(START_MS), COUNT, again)
    assert again.read_bytes() == path.read_bytes()


def test_an_unknown_format_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    """A suffix that says no format is named, before anything is written."""
    with pytest.raises(SettingError, match=r"l\.txt: .*\.jsonl, \.csv, \.parquet"):
        write_files(simulator.stream(START_MS), 1, tmp_path / "t.csv", tmp_path / "l.txt")
    assert not (tmp_path / "t.csv").exists()
