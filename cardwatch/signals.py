"""The golden signals of a running system, from two readings of its processes: traffic, errors, latency, saturation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cardwatch.live import scoring_version
from cardwatch.metrics import Reading

_MINUTE_S = 60.0
# What is coloured as worth a look; the alerts have limits of their own.
_LATE_S, _STALE_S, _FULL = 0.25, 60.0, 0.9
# Payments go on from memory to disk, and there as many are kept as have room.
_FULL_BY_DESIGN = frozenset({"payments", "kept"})
_FROZEN_S = 2.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One line: a name, what it shows, and whether it is worth a look."""

    name: str
    value: str
    is_doubtful: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The newest reading of all processes, and an earlier one.

    Attributes:
        now, before: by process; an empty reading is a process that does not answer.
        seconds: between the two.
    """

    now: Mapping[str, Reading]
    before: Mapping[str, Reading]
    seconds: float

    def total(self, name: str, /, **labels: str) -> float:
        """Sum over all processes now."""
        return sum(reading.total(name, **labels) for reading in self.now.values())

    def most(self, name: str, /, **labels: str) -> float:
        """The largest over all processes now; 0 where there is none."""
        return max((value for it in self.now.values() for _, value in it.select(name, **labels)), default=0.0)

    def rate(self, name: str, /, **labels: str) -> float:
        """Increase a second; a process that was started again counts from zero."""
        if self.seconds <= 0:
            return 0.0
        gained = 0.0
        for process, reading in self.now.items():
            count = reading.total(name, **labels)
            earlier = self.before.get(process, Reading()).total(name, **labels)
            gained += count - earlier if count >= earlier else count
        return gained / self.seconds

    def quantile(self, name: str, share: float) -> float | None:
        """A quantile of what was observed between the readings, else of all so far."""
        now, before = (
            Reading(tuple(s for it in side.values() for s in it.samples)) for side in (self.now, self.before)
        )
        recent = now.quantile(name, share, before)
        return now.quantile(name, share) if recent is None else recent


def processes(view: View) -> list[Signal]:
    """One line a process: does it answer, has it started, is it ready."""
    return [_process(name, reading) for name, reading in view.now.items()]


def _process(name: str, reading: Reading) -> Signal:
    if not reading.samples:
        return Signal(name, "does not answer", is_doubtful=True)
    memory = reading.total("process_resident_memory_bytes") / 2**20
    shares = [value for _, value in reading.select("cardwatch_start_progress_ratio")]
    ready = [value for _, value in reading.select("cardwatch_ready")]
    if shares and shares[0] < 1:
        state = f"starting, {shares[0]:.0%}"
    elif ready and not ready[0]:
        state = "not ready"
    else:
        state = "ready"
    return Signal(name, f"{state}   {memory:,.0f} MiB", is_doubtful=state != "ready")


def signals(view: View) -> dict[str, list[Signal]]:
    """All lines, by their heading."""
    return {
        "traffic": _traffic(view),
        "latency": _latency(view),
        "errors": _errors(view),
        "saturation": _saturation(view),
        "detection": _detection(view),
    }


def _traffic(view: View) -> list[Signal]:
    return [
        Signal("payments", f"{view.rate('cardwatch_transactions_total'):,.1f} a second"),
        Signal("alerts", f"{view.rate('cardwatch_alerts_total') * _MINUTE_S:,.1f} a minute"),
        Signal("labels", f"{view.rate('cardwatch_labels_total') * _MINUTE_S:,.1f} a minute"),
        Signal("HTTP requests", f"{view.rate('cardwatch_http_requests_total'):,.1f} a second"),
    ]


def _latency(view: View) -> list[Signal]:
    return [
        _times(view, "decisions", "cardwatch_decision_latency_seconds", _LATE_S),
        _times(view, "freezes", "cardwatch_freeze_latency_seconds", _FROZEN_S),
        _times(view, "HTTP", "cardwatch_http_request_duration_seconds", 1.0),
    ]


def _times(view: View, name: str, metric: str, limit_s: float) -> Signal:
    median, high = view.quantile(metric, 0.5), view.quantile(metric, 0.99)
    if median is None or high is None:
        return Signal(name, "none yet")
    return Signal(name, f"p50 {median * 1000:,.1f} ms   p99 {high * 1000:,.1f} ms", high > limit_s)


def _errors(view: View) -> list[Signal]:
    def a_minute(name: str, metric: str, **labels: str) -> Signal:
        rate = view.rate(metric, **labels) * _MINUTE_S
        return Signal(name, f"{rate:,.1f} a minute   {view.total(metric, **labels):,.0f} in all", rate > 0)

    return [
        a_minute("dead letters", "cardwatch_dead_letters_total"),
        a_minute("Redis", "cardwatch_store_failures_total"),
        a_minute("producer", "cardwatch_producer_errors_total"),
        a_minute("broadcast rejected", "cardwatch_broadcast_rejected_total"),
        a_minute("log lines of errors", "cardwatch_log_lines_total", level="error"),
    ]


def _saturation(view: View) -> list[Signal]:
    lag = view.total("cardwatch_consumer_lag_records")
    checkpoint_s = view.most("cardwatch_checkpoint_age_seconds")
    outbox_s = view.most("cardwatch_outbox_age_seconds")
    fullest, share = "state", 0.0
    for table, capacity in _by_table(view).items():
        if table in _FULL_BY_DESIGN:
            continue
        used = view.total("cardwatch_state_rows", table=table) / capacity if capacity else 0.0
        if used >= share:
            fullest, share = table, used
    return [
        Signal("records waiting", f"{lag:,.0f}", lag > 10_000),
        Signal("event time behind", f"{view.most('cardwatch_event_time_lag_seconds'):,.1f} s at most"),
        Signal("producer's queue", f"{view.total('cardwatch_producer_queue_records'):,.0f} records"),
        Signal("outbox", f"oldest {outbox_s:,.1f} s", outbox_s > _STALE_S),
        Signal("checkpoint", f"{checkpoint_s:,.0f} s old"),
        Signal("fullest state", f"{fullest} {share:.1%}", share > _FULL),
    ]


def _by_table(view: View) -> dict[str, float]:
    found: dict[str, float] = {}
    for reading in view.now.values():
        for labels, value in reading.select("cardwatch_state_capacity_rows"):
            found[labels["table"]] = found.get(labels["table"], 0.0) + value
    return found


def _detection(view: View) -> list[Signal]:
    cards = view.total("cardwatch_state_rows", table="cards")
    frozen = view.total("cardwatch_frozen_cards")
    alerts = view.total("cardwatch_alert_labels_total")
    right = view.total("cardwatch_alert_labels_total", label="fraud")
    model = max((scoring_version(reading) for reading in view.now.values()), default="")
    drift = view.most("cardwatch_drift_index", name="score")
    outcomes: dict[str, float] = {}
    for reading in view.now.values():
        for labels, value in reading.select("cardwatch_freezes_total"):
            outcomes[labels["outcome"]] = outcomes.get(labels["outcome"], 0.0) + value
    return [
        Signal("model", f"{model or '-'}   {view.most('cardwatch_model_age_seconds'):,.0f} s old"),
        Signal("freezes", "   ".join(f"{name} {count:,.0f}" for name, count in sorted(outcomes.items())) or "none"),
        Signal("cards not active", f"{frozen:,.0f} of {cards:,.0f} known"),
        Signal("alerts that were fraud", f"{right:,.0f} of {alerts:,.0f} labelled"),
        Signal("drift of scores", f"{drift:.2f}", drift > 0.2),
    ]
