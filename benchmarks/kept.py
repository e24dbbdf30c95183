"""What it costs to let payments wait for their labels on disk, and what labels cost that find them there.

The engine assesses the same payments with a ring of payments that is never full, with one that is full and forgets, and
with disks of two sizes behind it. The differences are the price a payment.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results, workload
from benchmarks.one_core import one_core
from benchmarks.options import Options
from cardwatch.settings import shipped_toml
from cardwatch.simulator import Simulator
from detector.catalogue import DAY_MS
from detector.engine import assess_batch
from detector.kept import segments_of
from detector.labels import apply_labels, build_label_batch, mature
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.rates import RateTable
from detector.segments import ROW_BYTES, Segments
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Label
from streams.segment_files import SegmentFiles

NAME = "kept"
PURPOSE = "payments that wait for their labels on disk: bytes, time a payment, time a label"

_KEY = bytes(range(16))
_BATCH_ROWS = 4_096
_RING_SHARE = 1 / 16
_LABELS = 20_000
# Rounds in turn, of which the quickest counts: the machine is not ours alone.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to remember payments.

    Attributes:
        name: of the way.
        assess_us: a payment, of its quickest round.
        on_disk: payments there at the end.
        segments: files.
        disk_bytes: of them.
        label_us: a label of a payment of any age.
        labels_met: share of the labels that met their payment.
        mature_us: a payment that becomes genuine from the disk.
    """

    name: str
    assess_us: float
    on_disk: int
    segments: int
    disk_bytes: int
    label_us: float
    labels_met: float
    mature_us: float

    def row(self) -> list[str]:
        """A row of the table."""
        return [
            self.name,
            f"{self.assess_us:.2f}",
            f"{self.on_disk:,}",
            f"{self.segments:,}",
            f"{self.disk_bytes / max(self.on_disk, 1):.0f}" if self.on_disk else "–",
            f"{self.label_us:.2f}",
            f"{self.labels_met:.1%}",
            f"{self.mature_us:.2f}" if self.mature_us else "–",
        ]


