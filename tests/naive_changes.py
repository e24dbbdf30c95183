"""The slow, obvious twin of leaving out old copies of lines (`detector.changes`)."""

from __future__ import annotations

from collections.abc import Iterable


def newest_copies(copies: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of copies (line, copy) in the order in which they were made, the last one of each line, in that order."""
    made = list(copies)
    last = {line: index for index, (line, _) in enumerate(made)}
    return [(line, copy) for index, (line, copy) in enumerate(made) if last[line] == index]
