"""A card's history: its payments in time order, exact sliding windows over them, and what it has met before.

Windows are (t - W, t] with a resolution of 1 ms. Each keeps a pointer to its oldest payment and running integer sums,
so a payment enters and leaves every window once. Pairs (card with terminal, merchant, country, device) count their
live payments; a pair lives exactly as long as the card remembers a payment of it.

`card` is a row number throughout, `at` the address of its row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.buckets import FILL, FOLLOWING, PREVIOUS, free_chunks
from detector.catalogue import WINDOWS_MS
from detector.jit import kernel
from detector.layout import (
    AMOUNT_MINOR,
    AMOUNT_REFERENCE,
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_SPEND,
    ATTRIBUTES,
    CARD_INDEX,
    CARD_LABELS,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CLOCK,
    EVENT_FIRST,
    EVENT_HEAD,
    EVENT_TAIL,
    EVENT_TIME,
    EVENT_WORDS,
    EVENTS,
    EVENTS_PER_CHUNK,
    GENERATION,
    LABEL_HEAD,
    LONGEST,
    MERCHANT_WORD,
    PAIR_COUNTS,
    PAIR_INDEX,
    PAIR_KINDS,
    PAIR_MASK,
    PAIR_MERCHANT,
    PAIR_SHIFT,
    PAIRS,
    PAIRS_OTHER,
    PAIRS_PLACE,
    START_CHUNK,
    START_SLOT,
    WINDOW_COUNT,
    WINDOW_COUNTED,
    WINDOW_DISTINCT,
    WINDOW_REFUSED,
    WINDOW_SPEND_SUM,
    WINDOW_SPENDS,
)
from detector.memory import (
    CURSOR,
    HASH,
    KEY_1,
    KEY_2,
    Memory,
    address,
    allocate,
    find,
    info,
    link,
    mix,
    release,
    set_info,
    touch,
    unlink,
)

_WINDOWS = WINDOWS_MS


@kernel
def find_or_create_card(memory: Memory, key_0: int, key_1: int) -> int:
    """The card's row; a new card gets a generation that no earlier tenant of the row had."""
    row = find(memory, CARD_INDEX, CARDS, key_0, key_1, 0)
    if row != 0:
        return row
    row = allocate(memory, CARDS)
    at = address(memory, CARDS, row)
    generation = info(memory, CARDS, CURSOR)
    set_info(memory, CARDS, CURSOR, generation + 1)
    memory[at + HASH] = key_0
    memory[at + KEY_1] = key_1
    memory[at + GENERATION] = generation
    link(memory, CARD_INDEX, CARDS, row)
    return row


@kernel
def pair_key(card: int, kind: int, key_0: int) -> int:
    """The hash word of a pair of this card."""
    return key_0 ^ mix(card * PAIR_KINDS + kind)


@kernel
def _find_pair(memory: Memory, card: int, kind: int, key_0: int, key_1: int) -> int:
    """The pair's row, or 0."""
    return find(memory, PAIR_INDEX, PAIRS, pair_key(card, kind, key_0), key_1, card * PAIR_KINDS + kind)


@kernel
def _create_pair(memory: Memory, card: int, kind: int, key_0: int, key_1: int) -> int:
    """A new pair of this card."""
    owner = card * PAIR_KINDS + kind
    row = allocate(memory, PAIRS)
    at = address(memory, PAIRS, row)
    memory[at + HASH] = pair_key(card, kind, key_0)
    memory[at + KEY_1] = key_1
    memory[at + KEY_2] = owner
    link(memory, PAIR_INDEX, PAIRS, row)
    return row


@kernel
def pair_of_event(memory: Memory, event: int, kind: int) -> int:
    """The pair row of this kind that the event at this address names, or 0."""
    word = memory[event + PAIRS_PLACE + (kind >> 1)]
    return (word >> PAIR_SHIFT) if kind & 1 else (word & PAIR_MASK)


@kernel
def _count_pair(memory: Memory, at: int, pair: int, kind: int, window: int, step: int) -> None:
    """Count a payment into (1) or out of (-1) a pair's window, and the card's distinct merchants with it."""
    touch(memory, PAIRS, pair)
    counter = address(memory, PAIRS, pair) + PAIR_COUNTS + window
    before = memory[counter]
    memory[counter] = before + step
    if kind == PAIR_MERCHANT and (before == 0 or before + step == 0):
        memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + WINDOW_DISTINCT] += step
    if window == LONGEST and before + step == 0:
        unlink(memory, PAIR_INDEX, PAIRS, pair)
        release(memory, PAIRS, pair)


