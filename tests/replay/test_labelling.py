"""The queue of labels: each at its time, those of alerted payments sooner."""

from __future__ import annotations

import numpy as np

from cardwatch.replay.labelling import KnownLabels, LabelQueue

TIMES = np.array([0, 10, 20, 30], dtype=np.int64)


def labels(*entries: tuple[int, int, int]) -> KnownLabels:
    return KnownLabels(*(np.array(column, dtype=np.int64) for column in zip(*entries, strict=True)))


def given(queue: LabelQueue, time_ms: int) -> list[tuple[int, int, int]]:
    known = queue.until(time_ms)
    return list(zip(known.row.tolist(), known.label.tolist(), known.label_time_ms.tolist(), strict=True))


def test_each_label_is_given_once_and_at_its_time() -> None:
    """In the order of their times, whatever the order of the file; none before its payment has happened."""
    queue = LabelQueue(labels((1, 1, 50), (0, 0, 40), (3, 1, 5)), TIMES)
    assert given(queue, 30) == []
    assert given(queue, 45) == [(3, 1, 31), (0, 0, 40)]
    assert given(queue, 45) == []
    assert given(queue, 100) == [(1, 1, 50)]


def test_alerted_payments_are_answered_sooner() -> None:
    """An hour after its alert a label is known, and comes again when it would have come anyway."""
    queue = LabelQueue(labels((0, 0, 100), (1, 1, 110), (2, 1, 22)), TIMES, alerted_after_ms=5)
    assert given(queue, 12) == []
    queue.alerted(np.array([1, 2]))
    assert given(queue, 15) == [(1, 1, 15)]
    assert given(queue, 30) == [(2, 1, 22)]
    assert given(queue, 200) == [(0, 0, 100), (1, 1, 110)]


def test_without_answers_an_alert_makes_no_difference() -> None:
    """Nobody looks: labels come when they come. What has no label has none sooner either."""
    queue = LabelQueue(labels((0, 0, 100)), TIMES)
    queue.alerted(np.array([0]))
    assert given(queue, 99) == []
    asked = LabelQueue(labels((0, 0, 100)), TIMES, alerted_after_ms=5)
    asked.alerted(np.array([3]))
    assert given(asked, 99) == []
