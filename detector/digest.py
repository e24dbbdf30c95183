"""The canonical digest of feature state: what the future can still see of the past, and nothing else.

It lists cards and shared entities by fingerprint with their integers, so it is the same whatever row numbers, free
lists, chunks and moments of eviction came out on the way. Two states with equal digests give equal features for ever
(DESIGN, decision 8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from detector.buckets import LEVEL_WORDS, list_buckets
from detector.cards import column_start
from detector.catalogue import MEMORY_MS, OUTCOME_MEMORY_MS, SHARED_WINDOWS_MS
from detector.layout import (
    AMOUNT,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_TRUSTED,
    ATTRIBUTES,
    BASE_MS,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CATEGORY,
    CLOCK,
    COUNT,
    ENTITIES,
    GENERATION,
    LAST_PLACE,
    LAST_PLACE_TIME,
    LAST_TIME,
    LEVELS,
    LONGEST,
    RATIO_MASK,
    RATIO_SHIFT,
    RISK_SHIFT,
    SHARED_LONGEST,
    SHARED_PATTERN,
    SHARED_WINDOW_COUNT,
    START,
    TIME,
)
from detector.memory import HASH, KEY_1, KEY_2, USED, Memory, address, descriptor, table_rows
from detector.outcomes import list_outcomes
from detector.shared import RESOLUTIONS_MS

Line = tuple[object, ...]
_COUNTED_ATTRIBUTES = ~(ATTRIBUTE_TRUSTED | (RATIO_MASK << RATIO_SHIFT))


def _events(memory: Memory, card: int, oldest: int) -> Iterator[Line]:
    """The payments that a card remembers, without those taken back."""
    half, at = memory.view(np.uint32), int(address(memory, CARDS, card))
    starts = [int(column_start(memory, at, column)) for column in range(int(CATEGORY) + 1)]
    for entry in range(int(memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]), int(memory[at + COUNT])):
        words = [int(half[start + entry]) for start in starts]
        time_ms = int(memory[at + BASE_MS]) + words[TIME]
        if not words[ATTRIBUTES] & ATTRIBUTE_REVERSED and time_ms > oldest:
            # What was thought of it when it was scored rests on the labels that had come: a view, no count.
            words[ATTRIBUTES] &= _COUNTED_ATTRIBUTES
            words[CATEGORY] &= (1 << RISK_SHIFT) - 1
            yield time_ms, *words[AMOUNT:]


def card_lines(memory: Memory, watermark_ms: int, lateness_ms: int) -> Iterator[Line]:
    """Every card that a later payment could still find, with all that it would find."""
    oldest = watermark_ms - lateness_ms - MEMORY_MS
    for row, words in enumerate(table_rows(memory, int(CARDS))[: int(descriptor(memory, int(CARDS))[USED])]):
        if not words[GENERATION] or words[CLOCK] <= oldest:
            continue
        place = (int(words[LAST_PLACE]), int(words[LAST_PLACE_TIME]))
        events = tuple(_events(memory, row, oldest))
        yield int(words[HASH]), int(words[KEY_1]), int(words[CLOCK]), place, events


def _buckets(shared: Memory, history: int, window: int, visible_from_ms: int) -> tuple[Line, ...]:
    """The buckets of a window's history that a query from `visible_from_ms` on could still see."""
    limit = (visible_from_ms - SHARED_WINDOWS_MS[window]) // RESOLUTIONS_MS[window]
    return tuple(bucket for bucket in list_buckets(shared, history) if bucket[0] > limit and any(bucket[1:]))


def entity_lines(shared: Memory, visible_from_ms: int) -> Iterator[Line]:
    """Every shared entity with the buckets that a query from `visible_from_ms` on could still see."""
    for row, words in enumerate(table_rows(shared, int(ENTITIES))[: int(descriptor(shared, int(ENTITIES))[USED])]):
        if not words[LAST_TIME]:
            continue
        histories = int(address(shared, ENTITIES, row)) + LEVELS
        is_pattern = words[KEY_2] == SHARED_PATTERN
        levels = tuple(
            _buckets(
                shared, histories + LEVEL_WORDS * level, int(SHARED_LONGEST) if is_pattern else level, visible_from_ms
            )
            for level in range(1 if is_pattern else SHARED_WINDOW_COUNT)
        )
        known = list_outcomes(shared, int(address(shared, ENTITIES, row)))
        outcomes = tuple(outcome for outcome in known if outcome[0] > visible_from_ms - OUTCOME_MEMORY_MS)
        if any(levels) or outcomes:
            yield int(words[HASH]), int(words[KEY_1]), int(words[KEY_2]), levels, outcomes


def digest_of(lines: list[Line]) -> str:
    """Hex digest of lines, whatever order they come in."""
    digest = hashlib.sha256()
    for line in sorted(lines, key=repr):
        digest.update(repr(line).encode())
        digest.update(b"\n")
    return digest.hexdigest()