@kernel
def _count_event(memory: Memory, at: int, event: int, window: int, step: int) -> None:
    """Count an event into (1) or out of (-1) one window of the card at this address, whose row is touched."""
    base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
    attributes = memory[event + ATTRIBUTES]
    memory[base + WINDOW_COUNTED] += step
    if attributes & ATTRIBUTE_SPEND:
        memory[base + WINDOW_SPENDS] += step
        memory[base + WINDOW_SPEND_SUM] += step * memory[event + AMOUNT_REFERENCE]
    if attributes & ATTRIBUTE_REFUSED:
        memory[base + WINDOW_REFUSED] += step
    for kind in range(PAIR_KINDS):
        if kind == PAIR_MERCHANT or window == LONGEST:
            pair = pair_of_event(memory, event, kind)
            if pair != 0:
                _count_pair(memory, at, pair, kind, window, step)


@kernel
def _leave_chunk(memory: Memory, at: int, chunk: int, following: int) -> None:
    """Free the card's first chunk, which every window has left behind."""
    memory[at + EVENT_HEAD] = following
    touch(memory, EVENTS, following)
    memory[address(memory, EVENTS, following) + PREVIOUS] = 0
    release(memory, EVENTS, chunk)


@kernel
def expire(memory: Memory, card: int, time_ms: int) -> None:
    """Let payments leave the windows that end at `time_ms`; what leaves the longest one is forgotten."""
    touch(memory, CARDS, card)
    at = address(memory, CARDS, card)
    for window in range(WINDOW_COUNT):
        base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
        limit = time_ms - _WINDOWS[window]
        chunk, slot = memory[base + START_CHUNK], memory[base + START_SLOT]
        while chunk != 0:
            chunk_at = address(memory, EVENTS, chunk)
            if slot == memory[chunk_at + FILL]:
                following = memory[chunk_at + FOLLOWING]
                if following == 0:
                    break
                if window == LONGEST:
                    _leave_chunk(memory, at, chunk, following)
                chunk, slot = following, 0
                continue
            event = chunk_at + EVENT_FIRST + slot * EVENT_WORDS
            if memory[event + EVENT_TIME] > limit:
                break
            if not memory[event + ATTRIBUTES] & ATTRIBUTE_REVERSED:
                _count_event(memory, at, event, window, -1)
            slot += 1
        memory[base + START_CHUNK] = chunk
        memory[base + START_SLOT] = slot


@kernel
def _next_slot(memory: Memory, at: int) -> tuple[int, int]:
    """Chunk and slot for one more event, in a new chunk if the last is full."""
    tail = memory[at + EVENT_TAIL]
    if tail == 0 or memory[address(memory, EVENTS, tail) + FILL] == EVENTS_PER_CHUNK:
        new = allocate(memory, EVENTS)
        memory[address(memory, EVENTS, new) + PREVIOUS] = tail
        if tail == 0:
            memory[at + EVENT_HEAD] = new
            for window in range(WINDOW_COUNT):
                memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START_CHUNK] = new
        else:
            touch(memory, EVENTS, tail)
            memory[address(memory, EVENTS, tail) + FOLLOWING] = new
        memory[at + EVENT_TAIL] = new
        tail = new
    touch(memory, EVENTS, tail)
    fill = address(memory, EVENTS, tail) + FILL
    memory[fill] += 1
    return tail, memory[fill] - 1


@kernel
def look_up_pairs(
    memory: Memory, card: int, keys: NDArray[np.int64], record: int, pair_rows: NDArray[np.int64],
    pair_earlier: NDArray[np.int64],
) -> None:  # fmt: skip
    """What the card already knows of a payment's terminal, merchant, country and device.

    Writes per kind the pair's row (0 if unknown) and the card's earlier payments with it (-1 if the record names none).
    """
    for kind in range(PAIR_KINDS):
        key_0, key_1 = keys[record, 2 * kind], keys[record, 2 * kind + 1]
        pair_rows[kind] = 0
        pair_earlier[kind] = -1
        if key_0 != 0 or key_1 != 0:
            pair = _find_pair(memory, card, kind, key_0, key_1)
            pair_rows[kind] = pair
            pair_earlier[kind] = memory[address(memory, PAIRS, pair) + PAIR_COUNTS + LONGEST] if pair != 0 else 0


