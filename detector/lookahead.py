"""Looking ahead: the caches fetch what the next records need side by side, before the walk asks for it.

A walk over many cards waits for memory: each record follows some thirty links, one after the other, and most of them
miss the caches, at 100 to 400 ns each. The links of different records do not depend on each other. So before a group of
records is walked, each step of the way is prefetched for all of them, then the next step. Nothing is changed here, and
a link that the walk changes meanwhile costs time, not correctness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import BLOCK as HISTORY_BLOCK
from detector.buckets import LEVEL_WORDS, bucket_at, inside_of, stop_of
from detector.cards import column_start, first_met
from detector.jit import constants, kernel, prefetch
from detector.layout import (
    AMOUNT,
    ATTRIBUTES,
    BLOCK,
    CARD_INDEX,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    COUNT,
    ENTITIES,
    ENTITY_INDEX,
    ENTITY_KEY_COLUMNS,
    LEVELS,
    OUTCOME_COUNT,
    OUTCOMES,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_INDEX,
    PAYMENT_WORDS,
    PAYMENTS,
    RING,
    SHARED_KINDS,
    SHARED_WINDOW_COUNT,
    START,
    TIME,
    WINDOW_COUNT,
    Columns,
)
from detector.memory import LINE, WIDTH, Memory, address, find, info, slot_address
from detector.shared import entity_word, find_entity

# Records looked ahead of at once: enough to keep the memory busy, few enough to find their lines still in the cache.
GROUP = 32
AHEAD_SHAPE = (GROUP, 1 + SHARED_KINDS)
_CARD, _ENTITY = constants(2)
_TAG_MASK = (1 << 32) - 1
# A column's lines beyond the first few are fetched by the processor itself.
_HALVES_PER_LINE = 16
_LINES_AHEAD = 4


@kernel
def _lines(memory: Memory, start: int, words: int) -> None:
    """Prefetch a run of words."""
    for offset in range(0, words, LINE):
        prefetch(memory, start + offset)


@kernel
def _probed_row(memory: Memory, index: int, table: int, word: int) -> int:
    """Where the row behind the first entry that is looked at for a hash word starts: nearly always the right one."""
    return address(memory, table, memory[slot_address(memory, index, word)] & _TAG_MASK)


@kernel
def _slots(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int) -> None:
    """The entries of the indexes over identity, card and entities."""
    for record in range(start, stop):
        prefetch(memory, slot_address(memory, PAYMENT_INDEX, batch.identity[record, 0]))
        prefetch(memory, slot_address(memory, CARD_INDEX, batch.card[record, 0]))
        for kind in range(SHARED_KINDS):
            word = entity_word(kind, batch.pairs[record, ENTITY_KEY_COLUMNS[kind]])
            prefetch(shared, slot_address(shared, ENTITY_INDEX, word))


@kernel
def _rows(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int) -> None:
    """The rows behind them."""
    card_words, entity_words = info(memory, CARDS, WIDTH), info(shared, ENTITIES, WIDTH)
    for record in range(start, stop):
        _lines(memory, _probed_row(memory, CARD_INDEX, CARDS, batch.card[record, 0]), card_words)
        for kind in range(SHARED_KINDS):
            word = entity_word(kind, batch.pairs[record, ENTITY_KEY_COLUMNS[kind]])
            _lines(shared, _probed_row(shared, ENTITY_INDEX, ENTITIES, word), entity_words)


@kernel
def _card_blocks(memory: Memory, batch: Columns, start: int, stop: int) -> None:
    """The columns of the card's block from where looking back begins, and where its windows begin."""
    for record in range(start, stop):
        card = find(memory, CARD_INDEX, CARDS, batch.card[record, 0], batch.card[record, 1], 0)
        at = address(memory, CARDS, card)
        if card == 0 or memory[at + BLOCK] == 0:
            continue
        count, first = memory[at + COUNT], first_met(memory, at)
        for column in range(TIME, RING + 1):
            place = column_start(memory, at, column)
            prefetch(memory, (place + count) // 2)
            if column >= ATTRIBUTES and column < RING:
                for line in range(_LINES_AHEAD):
                    entry = first + line * _HALVES_PER_LINE
                    if entry < count:
                        prefetch(memory, (place + entry) // 2)
        for window in range(WINDOW_COUNT):
            entry = memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START]
            prefetch(memory, (column_start(memory, at, TIME) + entry) // 2)
            prefetch(memory, (column_start(memory, at, AMOUNT) + entry) // 2)


@kernel
def _buckets(shared: Memory, rows: NDArray[np.int64], count: int) -> None:
    """The outcomes of each entity, and the buckets at both ends of its windows."""
    for into in range(count):
        for kind in range(SHARED_KINDS):
            row = rows[into, _ENTITY + kind]
            if row == 0:
                continue
            at = address(shared, ENTITIES, row)
            if shared[at + OUTCOME_COUNT] != 0:
                _lines(shared, shared[at + OUTCOMES], shared[at + OUTCOME_COUNT])
            for window in range(SHARED_WINDOW_COUNT):
                level = at + LEVELS + LEVEL_WORDS * window
                if shared[level + HISTORY_BLOCK] != 0:
                    prefetch(shared, bucket_at(shared, level, stop_of(shared, level) - 1))
                    prefetch(shared, bucket_at(shared, level, inside_of(shared, level)))


@kernel
def look_ahead(memory: Memory, shared: Memory, batch: Columns, start: int, stop: int, rows: NDArray[np.int64]) -> None:
    """Prefetch what the walk over records `start` to `stop` needs; `rows` is scratch of shape AHEAD_SHAPE."""
    _slots(memory, shared, batch, start, stop)
    _rows(memory, shared, batch, start, stop)
    _card_blocks(memory, batch, start, stop)
    for record in range(start, stop):
        for kind in range(SHARED_KINDS):
            word = ENTITY_KEY_COLUMNS[kind]
            key_0, key_1 = batch.pairs[record, word], batch.pairs[record, word + 1]
            is_given = key_0 != 0 or key_1 != 0
            rows[record - start, _ENTITY + kind] = find_entity(shared, kind, key_0, key_1) if is_given else 0
    _buckets(shared, rows, stop - start)


@kernel
def look_ahead_of_labels(
    memory: Memory, shared: Memory, identity: NDArray[np.int64], start: int, stop: int, rows: NDArray[np.int64]
) -> None:
    """Prefetch what giving the payments `start` to `stop` their labels needs."""
    for index in range(start, stop):
        prefetch(memory, slot_address(memory, PAYMENT_INDEX, identity[index, 0]))
    for index in range(start, stop):
        _lines(memory, _probed_row(memory, PAYMENT_INDEX, PAYMENTS, identity[index, 0]), PAYMENT_WORDS)
    for index in range(start, stop):
        row = find(memory, PAYMENT_INDEX, PAYMENTS, identity[index, 0], identity[index, 1], 0)
        rows[index - start, _CARD] = row
        at = address(memory, PAYMENTS, row) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            prefetch(shared, slot_address(shared, ENTITY_INDEX, entity_word(kind, memory[at + 2 * kind])))
    entity_words = info(shared, ENTITIES, WIDTH)
    for index in range(start, stop):
        at = address(memory, PAYMENTS, rows[index - start, _CARD]) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            word = entity_word(kind, memory[at + 2 * kind])
            _lines(shared, _probed_row(shared, ENTITY_INDEX, ENTITIES, word), entity_words)
    for index in range(start, stop):
        at = address(memory, PAYMENTS, rows[index - start, _CARD]) + PAYMENT_ENTITY_KEYS
        for kind in range(SHARED_KINDS):
            key_0, key_1 = memory[at + 2 * kind], memory[at + 2 * kind + 1]
            is_given = key_0 != 0 or key_1 != 0
            rows[index - start, _ENTITY + kind] = find_entity(shared, kind, key_0, key_1) if is_given else 0
    _buckets(shared, rows, stop - start)


@kernel
def look_ahead_of_rows(
    shared: Memory, table: NDArray[np.int64], first_key: int, start: int, stop: int, rows: NDArray[np.int64]
) -> None:
    """Prefetch what applying the rows `start` to `stop` of shared entities needs; keys begin in column `first_key`."""
    for index in range(start, stop):
        for kind in range(SHARED_KINDS):
            word = entity_word(kind, table[index, first_key + 2 * kind])
            prefetch(shared, slot_address(shared, ENTITY_INDEX, word))
    entity_words = info(shared, ENTITIES, WIDTH)
    for index in range(start, stop):
        for kind in range(SHARED_KINDS):
            word = entity_word(kind, table[index, first_key + 2 * kind])
            _lines(shared, _probed_row(shared, ENTITY_INDEX, ENTITIES, word), entity_words)
    for index in range(start, stop):
        for kind in range(SHARED_KINDS):
            key_0, key_1 = table[index, first_key + 2 * kind], table[index, first_key + 2 * kind + 1]
            is_given = key_0 != 0 or key_1 != 0
            rows[index - start, _ENTITY + kind] = find_entity(shared, kind, key_0, key_1) if is_given else 0
    _buckets(shared, rows, stop - start)
