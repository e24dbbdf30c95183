"""Drift on the handbook's file: weeks in which nothing happens, and what is seen when something does.

The file is replayed as it is, and once more for each thing that goes wrong on one afternoon: amounts doubled, a country
added, labels that stop, terminals that are no longer sent. Nothing but the file is changed; what is told is what the
learner of an installation would tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from cardwatch.replay import configuration, make_replay, read_sections
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import FileMapping, load_mapping
from cardwatch.replay.source import Transactions
from detector.catalogue import DAY_MS, HOUR_MS
from detector.models.drift import PSI_THRESHOLD, SLOT, SLOT_MS, DriftAlarm, DriftMonitor
from detector.vocabulary import DRIFT_OF_SCORE

NAME = "drift"
PURPOSE = "drift on the handbook's file (--handbook): quiet weeks, and things that go wrong"

PAGE = results.REPOSITORY / "docs" / "detection.md"
_KEY = bytes(range(16))
_LABEL_DELAY_MS = 7 * DAY_MS
# The file has no country; all of it is taken to be of one.
_HOME, _ABROAD, _ABROAD_SHARE = "PH", "KP", 0.05
_COUNTRY = "COUNTRY"
# Days before something goes wrong, two weeks of reference and one of usual changes among them, and after.
DAYS_BEFORE, DAYS_AFTER = 42, 1
_HOUR_OF_ONSET = 15
# The 60 days that outcomes are remembered, the delay of labels, and the two weeks of the reference.
_SETTLED_AFTER_DAYS = 60 + 7 + 14
_QUIET_DAYS = 56
_WEEK_MS = 7 * DAY_MS

Change = Callable[[pa.Table, NDArray[np.bool_]], pa.Table]


@dataclass
class Watched:
    """What a monitor told, and when.

    Attributes:
        alarms: as they began.
        indices: (beginning of the half day in milliseconds, name, index) of features and of the score.
    """

    alarms: list[DriftAlarm] = field(default_factory=list)
    indices: list[tuple[int, str, float]] = field(default_factory=list)
    monitor: DriftMonitor | None = None

    def drift_seen(self, name: str, value: float, *, is_wrong: bool) -> None:  # noqa: ARG002 - the port's
        """See `DriftObserver`."""
        if self.monitor is not None and name in self.monitor.names[:-2]:
            self.indices.append((int(self.monitor.state.place[SLOT]) * SLOT_MS, name, value))

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        """See `DriftObserver`."""
        self.alarms.append(alarm)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something that goes wrong.

    Attributes:
        name: for people.
        change: of the payments; None where it is the labels that stop.
    """

    name: str
    change: Change | None


def _doubled(table: pa.Table, wrong: NDArray[np.bool_]) -> pa.Table:
    amounts = table.column("TX_AMOUNT").to_numpy() * np.where(wrong, 2.0, 1.0)
    return table.set_column(table.column_names.index("TX_AMOUNT"), "TX_AMOUNT", pa.array(amounts))


def _abroad(table: pa.Table, wrong: NDArray[np.bool_]) -> pa.Table:
    away = wrong & (np.random.default_rng(1).random(len(wrong)) < _ABROAD_SHARE)
    countries = pc.if_else(pa.array(away), _ABROAD, _HOME)
    return table.set_column(table.column_names.index(_COUNTRY), _COUNTRY, countries)


def _without_terminal(table: pa.Table, wrong: NDArray[np.bool_]) -> pa.Table:
    terminals = pc.cast(table.column("TERMINAL_ID"), pa.string())
    kept = pc.if_else(pa.array(wrong), pa.scalar(None, pa.string()), terminals)
    return table.set_column(table.column_names.index("TERMINAL_ID"), "TERMINAL_ID", kept)


WRONGS = (
    Wrong("all amounts doubled", _doubled),
    Wrong(f"{_ABROAD_SHARE:.0%} of payments from another country", _abroad),
    Wrong("terminals no longer sent", _without_terminal),
    Wrong("no more labels", None),
)


@dataclass(frozen=True, slots=True)
class Payments:
    """The handbook's payments, all of one country.

    Attributes:
        time_ms: int64, ascending.
    """

    table: pa.Table
    time_ms: NDArray[np.int64]
    mapping: FileMapping

    @classmethod
    def read(cls, path: Path) -> Payments:
        """Read the file."""
        table = pq.read_table(path)
        times = table.column("TX_DATETIME").to_numpy().astype("datetime64[ms]").astype(np.int64)
        order = np.argsort(times, kind="stable")
        table = table.take(pa.array(order)).append_column(_COUNTRY, pa.array([_HOME] * len(times)))
        mapping = load_mapping(Path(str(resources.files("configs") / "mappings" / "handbook.toml")))
        return cls(table, times[order], replace(mapping, columns={**mapping.columns, "country": _COUNTRY}))

    def between(self, start_ms: int, stop_ms: int) -> Payments:
        """Those of a span of time."""
        rows = slice(*np.searchsorted(self.time_ms, (start_ms, stop_ms)).tolist())
        return Payments(self.table.slice(rows.start, rows.stop - rows.start), self.time_ms[rows], self.mapping)


