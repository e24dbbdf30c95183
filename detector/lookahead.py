"""Looking ahead: the caches fetch what the next records need side by side, before the walk asks for it.

A walk over many cards waits for memory: each record follows some thirty links, one after the other, and most of them
miss the caches, at 100 to 400 ns each. The links of different records do not depend on each other. So before a group of
records is walked, each step of the way is prefetched for all of them, then the next step. Nothing is changed here, and
a link that the walk changes meanwhile costs time, not correctness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import CHUNK_WORDS
from detector.cards import pair_key, pair_of_event
from detector.jit import constants, kernel, prefetch
from detector.layout import (
    BUCKETS,
    CARD_INDEX,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARD_WORDS,
    CARDS,
    ENTITIES,
    ENTITY_INDEX,
    ENTITY_KEY_COLUMNS,
    ENTITY_WORDS,
    EVENT_CHUNK_WORDS,
    EVENT_FIRST,
    EVENT_TAIL,
    EVENT_WORDS,
    EVENTS,
    EVENTS_PER_CHUNK,
    FEATURES,
    LEVELS,
    LONGEST,
    PAIR_INDEX,
    PAIR_KINDS,
    PAIR_MERCHANT,
    PAIRS,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_INDEX,
    PAYMENTS,
    SHARED_KINDS,
    START_CHUNK,
    START_SLOT,
    WINDOW_COUNT,
    Columns,
)
from detector.memory import LEVEL, SPLIT, Memory, address, bucket_address, find, info, mix
from detector.sliding import CUT_CHUNK, TOP_CHUNK, WINDOW_WORDS

# Records looked ahead of at once: enough to keep the memory busy, few enough to find their lines still in the cache.
GROUP = 32
AHEAD_SHAPE = (GROUP, 1 + SHARED_KINDS)
# Words of a cache line.
_LINE = 8
_CARD, _ENTITY = constants(2)


@kernel
def _lines(memory: Memory, at: int, words: int) -> None:
    """Prefetch a run of words."""
    for word in range(0, words, _LINE):
        prefetch(memory, at + word)
    prefetch(memory, at + words)


@kernel
def _heads(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int) -> None:
    """The heads of the chains of identity, card and entities."""
    for record in range(start, stop):
        prefetch(memory, bucket_address(memory, PAYMENT_INDEX, batch.identity[record, 0]))
        prefetch(memory, bucket_address(memory, CARD_INDEX, batch.card[record, 0]))
        for kind in range(SHARED_KINDS):
            word = batch.pairs[record, ENTITY_KEY_COLUMNS[kind]] ^ mix(kind)
            prefetch(shared, bucket_address(shared, ENTITY_INDEX, word))


@kernel
def _splits(memory: Memory, index: int, table: int, count: int) -> None:
    """The first rows of the chains that the next insertions split."""
    split = info(memory, index, SPLIT)
    for bucket in range(split, min(split + count, 1 << info(memory, index, LEVEL))):
        prefetch(memory, address(memory, table, memory[address(memory, index, bucket + 1)]))


@kernel
def _first_rows(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int) -> None:
    """The first row of each chain."""
    for record in range(start, stop):
        row = memory[bucket_address(memory, PAYMENT_INDEX, batch.identity[record, 0])]
        prefetch(memory, address(memory, PAYMENTS, row))
        row = memory[bucket_address(memory, CARD_INDEX, batch.card[record, 0])]
        prefetch(memory, address(memory, CARDS, row))
        for kind in range(SHARED_KINDS):
            word = batch.pairs[record, ENTITY_KEY_COLUMNS[kind]] ^ mix(kind)
            row = shared[bucket_address(shared, ENTITY_INDEX, word)]
            prefetch(shared, address(shared, ENTITIES, row))


@kernel
def _rows(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int, rows: NDArray[np.int64]) -> None:
    """All of the rows of card and entities, and the heads of the chains of the card's pairs."""
    for record in range(start, stop):
        into = record - start
        card = find(memory, CARD_INDEX, CARDS, batch.card[record, 0], batch.card[record, 1], 0)
        rows[into, _CARD] = card
        if card != 0:
            _lines(memory, address(memory, CARDS, card), CARD_WORDS)
            for kind in range(PAIR_KINDS):
                key = pair_key(card, kind, batch.pairs[record, 2 * kind])
                prefetch(memory, bucket_address(memory, PAIR_INDEX, key))
        for kind in range(SHARED_KINDS):
            word = ENTITY_KEY_COLUMNS[kind]
            key_0, key_1 = batch.pairs[record, word], batch.pairs[record, word + 1]
            entity = 0
            if key_0 != 0 or key_1 != 0:
                entity = find(shared, ENTITY_INDEX, ENTITIES, key_0 ^ mix(kind), key_1, kind)
                _lines(shared, address(shared, ENTITIES, entity), ENTITY_WORDS)
            rows[into, _ENTITY + kind] = entity


