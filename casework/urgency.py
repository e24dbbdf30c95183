"""Urgency: which case is next, by money at risk, what is left of its target, whether the customer waits, and care.

A case is ranked by when it is due, brought forward by what makes it urgent. Two cases then keep their order whatever
the time is, so a queue needs no sorting again as time passes, and nothing starves: every case's time comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from casework.cases import Case, Severity

_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class UrgencyRules:
    """The playbook's `[urgency]`: by how much each thing brings a case forward.

    Attributes:
        per_doubling_ms: for each doubling of the money at risk, in minor units. Doublings, because amounts of different
            currencies stand side by side, and because a little more money shall not always come first.
        waiting_ms: the customer waits.
        vulnerable_ms: the customer needs particular care.
        severity_ms: by severity.
        without_target_ms: when a case that has no clock counts as due, after it was opened.
    """

    per_doubling_ms: int
    waiting_ms: int
    vulnerable_ms: int
    severity_ms: tuple[int, ...]
    without_target_ms: int

    def of(self, case: Case) -> int:
        """The case's `urgency_ms`: lower comes first."""
        clock_due_ms = None if case.clock is None else case.clock.due_ms
        due_ms = case.opened_ms + self.without_target_ms if clock_due_ms is None else clock_due_ms
        forward_ms = self.per_doubling_ms * case.expected_loss_minor.bit_length() + self.severity_ms[case.severity]
        forward_ms += self.waiting_ms if case.customer_waiting else 0
        forward_ms += self.vulnerable_ms if case.vulnerable else 0
        return max(0, due_ms - forward_ms)


_Minutes = Annotated[int, msgspec.Meta(ge=0, le=60 * 24 * 60)]


class UrgencySettings(msgspec.Struct, forbid_unknown_fields=True):
    """The structure of `[urgency]`."""

    minutes_per_doubling: _Minutes
    waiting_minutes: _Minutes
    vulnerable_minutes: _Minutes
    low_minutes: _Minutes
    normal_minutes: _Minutes
    high_minutes: _Minutes
    urgent_minutes: _Minutes
    without_target_minutes: _Minutes

    def rules(self) -> UrgencyRules:
        """What it means."""
        by_severity = {
            Severity.LOW: self.low_minutes,
            Severity.NORMAL: self.normal_minutes,
            Severity.HIGH: self.high_minutes,
            Severity.URGENT: self.urgent_minutes,
        }
        return UrgencyRules(
            per_doubling_ms=self.minutes_per_doubling * _MINUTE_MS,
            waiting_ms=self.waiting_minutes * _MINUTE_MS,
            vulnerable_ms=self.vulnerable_minutes * _MINUTE_MS,
            severity_ms=tuple(by_severity[severity] * _MINUTE_MS for severity in Severity),
            without_target_ms=self.without_target_minutes * _MINUTE_MS,
        )
