"""Clocks: by when a case must be answered, counted in the opening hours of whoever answers. Time is an argument.

A calendar says when it is open: hours by weekday in a time zone, and holidays. A target is an amount of opening time.
A clock uses it up while it runs, stands still while the desk waits for the customer, and says in advance when it will
warn and when it will be over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from casework.errors import ConfigurationError
from casework.kinds import CaseKind
from detector.vocabulary import Action

_MINUTE_MS = 60_000
_ANY = "any"
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
# A calendar that is not open within so many days is one that never is.
_LONGEST_CLOSURE_DAYS = 400


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a desk is open.

    Attributes:
        zone: time zone of hours and holidays.
        hours: for each weekday from Monday, minutes of the local day from which until which it is open; None: closed.
        holidays: local days on which it is closed.
    """

    name: str
    zone: ZoneInfo
    hours: tuple[tuple[int, int] | None, ...]
    holidays: frozenset[date]

    @property
    def longest_day_ms(self) -> int:
        """Opening time of its longest day: what a business day is worth."""
        return max(((end - start) * _MINUTE_MS for start, end in filter(None, self.hours)), default=0)

    def openings(self, from_ms: int) -> Iterator[tuple[int, int]]:
        """Spans of UTC milliseconds during which it is open, in order, beginning with the local day of `from_ms`."""
        day = datetime.fromtimestamp(from_ms / 1000, self.zone).date()
        while True:
            span = self.hours[day.weekday()]
            if span is not None and day not in self.holidays:
                start_ms, end_ms = (self._utc_ms(day, minutes) for minutes in span)
                if start_ms < end_ms:
                    yield start_ms, end_ms
            day += timedelta(days=1)

    def after(self, start_ms: int, opening_ms: int) -> int:
        """When so much opening time will have passed since `start_ms`; none at all passes at once."""
        left_ms = opening_ms
        for opens_ms, closes_ms in self.openings(start_ms):
            from_ms = max(opens_ms, start_ms)
            if closes_ms - from_ms >= left_ms and closes_ms > start_ms:
                return (from_ms if opening_ms else start_ms) + left_ms
            left_ms -= max(0, closes_ms - from_ms)
        return start_ms  # never: openings do not end

    def between(self, start_ms: int, end_ms: int) -> int:
        """Opening time from `start_ms` to `end_ms`."""
        passed_ms = 0
        for opens_ms, closes_ms in self.openings(start_ms):
            if opens_ms >= end_ms:
                return passed_ms
            passed_ms += max(0, min(closes_ms, end_ms) - max(opens_ms, start_ms))
        return passed_ms  # never: openings do not end

    def _utc_ms(self, day: date, minutes: int) -> int:
        """A local time of a day; one that the clocks skip is the moment at which they skip it."""
        local = datetime.combine(day, time(), self.zone) + timedelta(minutes=minutes)
        return round(local.astimezone(UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Target:
    """How much opening time of which calendar a case may take."""

    calendar: Calendar
    opening_ms: int


class Clock(msgspec.Struct, frozen=True, omit_defaults=True):
    """The clock of one case.

    Attributes:
        calendar: whose opening time it counts.
        target_ms: opening time it may take.
        used_ms: opening time taken until `running_since_ms`, or in all where it stands still.
        running_since_ms: since when it runs; None: it stands still.
        warn_ms, due_ms: when it will warn and be over if it goes on running; None where it stands still.
        warned, missed: whether that has happened.
        stopped: whether nothing is due any more.
    """

    calendar: str
    target_ms: int
    used_ms: int = 0
    running_since_ms: int | None = None
    warn_ms: int | None = None
    due_ms: int | None = None
    warned: bool = False
    missed: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class ClockRules:
    """The playbook's `[clocks]`.

    Attributes:
        targets: by (channel or any, kind or any), the most particular one counts.
        urgent: for cases whose severest alert is FREEZE.
        warn_share: share of the target after which a clock warns.
    """

    calendars: Mapping[str, Calendar]
    targets: Mapping[tuple[str, str], Target]
    urgent: Target
    warn_share: float

    def target(self, channel: str, kind: CaseKind, action: Action) -> Target:
        """The target of a case: by channel and kind; a frozen cardholder has the urgent one where it is shorter."""
        keys = ((channel, kind), (_ANY, kind), (channel, _ANY), (_ANY, _ANY))
        target = next(self.targets[key] for key in keys if key in self.targets)
        if action is Action.FREEZE and self.urgent.opening_ms < target.opening_ms:
            return self.urgent
        return target

    def start(self, target: Target, now_ms: int, used_ms: int = 0) -> Clock:
        """A clock that begins to run now, with opening time used before."""
        fresh = Clock(target.calendar.name, target.opening_ms, used_ms=min(used_ms, target.opening_ms))
        return self.run(fresh, now_ms)

    def run(self, clock: Clock, now_ms: int) -> Clock:
        """Let it run on; one that runs or has stopped stays as it is."""
        if clock.running_since_ms is not None or clock.stopped:
            return clock
        calendar = self.calendars[clock.calendar]
        warn_after_ms = max(0, round(clock.target_ms * self.warn_share) - clock.used_ms)
        due_after_ms = max(0, clock.target_ms - clock.used_ms)
        return msgspec.structs.replace(
            clock,
            running_since_ms=now_ms,
            warn_ms=calendar.after(now_ms, warn_after_ms),
            due_ms=calendar.after(now_ms, due_after_ms),
        )

    def pause(self, clock: Clock, now_ms: int) -> Clock:
        """Let it stand still: the desk waits for the customer."""
        if clock.running_since_ms is None:
            return clock
        passed_ms = self.calendars[clock.calendar].between(clock.running_since_ms, max(now_ms, clock.running_since_ms))
        return msgspec.structs.replace(
            clock, used_ms=clock.used_ms + passed_ms, running_since_ms=None, warn_ms=None, due_ms=None
        )

    def stop(self, clock: Clock, now_ms: int) -> Clock:
        """End it: what it was for has been done."""
        return msgspec.structs.replace(self.pause(clock, now_ms), stopped=True)

    def warned(self, clock: Clock) -> Clock:
        """The same clock once it has warned."""
        return msgspec.structs.replace(clock, warned=True)

    def missed(self, clock: Clock) -> Clock:
        """The same clock once its target is missed: it has nothing more to say."""
        return msgspec.structs.replace(clock, warned=True, missed=True)

    def shortened(self, clock: Clock, target: Target, now_ms: int) -> Clock:
        """The same clock with another target if that is over sooner; what was used counts.

        A clock never gets longer by itself: a matter that became urgent stays so.
        """
        paused = self.pause(clock, now_ms)
        other = self.run(msgspec.structs.replace(paused, calendar=target.calendar.name, target_ms=target.opening_ms,
                                                 used_ms=min(paused.used_ms, target.opening_ms)), now_ms)  # fmt: skip
        is_sooner = clock.due_ms is not None and other.due_ms is not None and other.due_ms < clock.due_ms
        return clock if clock.stopped or clock.missed or not is_sooner else other


def next_alarm_ms(clock: Clock | None) -> int | None:
    """When the clock has something to say next."""
    if clock is None or clock.running_since_ms is None or clock.missed:
        return None
    return clock.due_ms if clock.warned else clock.warn_ms


def is_missed(clock: Clock | None, now_ms: int) -> bool:
    """Whether its target is over, told of yet or not."""
    return clock is not None and (clock.missed or (clock.due_ms is not None and now_ms >= clock.due_ms))


def is_near(clock: Clock | None, now_ms: int) -> bool:
    """Whether it has come so near its target that it warns, or beyond."""
    if clock is None or clock.stopped:
        return False
    return clock.warned or clock.missed or (clock.warn_ms is not None and now_ms >= clock.warn_ms)


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Calendar(msgspec.Struct, forbid_unknown_fields=True):
    time_zone: _Name
    hours: dict[str, str]
    holidays: list[date] = []


class _Target(msgspec.Struct, forbid_unknown_fields=True):
    calendar: _Name
    channel: _Name = _ANY
    kind: CaseKind | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=60 * 24 * 60)] | None = None
    business_days: Annotated[int, msgspec.Meta(ge=1, le=180)] | None = None


class ClockSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The structure of `[clocks]`."""

    warn_share: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
    urgent: _Target
    calendars: dict[str, _Calendar]
    targets: list[_Target]

    def rules(self, channels: tuple[str, ...]) -> ClockRules:
        """What it means.

        Args:
            channels: the names that targets may be for.

        Raises:
            ConfigurationError: a setting is wrong; the message names it.
        """
        calendars = {name: _read_calendar(name, given) for name, given in self.calendars.items()}
        targets: dict[tuple[str, str], Target] = {}
        for place, given in enumerate(self.targets):
            where = f"clocks.targets[{place}]"
            if given.channel not in {_ANY, *channels}:
                _refuse(f"{where}.channel must be any or one of {', '.join(channels)}")
            key = (given.channel, str(given.kind or _ANY))
            if key in targets:
                _refuse(f"{where} is for the same channel and kind as an earlier one")
            targets[key] = _read_target(where, given, calendars)
        if (_ANY, _ANY) not in targets:
            _refuse("clocks.targets must have one for any channel and any kind")
        return ClockRules(calendars, targets, _read_target("clocks.urgent", self.urgent, calendars), self.warn_share)


def _read_calendar(name: str, given: _Calendar) -> Calendar:
    where = f"clocks.calendars.{name}"
    try:
        zone = ZoneInfo(given.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        _refuse(f"{where}.time_zone must be a time zone such as Europe/Berlin")
    if not set(given.hours) <= set(_WEEKDAYS):
        _refuse(f"{where}.hours may have the entries {', '.join(_WEEKDAYS)}")
    hours: list[tuple[int, int] | None] = []
    for weekday in _WEEKDAYS:
        text = given.hours.get(weekday)
        match = _HOURS.fullmatch(text or "")
        if text is not None and match is None:
            _refuse(f'{where}.hours.{weekday} must look like "08:00-18:30"')
        span = None if match is None else (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4]))
        if span is not None and not span[0] < span[1] <= 24 * 60:
            _refuse(f"{where}.hours.{weekday} must end after it begins, at 24:00 at the latest")
        hours.append(span)
    if not any(hours):
        _refuse(f"{where}.hours must open on some day")
    if len(given.holidays) > _LONGEST_CLOSURE_DAYS // 2:
        _refuse(f"{where}.holidays may have at most {_LONGEST_CLOSURE_DAYS // 2} days")
    return Calendar(name, zone, tuple(hours), frozenset(given.holidays))


def _read_target(where: str, given: _Target, calendars: Mapping[str, Calendar]) -> Target:
    calendar = calendars.get(given.calendar)
    if calendar is None:
        _refuse(f"{where}.calendar must be one of {', '.join(calendars)}")
    if (given.minutes is None) == (given.business_days is None):
        _refuse(f"{where} must have either minutes or business_days")
    opening_ms = (given.minutes or 0) * _MINUTE_MS + (given.business_days or 0) * calendar.longest_day_ms
    return Target(calendar, opening_ms)


def _refuse(text: str) -> NoReturn:
    message = f"playbook: {text}"
    raise ConfigurationError(message)
