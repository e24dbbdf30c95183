"""The slow, obvious twin of applying rows of shared entities: dictionaries of counts, nothing is ever forgotten.

Written from what a row says (`detector.shared_rows`), not from the kernels that apply it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from detector.catalogue import MEMORY_MS, OUTCOME_MEMORY_MS, SHARED_WINDOWS_MS, WINDOW_FRACTION
from detector.sources import SharedRows
from tests.naive_payment import DAY_MS, HOUR_MS, OUTCOMES_KEPT, log_steps

TERMINAL, MERCHANT, DEVICE, CATEGORY, PATTERN = range(5)
PAID, TAKEN_BACK, LABELLED = 1, 2, 3
# The windows that have histories: of an hour, a day, and 30 days; patterns have 60 days in the place of the first.
WINDOWS_MS = (HOUR_MS, DAY_MS, MEMORY_MS)
assert (*WINDOWS_MS, OUTCOME_MEMORY_MS) == SHARED_WINDOWS_MS

Key = tuple[int, int, int]
_TAG_MASK = 0xFFFF


def bits(word: int, first: int, count: int) -> int:
    """A small field of a word."""
    return (word >> first) & ((1 << count) - 1)


def resolution_ms(window_ms: int) -> int:
    """How wide the buckets of a window are."""
    return max(1, window_ms // WINDOW_FRACTION)


class NaiveShared:
    """Counts by entity, window and bucket (payments, spends, labelled, frauds, spent), and all outcomes by place."""

    def __init__(self) -> None:
        """Know nothing."""
        self.counts: dict[tuple[Key, int, int], list[int]] = defaultdict(lambda: [0] * 5)
        self.outcomes: dict[Key, dict[tuple[int, int], int]] = defaultdict(dict)
        self.next: dict[tuple[int, int], int] = defaultdict(int)

    def apply(self, rows: SharedRows) -> int:
        """Take rows in, those that are new; returns how many those were."""
        known = self.next[rows.partition, rows.source]
        new = [row for row in rows.words.tolist() if row[0] >= known]
        for _, time_ms, about, *keys in new:
            entities = {kind: (keys[2 * kind], keys[2 * kind + 1]) for kind in range(4)}
            named = {kind: (kind, *key) for kind, key in entities.items() if key != (0, 0)}
            what = bits(about, 32, 3)
            if what == LABELLED:
                self._label(time_ms, about, named, keys[2 * CATEGORY])
            else:
                self._pay(time_ms, about, named, 1 if what == PAID else -1)
        self.next[rows.partition, rows.source] = max(known, rows.next)
        return len(new)

    def _add(self, key: Key, window: int, time_ms: int, amounts: tuple[int, int, int, int, int]) -> None:
        of_window_ms = OUTCOME_MEMORY_MS if key[0] == PATTERN else WINDOWS_MS[window]
        counts = self.counts[key, window, time_ms // resolution_ms(of_window_ms)]
        counts[:] = [count + amount for count, amount in zip(counts, amounts, strict=True)]

    @staticmethod
    def _place(named: dict[int, Key]) -> Key | None:
        return named.get(TERMINAL, named.get(MERCHANT))

    def _pay(self, time_ms: int, about: int, named: dict[int, Key], sign: int) -> None:
        """A payment: counted where it took place and on its device, at its merchant, and by its logarithm."""
        amount, spends, of_class = bits(about, 0, 32), bits(about, 35, 1), bits(about, 36, 3)
        counter = sign << (16 * (of_class % 4))
        classes = (sign, 0, 0, 0, counter) if of_class >= 4 else (sign, 0, 0, counter, 0)
        spent = (sign, sign * spends, 0, 0, sign * spends * amount)
        for key in (key for key in (self._place(named), named.get(DEVICE)) if key is not None):
            self._add(key, 0, time_ms, classes)
            self._add(key, 1, time_ms, spent)
        if MERCHANT in named:
            self._add(named[MERCHANT], 2, time_ms, spent)
        if CATEGORY in named:
            log = log_steps(amount)
            self._add(named[CATEGORY], 2, time_ms, (sign, 0, 0, sign * log, sign * log * log))

    def _label(self, time_ms: int, about: int, named: dict[int, Key], category_0: int) -> None:
        """A label: counted at its merchant, device and pattern, an earlier one taken back; its place hears of it."""
        label, before, times = bits(about, 40, 1), bits(about, 41, 2), 1 << bits(about, 43, 5)
        size = int(4 * math.log2(max(bits(about, 0, 32), 1)))
        pattern = ((category_0 & 0xFFFFFFFF) * 64 + size) * 8 + time_ms // HOUR_MS % 24 // 3
        keys = [(window, named[kind]) for window, kind in ((2, MERCHANT), (2, DEVICE)) if kind in named]
        for window, key in [*keys, (0, (PATTERN, 0, pattern))]:
            if before:
                self._add(key, window, time_ms, (0, 0, -times, -(before - 1) * times, 0))
            self._add(key, window, time_ms, (0, 0, times, label * times, 0))
        place = self._place(named)
        if place is not None:
            self.outcomes[place][time_ms, bits(about, 48, 16)] = label

    def lines(self, visible_from_ms: int) -> Iterator[tuple[Any, ...]]:
        """Every entity: its kind and second key, its visible buckets that are not empty, and its youngest outcomes."""
        buckets: dict[Key, list[dict[int, list[int]]]] = defaultdict(lambda: [{}, {}, {}])
        for (key, window, number), counts in self.counts.items():
            of_window_ms = OUTCOME_MEMORY_MS if key[0] == PATTERN else WINDOWS_MS[window]
            if number > (visible_from_ms - of_window_ms) // resolution_ms(of_window_ms) and any(counts):
                buckets[key][window][number] = counts
        for key in buckets.keys() | self.outcomes.keys():
            youngest = sorted(self.outcomes[key].items())[-OUTCOMES_KEPT:]
            outcomes = tuple((*at, said) for at, said in youngest if at[0] > visible_from_ms - OUTCOME_MEMORY_MS)
            windows = buckets[key][: 1 if key[0] == PATTERN else 3]
            levels = tuple(tuple((number, *window[number]) for number in sorted(window)) for window in windows)
            if any(levels) or outcomes:
                yield key[0], key[2], levels, outcomes
