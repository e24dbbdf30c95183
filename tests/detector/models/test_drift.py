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
from detector.models.drift import (
    PSI_THRESHOLD,
    ROWS,
    DriftAlarm,
    DriftMonitor,
    chance_limit,
    groups_of,
    stability_index,
)
from detector.vocabulary import DRIFT_OF_LABELS, DRIFT_OF_LOSS, DRIFT_OF_SCORE

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
    wrong: dict[str, bool] = field(default_factory=dict)

    def drift_seen(self, name: str, value: float, *, is_wrong: bool) -> None:
        self.told[name] = value
        self.wrong[name] = is_wrong

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
    matured: bool = False


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
    """What a monitor tells of a world."""
    watched = Watched()
    _monitor_of(wrong, watched, seed, days)
    return watched


def _monitor_of(wrong: Wrong, watched: Watched | None = None, seed: int = 1, days: int = 67) -> DriftMonitor:
    """Run a world past a monitor: scores from amount and country, a label for every payment an hour later."""
    binner, rng = _binner(), np.random.default_rng(seed + 1)
    monitor = DriftMonitor(binner, watched or Watched())
    for features, time_ms, is_wrong in _hours(seed, days, wrong):
        bins = binner.bins(features)
        odds = _odds(bins)
        monitor.take_payments(bins, time_ms, _scores)
        labels = (rng.random(len(odds)) < _scores(bins)).astype(np.int64)
        if is_wrong and wrong.labels_flip:
            labels = (rng.random(len(odds)) < 0.1).astype(np.int64)
        if not (is_wrong and wrong.labels_stop):
            monitor.take_labels(log_losses(odds, labels), time_ms, _scores, given=True)
        if wrong.matured:
            monitor.take_labels(log_losses(odds, 0 * labels), time_ms, _scores, given=False)
    return monitor


_BINNER = _binner()


def _odds(bins: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a model makes of rows: of amount and country alone."""
    amount, is_new = (_BINNER.middles[column, bins[:, column]] for column in (0, 3))
    usual = np.maximum(np.nan_to_num(amount, nan=3_000.0), 50.0)
    odds: NDArray[np.float64] = -7.0 + 0.8 * (np.log(usual) - 8.0) + 2.0 * is_new
    return odds


def _scores(bins: NDArray[np.uint8]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-_odds(bins)))


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
    assert set(watched.told) >= {*_NAMES, DRIFT_OF_SCORE, DRIFT_OF_LABELS}
    assert max(abs(watched.told[name]) for name in _NAMES) < 0.1


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (Wrong(amount_factor=2.0), {"amount", DRIFT_OF_SCORE}),
        (Wrong(new_country_share=0.1), {"country_is_new"}),
        (Wrong(missing="km"), {"km"}),
        (Wrong(missing="amount"), {"amount"}),
        (Wrong(labels_stop=True), {DRIFT_OF_LABELS}),
        (Wrong(labels_stop=True, matured=True), {DRIFT_OF_LABELS}),
        (Wrong(labels_flip=True), {DRIFT_OF_LOSS}),
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


@pytest.mark.parametrize("groups", [2, 12, 22])
def test_chance_stays_below_its_limit(groups: int) -> None:
    """Without drift the share of indices above the limit is what it says, here for a limit once in forty looks."""
    rng = np.random.default_rng(groups)
    shares = rng.dirichlet(np.full(groups, 20.0))
    found = [
        stability_index(rng.multinomial(600, shares).astype(float), rng.multinomial(900, shares).astype(float))
        for _ in range(4_000)
    ]
    looks = 100 * 365.25 * 2
    often = chance_limit(groups, 600.0, 900.0, columns=1)
    assert (np.array(found) > often).sum() == 0
    assert often < chance_limit(groups, 600.0, 900.0, columns=100)
    assert often < chance_limit(groups, 200.0, 300.0, columns=1)
    rare = np.quantile(found, 1.0 - 1.0 / 40.0)
    assert rare < often
    assert looks > len(found)


def test_few_rows_need_more() -> None:
    """At a hundred rows chance alone goes far beyond the threshold, with all rows a little, with two groups never."""
    assert chance_limit(20, 100.0, 200.0, columns=100) > 5 * PSI_THRESHOLD
    assert PSI_THRESHOLD < chance_limit(20, 511.0, 1022.0, columns=100) < 2 * PSI_THRESHOLD
    assert chance_limit(2, 511.0, 1022.0, columns=100) < PSI_THRESHOLD


@pytest.mark.parametrize("pieces", [1, 7, 1_000])
def test_a_sample_of_many_is_spread_over_the_half_day(pieces: int) -> None:
    """However many payments come and however they are cut, some hundreds are kept, at even distances."""
    binner, watched = _binner(), Watched()
    monitor = DriftMonitor(binner, watched)
    rows, begin_ms = 50_000, _START_MS
    features = np.zeros((rows, len(_NAMES)), dtype=np.float32)
    features[:, 1] = np.arange(rows) * 24 // rows
    bins = binner.bins(features)
    times = begin_ms + np.arange(rows) * (43_200_000 // rows)
    for part in np.array_split(np.arange(rows), pieces):
        monitor.take_payments(bins[part], times[part], _scores)
    kept = int(monitor.state.place[1])
    assert ROWS // 2 <= kept < ROWS
    hours = np.bincount(monitor.state.present[:kept, 1], minlength=24)
    assert hours.max() - hours.min() <= 1


@pytest.mark.compiled
def test_a_monitor_goes_on_from_its_state() -> None:
    """What was told last is told again at once, and an alarm that is on is not raised again."""
    watched, again, binner = _watch(Wrong(missing="km"), days=67), Watched(), _binner()
    monitor = _monitor_of(Wrong(missing="km"), days=67)
    assert monitor.alarms
    resumed = DriftMonitor(binner, again, monitor.state)
    assert again.told == watched.told
    assert {name for name, is_wrong in again.wrong.items() if is_wrong} == set(monitor.alarms)
    assert not again.alarms
    assert resumed.state is not monitor.state
