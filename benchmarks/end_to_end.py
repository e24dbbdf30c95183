"""Payments through a real Kafka and one score worker, counted from outside, with a stock Faust app beside it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import broker, machine, results, workload
from benchmarks.options import Options
from benchmarks.processes import ProcessEndedError, Usage, Watched, kafka_pid, usage_of
from cardwatch import warm
from cardwatch.settings import KafkaSettings
from streams.topics import DECISIONS

NAME = "end_to_end"
PURPOSE = "a worker on a real Kafka, decisions counted from outside, and stock Faust with river beside it"

_KAFKA_VERSION = "4.1.0"
# Payments before those that are measured, for each of these: so that a million cards are known by then.
_BEFORE = 2
_STAGED_SHARE = 0.3
# Payments that come between the end of a worker and its next start.
_WHILE_AWAY = 1_000
_PEER_START_S = 90.0
_PEERS = {
    "both": "stock Faust, river's logistic regression and half-space trees",
    "logistic": "stock Faust, river's logistic regression alone",
    "forest": "stock Faust, river's adaptive random forest of ten trees",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One worker on all payments.

    Attributes:
        count: what was found when all was read back.
        curve: how many decisions there were when, from the first one that counts.
        first_decision_s: seconds from the start of the process to its first decision.
        restart_s: seconds from the start of a process after it, with its state, until payments that came meanwhile are
            decided; 0 where that was not tried.
        worker: what the worker had used at the end.
        worker_s, broker_s: processor time of both from the first decision that counts to the last.
    """

    count: broker.Count
    curve: broker.Curve
    first_decision_s: float
    restart_s: float
    worker: Usage
    worker_s: float
    broker_s: float

    @property
    def counted(self) -> int:
        """Decisions that count."""
        return self.count.decisions - self.count.uncounted

    @property
    def per_second_by_wall_clock(self) -> float:
        """The same by looking from outside."""
        return (self.curve.records[-1] - self.curve.records[0]) / self.curve.span_s


def run(options: Options) -> None:
    """Measure worker, stages and peers, save, and write the tables."""
    with _cluster(options) as (kafka, folder):
        measured = _worker(kafka, folder, options, staged=None)
        peers = {models: _peer(kafka, folder, models, options) for models in _PEERS}
    few = replace(options, records=round(options.records * _STAGED_SHARE))
    options.say(f"once more with {few.records:,} payments, stages watched")
    with _cluster(few) as (kafka, folder):
        out = folder / "stages.json"
        staged = _worker(kafka, folder, few, staged=out)
        stages: dict[str, dict[str, float]] = json.loads(out.read_text())
    found: dict[str, Any] = {
        "load_before": options.busy_before, "headers": options.with_headers,
        "kafka": _KAFKA_VERSION, "java": machine.java_version(),
        "count": asdict(measured.count), "worker": asdict(measured.worker),
        "worker_s": measured.worker_s, "broker_s": measured.broker_s,
        "per_second": measured.count.per_second, "per_second_by_wall_clock": measured.per_second_by_wall_clock,
        "first_decision_s": measured.first_decision_s, "restart_s": measured.restart_s, "curve": asdict(measured.curve),
        "peers": {models: {"records": records, "seconds": span_s} for models, (records, span_s) in peers.items()},
        "staged": {"payments": staged.count.decisions, "per_second": staged.count.per_second, **stages},
    }  # fmt: skip
    results.save(NAME, found)
    results.write_section(NAME, _text(options, measured, peers, (staged.count.decisions, stages)))


def _payments(options: Options) -> Path:
    """All payments: those before, and those that are measured."""
    return workload.stream_file((_BEFORE + 1) * options.records, options.say, workload.LIVE_WORLD)


@contextmanager
def _cluster(options: Options) -> Iterator[tuple[KafkaSettings, Path]]:
    """A broker of its own with all payments in it."""
    payments = _payments(options)
    with broker.own_cluster() as (kafka, folder):
        warm.publish(kafka, workload.warmed_model())
        seconds = broker.produce(kafka, payments, options)
        options.say(f"all payments are in Kafka after {seconds:.1f} s")
        yield kafka, folder


def _worker(kafka: KafkaSettings, folder: Path, options: Options, *, staged: Path | None) -> Run:
    """Let one score worker work off what is there, then count."""
    words = ["cardwatch"] if staged is None else ["benchmarks.staged_worker", str(staged)]
    words += ["worker", "--roles", "score", "--broker", kafka.bootstrap_servers, "--data-dir", str(folder / "data")]
    environment = {
        "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
        "CARDWATCH_METRICS__SCORE_PORT": "0",
    }
    uncounted = _BEFORE * options.records
    ends, curve, broker_pid = broker.Ends(kafka), broker.Curve(), kafka_pid(folder / "kafka" / "server.properties")
    started_s = time.monotonic()
    worker = Watched(words, folder / "worker.log", environment)
    before = usage_of(broker_pid), worker.usage()

    def look() -> None:
        """Note what was used so far until the first decision that counts is seen."""
        nonlocal before
        now = usage_of(broker_pid), worker.usage()
        before = now if not curve.records or curve.records[-1] <= uncounted else before

    try:
        curve.follow(ends, DECISIONS, uncounted + options.records, look, options.say)
        after = usage_of(broker_pid), worker.usage()
    finally:
        worker.stop()
    options.say("all decisions are there; reading them back")
    count = broker.count_decisions(kafka, uncounted)
    count.require_exact()
    broker_s, worker_s = (now.processor_s - then.processor_s for then, now in zip(before, after, strict=True))
    restart_s = 0.0 if staged else _restart_s(kafka, words, environment, folder, options)
    first_decision_s = curve.seconds[0] - started_s
    measured = Run(count, curve.behind(uncounted), first_decision_s, restart_s, after[1], worker_s, broker_s)
    options.say(f"{count.decisions:,} decisions, each once: {count.per_second:,.0f}/s")
    return measured


