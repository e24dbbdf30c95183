"""Rows of the catalogue that tell how soon people act."""

from __future__ import annotations

from telemetry.metric import Label
from telemetry.rows import HISTORY, gauge, histogram

# 15 and 30 minutes are objectives.
PROMPT_BUCKETS_S = (60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0, 7200.0, 14_400.0, 28_800.0)

PROMPTNESS = (
    histogram(
        "urgent_touch_seconds",
        "seconds",
        "From a case becoming urgent to the first thing that somebody of the desk did about it.",
        "SRE, casework lead: the objective of 15 minutes",
        HISTORY,
        buckets=PROMPT_BUCKETS_S,
    ),
    gauge(
        "urgent_untouched_cases",
        "",
        "Urgent cases about which nobody of the desk has done anything for longer than so many seconds.",
        "SRE: UrgentTouchBurn, which no event could tell of them",
        HISTORY,
        Label("older_than", len(PROMPT_BUCKETS_S), "a bound of urgent_touch_seconds"),
    ),
    histogram(
        "freeze_undo_seconds",
        "seconds",
        "From a card being frozen to it being freed, where the case turned out to be genuine.",
        "SRE, casework lead: the objective of 30 minutes",
        HISTORY,
        buckets=PROMPT_BUCKETS_S,
    ),
)
