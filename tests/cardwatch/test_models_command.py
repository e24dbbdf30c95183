"""`cardwatch models` on a topic in memory: what a person may do, what it says, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cardwatch.commands.models as command
from cardwatch.cli import main
from cardwatch.settings import shipped_toml
from detector.models import ModelsConfig, ModelVersion, Trainer

Run = Callable[..., int]
_CHALLENGERS = [{"name": "faster", "logistic": {"learning_rate": 0.2}}]


def _trainer() -> Trainer:
    small = {"logistic": shipped_toml("models.toml")["logistic"] | {"fields": ["*"]}, "challengers": _CHALLENGERS}
    return Trainer(ModelsConfig.from_mapping(shipped_toml("models.toml") | small))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> list[ModelVersion]:
    """The versions that Kafka keeps: three of a learner."""
    trainer = _trainer()
    kept = [trainer.version(f"m-{number:06d}", number) for number in range(1, 4)]

    def write(_: object, version: ModelVersion) -> None:
        kept.append(ModelVersion.from_bytes(version.to_bytes()))

    monkeypatch.setattr(command, "versions_kept", lambda _: list(kept))
    monkeypatch.setattr(command, "write_version", write)
    monkeypatch.setattr(command, "connected", lambda *_, **__: SimpleNamespace(kafka=None))
    return kept


def _run(*words: str) -> int:
    return main(["models", *words])


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_rollback_goes_one_further_back_each_time(
    topic: list[ModelVersion], capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice is not there and back again; at the end it says that nothing is left."""
    assert _run("rollback") == 0
    assert "m-000004 acts now: m-000002 again, in place of m-000003" in capsys.readouterr().out
    assert _run("rollback") == 0
    assert "m-000005 acts now: m-000001 again, in place of m-000004" in capsys.readouterr().out
    assert _run("rollback") == 1
    captured = capsys.readouterr()
    assert "keeps nothing that acted before m-000005" in captured.err
    assert len(topic) == 5


def test_rollback_of_a_promotion_brings_back_what_it_replaced(topic: list[ModelVersion]) -> None:
    """An old version was put in place by mistake."""
    assert _run("promote", "m-000001") == 0
    assert _run("rollback") == 0
    assert topic[-1].created_from == "m-000003"


def test_a_change_is_recorded_with_who_and_why(topic: list[ModelVersion], capsys: pytest.CaptureFixture[str]) -> None:
    """The audit record travels with the versions."""
    assert _run("rollback", "m-000001", "--as", "ana", "--note", "learned from a bad import", "--json") == 0
    told = _json(capsys)
    assert told["version"] == "m-000004"
    assert told["in_place_of"] == "m-000003"
    (verdict,) = topic[-1].verdicts
    assert told["verdict"]["actor"] == verdict.actor == "ana"
    assert verdict.note == "learned from a bad import"
    assert verdict.label_time_ms > 1_600_000_000_000
    assert _run("show") == 0
    assert "rolled_back_by_hand: m-000001 in place of m-000003, by ana (learned" in capsys.readouterr().out


def test_a_challenger_can_be_promoted(topic: list[ModelVersion], capsys: pytest.CaptureFixture[str]) -> None:
    """It becomes champion, the champion its challenger, and the learner goes on with both."""
    assert _run("promote", "faster", "--as", "ana") == 0
    assert "m-000004 acts now: challenger faster, in place of m-000003" in capsys.readouterr().out
    made = topic[-1]
    assert (made.model, [challenger.model for challenger in made.challengers]) == ("faster", ["champion"])
    assert made.examples_offset == 3
    resumed = _trainer().resume(made)
    assert resumed.version("m-000005", 3).model == "faster"
    assert _run("rollback") == 0
    assert topic[-1].model == "champion"


def test_a_version_goes_through_a_file(
    topic: list[ModelVersion], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was saved can be promoted; what exists is not written over."""
    path = tmp_path / "kept.npz"
    assert _run("save", "m-000002", str(path)) == 0
    assert f"m-000002 written to {path}, digest {topic[1].digest}" in capsys.readouterr().out
    assert _run("save", "m-000003", str(path)) == 2
    assert _run("promote", str(path)) == 0
    assert topic[-1].digest != topic[1].digest  # its place in the log and its verdict are others
    assert topic[-1].weights.tobytes() == topic[1].weights.tobytes()


def test_all_is_told_as_json(topic: list[ModelVersion], capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: the same as people see, with numbers as numbers."""
    assert _run("list", "--json") == 0
    versions = _json(capsys)["versions"]
    assert [(each["version"], each["acts"]) for each in versions] == [
        ("m-000001", False), ("m-000002", False), ("m-000003", True)
    ]  # fmt: skip
    assert _run("show", "m-000001", "--json") == 0
    told = _json(capsys)
    assert told["digest"] == topic[0].digest
    assert [each["name"] for each in told["contenders"]] == ["faster"]
    assert told["trained_to_ms"] is None
    assert told["acts"] is False


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "m-000099"), 2, "Kafka keeps no such version; there are m-000001 to m-000003"),
        (("promote", "m-000099"), 2, "no file, and Kafka keeps versions m-000001 to m-000003; challengers are faster"),
        (("promote", "/"), 2, "not a model's file"),
        (("rollback", "--as", ""), 2, "--as: a name of 1 to 64 plain characters"),
        (("rollback", "--as", "a\x1b[2J"), 2, "--as: a name"),
        (("rollback", "--note", "two\nlines"), 2, "--note: at most"),
        (("save", "m-000001", "/nowhere/file"), 2, "No such file or directory"),
    ],
)
def test_mistakes_are_told_and_change_nothing(
    topic: list[ModelVersion], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    """No stack trace, nothing written, what would be right is named."""
    assert _run(*words) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert len(topic) == 3


def test_a_file_that_is_no_model_is_refused(
    topic: list[ModelVersion], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Neither text nor a model of other features is put in place."""
    path = tmp_path / "model.npz"
    path.write_bytes(b"no model")
    assert _run("promote", str(path)) == 2
    assert f"{path}: model archive: unreadable" in capsys.readouterr().err
    shipped = shipped_toml("models.toml")
    one_feature = {
        "logistic": shipped["logistic"] | {"fields": ["amount"]},
        "half_space": shipped["half_space"] | {"features": ["amount"]},
    }
    other = Trainer(ModelsConfig.from_mapping(shipped | one_feature), [("amount", (1.0, 2.0))], "another")
    path.write_bytes(other.version("m-000009", 0).to_bytes())
    assert _run("promote", str(path)) == 2
    assert "was made for feature catalogue another" in capsys.readouterr().err
    assert len(topic) == 3


def test_without_a_model_there_is_nothing_to_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and what makes the first."""
    monkeypatch.setattr(command, "versions_kept", lambda _: [])
    monkeypatch.setattr(command, "connected", lambda *_, **__: SimpleNamespace(kafka=None))
    assert _run("list") == 1
    assert "there is no model yet" in capsys.readouterr().err
