"""Objectives as rules: the share that was bad over several windows, and alerts on how fast the budget burns.

Source: Beyer et al.: *The Site Reliability Workbook* (2018), chapter 5, "multiwindow, multi-burn-rate alerts". The long
window says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cardwatch.monitoring.alert import PAGE, TICKET, Alert
from cardwatch.monitoring.documents import Node
from cardwatch.monitoring.objectives import Promises, ShareObjective, TimeObjective
from cardwatch.monitoring.windows import DAY_S, HOUR_S, MINUTE_S, Windows, duration

# One bad freeze of three burns a budget of a thousandth at 300 times its rate and says nothing.
LEAST_EVENTS = 10
_CASE_EVENTS = ("target_missed", "opened")
_URGENT_TOUCH = "cardwatch_urgent_touch_seconds"


@dataclass(frozen=True, slots=True)
class BurnRate:
    """How fast the budget of a month may burn before somebody is told.

    Attributes:
        factor: times the rate that would use it up in exactly 30 days.
        long_s, short_s: the two windows.
        severity: who is told.
    """

    factor: float
    long_s: float
    short_s: float
    severity: str


BURN_RATES = (
    BurnRate(14.4, HOUR_S, 5 * MINUTE_S, PAGE),
    BurnRate(6.0, 6 * HOUR_S, 30 * MINUTE_S, PAGE),
    BurnRate(1.0, 3 * DAY_S, 6 * HOUR_S, TICKET),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """How an objective is measured.

    Attributes:
        name: in objectives.toml and in the names of rules.
        alert: the alert's name.
        bad_share: from an objective and a window to an expression.
        events: from an objective and a window to an expression of how many events there were.
        summary, payers: of the alert.
    """

    name: str
    alert: str
    bad_share: Callable[[ShareObjective, str], str]
    events: Callable[[ShareObjective, str], str]
    summary: str
    payers: str


def _failed(_objective: ShareObjective, window: str) -> str:
    bad = f'sum(rate(cardwatch_dead_letters_total{{reason="scoring_failed"}}[{window}]))'
    return f"{bad} / sum(rate(cardwatch_transactions_total[{window}]))"


def _missed(_objective: ShareObjective, window: str) -> str:
    missed, opened = (f'sum(increase(cardwatch_case_events_total{{type="{it}"}}[{window}]))' for it in _CASE_EVENTS)
    return f"{missed} / {opened}"


def _increase(metric: str) -> Callable[[ShareObjective, str], str]:
    return lambda _objective, window: f"sum(increase({metric}[{window}]))"


def _within_s(objective: ShareObjective) -> float:
    """The time of an objective.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(objective, TimeObjective):
        message = "this is measured by time"
        raise TypeError(message)
    return objective.within_s


def _too_late(metric: str) -> Callable[[ShareObjective, str], str]:
    def share(objective: ShareObjective, window: str) -> str:
        good = f'sum(rate({metric}_bucket{{le="{_within_s(objective)!r}"}}[{window}]))'
        return f"1 - {good} / sum(rate({metric}_count[{window}]))"

    return share


def _untouched(objective: ShareObjective) -> str:
    """Urgent cases that wait for longer than they may: nothing happens to them, so nothing else would count them."""
    return f'(max(cardwatch_urgent_untouched_cases{{older_than="{_within_s(objective)!r}"}}) or vector(0))'


def _touched_too_late(objective: ShareObjective, window: str) -> str:
    touched = f"sum(increase({_URGENT_TOUCH}_count[{window}]))"
    in_time = f'sum(increase({_URGENT_TOUCH}_bucket{{le="{_within_s(objective)!r}"}}[{window}]))'
    return f"({touched} - {in_time} + {_untouched(objective)}) / {_urgent_cases(objective, window)}"


def _urgent_cases(objective: ShareObjective, window: str) -> str:
    return f"(sum(increase({_URGENT_TOUCH}_count[{window}])) + {_untouched(objective)})"


