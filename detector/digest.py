"""The canonical digest of feature state: what the future can still see of the past, and nothing else.

It lists cards and shared entities by fingerprint with their integers, so it is the same whatever row numbers, free
lists, chunks and moments of eviction came out on the way. Two states with equal digests give equal features for ever
(DESIGN, decision 8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from detector.buckets import FILL, FOLLOWING, NUMBER, list_buckets
from detector.catalogue import MEMORY_MS, WINDOWS_MS
from detector.layout import (
    AMOUNT_REFERENCE,
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_SPEND,
    ATTRIBUTES,
    BUCKETS,
    CARD_LABELS,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CLOCK,
    ENTITIES,
    EVENT_FIRST,
    EVENT_TIME,
    EVENT_WORDS,
    EVENTS,
    GENERATION,
    LABEL_CLOCK,
    LABEL_HEAD,
    LAST_LATITUDE,
    LAST_PLACE_TIME,
    LAST_TIME,
    LEVELS,
    LONGEST,
    START_CHUNK,
    START_SLOT,
    WINDOW_COUNT,
)
from detector.memory import HASH, KEY_1, KEY_2, USED, Memory, address, descriptor, table_rows
from detector.shared import RESOLUTIONS_MS
from detector.sliding import WINDOW_WORDS

_Line = tuple[object, ...]


def _events(memory: Memory, card: int) -> Iterator[_Line]:
    """The payments that a card remembers, without those taken back."""
    words = table_rows(memory, int(CARDS))[card]
    base = int(CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS)
    chunk, slot = int(words[base + START_CHUNK]), int(words[base + START_SLOT])
    while chunk:
        at = int(address(memory, EVENTS, chunk))
        for index in range(slot, int(memory[at + FILL])):
            event = memory[at + EVENT_FIRST + index * EVENT_WORDS :]
            attributes = int(event[ATTRIBUTES])
            if not attributes & ATTRIBUTE_REVERSED:
                seen = attributes & (ATTRIBUTE_SPEND | ATTRIBUTE_REFUSED)
                yield int(event[EVENT_TIME]), int(event[AMOUNT_REFERENCE]), seen
        chunk, slot = int(memory[at + FOLLOWING]), 0


def card_lines(memory: Memory, watermark_ms: int, lateness_ms: int) -> Iterator[_Line]:
    """Every card that a later payment could still find, with all that it would find."""
    oldest = watermark_ms - lateness_ms - MEMORY_MS
    for row, words in enumerate(table_rows(memory, int(CARDS))[: int(descriptor(memory, int(CARDS))[USED])]):
        if not words[GENERATION] or max(words[CLOCK], words[LABEL_CLOCK]) <= oldest:
            continue
        labels = [
            bucket
            for bucket in list_buckets(memory, int(words[LABEL_HEAD]), int(CARD_LABELS))
            if bucket[NUMBER] > oldest and any(bucket[1:])
        ]
        place = tuple(words[LAST_LATITUDE : LAST_PLACE_TIME + 1].tolist())
        yield int(words[HASH]), int(words[KEY_1]), int(words[CLOCK]), place, tuple(_events(memory, row)), tuple(labels)


def entity_lines(shared: Memory, visible_from_ms: int) -> Iterator[_Line]:
    """Every shared entity with the buckets that a query from `visible_from_ms` on could still see."""
    for words in table_rows(shared, int(ENTITIES))[: int(descriptor(shared, int(ENTITIES))[USED])]:
        if not words[LAST_TIME]:
            continue
        levels = tuple(
            tuple(
                bucket
                for bucket in list_buckets(shared, int(words[LEVELS + WINDOW_WORDS * level]), int(BUCKETS))
                if bucket[NUMBER] > (visible_from_ms - WINDOWS_MS[level]) // RESOLUTIONS_MS[level] and any(bucket[1:])
            )
            for level in range(WINDOW_COUNT)
        )
        if any(levels):
            yield int(words[HASH]), int(words[KEY_1]), int(words[KEY_2]), levels


def digest_of(lines: list[_Line]) -> str:
    """Hex digest of lines, whatever order they come in."""
    digest = hashlib.sha256()
    for line in sorted(lines, key=repr):
        digest.update(repr(line).encode())
        digest.update(b"\n")
    return digest.hexdigest()
