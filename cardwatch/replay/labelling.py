"""Labels of a replay in the order in which they become known."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """Labels in the order in which they become known.

    Attributes:
        row: int64, which transaction of the file.
        label: int64, 1 fraud, 0 genuine.
        label_time_ms: int64, ascending.
    """

    row: Int64
    label: Int64
    label_time_ms: Int64

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.row)

    def in_order(self) -> KnownLabels:
        """The same, sorted by time; labels of one moment stay in their order."""
        order = np.argsort(self.label_time_ms, kind="stable")
        return KnownLabels(self.row[order], self.label[order], self.label_time_ms[order])


class LabelQueue:
    """Gives out labels as time goes on, those of alerted payments sooner where people look at alerts at once."""

    def __init__(self, labels: KnownLabels, event_time_ms: Int64, alerted_after_ms: int | None = None) -> None:
        """Take all labels of a file.

        Args:
            labels: in any order.
            event_time_ms: of the file's transactions; a label of a payment that has not happened yet waits for it.
            alerted_after_ms: how long after an alert its payment's label is known, where that is sooner.
        """
        times = np.maximum(labels.label_time_ms, event_time_ms[labels.row] + 1)
        self._labels = KnownLabels(labels.row, labels.label, times).in_order()
        self._next = 0
        self._event_time_ms = event_time_ms
        self._alerted_after_ms = alerted_after_ms
        self._early: deque[tuple[int, int, int]] = deque()
        if alerted_after_ms is not None:
            # Of a payment with several labels the first is what an agent would have said.
            self._truth = np.full(len(event_time_ms), -1, dtype=np.int64)
            self._known_ms = np.zeros(len(event_time_ms), dtype=np.int64)
            self._truth[self._labels.row[::-1]] = self._labels.label[::-1]
            self._known_ms[self._labels.row[::-1]] = self._labels.label_time_ms[::-1]

    def __len__(self) -> int:
        """Number of labels of the file."""
        return len(self._labels)

    def alerted(self, rows: Int64) -> None:
        """Note that payments were alerted; rows come in the order of their time."""
        if self._alerted_after_ms is None:
            return
        times = self._event_time_ms[rows] + max(self._alerted_after_ms, 1)
        sooner = (self._truth[rows] >= 0) & (times < self._known_ms[rows])
        chosen = rows[sooner]
        self._early.extend(zip(times[sooner].tolist(), chosen.tolist(), self._truth[chosen].tolist(), strict=True))

    def until(self, time_ms: int) -> KnownLabels:
        """What has become known since the last call and up to a moment.

        A label that was given sooner comes again at its own time, as it would from a chargeback: it says nothing new.
        """
        stop = int(np.searchsorted(self._labels.label_time_ms, time_ms, side="right"))
        cut = slice(self._next, max(stop, self._next))
        self._next = cut.stop
        regular = KnownLabels(self._labels.row[cut], self._labels.label[cut], self._labels.label_time_ms[cut])
        early: list[tuple[int, int, int]] = []
        while self._early and self._early[0][0] <= time_ms:
            early.append(self._early.popleft())
        if not early:
            return regular
        times, rows, labels = (np.array(column, dtype=np.int64) for column in zip(*early, strict=True))
        return KnownLabels(
            np.concatenate([rows, regular.row]),
            np.concatenate([labels, regular.label]),
            np.concatenate([times, regular.label_time_ms]),
        ).in_order()