@kernel
def append(
    memory: Memory, card: int, time_ms: int, amounts: tuple[int, int], attributes: int, keys: NDArray[np.int64],
    record: int, pair_rows: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Add a payment (`amounts`: reference, minor) at the end of the card's history; returns its chunk and slot.

    The card must have been expired to `time_ms`, and `pair_rows` be what `look_up_pairs` found; unknown pairs are made.
    """
    at = address(memory, CARDS, card)
    chunk, slot = _next_slot(memory, at)
    for kind in range(PAIR_KINDS):
        key_0, key_1 = keys[record, 2 * kind], keys[record, 2 * kind + 1]
        if pair_rows[kind] == 0 and (key_0 != 0 or key_1 != 0):
            pair_rows[kind] = _create_pair(memory, card, kind, key_0, key_1)
    event = address(memory, EVENTS, chunk) + EVENT_FIRST + slot * EVENT_WORDS
    memory[event + EVENT_TIME] = time_ms
    memory[event + AMOUNT_REFERENCE] = amounts[0]
    memory[event + AMOUNT_MINOR] = amounts[1]
    memory[event + ATTRIBUTES] = attributes
    memory[event + PAIRS_PLACE] = pair_rows[0] | (pair_rows[1] << PAIR_SHIFT)
    memory[event + PAIRS_OTHER] = pair_rows[2] | (pair_rows[3] << PAIR_SHIFT)
    memory[event + MERCHANT_WORD] = keys[record, 2 * PAIR_MERCHANT]
    for window in range(WINDOW_COUNT):
        _count_event(memory, at, event, window, 1)
    memory[at + CLOCK] = time_ms
    return chunk, slot


@kernel
def reverse(memory: Memory, card: int, chunk: int, slot: int) -> None:
    """Take a payment back: from now on it counts nowhere, as if it had not been. Clock and last place stay."""
    touch(memory, CARDS, card)
    touch(memory, EVENTS, chunk)
    at = address(memory, CARDS, card)
    event = address(memory, EVENTS, chunk) + EVENT_FIRST + slot * EVENT_WORDS
    for window in range(WINDOW_COUNT):
        if memory[event + EVENT_TIME] > memory[at + CLOCK] - _WINDOWS[window]:
            _count_event(memory, at, event, window, -1)
    memory[event + ATTRIBUTES] |= ATTRIBUTE_REVERSED
    memory[event + PAIRS_PLACE] = 0
    memory[event + PAIRS_OTHER] = 0


@kernel
def set_refused(memory: Memory, card: int, chunk: int, slot: int, refused: int) -> None:
    """Note what authorisation said of a payment afterwards."""
    event = address(memory, EVENTS, chunk) + EVENT_FIRST + slot * EVENT_WORDS
    step = refused - (1 if memory[event + ATTRIBUTES] & ATTRIBUTE_REFUSED else 0)
    if step == 0:
        return
    touch(memory, CARDS, card)
    touch(memory, EVENTS, chunk)
    memory[event + ATTRIBUTES] ^= ATTRIBUTE_REFUSED
    at = address(memory, CARDS, card)
    for window in range(WINDOW_COUNT):
        if memory[event + EVENT_TIME] > memory[at + CLOCK] - _WINDOWS[window]:
            memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + WINDOW_REFUSED] += step


@kernel
def forget_card(memory: Memory, card: int) -> None:
    """Remove a card and everything that hangs on it."""
    touch(memory, CARDS, card)
    at = address(memory, CARDS, card)
    base = at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS
    chunk, slot = memory[base + START_CHUNK], memory[base + START_SLOT]
    while chunk != 0:
        chunk_at = address(memory, EVENTS, chunk)
        for index in range(slot, memory[chunk_at + FILL]):
            event = chunk_at + EVENT_FIRST + index * EVENT_WORDS
            if not memory[event + ATTRIBUTES] & ATTRIBUTE_REVERSED:
                for kind in range(PAIR_KINDS):
                    pair = pair_of_event(memory, event, kind)
                    if pair != 0:
                        _count_pair(memory, at, pair, kind, LONGEST, -1)
        chunk, slot = memory[chunk_at + FOLLOWING], 0
    free_chunks(memory, EVENTS, memory[at + EVENT_HEAD])
    free_chunks(memory, CARD_LABELS, memory[at + LABEL_HEAD])
    unlink(memory, CARD_INDEX, CARDS, card)
    release(memory, CARDS, card)
