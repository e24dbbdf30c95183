"""What each fault did, from topics and Redis: payments, effects, pauses. Knows nothing of the code under test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casework.ids import alert_step_id, notification_id_of
from streams.topics import DECISIONS, NOTIFICATIONS, TRANSACTIONS
from tests.integration.oracle import RedisContent, read_redis
from tests.streams.kafka_world import World

Document = dict[str, Any]
Place = tuple[int, int]
HEAD = (
    "fault", "times", "sent", "decided", "freezes", "frozen", "in a case", "notices", "lost", "doubled",
    "longest pause", "recovered after",
)  # fmt: skip
PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
# Who waits longer than this for an answer is part of a pause.
_PROMPT_MS = 1_000


@dataclass
class Row:
    """What was seen of the payments from the beginning of a fault to that of the next."""

    name: str
    start_ms: int
    sent: int = 0
    decided: int = 0
    freezes: int = 0
    frozen: int = 0
    in_cases: int = 0
    notices: int = 0
    lost: int = 0
    doubled: int = 0
    pause_ms: int = 0
    recovery_ms: int = 0


def judge(world: World, redis_url: str, faults: Sequence[tuple[str, int]], refused: set[bytes]) -> list[Row]:
    """A row for each fault, given with the time of its beginning, in order."""
    rows = [Row(name, start_ms) for name, start_ms in faults]
    decisions: dict[Place, tuple[Document, int]] = {}
    for record in sorted(world.read(DECISIONS), key=lambda record: (record.partition, record.offset)):
        decision = json.loads(record.value or b"")
        place = (decision["source"]["partition"], decision["source"]["offset"])
        decisions.setdefault(place, (decision, record.timestamp))
    content = read_redis(redis_url)
    in_cases = Counter(
        event["alert"]["alert_id"] for events in content.events.values() for event in events if event["alert"]
    )
    notices = Counter(
        document["notification_id"]
        for document in {
            dict(record.headers)["ce_id"]: json.loads(record.value or b"") for record in world.read(NOTIFICATIONS)
        }.values()
    )
    for record in world.read(TRANSACTIONS):
        row = next((row for row in reversed(rows) if row.start_ms <= record.timestamp), None)
        if row is None or record.key in refused:
            continue
        row.sent += 1
        found = decisions.get((record.partition, record.offset))
        if found is None:
            row.lost += 1
            continue
        decision, decided_ms = found
        row.decided += 1
        waited_ms = decided_ms - record.timestamp
        row.pause_ms = max(row.pause_ms, waited_ms)
        if waited_ms > _PROMPT_MS:
            row.recovery_ms = max(row.recovery_ms, decided_ms - row.start_ms)
        if decision["action"] == "FREEZE":
            _effects(row, decision["alert_id"], content, in_cases, notices)
    return rows


def _effects(row: Row, alert_id: str, content: RedisContent, in_cases: Counter[str], notices: Counter[str]) -> None:
    """A FREEZE has one outcome, one place in a case, and where it froze the card, one notice."""
    outcome = content.outcomes.get(alert_id)
    notice = notices[notification_id_of(alert_step_id(alert_id))]
    row.freezes += 1
    row.frozen += outcome == "frozen"
    row.in_cases += in_cases[alert_id]
    row.notices += notice
    row.lost += outcome is None or not in_cases[alert_id] or (outcome == "frozen" and not notice)
    row.doubled += max(0, in_cases[alert_id] - 1) + max(0, notice - 1)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Rows of the same fault together."""
    shown: list[list[str]] = []
    for name in dict.fromkeys(row.name for row in rows):
        same = [row for row in rows if row.name == name]
        sums = [
            sum(getattr(row, field) for row in same)
            for field in ("sent", "decided", "freezes", "frozen", "in_cases", "notices", "lost", "doubled")
        ]
        longest = [max(getattr(row, field) for row in same) / 1000 for field in ("pause_ms", "recovery_ms")]
        shown.append([name, str(len(same)), *(f"{n:,}" for n in sums), *(f"{seconds:.1f} s" for seconds in longest)])
    return shown
