"""Two score workers against one on a real Kafka: the processor time of a payment, and whether each has one answer.

Workers share terminals, merchants and devices by telling each other what their payments and labels changed, so what one
scores costs the other something as well. Time is counted from when all partitions have owners and nothing was paid yet.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import broker, results, workload
from benchmarks.options import Options
from benchmarks.owners import OwnersWatch
from benchmarks.processes import Watched
from cardwatch import warm
from streams.topics import DECISIONS

NAME = "workers"
PURPOSE = "processor time of two score workers against one"

_GROUP = "cardwatch-score"


@dataclass(frozen=True, slots=True)
class Run:
    """Some workers on all payments.

    Attributes:
        workers: how many.
        payments: how many they answered, each once.
        span_s: from the first answer to the last, by the broker's clock.
        processor_s: of all workers together.
    """

    workers: int
    payments: int
    span_s: float
    processor_s: float

    @property
    def per_processor_second(self) -> float:
        """Payments for each second of a processor."""
        return self.payments / self.processor_s


def run(options: Options) -> None:
    """Measure one worker and two, save, and write the table."""
    payments = workload.stream_file(options.records, options.say)
    runs = [_work(payments, workers, options) for workers in (1, 2)]
    results.save(NAME, {"runs": [asdict(each) for each in runs]})
    rows = [
        [
            str(each.workers), f"{each.payments:,}", f"{each.payments / each.span_s:,.0f}",
            f"{each.processor_s / each.payments * 1e6:.1f}",
            f"{each.per_processor_second / runs[0].per_processor_second:.2f}",
        ]
        for each in runs
    ]  # fmt: skip
    head = (
        "score workers", "payments", "payments/s", "processor time of workers, µs a payment",
        "payments a processor second, of one worker's",
    )  # fmt: skip
    results.write_section(NAME, f"{results.machine_lines(options.busy_before)}\n\n{results.table(head, rows)}")


def _work(payments: Path, workers: int, options: Options) -> Run:
    """Let so many workers answer all payments as they come, then count."""
    with broker.own_cluster() as (kafka, folder), ExitStack() as stack:
        warm.publish(kafka, workload.warmed_model())
        environment = {
            "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
            "CARDWATCH_METRICS__SCORE_PORT": "0",
        }
        words = ["cardwatch", "worker", "--roles", "score", "--broker", kafka.bootstrap_servers]
        watch = OwnersWatch(kafka.bootstrap_servers, _GROUP)
        watch.start()
        stack.callback(watch.finish)
        running = []
        for number in range(workers):
            words_of_one = [*words, "--data-dir", str(folder / "data")]
            running.append(Watched(words_of_one, folder / f"worker-{number}.log", environment))
            stack.callback(running[-1].stop)
        watch.wait_steady(kafka.partitions, workers)
        before = [each.usage().processor_s for each in running]
        options.say(f"{workers} at work")
        broker.produce(kafka, payments, options)
        curve = broker.Curve()
        curve.follow(broker.Ends(kafka), DECISIONS, options.records, lambda: _require_alive(running), options.say)
        spent_s = sum(each.usage().processor_s - then for each, then in zip(running, before, strict=True))
        count = broker.count_decisions(kafka)
        count.require_exact()
        made = Run(workers, count.decisions, count.span_s, spent_s)
        options.say(f"{workers}: {spent_s / count.decisions * 1e6:.1f} µs of processor time a payment")
        return made


def _require_alive(running: list[Watched]) -> None:
    for each in running:
        each.require_alive()
