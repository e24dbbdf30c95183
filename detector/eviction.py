"""What is forgotten: quietly, when no window can see it any more, or by force, when room runs out.

Quiet eviction can never be observed: a card or entity goes only when its youngest time lies so far behind the
watermark that every later payment, even the latest allowed, finds all its windows empty. It advances two rows a record
so that it depends on the log alone and not on how the log was cut into batches. Forced eviction takes the stalest of a
few rows; it is counted, and a sign that a capacity should be raised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.cards import drop_oldest, expire, forget_card, has_entry_room, replace_block
from detector.catalogue import MEMORY_MS, OUTCOME_MEMORY_MS, WINDOW_FRACTION
from detector.errors import CapacityError
from detector.jit import kernel
from detector.layout import (
    BLOCK,
    CARDS,
    CLOCK,
    ENTITIES,
    FORCED_EVICTIONS,
    GENERATION,
    LAST_TIME,
    PROGRESS,
    WATERMARK,
    Limits,
)
from detector.memory import HAND, USED, Memory, address, has_room, info, set_info
from detector.shared import forget_entity

_ROWS_PER_RECORD = 2
_SAMPLE = 16
_FAR = 1 << 62
# A shared entity is remembered as long as the outcome of a payment speaks for it, its longest window, and one bucket.
_SHARED_MEMORY_MS = OUTCOME_MEMORY_MS + OUTCOME_MEMORY_MS // WINDOW_FRACTION


@kernel
def _advance(hand: int, used: int) -> int:
    """The next row of a sweep that runs round and round."""
    return hand + 1 if hand + 1 < used else 1


@kernel
def _card_time(memory: Memory, row: int) -> int:
    """The youngest time a card knows of, -1 for a row that holds no card."""
    at = address(memory, CARDS, row)
    return memory[at + CLOCK] if memory[at + GENERATION] != 0 else -1


@kernel
def _entity_time(shared: Memory, row: int) -> int:
    """The youngest time an entity knows of, -1 for a row that holds none."""
    at = address(shared, ENTITIES, row)
    return shared[at + LAST_TIME] if shared[at + LAST_TIME] != 0 else -1


@kernel
def sweep_cards(memory: Memory, limits: Limits) -> None:
    """Look at the next rows of the card table and forget what nothing can see."""
    watermark = memory[address(memory, PROGRESS, 1) + WATERMARK]
    limit = watermark - limits.lateness_ms - MEMORY_MS
    for _ in range(_ROWS_PER_RECORD):
        row = info(memory, CARDS, HAND)
        if row < info(memory, CARDS, USED):
            if 0 <= _card_time(memory, row) <= limit:
                forget_card(memory, row)
            set_info(memory, CARDS, HAND, _advance(row, info(memory, CARDS, USED)))


@kernel
def sweep_entities(shared: Memory, limits: Limits) -> None:
    """Look at the next rows of the entity table and forget what nothing can see."""
    limit = limits.slowest_watermark_ms - limits.lateness_ms - _SHARED_MEMORY_MS
    for _ in range(_ROWS_PER_RECORD):
        row = info(shared, ENTITIES, HAND)
        if row < info(shared, ENTITIES, USED):
            if 0 <= _entity_time(shared, row) <= limit:
                forget_entity(shared, row)
            set_info(shared, ENTITIES, HAND, _advance(row, info(shared, ENTITIES, USED)))


@kernel
def _evict_card(memory: Memory, spared: int) -> bool:
    """Forget the stalest card among the next few but `spared`, whether something could still see it or not.

    Returns:
        Whether there was one.
    """
    used = info(memory, CARDS, USED)
    stalest, stalest_time, seen, row = 0, _FAR, 0, info(memory, CARDS, HAND)
    for _ in range(used):
        time_ms = _card_time(memory, row)
        if time_ms >= 0 and row != spared:
            seen += 1
            if time_ms < stalest_time:
                stalest, stalest_time = row, time_ms
        row = _advance(row, used)
        if seen == _SAMPLE:
            break
    if stalest == 0:
        return False
    set_info(memory, CARDS, HAND, row)
    forget_card(memory, stalest)
    memory[address(memory, PROGRESS, 1) + FORCED_EVICTIONS] += 1
    return True


@kernel
def evict_entity(shared: Memory, spared: int) -> bool:
    """Forget the stalest shared entity among the next few but `spared`; returns whether there was one."""
    used = info(shared, ENTITIES, USED)
    stalest, stalest_time, seen, row = 0, _FAR, 0, info(shared, ENTITIES, HAND)
    for _ in range(used):
        time_ms = _entity_time(shared, row)
        if time_ms >= 0 and row != spared:
            seen += 1
            if time_ms < stalest_time:
                stalest, stalest_time = row, time_ms
        row = _advance(row, used)
        if seen == _SAMPLE:
            break
    if stalest == 0:
        return False
    set_info(shared, ENTITIES, HAND, row)
    forget_entity(shared, stalest)
    return True


@kernel
def make_room_for_card(memory: Memory) -> None:
    """Make sure that one more card fits into the table. The progress row must be saved."""
    while not has_room(memory, CARDS, 1):
        _evict_card(memory, 0)


@kernel
def make_room_for_payment(memory: Memory, half: NDArray[np.uint32], card: int, time_ms: int) -> None:
    """Let payments leave the card's windows, and make sure that one more fits into its block; its row is saved.

    Where the arena is full others are forgotten, and at last the card's own oldest payments.
    """
    at = address(memory, CARDS, card)
    expire(memory, half, at, time_ms)
    if has_entry_room(memory, at, time_ms):
        return
    while not replace_block(memory, half, at, time_ms):
        if not _evict_card(memory, card):
            if memory[at + BLOCK] == 0:
                raise CapacityError
            drop_oldest(memory, half, at, time_ms)
            memory[address(memory, PROGRESS, 1) + FORCED_EVICTIONS] += 1
            return