MEASURES = (
    Measure(
        "decided",
        "UndecidedBurn",
        _failed,
        _increase("cardwatch_transactions_total"),
        "Transactions get a fallback ALLOW because our own code fails on them",
        "Frauds among these payments go through unseen.",
    ),
    Measure(
        "decision_latency",
        "DecisionLatencyBurn",
        _too_late("cardwatch_decision_latency_seconds"),
        _increase("cardwatch_decision_latency_seconds_count"),
        "Decisions come too late",
        "Payment systems that do not wait that long answer without us: frauds go through, or payments are refused.",
    ),
    Measure(
        "freeze_latency",
        "FreezeLatencyBurn",
        _too_late("cardwatch_freeze_latency_seconds"),
        _increase("cardwatch_freeze_latency_seconds_count"),
        "Cards are frozen too late",
        "A thief gets some payments more out of a card that is known to be stolen.",
    ),
    Measure(
        "queue_targets",
        "QueueTargetBurn",
        _missed,
        _increase('cardwatch_case_events_total{type="opened"}'),
        "Cases miss the time they may take",
        "People whose card is frozen wait for somebody to look; thieves go on with the cards nobody has looked at.",
    ),
    Measure(
        "urgent_touch",
        "UrgentTouchBurn",
        _touched_too_late,
        _urgent_cases,
        "Urgent cases wait too long for the desk",
        "Somebody whose card was just frozen stands at a till, and nobody has looked whether it was them.",
    ),
    Measure(
        "freeze_undo",
        "FreezeUndoBurn",
        _too_late("cardwatch_freeze_undo_seconds"),
        _increase("cardwatch_freeze_undo_seconds_count"),
        "Cards that were frozen for nothing are freed too late",
        "People cannot pay, for longer than promised, although nothing was wrong.",
    ),
)


def record_name(measure: str, window_s: float) -> str:
    """The name of the rule that records the bad share over a window."""
    return f"cardwatch:{measure}:bad_ratio_rate{duration(window_s)}"


def recording_rules(promises: Promises, windows: Windows) -> Iterator[dict[str, Node]]:
    """The share that was bad, for each objective and window."""
    spans = sorted({span for rate in BURN_RATES for span in (rate.long_s, rate.short_s)})
    for measure in MEASURES:
        objective: ShareObjective = getattr(promises.objectives, measure.name)
        for span in spans:
            yield {
                "record": record_name(measure.name, span),
                "expr": measure.bad_share(objective, windows.of(span)),
            }
        yield {"record": f"cardwatch:{measure.name}:budget_ratio", "expr": f"vector({objective.budget:.6g})"}


def burn_alerts(promises: Promises, windows: Windows) -> Iterator[Alert]:
    """One alert for each objective and severity.

    A rate of burning that would need more than everything to be bad is left out: it could never fire.
    """
    for measure in MEASURES:
        objective: ShareObjective = getattr(promises.objectives, measure.name)
        for severity in (PAGE, TICKET):
            terms = [
                _burns(measure, objective, rate, windows)
                for rate in BURN_RATES
                if rate.severity == severity and rate.factor * objective.budget < 1.0
            ]
            if terms:
                yield Alert(
                    measure.alert, severity, 0.0, "\nor\n".join(terms), f"{measure.summary}, faster than the month's"
                    " budget allows", measure.payers,
                )  # fmt: skip


def _burns(measure: Measure, objective: ShareObjective, rate: BurnRate, windows: Windows) -> str:
    limit = f"{rate.factor * objective.budget:.6g}"
    events = f"{measure.events(objective, windows.of(rate.long_s))} >= {LEAST_EVENTS}"
    return (
        f"(\n  {record_name(measure.name, rate.long_s)} > {limit}\n  and {record_name(measure.name, rate.short_s)} > "
        f"{limit}\n  and {events}\n)"
    )
