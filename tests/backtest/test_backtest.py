"""`cardwatch backtest` as people use it: a file of payments, a changed configuration, and what it says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cardwatch.cli import main

pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Payments of some days with frauds among them, and their labels a day later."""
    folder = tmp_path_factory.mktemp("backtest")
    payments, labels = folder / "payments.parquet", folder / "labels.parquet"
    arguments = ["--records", "6000", "--cards", "200", "--attacks", "60", "--seed", "3", "--label-delay-days", "1"]
    assert main(["simulate", "--out", str(payments), "--labels", str(labels), *arguments]) == 0
    return payments, labels


def backtest(files: tuple[Path, Path], folder: Path, candidate: str, *arguments: str) -> int:
    path = folder / "candidate.toml"
    path.write_text(candidate, encoding="utf-8")
    payments, labels = files
    return main(["backtest", str(payments), "--labels", str(labels), "--candidate", str(path), *arguments])


@pytest.fixture(scope="module")
def stricter(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The report and the page of a policy that freezes much sooner."""
    folder = tmp_path_factory.mktemp("stricter")
    content = '[policy]\nversion = "p-strict"\n[policy.thresholds]\nfreeze = 0.05\n'
    assert backtest(files, folder, content, "--json", f"{folder}/r.json", "--html", f"{folder}/r.html") == 0
    return json.loads((folder / "r.json").read_text("utf-8")), (folder / "r.html").read_text("utf-8")


def test_a_stricter_policy_freezes_more(stricter: tuple[dict[str, Any], str]) -> None:
    """Its own entries stand in place of the current ones, all others stay; scores are the same."""
    report, _ = stricter
    current, candidate = report["current"], report["candidate"]
    assert report["candidate_changes"] == ["policy"]
    assert candidate["policy_version"] == "p-strict"
    assert candidate["freezes"]["freezes"] > current["freezes"]["freezes"]
    assert candidate["quality"] == current["quality"]
    assert all(each["to"] == "FREEZE" for each in report["changed"]["by_action"])
    assert report["changed"]["payments"] == sum(each["payments"] for each in report["changed"]["by_reason"])
    for run in (current, candidate):
        assert sum(sum(row.values()) for row in run["actions"].values()) == report["payments"] == 6000
        assert sum(run["days"]["alerts"]) == run["work"]["alerts"]
        assert len(run["days"]["saved_minor"]) == report["days"]


def test_the_same_configuration_changes_nothing(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate that says what is so already decides as the current one, and is told apart by its name."""
    assert backtest(files, tmp_path, "[policy]\nrandom_review_share = 0.0002\n") == 0
    shown = capsys.readouterr().out
    assert "0 (0.000%) are decided differently" in shown
    assert re.search(r"policy +p-2026-01 +p-2026-01 \(candidate\)", shown)
    assert "Actions and truth, candidate" in shown


def test_other_models_have_other_scores(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A change of the models shows in the quality of the score."""
    content = "[models.logistic]\nlearning_rate = 0.001\n"
    assert backtest(files, tmp_path, content, "--json", str(tmp_path / "r.json")) == 0
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert report["candidate_changes"] == ["models"]
    assert report["candidate"]["quality"] != report["current"]["quality"]


class _Outline(HTMLParser):
    """What stands in a page: its tags in order, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_speaks_to_everybody(stricter: tuple[dict[str, Any], str]) -> None:
    """Nothing is fetched or run; plots have names, tables have captions and heads, headings are in order."""
    _, text = stricter
    outline = _Outline()
    outline.feed(text)
    names = [tag for tag, _ in outline.tags]
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert not [attrs for _, attrs in outline.tags if {"src", "href"} & set(attrs)]
    assert ("html", {"lang": "en"}) in outline.tags
    charts = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert len(charts) == 5
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert names.count("table") == names.count("caption") == 5
    assert all("scope" in attrs for tag, attrs in outline.tags if tag == "th")
    assert [tag for tag in names if tag in {"h1", "h2", "h3"}] == ["h1", "h2", "h2"]


@pytest.mark.parametrize(
    ("candidate", "arguments", "named"),
    [
        ("[rates]\nversion = 'x'\n", [], "[policy] and [models]"),
        ("", [], "[policy] and [models]"),
        ("[policy.thresholds]\nfreeze = 2.0\n", [], "--candidate: thresholds.freeze"),
        ("[policy]\nversion = 'x'\n", ["--answer-after", "soon"], "--answer-after is a number"),
        ("[policy]\nversion = 'x'\n", ["--html", "nowhere/r.html"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_compared_ends_with_code_2(
    candidate: str,
    arguments: list[str],
    named: str,
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is wrong is named before anything is replayed."""
    assert backtest(files, tmp_path, candidate, *arguments) == 2
    assert named in capsys.readouterr().err