@kernel
def _events_and_pairs(memory: Memory, batch: Columns, start: int, stop: int, rows: NDArray[np.int64]) -> None:
    """The card's last chunk, the first events of its windows, and the pairs of this payment."""
    for record in range(start, stop):
        card = rows[record - start, _CARD]
        if card == 0:
            continue
        at = address(memory, CARDS, card)
        _lines(memory, address(memory, EVENTS, memory[at + EVENT_TAIL]), EVENT_CHUNK_WORDS)
        for window in range(WINDOW_COUNT):
            base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
            first = address(memory, EVENTS, memory[base + START_CHUNK])
            prefetch(memory, first)
            prefetch(memory, first + EVENT_FIRST + memory[base + START_SLOT] * EVENT_WORDS)
            prefetch(memory, first + EVENT_FIRST + memory[base + START_SLOT] * EVENT_WORDS + EVENT_WORDS - 1)
        for kind in range(PAIR_KINDS):
            key = pair_key(card, kind, batch.pairs[record, 2 * kind])
            row = memory[bucket_address(memory, PAIR_INDEX, key)]
            prefetch(memory, address(memory, PAIRS, row))


@kernel
def _leaving_pairs(memory: Memory, start: int, stop: int, rows: NDArray[np.int64]) -> None:
    """The pairs of the payment that each window of the card lets go of next."""
    for record in range(start, stop):
        card = rows[record - start, _CARD]
        if card == 0:
            continue
        for window in range(WINDOW_COUNT):
            base = address(memory, CARDS, card) + CARD_WINDOWS + window * CARD_WINDOW_WORDS
            event = address(memory, EVENTS, memory[base + START_CHUNK]) + EVENT_FIRST
            event += min(memory[base + START_SLOT], EVENTS_PER_CHUNK - 1) * EVENT_WORDS
            if window == LONGEST:
                for kind in range(PAIR_KINDS):
                    prefetch(memory, address(memory, PAIRS, pair_of_event(memory, event, kind)))
            else:
                prefetch(memory, address(memory, PAIRS, pair_of_event(memory, event, PAIR_MERCHANT)))


@kernel
def _windows(shared: Memory, count: int, rows: NDArray[np.int64]) -> None:
    """The buckets at both ends of each entity's windows: the start of a chunk, and its last bucket."""
    for into in range(count):
        for kind in range(SHARED_KINDS):
            entity = address(shared, ENTITIES, rows[into, _ENTITY + kind])
            for level in range(WINDOW_COUNT):
                window = entity + LEVELS + WINDOW_WORDS * level
                for hint in (TOP_CHUNK, CUT_CHUNK):
                    chunk = address(shared, BUCKETS, shared[window + hint])
                    prefetch(shared, chunk)
                    prefetch(shared, chunk + CHUNK_WORDS // 2)
                    prefetch(shared, chunk + CHUNK_WORDS)


@kernel
def look_ahead(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int, rows: NDArray[np.int64]) -> None:
    """Prefetch what the walk over records `start` to `stop` needs; `rows` is scratch of shape AHEAD_SHAPE."""
    _heads(memory, shared, batch, start, stop)
    _splits(memory, PAYMENT_INDEX, PAYMENTS, stop - start)
    _splits(memory, PAIR_INDEX, PAIRS, 2 * (stop - start))
    _first_rows(memory, shared, batch, start, stop)
    _rows(memory, shared, batch, start, stop, rows)
    _events_and_pairs(memory, batch, start, stop, rows)
    _windows(shared, stop - start, rows)
    _leaving_pairs(memory, start, stop, rows)


@kernel
def look_ahead_of_labels(
    memory: Memory, shared: Memory, identity: NDArray[np.int64], start: int, stop: int, rows: NDArray[np.int64]
) -> None:
    """Prefetch what giving the payments `start` to `stop` their labels needs."""
    for index in range(start, stop):
        prefetch(memory, bucket_address(memory, PAYMENT_INDEX, identity[index, 0]))
    for index in range(start, stop):
        row = memory[bucket_address(memory, PAYMENT_INDEX, identity[index, 0])]
        _lines(memory, address(memory, PAYMENTS, row), FEATURES)
    for index in range(start, stop):
        row = find(memory, PAYMENT_INDEX, PAYMENTS, identity[index, 0], identity[index, 1], 0)
        rows[index - start, _CARD] = row
        at = address(memory, PAYMENTS, row) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            prefetch(shared, bucket_address(shared, ENTITY_INDEX, memory[at + 2 * kind] ^ mix(kind)))
    for index in range(start, stop):
        at = address(memory, PAYMENTS, rows[index - start, _CARD]) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            row = shared[bucket_address(shared, ENTITY_INDEX, memory[at + 2 * kind] ^ mix(kind))]
            _lines(shared, address(shared, ENTITIES, row), ENTITY_WORDS)
    for index in range(start, stop):
        at = address(memory, PAYMENTS, rows[index - start, _CARD]) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            key_0, key_1 = memory[at + 2 * kind], memory[at + 2 * kind + 1]
            rows[index - start, _ENTITY + kind] = find(shared, ENTITY_INDEX, ENTITIES, key_0 ^ mix(kind), key_1, kind)
    _windows(shared, stop - start, rows)
