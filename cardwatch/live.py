"""The live view of a running system: numbers out of its metrics, the newest cases, and where everything is."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cardwatch.metrics import Reading

_RATE_WINDOW_S = 5.0
_SHOWN_CASES = 5
_ACTIONS = ("ALLOW", "STEP_UP", "REVIEW", "DECLINE", "FREEZE")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the view shows, at one moment.

    Attributes:
        rate_per_s: payments answered a second, over the last seconds.
        decisions: answers so far by action.
        latency_ms: from a payment's record to its acknowledged answer, median and 99 % over the last seconds; None
            while nothing flows.
        lag_records: payments that wait.
        alerts, freezes, labels: so far.
        cases: by state, now.
        model: name of the version that scores.
    """

    rate_per_s: float
    decisions: Mapping[str, int]
    latency_ms: tuple[float, float] | None
    lag_records: int
    alerts: int
    freezes: Mapping[str, int]
    cases: Mapping[str, int]
    labels: int
    model: str

    def line(self) -> str:
        """All of it in one line, for output that is no terminal."""
        latency = "-" if self.latency_ms is None else "{:.1f}/{:.1f}".format(*self.latency_ms)
        cases = sum(count for state, count in self.cases.items() if state != "closed")
        return (
            f"{self.rate_per_s:.0f} payments/s, {sum(self.decisions.values())} answered, p50/p99 {latency} ms, "
            f"{self.alerts} alerts, {self.freezes.get('frozen', 0)} freezes, {cases} open cases, model {self.model}"
        )


@dataclass(slots=True)
class Meter:
    """Turns readings into numbers; keeps the last seconds of them for rates.

    A process that was started again counts from zero: what it had counted before is carried on.
    """

    _past: deque[tuple[float, Reading]] = field(default_factory=deque)
    _carried: dict[str, Counter[str]] = field(default_factory=dict)
    _last: dict[str, Counter[str]] = field(default_factory=dict)

    def measure(self, readings: Mapping[str, Reading], at_s: float) -> Numbers:
        """Numbers from the readings of one moment.

        Args:
            readings: by role; missing ones count as nothing.
            at_s: a monotonic clock.
        """
        nothing = Reading()
        score, respond = readings.get("score", nothing), readings.get("respond", nothing)
        if score.samples:
            if self._past and _answered(score) < _answered(self._past[-1][1]):
                self._past.clear()
            self._past.append((at_s, score))
        counted = {
            "decisions": self._count(score, "cardwatch_decisions_total", "action"),
            "alerts": self._count(score, "cardwatch_alerts_total", "action"),
            "labels": self._count(score, "cardwatch_labels_total", "source"),
            "freezes": self._count(respond, "cardwatch_freezes_total", "outcome"),
        }
        while len(self._past) > 2 and at_s - self._past[1][0] >= _RATE_WINDOW_S:
            self._past.popleft()
        began_s, before = self._past[0] if self._past else (at_s, nothing)
        answered = _answered(score) - _answered(before)
        return Numbers(
            rate_per_s=max(0.0, answered) / (at_s - began_s) if at_s > began_s else 0.0,
            decisions=counted["decisions"],
            latency_ms=_latency_ms(score, before),
            lag_records=int(score.total("cardwatch_consumer_lag_records")),
            alerts=counted["alerts"].total(),
            freezes=counted["freezes"],
            cases=_by_label(respond, "cardwatch_cases", "state"),
            labels=counted["labels"].total(),
            model=scoring_version(score) or "-",
        )

    def _count(self, reading: Reading, name: str, label: str) -> Counter[str]:
        """What was counted in all, over restarts of the process that counts, and while it does not answer."""
        last = self._last.get(name, Counter())
        now = _by_label(reading, name, label) if reading.samples else last
        if now.total() < last.total():
            self._carried[name] = self._carried.get(name, Counter()) + last
        self._last[name] = now
        return self._carried.get(name, Counter()) + now


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case as the view lists it."""

    case_id: str
    card_token: str
    action: str
    state: str
    reasons: str


def picture(addresses: Mapping[str, str], numbers: Numbers, cases: list[CaseLine]) -> Group:
    """The view for a terminal: where everything is, what happens now, and the most urgent cases."""
    return Group(
        Panel(_pairs(addresses), title="cardwatch", title_align="left", border_style="cyan"),
        Panel(_numbers(numbers), title="now", title_align="left"),
        Panel(_cases(cases), title="open cases, the most urgent first", title_align="left"),
        Text("Ctrl-C ends everything", style="dim"),
    )


def _latency_ms(score: Reading, before: Reading) -> tuple[float, float] | None:
    name = "cardwatch_decision_latency_seconds"
    since = before if before is not score else None
    median_s, high_s = score.quantile(name, 0.5, since), score.quantile(name, 0.99, since)
    return None if median_s is None or high_s is None else (median_s * 1000, high_s * 1000)


def scoring_version(score: Reading) -> str:
    """Name of the model version that scores; empty before the scorer has read one."""
    # An Info metric shows itself without labels before it is set.
    return max((labels.get("version", "") for labels, on in score.select("cardwatch_model_info") if on), default="")


def _answered(score: Reading) -> float:
    return score.total("cardwatch_decisions_total")


def _by_label(reading: Reading, name: str, label: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for labels, value in reading.select(name):
        counts[labels[label]] += int(value)
    return counts


def _pairs(pairs: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    return table


def _numbers(numbers: Numbers) -> Table:
    latency = "-" if numbers.latency_ms is None else "p50 {:.1f} ms   p99 {:.1f} ms".format(*numbers.latency_ms)
    answers = "   ".join(f"{action} {numbers.decisions.get(action, 0):,}" for action in _ACTIONS)
    freezes = "   ".join(f"{outcome} {count}" for outcome, count in sorted(numbers.freezes.items())) or "none"
    cases = "   ".join(f"{state} {count}" for state, count in sorted(numbers.cases.items())) or "none"
    return _pairs({
        "payments": f"{numbers.rate_per_s:,.0f} a second   {sum(numbers.decisions.values()):,} in all   "
        f"{numbers.lag_records:,} waiting",
        "latency": latency,
        "answers": answers,
        "alerts": f"{numbers.alerts:,}   freezes: {freezes}",
        "cases": cases,
        "model": f"{numbers.model}   {numbers.labels:,} labels came back",
    })  # fmt: skip


def _cases(cases: list[CaseLine]) -> Table | Text:
    if not cases:
        return Text("none yet")
    table = Table(box=None, pad_edge=False, expand=True)
    for column in ("case", "card", "action", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("reasons", overflow="ellipsis", no_wrap=True, ratio=1)
    for case in cases[:_SHOWN_CASES]:
        style = "bold red" if case.action == "FREEZE" else ""
        table.add_row(case.case_id, case.card_token, Text(case.action, style=style), case.state, case.reasons)
    return table
