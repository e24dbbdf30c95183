"""`docs/retention.md`, from topics and settings: `python -m cardwatch.retention_page` writes it, a test compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cardwatch import wiring
from cardwatch.settings import Settings, load_settings
from cardwatch.topic_changes import kept_for
from casework.deliveries import MEMORY_MS
from casework.webhook_log import LINES_KEPT, UNTOLD_KEPT
from streams.topics import TOPICS

PAGE = Path("docs") / "retention.md"
_DAY_MS = 24 * 3600 * 1000
_HEAD = """# Retention

Generated from `streams/topics.py` and the shipped settings by `python -m cardwatch.retention_page`. How long what is
kept, at least; `cardwatch topics diff` compares a broker with it. Longer is allowed but for `fraud.alerts.v1`: Redis
must remember how alerts ended for longer than that. Nothing here holds a card number: a card is a token.

| where | what | kept | set by |
| --- | --- | --- | --- |
"""


def _rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Where, what, how long, and what sets it."""
    for spec in TOPICS:
        set_by = "cardwatch" if spec.compacted else "`retention.ms` of the topic"
        yield f"`{spec.name}`", spec.holds, kept_for(spec), set_by
    detector, score, book = settings.detector, settings.score, wiring.playbook(settings)
    checkpoints = "checkpoints of the score role"
    waits = "payments that wait for their label, at most `detector.payments` in memory and `detector.kept` on disk"
    yield checkpoints, waits, f"{detector.retention_days} days", "`detector.retention_days`"
    seen = "ids of transactions, to know one that comes again"
    yield checkpoints, seen, f"{detector.identity_memory_hours} hours", "`detector.identity_memory_hours`"
    copies = "full copies of a partition's state, with all changes since the oldest"
    yield checkpoints, copies, f"the last {score.checkpoints_kept}", "`score.checkpoints_kept`"
    yield "Redis", "cards, and how their holders want to be reached", "for ever", "the desk"
    yield "Redis", "open cases", "until they are closed", "the desk"
    yield "Redis", "closed cases", _span(book.closed_case_memory_ms), "`memory.closed_case_days` of the playbook"
    yield "Redis", "how alerts ended", _span(book.outcome_memory_ms), "`memory.outcome_days` of the playbook"
    answers = "answers under an `Idempotency-Key`"
    yield "Redis", answers, _span(book.answer_memory_ms), "`memory.answer_hours` of the playbook"
    yield "Redis", "what became of notices", _span(MEMORY_MS), "cardwatch"
    lines = f"the last {LINES_KEPT:,}, and {UNTOLD_KEPT:,} that failed"
    yield "Redis", "what each endpoint of webhooks was told", lines, "cardwatch"
    yield "Redis", "the last order to tell each of them again", "until the next", "cardwatch"
    yield "Redis", "outboxes", "until Kafka has acknowledged them", "the relay"
    yield "Redis", "sessions of the console", f"{settings.api.session_hours} hours", "`api.session_hours`"
    yield "SQLite or PostgreSQL", "every case with its events, for search", "for ever", "whoever owns the database"


def _span(span_ms: int) -> str:
    """A time in days, or in hours where it is short."""
    days = span_ms / _DAY_MS
    return f"{days:.0f} days" if days >= 2 else f"{24 * days:.0f} hours"


def retention_page(settings: Settings) -> str:
    """The page, for an installation with these settings."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(settings))


if __name__ == "__main__":
    PAGE.write_text(retention_page(load_settings()), encoding="utf-8")
