"""`cardwatch replay` on simulated payments: the same answer every time, and no label before its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cardwatch.cli import main
from cardwatch.errors import ReplayError
from cardwatch.replay import parse_duration_ms

pytestmark = pytest.mark.compiled
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Payments of some days with frauds among them, and their labels a day later."""
    folder = tmp_path_factory.mktemp("replay")
    payments, labels = folder / "payments.parquet", folder / "labels.parquet"
    arguments = ["--records", "4000", "--cards", "200", "--attacks", "60", "--seed", "3", "--label-delay-days", "1"]
    assert main(["simulate", "--out", str(payments), "--labels", str(labels), *arguments]) == 0
    return payments, labels


def replay(payments: Path, out: Path, *arguments: str) -> pa.Table:
    assert main(["replay", str(payments), "--out", str(out), *arguments]) == 0
    return pq.read_table(out)


def test_the_same_input_gives_the_same_bytes(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Two runs write files that are equal byte for byte, a row for every payment in time order."""
    payments, labels = files
    for name in ("a", "b"):
        replay(payments, tmp_path / f"{name}.parquet", "--labels", str(labels))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    decisions = pq.read_table(tmp_path / "a.parquet")
    assert decisions.num_rows == 4000
    assert {"transaction_id", "event_time_ms", "score", "anomaly", "action", "reasons"} <= set(decisions.column_names)
    times = decisions.column("event_time_ms").to_pylist()
    assert times == sorted(times)


def test_no_label_acts_before_it_is_known(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Turning around every label after a moment changes no score before that moment, and some score after it."""
    payments, labels = files
    known = pq.read_table(labels)
    times = known.column("label_time_ms").to_pylist()
    cut_ms = sorted(times)[len(times) // 3]
    turned = [
        1 - label if time > cut_ms else label
        for label, time in zip(known.column("label").to_pylist(), times, strict=True)
    ]
    other = tmp_path / "turned.parquet"
    pq.write_table(known.set_column(known.column_names.index("label"), "label", pa.array(turned)), other)
    honest = replay(payments, tmp_path / "honest.parquet", "--labels", str(labels)).to_pydict()
    lied = replay(payments, tmp_path / "lied.parquet", "--labels", str(other)).to_pydict()
    before = [row for row, time in enumerate(honest["event_time_ms"]) if time <= cut_ms]
    assert before
    assert [honest["score"][row] for row in before] == [lied["score"][row] for row in before]
    assert honest["score"] != lied["score"]


def test_labels_make_a_difference_and_are_measured(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With labels the models learn and quality is printed; without, nothing is learned and nothing claimed."""
    payments, labels = files
    taught = replay(payments, tmp_path / "taught.parquet", "--labels", str(labels))
    said = capsys.readouterr().out
    assert "AUC ROC" in said
    assert "Average Precision" in said
    assert "Card Precision@100" in said
    assert "rows/s" in said
    untaught = replay(payments, tmp_path / "untaught.parquet")
    assert "AUC" not in capsys.readouterr().out
    assert taught.column("score").to_pylist() != untaught.column("score").to_pylist()


def test_alerted_payments_may_be_labelled_sooner(files: tuple[Path, Path], tmp_path: Path) -> None:
    """What people look at at once teaches sooner; an answer that is no sooner changes nothing."""
    payments, labels = files
    waited = replay(payments, tmp_path / "waited.parquet", "--labels", str(labels))
    asked = replay(payments, tmp_path / "asked.parquet", "--labels", str(labels), "--alert-label-delay", "1h")
    late = replay(payments, tmp_path / "late.parquet", "--labels", str(labels), "--alert-label-delay", "2d")
    assert asked.column("score").to_pylist() != waited.column("score").to_pylist()
    assert late.equals(waited)


@pytest.mark.parametrize(
    ("text", "duration_ms"), [("7d", 7 * DAY_MS), ("12h", DAY_MS // 2), ("1.5m", 90_000), ("90s", 90_000)]
)
def test_durations(text: str, duration_ms: int) -> None:
    """A delay is a number and a unit."""
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("text", ["7", "d", "-1d", "7 days", ""])
def test_durations_that_are_none(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ReplayError, match="7d"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    "arguments", [["nothing.parquet", "--out", "x.parquet"], ["{here}", "--out", "x", "--mapping", "nothing.toml"]]
)
def test_a_file_that_cannot_be_used_ends_with_code_2(
    arguments: list[str], files: tuple[Path, Path], capsys: Any
) -> None:
    """A missing file or mapping is named on one line, without a traceback."""
    filled = [word.replace("{here}", str(files[0])) for word in arguments]
    assert main(["replay", *filled]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ('[models]\ncold_start_frauds = "many"\n', "cold_start_frauds"),
        (
            '[rates]\nversion = "x"\nreference_currency = "USD"\ncurrencies = { USD = { exponent = 2, rate = 1.0 } }\n',
            "reference_currency",
        ),
        ("[models\n", "--config"),
    ],
)
def test_a_configuration_that_cannot_be_used_ends_with_code_2(
    config: str, named: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong in --config is named before anything runs."""
    path = tmp_path / "config.toml"
    path.write_text(config, encoding="utf-8")
    assert main(["replay", str(files[0]), "--out", str(tmp_path / "x.parquet"), "--config", str(path)]) == 2
    assert named in capsys.readouterr().err
