"""The circuit breaker for freezes: too many of one policy in too short a time, and people decide instead. Pure.

A policy that goes wrong freezes everybody who pays. So each version of the policy has a breaker: it lets freezes
through up to a rate a minute and up to a share of all cards an hour; the first one past either opens it. While it is
open, alerts that would freeze a card open a case and wait for a person. Only a person closes it again.

A freeze that was let through is known by its alert's id for an hour: asked again after a crash it is let through again
and counts once. What counts as an hour follows the time of the payments, so that a backlog which is worked off in a
minute is no storm, or the time at which alerts are handled; `BreakerLimits.clock` says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from casework.alerts import Alert
from casework.cards import SYSTEM_ACTOR
from casework.outbox import AUDIT_TOPIC, Draft

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class BreakerState(StrEnum):
    """closed: freezes go through. open: they are held until a person releases the breaker."""

    CLOSED = "closed"
    OPEN = "open"


class BreakerClock(StrEnum):
    """Whose time counts: that of the payments (event), or that of handling them (processing)."""

    EVENT = "event"
    PROCESSING = "processing"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """What a policy may do before people decide.

    Attributes:
        freezes_per_minute: freezes within any minute.
        freezes_per_hour: freezes within any hour; from the share of cards and their number.
        clock: whose time counts.
    """

    freezes_per_minute: int
    freezes_per_hour: int
    clock: BreakerClock = BreakerClock.EVENT


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one version of the policy.

    Attributes:
        revision: rises by one with every change that is stored.
        changed_ms, actor, reason: of the last opening or release; zero and empty where there was none.
        granted: time of each freeze that was let through within the last hour, by alert id.
    """

    policy_version: str
    revision: int = 0
    state: BreakerState = BreakerState.CLOSED
    changed_ms: int = 0
    actor: str = ""
    reason: str = ""
    granted: dict[str, int] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether freezes are held."""
        return self.state is BreakerState.OPEN


def ask(
    breaker: Breaker, alerts: Sequence[Alert], limits: BreakerLimits, now_ms: int
) -> tuple[Breaker, frozenset[str], list[Draft]]:
    """Let freezes through, in the given order, as far as the limits allow.

    Returns:
        the breaker after it, with its revision raised if it changed; ids of the alerts that may freeze; what must be
        told, if it opened.
    """
    granted, allowed, after = dict(breaker.granted), set[str](), breaker
    for alert in alerts:
        if alert.alert_id in granted:
            allowed.add(alert.alert_id)
            continue
        time_ms = alert.event_time_ms if limits.clock is BreakerClock.EVENT else now_ms
        passed = None if after.is_open else _passed_limit(granted, time_ms, limits)
        if passed is not None:
            after = replace(after, state=BreakerState.OPEN, changed_ms=now_ms, actor=SYSTEM_ACTOR, reason=passed)
        if not after.is_open:
            granted[alert.alert_id] = time_ms
            allowed.add(alert.alert_id)
    newest_ms = max(granted.values(), default=0)
    granted = {alert_id: time_ms for alert_id, time_ms in granted.items() if time_ms > newest_ms - HOUR_MS}
    after = replace(after, granted=granted)
    if after == breaker:
        return breaker, frozenset(allowed), []
    told = [_audit_draft(after)] if after.is_open and not breaker.is_open else []
    return replace(after, revision=breaker.revision + 1), frozenset(allowed), told


def release(breaker: Breaker, actor: str, reason: str, now_ms: int) -> tuple[Breaker, list[Draft]]:
    """Close an open breaker; it counts anew from here. A closed one stays as it is."""
    if not breaker.is_open:
        return breaker, []
    closed = Breaker(breaker.policy_version, breaker.revision + 1, BreakerState.CLOSED, now_ms, actor, reason)
    return closed, [_audit_draft(closed)]


def _passed_limit(granted: Mapping[str, int], time_ms: int, limits: BreakerLimits) -> str | None:
    """Which limit one more freeze at this time would pass; alerts come in any order, so both sides are looked at."""
    spans = ((MINUTE_MS, limits.freezes_per_minute, "minute"), (HOUR_MS, limits.freezes_per_hour, "hour"))
    for span_ms, limit, name in spans:
        if sum(abs(other_ms - time_ms) < span_ms for other_ms in granted.values()) >= limit:
            return f"more than {limit} freezes within one {name}"
    return None


def _audit_draft(breaker: Breaker) -> Draft:
    """What is told of an opening or a release."""
    what = "opened" if breaker.is_open else "released"
    body = {
        "kind": f"freeze_breaker_{what}",
        "subject": f"policy:{breaker.policy_version}",
        "actor": breaker.actor,
        "reason": breaker.reason,
        "time_ms": breaker.changed_ms,
    }
    return Draft(AUDIT_TOPIC, breaker.policy_version, f"cardwatch.freeze_breaker.{what}", body)
