"""Clocks count opening hours and nothing else, whatever the zone, the holidays and the changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casework.clocks import Calendar, next_alarm_ms
from casework.errors import ConfigurationError
from casework.kinds import CaseKind
from casework.playbook import Playbook
from detector.vocabulary import Action
from tests.casework.examples import playbook, shipped

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
YEAR_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
CLOCKS = playbook().clocks
OFFICE = CLOCKS.calendars["office"]
ODD = Calendar(
    "odd",
    ZoneInfo("America/New_York"),
    ((9 * 60, 17 * 60), None, (0, 24 * 60), (90, 150), None, (22 * 60, 23 * 60 + 30), (2 * 60, 3 * 60)),
    frozenset({date(2026, 3, 9), date(2026, 12, 25)}),
)
CALENDARS = st.sampled_from([OFFICE, ODD, CLOCKS.calendars["always"]])
TIMES = st.integers(YEAR_MS, YEAR_MS + 366 * DAY_MS)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def naive_between(calendar: Calendar, start_ms: int, end_ms: int) -> int:
    """Opening minutes counted one by one."""
    total = 0
    for moment_ms in range(start_ms, end_ms, MINUTE_MS):
        local = datetime.fromtimestamp(moment_ms / 1000, calendar.zone)
        span = calendar.hours[local.weekday()]
        if span and local.date() not in calendar.holidays and span[0] <= local.hour * 60 + local.minute < span[1]:
            total += MINUTE_MS
    return total


@settings(max_examples=60, deadline=None)
@given(calendar=CALENDARS, start=TIMES, minutes=st.integers(0, 8 * 24 * 60))
def test_opening_time_is_what_counting_minutes_says(calendar: Calendar, start: int, minutes: int) -> None:
    """Over nights, weekends, holidays and both changes of the clocks."""
    start -= start % MINUTE_MS
    assert calendar.between(start, start + minutes * MINUTE_MS) == naive_between(
        calendar, start, start + minutes * MINUTE_MS
    )


@given(calendar=CALENDARS, start=TIMES, opening_ms=st.integers(1, 200 * HOUR_MS))
def test_after_is_the_inverse_of_between(calendar: Calendar, start: int, opening_ms: int) -> None:
    """So much opening time passes exactly until then, and one millisecond sooner it has not."""
    end = calendar.after(start, opening_ms)
    assert calendar.between(start, end) == opening_ms
    assert calendar.between(start, end - 1) == opening_ms - 1
    assert calendar.after(start, 0) == start


@given(spans=st.lists(st.tuples(st.integers(0, 3 * DAY_MS), st.integers(0, 3 * DAY_MS)), max_size=6), start=TIMES)
def test_pauses_cost_nothing(spans: list[tuple[int, int]], start: int) -> None:
    """However often it pauses, a clock is over when it has run for its target in all."""
    target = CLOCKS.target("email", CaseKind.FRAUD_ALERT, Action.REVIEW)
    clock, now, ran_ms = CLOCKS.start(target, start), start, 0
    for runs_ms, pauses_ms in spans:
        ran_ms += target.calendar.between(now, now + runs_ms)
        clock = CLOCKS.pause(clock, now + runs_ms)
        assert (clock.due_ms, next_alarm_ms(clock)) == (None, None)
        now += runs_ms + pauses_ms
        clock = CLOCKS.run(clock, now)
    assert clock.due_ms == target.calendar.after(now, max(0, target.opening_ms - ran_ms))
    assert clock.warn_ms is not None
    assert clock.due_ms is not None
    assert clock.warn_ms <= clock.due_ms


@pytest.mark.parametrize(
    ("channel", "kind", "action", "opening_ms"),
    [
        ("phone", CaseKind.DECLINED_PAYMENT, Action.ALLOW, 15 * MINUTE_MS),
        ("chat", CaseKind.DECLINED_PAYMENT, Action.ALLOW, 5 * MINUTE_MS),
        ("email", CaseKind.DECLINED_PAYMENT, Action.ALLOW, 2 * 10 * HOUR_MS),
        ("social", CaseKind.DECLINED_PAYMENT, Action.ALLOW, 48 * HOUR_MS),
        ("none", CaseKind.FRAUD_ALERT, Action.FREEZE, 15 * MINUTE_MS),
        ("none", CaseKind.FRAUD_ALERT, Action.REVIEW, 4 * HOUR_MS),
        ("chat", CaseKind.FRAUD_ALERT, Action.FREEZE, 5 * MINUTE_MS),
        ("phone", CaseKind.DISPUTE, Action.ALLOW, 10 * 10 * HOUR_MS),
        ("phone", CaseKind.DISPUTE, Action.FREEZE, 15 * MINUTE_MS),
    ],
)
def test_shipped_targets(channel: str, kind: CaseKind, action: Action, opening_ms: int) -> None:
    """Phone 15 min, chat 5 min, e-mail 2 business days, social 48 h, freezes 15 min; the most particular counts."""
    assert CLOCKS.target(channel, kind, action).opening_ms == opening_ms


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ("2026-11-27T16:00:00+01:00", "2026-12-01T16:00:00+01:00"),  # Friday: Friday 2 h, Monday 10 h, Tuesday 8 h
        ("2026-11-28T12:00:00+01:00", "2026-12-01T18:00:00+01:00"),  # Saturday: from Monday morning
        ("2026-12-24T18:30:00+01:00", "2026-12-29T18:00:00+01:00"),  # Christmas, then the weekend
        ("2026-03-27T10:00:00+01:00", "2026-03-31T10:00:00+02:00"),  # over the night in which clocks go forward
    ],
)
def test_two_business_days_as_people_count_them(asked: str, due: str) -> None:
    """Over weekends, holidays and summer time."""
    target = CLOCKS.target("email", CaseKind.DECLINED_PAYMENT, Action.ALLOW)
    assert CLOCKS.start(target, ms(asked)).due_ms == ms(due)


def test_what_became_urgent_is_due_sooner_and_never_later() -> None:
    """A freeze in a case of ten days makes it due in minutes; a mild alert in an urgent case changes nothing."""
    slow = CLOCKS.target("none", CaseKind.DISPUTE, Action.ALLOW)
    clock = CLOCKS.start(slow, YEAR_MS)
    urgent = CLOCKS.shortened(clock, CLOCKS.urgent, YEAR_MS + HOUR_MS)
    assert urgent.due_ms is not None
    assert urgent.due_ms <= YEAR_MS + HOUR_MS + 15 * MINUTE_MS
    assert CLOCKS.shortened(urgent, slow, YEAR_MS + HOUR_MS) == urgent


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"warn_share": 1.0}, "warn_share"),
        ({"targets": []}, "any channel"),
        ({"targets": [{"calendar": "nowhere", "minutes": 5}]}, "calendar"),
        ({"targets": [{"calendar": "always"}]}, "minutes or business_days"),
        ({"targets": [{"calendar": "always", "minutes": 5, "channel": "pigeon"}]}, "channel"),
        ({"targets": [{"calendar": "always", "minutes": 5}] * 2}, "same channel"),
        ({"calendars": {"office": {"time_zone": "Mars/Olympus", "hours": {"monday": "08:00-09:00"}}}}, "time_zone"),
        ({"calendars": {"office": {"time_zone": "UTC", "hours": {}}}}, "hours"),
        ({"calendars": {"office": {"time_zone": "UTC", "hours": {"monday": "09:00-08:00"}}}}, "monday"),
        ({"calendars": {"office": {"time_zone": "UTC", "hours": {"someday": "08:00-09:00"}}}}, "hours"),
        ({"calendars": {"office": {"time_zone": "UTC", "hours": {"monday": "8-9"}}}}, "monday"),
    ],
)
def test_wrong_clocks_are_named(change: dict[str, Any], named: str) -> None:
    """Before anything starts."""
    given_settings = shipped("playbook.toml")
    with pytest.raises(ConfigurationError, match=named):
        Playbook.from_mapping(given_settings | {"clocks": given_settings["clocks"] | change})