def run(options: Options) -> None:
    """Measure, save, and write the table."""
    model, policy = workload.warmed_model(), Policy.from_mapping(shipped_toml("policy.toml"))
    options.say(f"making {options.records:,} payments")
    batches = _batches(options.records)
    # The stream spans days; as a part of the retention that it is of 120 days, so much of `kept` is for it.
    span_ms = int(batches[-1].event_time_ms[-1] - batches[0].event_time_ms[0])
    room = round(options.records * 120 * DAY_MS / span_ms)
    large = _config(options.records, options.records)
    small = replace(large, payments=round(options.records * _RING_SHARE))
    ways: list[tuple[str, StateConfig, bool]] = [
        ("all in memory", large, False),
        ("a full ring, no disk", small, False),
        ("a full ring, a disk for all", replace(small, kept=2 * room), True),
        ("a full ring, a disk for one in 32", replace(small, kept=room // 32), True),
    ]
    measured: dict[str, Measured] = {}
    with one_core():
        for number in range(_ROUNDS):
            for name, config, has_disk in ways:
                options.say(f"round {number + 1}: {name}")
                with tempfile.TemporaryDirectory() as folder:
                    disk = SegmentFiles(Path(folder).as_uri()) if has_disk else None
                    found = _measure(name, _state(config, disk), batches, model, policy)
                before = measured.get(name, found)
                measured[name] = replace(
                    found,
                    assess_us=min(before.assess_us, found.assess_us),
                    label_us=min(before.label_us, found.label_us),
                    mature_us=min(before.mature_us, found.mature_us),
                )
    rows = list(measured.values())
    results.save(NAME, {"load_before": options.busy_before, "ways": [asdict(each) for each in rows]})
    results.write_section(NAME, _text(options, small.payments, rows))


def _batches(records: int) -> list[TransactionBatch]:
    """The payments, made once."""
    stream = Simulator(workload.STREAM_WORLD).stream(workload.START_MS)
    made = []
    for start in range(0, records, _BATCH_ROWS):
        rows = min(_BATCH_ROWS, records - start)
        made.append(build_batch(stream.columns(rows), key=_KEY, offset=np.arange(start, start + rows)))
    return made


def _config(records: int, payments: int) -> StateConfig:
    """Room for everything but payments."""
    return StateConfig(
        _KEY, cards=200_000, events=4 * records, payments=payments, entities=500_000, buckets=12 * records,
        maturity_ms=DAY_MS,
    )  # fmt: skip


def _state(config: StateConfig, disk: Segments | None) -> EngineState:
    """A state with one partition."""
    state = EngineState(config, RateTable.from_mapping(shipped_toml("rates.toml")), disk)
    state.open_partition(0)
    return state


def _measure(
    name: str, state: EngineState, batches: list[TransactionBatch], model: ModelVersion, policy: Policy
) -> Measured:
    """Assess all, label some of any age, and let the rest mature."""
    started_s = time.perf_counter()
    for batch in batches:
        assess_batch(state, batch, model, policy)
    assess_s = time.perf_counter() - started_s
    count = sum(len(batch) for batch in batches)
    kept = segments_of(state.partition(0))
    labels = _labels(batches)
    started_s = time.perf_counter()
    outcome = [apply_labels(state, part).outcome for part in labels]
    label_s = time.perf_counter() - started_s
    met = np.concatenate(outcome)
    now_ms = int(batches[-1].event_time_ms[-1]) + 2 * DAY_MS
    matured, mature_s = _mature_from_disk(state, now_ms)
    return Measured(
        name,
        assess_s / count * 1e6,
        sum(segment.rows for segment in kept),
        len(kept),
        sum(segment.rows for segment in kept) * ROW_BYTES,
        label_s / len(met) * 1e6,
        float((met == 0).mean()),
        mature_s / matured * 1e6 if matured else 0.0,
    )


def _mature_from_disk(state: EngineState, now_ms: int) -> tuple[int, float]:
    """How many payments of the disk became genuine, and the seconds it took."""
    matured, seconds, asked = 0, 0.0, 0
    while True:
        started_s = time.perf_counter()
        examples = mature(state, 0, now_ms).examples
        took_s = time.perf_counter() - started_s
        if not len(examples):
            return matured, seconds
        before, asked = asked, sum(segment.matured for segment in segments_of(state.partition(0)))
        if asked > before:
            matured += len(examples)
            seconds += took_s


def _labels(batches: list[TransactionBatch]) -> list[Any]:
    """Labels of payments chosen by chance, in batches as a worker takes them."""
    rng = np.random.default_rng(5)
    count = sum(len(batch) for batch in batches)
    chosen = np.sort(rng.choice(count, min(_LABELS, count), replace=False))
    at_ms = int(batches[-1].event_time_ms[-1])
    rng.shuffle(chosen)
    made = []
    for start in range(0, len(chosen), _BATCH_ROWS):
        rows = chosen[start : start + _BATCH_ROWS].tolist()
        named = [(batches[row // _BATCH_ROWS], row % _BATCH_ROWS) for row in rows]
        columns: dict[str, Any] = {
            "transaction_id": [batch.transaction_id[row] for batch, row in named],
            "card_token": [batch.card_token[row] for batch, row in named],
            "label": [int(Label.GENUINE)] * len(rows), "label_time_ms": [at_ms] * len(rows),
        }  # fmt: skip
        made.append(build_label_batch(columns, key=_KEY, offset=np.arange(start, start + len(rows))))
    return made


def _text(options: Options, ring: int, measured: list[Measured]) -> str:
    """The table."""
    head = (
        "payments are", "assess_batch, µs a payment", "on disk", "segments", "bytes a payment", "µs a label",
        "labels that met a payment", "µs to mature one",
    )  # fmt: skip
    said = (
        f"{options.records:,} payments through one partition in batches of {_BATCH_ROWS:,}, a ring of {ring:,} where "
        f"it is full, files on a local disk and forced to it; {min(_LABELS, options.records):,} labels of payments of "
        f"any age. The quickest of {_ROUNDS} rounds each:"
    )
    rows = results.table(head, [each.row() for each in measured])
    return "\n\n".join((results.machine_lines(options.busy_before), said, rows))
