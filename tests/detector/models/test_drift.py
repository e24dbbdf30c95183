"""Drift: what begins to be wrong is seen within a day, and eight quiet weeks raise no alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.models.bins import Binner
from detector.models.contest import log_losses
from detector.models.drift import LABELS, LOSS, SCORE, DriftAlarm, DriftMonitor, groups_of, stability_index

DAY_MS = 86_400_000
_START_MS = 1_767_225_600_000
_NAMES = ("amount", "hour", "weekday", "country_is_new", "km", "count")
_WEEKS = 8
# Drift begins in the afternoon of a day, in the tenth week.
_BEGINS_MS = _START_MS + 65 * DAY_MS + 15 * 3_600_000


def _binner() -> Binner:
    edges: dict[str, Any] = {
        "amount": np.geomspace(100, 1e6, 80), "hour": np.arange(1, 24), "weekday": np.arange(1, 7),
        "country_is_new": [0.5], "km": np.geomspace(1, 8000, 14), "count": np.arange(1, 20),
    }  # fmt: skip
    return Binner([(name, [float(edge) for edge in edges[name]]) for name in _NAMES])


@dataclass
class Watched:
    """What a monitor told."""

    alarms: list[DriftAlarm] = field(default_factory=list)
    told: dict[str, float] = field(default_factory=dict)

    def drift_seen(self, name: str, value: float) -> None:
        self.told[name] = value

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        self.alarms.append(alarm)


@dataclass(frozen=True)
class Wrong:
    """What is injected from `_BEGINS_MS` on."""

    amount_factor: float = 1.0
    new_country_share: float = 0.0
    missing: str = ""
    labels_stop: bool = False
    labels_flip: bool = False


def _hours(seed: int, days: int, wrong: Wrong) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], bool]]:
    """Payments of each hour as features and times, by the rhythm of day and week; and whether what is wrong has begun.

    1,200 a day, as many as a sample of one in eight leaves of the handbook's data.
    """
    rng = np.random.default_rng(seed)
    for hour in range(days * 24):
        begin_ms = _START_MS + hour * 3_600_000
        weekend = (begin_ms // DAY_MS + 3) % 7 >= 5
        rate = 50.0 * (1.0 + 0.9 * np.sin((hour % 24 - 9) / 24 * 2 * np.pi)) * (1.3 if weekend else 0.9)
        rows = rng.poisson(rate)
        is_wrong = begin_ms >= _BEGINS_MS
        amount = rng.lognormal(8.0 + 0.3 * weekend, 1.0, rows) * (wrong.amount_factor if is_wrong else 1.0)
        new = rng.random(rows) < 0.01 + (wrong.new_country_share if is_wrong else 0.0)
        km = np.where(rng.random(rows) < 0.3, np.nan, rng.lognormal(2.0 + 3.0 * new, 1.0, rows))
        columns = [amount, np.full(rows, hour % 24), np.full(rows, (begin_ms // DAY_MS + 3) % 7), new, km]
        features = np.column_stack([*columns, rng.poisson(3.0 + 2.0 * weekend, rows)]).astype(np.float32)
        if is_wrong and wrong.missing:
            features[:, _NAMES.index(wrong.missing)] = np.nan
        yield features, np.sort(rng.integers(begin_ms, begin_ms + 3_600_000, rows)), is_wrong


def _watch(wrong: Wrong, seed: int = 1, days: int = 67) -> Watched:
    """Run a world past a monitor: scores from amount and country, a label for every payment an hour later."""
    watched, binner, rng = Watched(), _binner(), np.random.default_rng(seed + 1)
    monitor = DriftMonitor(binner, watched)
    for features, time_ms, is_wrong in _hours(seed, days, wrong):
        odds = -7.0 + 0.8 * (np.log(np.nan_to_num(features[:, 0], nan=3_000.0)) - 8.0) + 2.0 * features[:, 3]
        scores = 1.0 / (1.0 + np.exp(-odds))
        monitor.take_payments(binner.bins(features), scores, time_ms)
        labels = (rng.random(len(odds)) < scores).astype(np.int64)
        if is_wrong and wrong.labels_flip:
            labels = (rng.random(len(odds)) < 0.1).astype(np.int64)
        if not (is_wrong and wrong.labels_stop):
            monitor.take_labels(log_losses(odds, labels), time_ms)
    return watched


@cache
def _names_after(wrong: Wrong) -> frozenset[str]:
    """What raised an alarm within a day of the beginning; before it nothing may."""
    alarms = _watch(wrong).alarms
    assert all(alarm.time_ms > _BEGINS_MS for alarm in alarms), alarms
    return frozenset(alarm.name for alarm in alarms if alarm.time_ms <= _BEGINS_MS + DAY_MS)


@pytest.mark.compiled
@pytest.mark.parametrize("seed", range(6))
def test_quiet_weeks_raise_no_alarm(seed: int) -> None:
    """Eight weeks after the reference is known: nights, weekends and chance are no drift."""
    watched = _watch(Wrong(), seed=100 + seed, days=14 + 7 * _WEEKS)
    assert not watched.alarms
    assert set(watched.told) >= {*_NAMES, SCORE, LABELS}
    assert max(abs(watched.told[name]) for name in _NAMES) < 0.1


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (Wrong(amount_factor=2.0), {"amount", SCORE}),
        (Wrong(new_country_share=0.1), {"country_is_new"}),
        (Wrong(missing="km"), {"km"}),
        (Wrong(missing="amount"), {"amount"}),
        (Wrong(labels_stop=True), {LABELS}),
        (Wrong(labels_flip=True), {LOSS}),
    ],
)
def test_injected_drift_is_seen_within_a_day(wrong: Wrong, seen: set[str]) -> None:
    """Amounts doubled, a country added, a feature gone, labels stopped or no longer what they were."""
    assert seen <= _names_after(wrong)


@pytest.mark.compiled
def test_an_alarm_is_raised_once() -> None:
    """While something stays wrong there is one alarm of it, not one each half day."""
    names = [alarm.name for alarm in _watch(Wrong(missing="km"), days=70).alarms]
    assert names.count("km") == 1


def test_groups_hold_a_twentieth_and_keep_missing_apart() -> None:
    """Sparse bins are put together with their neighbours; what is missing is never mixed with what is there."""
    reference = np.zeros(256)
    reference[:10] = [0, 1, 0, 500, 3, 0, 0, 490, 2, 1]
    reference[10] = 7
    assert groups_of(reference, 10)[:11].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3]


def test_index_is_the_textbooks_less_chance() -> None:
    """Of many rows it is the population stability index; of the same distribution it is around 0 however few."""
    now, then = np.array([2e6, 3e6, 5e6]), np.array([3e6, 3e6, 4e6])
    expected = 0.1 * np.log(3 / 2) + 0.1 * np.log(5 / 4)
    assert stability_index(now, then) == pytest.approx(expected, abs=1e-4)
    rng = np.random.default_rng(2)
    shares = np.full(20, 0.05)
    found = [stability_index(*(rng.multinomial(n, shares).astype(float) for n in (250, 350))) for _ in range(400)]
    assert abs(np.mean(found)) < 0.02
    assert max(found) < 0.2