def _restart_s(
    kafka: KafkaSettings, words: list[str], environment: dict[str, str], folder: Path, options: Options
) -> float:
    """Start the worker once more; seconds until the payments that came while there was none are decided."""
    ends = broker.Ends(kafka)
    wanted = ends.records(DECISIONS) + _WHILE_AWAY
    broker.produce(kafka, _payments(options), options, _WHILE_AWAY)
    started_s = time.monotonic()
    worker, curve = Watched(words, folder / "restart.log", environment), broker.Curve()
    try:
        curve.follow(ends, DECISIONS, wanted, worker.require_alive, options.say)
        return time.monotonic() - started_s
    finally:
        worker.stop()


def _peer(kafka: KafkaSettings, folder: Path, models: str, options: Options) -> tuple[int, float]:
    """Let a stock Faust app run for a while; its decisions, and the seconds from the first to the last."""
    options.say(_PEERS[models])
    topic = broker.PEER_DECISIONS[models]
    environment = {"BENCHMARK_PEER_BROKER": kafka.bootstrap_servers, "BENCHMARK_PEER_MODELS": models}
    words = ["benchmarks.stock_faust", "--datadir", str(folder / topic), "worker", "-l", "warn", "--without-web"]
    ends = broker.Ends(kafka)
    peer = Watched(words, folder / f"{models}.log", environment)
    try:
        waited_from_s = time.monotonic()
        while not ends.records(topic):
            peer.require_alive()
            if time.monotonic() - waited_from_s > _PEER_START_S:
                message = f"the peer answered nothing within {_PEER_START_S:.0f} s"
                raise ProcessEndedError(message)
            time.sleep(0.2)
        time.sleep(options.peer_seconds)
        peer.require_alive()
    finally:
        peer.stop()
    records, span_s = broker.rate_of(kafka, topic)
    options.say(f"{records:,} decisions in {span_s:.1f} s: {records / span_s:,.0f}/s")
    return records, span_s


def _text(
    options: Options,
    measured: Run,
    peers: dict[str, tuple[int, float]],
    staged: tuple[int, dict[str, dict[str, float]]],
) -> str:
    """The tables; `staged` are the payments of the run under watch, and what was seen."""
    staged_payments, stages = staged
    count, worker = measured.count, measured.worker
    ours = count.per_second
    rows = [["cardwatch worker, role score", f"{measured.counted:,}", f"{count.span_s:.1f}", f"{ours:,.0f}", "1"]]
    for models, (records, span_s) in peers.items():
        rate = records / span_s
        rows.append([_PEERS[models], f"{records:,}", f"{span_s:.1f}", f"{rate:,.0f}", f"1/{ours / rate:,.0f}"])
    rates = measured.curve.rates()
    actions = sorted(count.actions.items(), key=lambda item: -item[1])
    facts = [
        ["live cards at the end", f"{_cards(options):,}"],
        ["decisions for payments, those before included", f"{count.decisions:,} for {count.payments:,}"],
        ["missing, twice, of another payment", f"{count.missing}, {count.duplicates}, {count.foreign}"],
        ["decisions by action", ", ".join(f"{action} {number:,}" for action, number in actions)],
        ["alerts", f"{count.alerts:,}"],
        ["payments/s by the wall clock outside", f"{measured.per_second_by_wall_clock:,.0f}"],
        ["slowest and median second", f"{rates.min():,.0f}/s, {sorted(rates)[len(rates) // 2]:,.0f}/s"],
        ["from the start of the process to the first decision", f"{measured.first_decision_s:.1f} s"],
        ["a restart with all that state, to caught up", f"{measured.restart_s:.1f} s"],
        ["peak memory of the worker", f"{worker.peak_rss_mib:,.0f} MiB"],
        ["processor time a payment, worker", f"{measured.worker_s / measured.counted * 1e6:.1f} µs"],
        ["processor time a payment, broker", f"{measured.broker_s / measured.counted * 1e6:.1f} µs"],
    ]
    return "\n\n".join(
        (
            f"{results.machine_lines(options.busy_before)} Kafka {_KAFKA_VERSION} on Java {machine.java_version()}.",
            results.table(("", "decisions", "seconds", "payments/s", "ratio"), rows),
            results.table(("the worker's run", ""), facts),
            f"Where the time of the event loop's thread goes, in another run over {staged_payments:,} payments:",
            _shares(stages["stages_s"], staged_payments, "stage"),
            "Processor time by thread in that run, from the start of the process:",
            _shares(stages["threads_s"], staged_payments, "thread"),
        )
    )


def _cards(options: Options) -> int:
    """How many cards pay."""
    return int(pc.count_distinct(pq.read_table(_payments(options), columns=["key"])["key"]).as_py())


def _shares(seconds: dict[str, float], payments: int, what: str) -> str:
    """A table of seconds by name, the most first; what is below a hundredth is added up."""
    total_s = sum(seconds.values())
    large = {name: value for name, value in seconds.items() if value >= total_s / 100}
    rows = [
        [name, f"{value / payments * 1e6:.2f}", f"{value / total_s:.1%}"]
        for name, value in sorted(large.items(), key=lambda item: -item[1])
    ]
    rest_s = total_s - sum(large.values())
    return results.table(
        (what, "µs a payment", "share"),
        [*rows, ["others", f"{rest_s / payments * 1e6:.2f}", f"{rest_s / total_s:.1%}"]],
    )
