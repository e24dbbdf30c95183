"""The texts of the benchmark of drift say what was told, and what was changed is what the names say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.drift import DAYS_BEFORE, WRONGS, Watched, injected_text, quiet_text
from detector.catalogue import DAY_MS, HOUR_MS
from detector.models.drift import DriftAlarm

_FIRST_MS = 1_522_540_800_000


def test_quiet_weeks_are_told() -> None:
    """The highest index of each week, whose it is, and which alarms began."""
    watched = Watched(
        [DriftAlarm("amount", 0.4, _FIRST_MS + 15 * DAY_MS)],
        [(_FIRST_MS + 14 * DAY_MS, "amount", 0.4), (_FIRST_MS + 14 * DAY_MS, "score", 0.1),
         (_FIRST_MS + 22 * DAY_MS, "hour", 0.01), (_FIRST_MS + 22 * DAY_MS, "amount", -0.02)],
    )  # fmt: skip
    text = quiet_text(watched, _FIRST_MS, _FIRST_MS + 120 * DAY_MS)
    assert "Alarms in the last eight weeks: 0" in text
    assert "in all: 1" in text
    assert "| 3 | 1 | 0.400 | `amount` | 0.100 | `amount` |" in text
    assert "| 4 | 1 | 0.010 | `hour` | 0.000 | none |" in text


def test_what_went_wrong_is_told() -> None:
    """How long it took, what saw it, and what was on before; what nobody saw stands out."""
    onset_ms = _FIRST_MS + DAYS_BEFORE * DAY_MS
    seen = Watched([
        DriftAlarm("hour", 0.3, onset_ms - DAY_MS), DriftAlarm("amount", 1.5, onset_ms + 9 * HOUR_MS),
        DriftAlarm("late", 1.5, onset_ms + 30 * HOUR_MS),
    ])  # fmt: skip
    text = injected_text([(WRONGS[0], seen), (WRONGS[1], Watched())], onset_ms)
    assert "| all amounts doubled | 9 h | `amount` 1.50 | hour |" in text
    assert "| **not seen** |" in text


def test_changes_are_what_they_are_called() -> None:
    """Only rows after the onset are other than they were."""
    count = 4_000
    wrong = np.arange(count) >= count // 2
    table = pa.table({"TX_AMOUNT": np.full(count, 10.0), "TERMINAL_ID": np.arange(count), "COUNTRY": ["PH"] * count})
    doubled, abroad, without = (each.change(table, wrong) for each in WRONGS if each.change is not None)
    assert (doubled.column("TX_AMOUNT").to_numpy() == np.where(wrong, 20.0, 10.0)).all()
    away = np.array([country != "PH" for country in abroad.column("COUNTRY").to_pylist()])
    assert not away[~wrong].any()
    assert 0.03 < away[wrong].mean() < 0.07
    assert np.array_equal(np.array([name is None for name in without.column("TERMINAL_ID").to_pylist()]), wrong)
    assert WRONGS[-1].change is None
