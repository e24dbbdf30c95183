"""The learner is killed before and after each of its steps, and ends where one that was left alone ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.examples import Examples
from detector.models import Trainer
from detector.models.drift import DriftMonitor
from streams.examples import LABELLED, Progress, examples_record
from streams.model_log import last_version
from streams.topics import EXAMPLES
from tests.detector.models.helpers import random_examples
from tests.detector.models.test_continuation import Told
from tests.services.process import wait_until
from tests.streams.kafka_world import World
from tests.streams.learner_process import STEPS, new_trainer

_ROOT = Path(__file__).parents[2]
# Two for each life: one that ends before each step, one after it, and the last.
_RECORDS, _ROWS = 2 * (2 * len(STEPS) + 1), 80
_EXAMPLES_PER_VERSION = 150
_DIES_WITHIN_S = 120.0

pytestmark = [pytest.mark.compiled, pytest.mark.slow, pytest.mark.timeout(900)]


def _records() -> list[Examples]:
    """Weeks of records, so that drift and the contest have something to remember."""
    examples = random_examples(21, _RECORDS * _ROWS)
    times = np.sort(np.random.default_rng(3).integers(0, 8 * 86_400_000, len(examples))) + 1_767_225_600_000
    columns: dict[str, Any] = {name: getattr(examples, name) for name in Examples.__slots__}
    columns["label_time_ms"] = times
    return [
        Examples(**{name: column[rows] for name, column in columns.items()})
        for rows in np.split(np.arange(len(examples)), _RECORDS)
    ]


def _write(world: World, records: list[Examples], first: int) -> None:
    for number, examples in enumerate(records):
        record = examples_record(examples, Progress(LABELLED, 0, first + number + 1), 0)
        world.writer.produce(EXAMPLES, record.value, partition=0, headers=list(record.headers))
    assert world.writer.flush(30) == 0


def _learned(world: World) -> int:
    version = last_version(world.settings)
    return 0 if version is None else version.examples_offset


def _start(world: World, name: str, step: str, is_before: bool) -> subprocess.Popen[bytes]:  # noqa: FBT001
    known = world.as_json()
    known |= {"worker_name": name, "model_interval_s": 1.0, "examples_per_version": _EXAMPLES_PER_VERSION}
    command = [sys.executable, "-m", "tests.streams.learner_process", json.dumps(known), json.dumps([step, is_before])]
    return subprocess.Popen(command, cwd=_ROOT)


def _uninterrupted(records: list[Examples]) -> Trainer:
    trainer = new_trainer()
    trainer.monitor = DriftMonitor(trainer.binner, Told())
    for examples in records:
        trainer.learn(examples)
    return trainer


def test_kill_9_between_any_two_steps_changes_nothing(world: World) -> None:
    """Examples, labels, weights, optimisers, contest, calibration and drift: the digest is that of one life."""
    records = _records()
    lives = [(step, is_before) for step in STEPS for is_before in (True, False)]
    for number, death in enumerate(lives):
        # Each life finds enough to learn for a version, and what the lives before it left.
        _write(world, records[2 * number : 2 * number + 2], 2 * number)
        learner = _start(world, f"learner-{number}", *death)
        try:
            assert learner.wait(_DIES_WITHIN_S) == -signal.SIGKILL, death
        finally:
            learner.kill()
    _write(world, records[-2:], _RECORDS - 2)
    last = _start(world, "learner-last", "", is_before=False)
    try:
        wait_until(lambda: _learned(world) == _RECORDS, seconds=_DIES_WITHIN_S, what="all is learned")
        last.terminate()
        assert last.wait(60) == 0
    finally:
        last.kill()
    found = last_version(world.settings)
    assert found is not None
    whole = _uninterrupted(records)
    assert found.digest == whole.version("m", _RECORDS).digest
