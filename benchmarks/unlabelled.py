"""The anomaly score where nobody ever labelled anything: how well it orders frauds, and how soon it sees an attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cardwatch.replay.evaluation import DAY_MS, auc_roc, average_precision

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

REVIEWS_A_DAY = 100
WARM_UP_DAYS = 14
_HOUR_MS = 3_600_000
_LOOK_BACK_DAYS = 7


@dataclass(frozen=True, slots=True)
class Ordered:
    """How well one kind of fraud is told from genuine payments.

    Attributes:
        name: of the kind.
        frauds: payments of it.
        auc, ap: against all genuine payments.
    """

    name: str
    frauds: int
    auc: float
    ap: float


def by_kind(kind: Sequence[str], anomaly: Float64, event_time_ms: Int64) -> list[Ordered]:
    """Each kind of fraud against all genuine payments, after two weeks in which the usual is learned.

    Args:
        kind: of each payment, "" where it is genuine.
        anomaly: the score.
        event_time_ms: ascending.
    """
    kinds = np.array(kind)
    warm = event_time_ms - event_time_ms[0] >= WARM_UP_DAYS * DAY_MS
    names = sorted(set(kinds[warm].tolist()) - {""})
    found = []
    for name in [*names, "all"]:
        fraud = kinds != "" if name == "all" else kinds == name
        rows = warm & (fraud | (kinds == ""))
        label = fraud[rows].astype(np.int64)
        found.append(
            Ordered(name, int(label.sum()), auc_roc(label, anomaly[rows]), average_precision(label, anomaly[rows]))
        )
    return found


def reviewed(anomaly: Float64, card: Int64, event_time_ms: Int64, reviews_a_day: int = REVIEWS_A_DAY) -> Int64:
    """Rows that people look at, if they look at the cards with the highest anomaly scores as they come.

    The level is that which so many payments a day passed in the week before, so it is known before the day begins. A
    card is looked at once a day, and no more than `reviews_a_day` are.
    """
    day = (event_time_ms - event_time_ms[0]) // DAY_MS
    starts = np.searchsorted(day, np.arange(int(day[-1]) + 2))
    rows: list[int] = []
    for today in range(1, int(day[-1]) + 1):
        week = max(today - _LOOK_BACK_DAYS, 0)
        before = anomaly[starts[week] : starts[today]]
        allowed = reviews_a_day * (today - week)
        level = np.partition(before, -allowed)[-allowed] if len(before) > allowed else -np.inf
        looked_at: set[int] = set()
        for row in (np.flatnonzero(anomaly[starts[today] : starts[today + 1]] > level) + starts[today]).tolist():
            if len(looked_at) == reviews_a_day:
                break
            if int(card[row]) not in looked_at:
                looked_at.add(int(card[row]))
                rows.append(row)
    return np.array(rows, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Caught:
    """Attacked cards of one kind of attack, and those that were looked at within an hour of the first fraud."""

    name: str
    cards: int
    in_first_hour: int
    ever: int


def caught(kind: Sequence[str], card: Int64, event_time_ms: Int64, rows: Int64) -> list[Caught]:
    """Of the cards attacked after the warm-up those that people looked at, by kind of attack.

    Args:
        kind: of each payment, "" where it is genuine.
        card: of each payment.
        event_time_ms: ascending.
        rows: that people looked at.
    """
    looks: dict[int, list[int]] = {}
    for row in rows.tolist():
        looks.setdefault(int(card[row]), []).append(int(event_time_ms[row]))
    first: dict[tuple[int, str], int] = {}
    for row in np.flatnonzero(np.array(kind) != "").tolist():
        first.setdefault((int(card[row]), kind[row]), int(event_time_ms[row]))
    begin_ms = int(event_time_ms[0]) + WARM_UP_DAYS * DAY_MS
    totals: dict[str, list[int]] = {}
    for (number, name), start_ms in first.items():
        if start_ms < begin_ms:
            continue
        after = [time_ms - start_ms for time_ms in looks.get(number, ()) if time_ms >= start_ms]
        for key in (name, "all"):
            total = totals.setdefault(key, [0, 0, 0])
            total[0] += 1
            total[1] += any(wait_ms < _HOUR_MS for wait_ms in after)
            total[2] += any(wait_ms < DAY_MS for wait_ms in after)
    return [Caught(name, *totals[name]) for name in [*sorted(set(totals) - {"all"}), "all"] if name in totals]
