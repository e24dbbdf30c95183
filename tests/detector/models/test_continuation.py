"""A learner that is killed at any moment and goes on from its last version ends where one that never stopped ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.examples import Examples
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.models.drift import SLOT_MS, DriftAlarm, DriftMonitor
from tests.detector.models.helpers import DIGEST, GRIDS, models_mapping, random_bins, random_examples

_START_MS = 1_767_225_600_000
_RECORD_ROWS = 60
_WEEKS = 4
_FASTER = {"name": "faster", "logistic": {"learning_rate": 0.1}}
_OTHER = {"name": "other fields", "logistic": {"fields": ["*"], "learning_rate": 0.05}}
_RIVER = {"name": "bayes", "river": [{"name": "naive_bayes.GaussianNB"}]}


@dataclass
class Told:
    """Who is told of drift."""

    alarms: list[DriftAlarm] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    def drift_seen(self, name: str, value: float, *, is_wrong: bool) -> None:  # noqa: ARG002 - a port's
        self.values[name] = value

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        self.alarms.append(alarm)


def _config(*challengers: dict[str, Any]) -> ModelsConfig:
    mapping = models_mapping()
    mapping["logistic"]["learning_rate"] = 1e-6  # so that a challenger wins
    return ModelsConfig.from_mapping(mapping | {"challengers": list(challengers)})


CONFIG = _config(_FASTER, _OTHER, _RIVER)


def _records() -> list[Examples]:
    """Four weeks of records, labelled and not; in the last days a feature goes missing."""
    count = _WEEKS * 14 * 4
    examples = random_examples(11, count * _RECORD_ROWS)
    times = _START_MS + np.arange(len(examples)) * (SLOT_MS * _WEEKS * 14 // len(examples))
    late = times > times[-1] - 4 * SLOT_MS
    examples.bins[late, 0] = len(GRIDS[0][1]) + 1
    examples.label[1::2] = -1  # river's model is slow
    examples = replace(examples, label_time_ms=times.astype(np.int64))
    return [_cut(examples, rows) for rows in np.split(np.arange(len(examples)), count)]


def _cut(examples: Examples, rows: NDArray[np.int64]) -> Examples:
    columns = ("bins", "label", "weight", "label_time_ms", "sources", "propensity")
    return Examples(*(getattr(examples, name)[rows] for name in columns))


RECORDS = _records()


def _learner(told: Told, version: ModelVersion | None, learned: Sequence[Examples]) -> Trainer:
    """A trainer as the learn role makes it: new, or from the last version."""
    trainer = Trainer(CONFIG, GRIDS, DIGEST)
    known = None
    if version is not None:
        trainer.resume(version)
        for examples in learned:
            trainer.relive(examples)
        known = version.shared.drift if version.shared is not None else None
    trainer.monitor = DriftMonitor(trainer.binner, told, known)
    return trainer


def _run(kills: Iterator[int], told: Told) -> ModelVersion:
    """Learn all records; at each kill only the last version is left."""
    wanted = set(kills)
    trainer = _learner(told, None, ())
    for number, examples in enumerate(RECORDS):
        if number in wanted:
            stored = trainer.version(f"m-{number:06d}", number).to_bytes()
            trainer = _learner(told, ModelVersion.from_bytes(stored), RECORDS[:number])
        trainer.learn(examples)
    return trainer.version("m-end", len(RECORDS))


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[ModelVersion, Told]:
    told = Told()
    return _run(iter(()), told), told


@pytest.mark.compiled
def test_the_run_holds_what_is_to_be_kept(uninterrupted: tuple[ModelVersion, Told]) -> None:
    """A challenger has won, another is compared, the loss and all features are watched, and drift was seen."""
    version, told = uninterrupted
    assert [(verdict.winner, verdict.loser) for verdict in version.verdicts] == [("faster", "champion")]
    assert version.model == "faster"
    assert [challenger.model for challenger in version.challengers] == ["champion", "other fields"]
    assert version.shared is not None
    assert set(version.shared.compared) == {"bayes"}
    assert {"amount", "score", "labels", "loss"} <= set(told.values)
    assert "amount" in {alarm.name for alarm in told.alarms}
    assert all(
        challenger.state is not None and challenger.state.standing.contest.any() for challenger in version.challengers
    )


@pytest.mark.compiled
@given(st.sets(st.integers(1, len(RECORDS) - 1), min_size=1, max_size=6))
@settings(max_examples=6, deadline=None)
def test_kills_between_any_records_change_nothing(uninterrupted: tuple[ModelVersion, Told], kills: set[int]) -> None:
    """Weights, optimisers, caps, calibrations, contest, drift and what was told of it: all go on to the bit."""
    whole, seen = uninterrupted
    told = Told()
    assert _run(iter(kills), told).digest == whole.digest
    assert told.alarms == seen.alarms
    assert told.values == seen.values


@pytest.mark.compiled
def test_rivers_models_are_made_again_by_learning_again() -> None:
    """What no version can hold believes the same afterwards."""
    bins = random_bins(12, 30)
    first = _learner(Told(), None, ())
    for examples in RECORDS[:40]:
        first.learn(examples)
    again = _learner(Told(), ModelVersion.from_bytes(first.version("m", 40).to_bytes()), RECORDS[:40])
    believed = [trainer.belief("bayes", bins) for trainer in (first, again)]
    assert believed[0].tobytes() == believed[1].tobytes()
    assert believed[0].any()


@pytest.mark.compiled
def test_a_challenger_that_is_changed_begins_anew_and_no_other() -> None:
    """Other fields are another model; what is no longer configured is let go."""
    trainer = _learner(Told(), None, ())
    for examples in RECORDS[:20]:
        trainer.learn(examples)
    version = ModelVersion.from_bytes(trainer.version("m", 20).to_bytes())
    changed = {"name": "other fields", "logistic": {"fields": ["amount"]}}
    resumed = Trainer(_config(changed, {"name": "new", "logistic": {}}, _FASTER), GRIDS, DIGEST).resume(version)
    after = resumed.version("m", 20)
    by_name = {contender.model: contender for contender in (after, *after.challengers)}
    before = {contender.model: contender for contender in (version, *version.challengers)}
    for name in ("champion", "faster"):
        assert by_name[name].weights.tobytes() == before[name].weights.tobytes()
        assert by_name[name].weights.any()
    assert not by_name["other fields"].weights.any()
    assert not by_name["new"].weights.any()