def watch(payments: Payments, labels_until_ms: int | None = None) -> Watched:
    """Replay payments and say what was told of drift.

    Args:
        payments: in time order.
        labels_until_ms: when the last label comes; None for no end.
    """
    transactions = Transactions(payments.table, payments.mapping, _KEY)
    if transactions.labels is None:
        message = "the file has no labels"
        raise ValueError(message)
    times = transactions.event_time_ms + _LABEL_DELAY_MS
    known = np.ones(len(times), dtype=bool) if labels_until_ms is None else times < labels_until_ms
    labels = KnownLabels(np.flatnonzero(known), transactions.labels[known], times[known])
    watched = Watched()
    replay = make_replay(transactions, labels, configuration(read_sections(None)))
    watched.monitor = replay.watch(watched)
    for _ in replay.run(lambda _: None):
        pass
    return watched


def run(options: Options) -> None:
    """Measure, save, and write the tables."""
    if options.handbook is None:
        options.say("drift needs --handbook FILE")
        return
    payments = Payments.read(options.handbook)
    options.say("drift: the file as it is")
    quiet = watch(payments)
    kept: dict[str, Any] = {"alarms": [asdict(alarm) for alarm in quiet.alarms]}
    results.write_section("drift_quiet", quiet_text(quiet, int(payments.time_ms[0]), int(payments.time_ms[-1])), PAGE)
    start_ms = int(payments.time_ms[-1]) // DAY_MS * DAY_MS - (DAYS_BEFORE + DAYS_AFTER) * DAY_MS
    onset_ms = start_ms + DAYS_BEFORE * DAY_MS + _HOUR_OF_ONSET * HOUR_MS
    part = payments.between(start_ms, onset_ms + DAYS_AFTER * DAY_MS)
    found: list[tuple[Wrong, Watched]] = []
    for wrong in WRONGS:
        options.say(f"drift: {wrong.name}")
        changed, until = part, None
        if wrong.change is None:
            until = onset_ms
        else:
            changed = replace(part, table=wrong.change(part.table, part.time_ms >= onset_ms))
        found.append((wrong, watch(changed, until)))
        kept[wrong.name] = [asdict(alarm) for alarm in found[-1][1].alarms]
    results.write_section("drift_injected", injected_text(found, onset_ms), PAGE)
    results.save(NAME, kept)


def quiet_text(quiet: Watched, first_ms: int, last_ms: int) -> str:
    """The weeks in which nothing happens: the highest index of each, and alarms."""
    lines = []
    for week in range((last_ms - first_ms) // _WEEK_MS + 1):
        begin, end = first_ms + week * _WEEK_MS, first_ms + (week + 1) * _WEEK_MS
        told = [(value, name) for at, name, value in quiet.indices if begin <= at < end]
        if not told:
            continue
        features = max((each for each in told if each[1] != DRIFT_OF_SCORE), default=(0.0, "-"))
        score = max((value for value, name in told if name == DRIFT_OF_SCORE), default=0.0)
        alarms = sorted({alarm.name for alarm in quiet.alarms if begin < alarm.time_ms <= end})
        compared = len({at for at, _, _ in quiet.indices if begin <= at < end})
        lines.append(
            [f"{week + 1}", f"{compared}", f"{features[0]:.3f}", f"`{features[1]}`", f"{score:.3f}",
             ", ".join(f"`{name}`" for name in alarms) or "none"]
        )  # fmt: skip
    settled = first_ms + _SETTLED_AFTER_DAYS * DAY_MS
    late = [alarm for alarm in quiet.alarms if alarm.time_ms > last_ms - _QUIET_DAYS * DAY_MS]
    after = [alarm for alarm in quiet.alarms if alarm.time_ms > settled]
    text = (
        f"The file as it is, compared from the third week on. Alarms in the last eight weeks: {len(late)}; since day "
        f"{_SETTLED_AFTER_DAYS + 1}, from which on the windows of all features are full: {len(after)}; in all: "
        f"{len(quiet.alarms)}. No index below {PSI_THRESHOLD:g} is wrong, and none that chance or habit explains:"
    )
    head = ["week", "half days", "highest index", "of", "of the score", "alarms"]
    return text + "\n\n" + results.table(head, lines)


def injected_text(found: Sequence[tuple[Wrong, Watched]], onset_ms: int) -> str:
    """What went wrong, what saw it, and after how long."""
    lines = []
    for wrong, watched in found:
        before = sorted({alarm.name for alarm in watched.alarms if alarm.time_ms <= onset_ms})
        seen = [alarm for alarm in watched.alarms if onset_ms < alarm.time_ms <= onset_ms + DAY_MS]
        first = min((alarm.time_ms for alarm in seen), default=0)
        strongest = sorted(seen, key=lambda alarm: (alarm.time_ms, -alarm.value))
        names = [f"`{alarm.name}` {alarm.value:.2f}" for alarm in strongest[:4]]
        rest = f" and {len(strongest) - 4} more" if len(strongest) > 4 else ""
        hours = f"{(first - onset_ms) / HOUR_MS:.0f} h" if seen else "**not seen**"
        lines.append([wrong.name, hours, ", ".join(names) + rest, ", ".join(before) or "none"])
    text = (
        f"The last {DAYS_BEFORE + DAYS_AFTER} days of the file by themselves; something goes wrong at "
        f"{_HOUR_OF_ONSET}:00 of day {DAYS_BEFORE + 1}:"
    )
    return text + "\n\n" + results.table(["what", "seen after", "by, within a day", "alarms before it"], lines)
