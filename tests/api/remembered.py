"""A memory of closed cases that takes in what the desk in memory tells, as the history role does from Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casework.adapters.sql_history.store import SqlHistory


@contextmanager
def remembering(folder: Path) -> Iterator[SqlHistory]:
    """An empty memory in a folder."""
    history = SqlHistory(f"sqlite:///{folder}/history.db")
    history.open()
    history.positions("desk")
    try:
        yield history
    finally:
        history.close()
