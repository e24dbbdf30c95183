"""What time does to a case: a snooze ends, a target comes near or is missed, a macro's effects follow."""

from __future__ import annotations

from casework.authority import Authority
from casework.cards import SYSTEM_ACTOR
from casework.cases import Case, CaseEventType, CaseState, Facts, Severity
from casework.clocks import next_alarm_ms
from casework.deeds import come_back, escalate
from casework.errors import CommandError
from casework.requests import finish_macro, macro_fails
from casework.work import Work


def alarm_ms(case: Case) -> int | None:
    """When time has something to do with the case next; None where it has not."""
    if not case.is_open:
        return None
    returns_ms = case.returns_ms if case.state is CaseState.WAITING else None
    due_ms = None if case.pending is None else case.pending.due_ms
    times = [time_ms for time_ms in (returns_ms, due_ms, next_alarm_ms(case.clock)) if time_ms is not None]
    return min(times, default=None)


def pass_time(work: Work, authority: Authority) -> None:
    """Do everything that is due at the work's time, in the order of its importance."""
    _follow_macro(work, authority)
    _end_snooze(work)
    _look_at_clock(work)


def _follow_macro(work: Work, authority: Authority) -> None:
    case = work.the_case
    if case.pending is None or work.now_ms < case.pending.due_ms:
        return
    tried = Work(work.step_id, work.snapshot, work.playbook, work.now_ms, case)
    try:
        finish_macro(tried, authority, case.pending)
    except CommandError as error:
        macro_fails(work, case.pending, error)
    else:
        work.take_over(tried)


def _end_snooze(work: Work) -> None:
    case = work.case
    is_due = case is not None and case.returns_ms is not None and work.now_ms >= case.returns_ms
    if is_due and case is not None and case.state is CaseState.WAITING:
        come_back(work, SYSTEM_ACTOR)


def _look_at_clock(work: Work) -> None:
    case = work.case
    clock = None if case is None or not case.is_open else case.clock
    if case is None or clock is None or clock.due_ms is None or clock.warn_ms is None or clock.missed:
        return
    if work.now_ms >= clock.due_ms:
        escalate(work, SYSTEM_ACTOR, CaseEventType.TARGET_MISSED, None)
    elif work.now_ms >= clock.warn_ms and not clock.warned:
        severity = max(case.severity, Severity.HIGH)
        warned = work.playbook.clocks.warned(clock)
        work.happen(CaseEventType.TARGET_NEAR, SYSTEM_ACTOR, facts=Facts(clock=warned, severity=severity))
