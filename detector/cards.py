"""A card's history: its payments in time order in one block, exact sliding windows over them, and what it met before.

Windows are (t - W, t] with a resolution of 1 ms. Each keeps the place of its oldest payment and running integer sums,
so a payment enters and leaves every window once. What else a card's payments say (`detector.looking_back`) is looked
for in the block itself, column by column, among its last `CARD_MEMORY_PAYMENTS`.

A card's usual amount is the mean of its payments that were not suspiciously high when they were scored, or turned out
to be genuine; known frauds are taken out. Old payments fade by halves. It rests on labels as they came, so two runs
whose labels came at other moments may differ in it until the payments concerned have faded.

`card` is a row number throughout, `at` the address of its row, `entry` a place in its block. Whoever calls a function
that changes a card has saved its row. A block's columns are uint32: `half` is the memory seen as such.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.arena import allocate_block, entries_of, free_block, order_with_room
from detector.catalogue import WINDOWS_MS
from detector.jit import kernel
from detector.layout import (
    AMOUNT,
    ATTRIBUTE_FRAUD,
    ATTRIBUTE_GENUINE,
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_SPEND,
    ATTRIBUTE_SUPERSEDED,
    ATTRIBUTE_TRUSTED,
    ATTRIBUTES,
    BASE_MS,
    BLOCK,
    CARD_INDEX,
    CARD_MEMORY_PAYMENTS,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CATEGORY,
    CLOCK,
    COUNT,
    COUNTED,
    DEVICE,
    FIRST_NUMBER,
    GENERATION,
    LONGEST,
    MERCHANT,
    ORDER,
    REFUSED_SHIFT,
    RING,
    SPEND_SUM,
    SPENDS,
    START,
    TERMINAL,
    TIME,
    USUAL_COUNTS,
    USUAL_SHIFT,
    USUAL_SQUARES,
    USUAL_SUM,
    WINDOW_COUNT,
)
from detector.memory import (
    CURSOR,
    HASH,
    KEY_1,
    UNIT_WORDS,
    Memory,
    address,
    allocate,
    find,
    info,
    link,
    mark,
    release,
    save,
    set_info,
    unlink,
)

_WINDOWS = WINDOWS_MS
_COLUMNS = 8
_LARGEST_AGE = (1 << 32) - 1
# Steps of a logarithm between a number and twice as much.
_LOG_STEPS = 256.0
USUAL_MASK = (1 << USUAL_SHIFT) - 1
# With so many payments in the usual amount, each begins to count half.
_USUAL_PAYMENTS = 256

# What a card's history holds of merchant, terminal, device and category with the hour above it: 0 where missing.
Tokens = tuple[int, int, int, int]


@kernel
def find_or_create_card(memory: Memory, key_0: int, key_1: int) -> int:
    """The card's row; a new one gets a generation that no earlier tenant of the row had."""
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
def column_start(memory: Memory, at: int, column: int) -> int:
    """Where a column of the card's block starts, in the memory seen as uint32."""
    return 2 * memory[at + BLOCK] + column * entries_of(memory[at + ORDER])


@kernel
def entry_time(memory: Memory, half: NDArray[np.uint32], at: int, entry: int) -> int:
    """Time of a payment, milliseconds."""
    return memory[at + BASE_MS] + np.int64(half[column_start(memory, at, TIME) + entry])


@kernel
def first_met(memory: Memory, at: int) -> int:
    """The first entry among which the card looks for what it has met before."""
    return max(
        memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START], memory[at + COUNT] - CARD_MEMORY_PAYMENTS
    )


@kernel
def count_entry(memory: Memory, half: NDArray[np.uint32], at: int, entry: int, window: int, step: int) -> None:
    """Count a payment into (1) or out of (-1) a window."""
    base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
    attributes = np.int64(half[column_start(memory, at, ATTRIBUTES) + entry])
    refused = 1 if attributes & ATTRIBUTE_REFUSED else 0
    memory[base + COUNTED] += step * (1 + (refused << REFUSED_SHIFT))
    if attributes & ATTRIBUTE_SPEND:
        memory[base + SPENDS] += step
        memory[base + SPEND_SUM] += step * np.int64(half[column_start(memory, at, AMOUNT) + entry])


@kernel
def expire(memory: Memory, half: NDArray[np.uint32], at: int, time_ms: int) -> None:
    """Let payments leave the windows that end at `time_ms`."""
    count = memory[at + COUNT]
    times, attributes = column_start(memory, at, TIME), column_start(memory, at, ATTRIBUTES)
    for window in range(WINDOW_COUNT):
        start = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START
        entry = memory[start]
        age = time_ms - _WINDOWS[window] - memory[at + BASE_MS]
        while entry < count and np.int64(half[times + entry]) <= age:
            if not np.int64(half[attributes + entry]) & ATTRIBUTE_REVERSED:
                count_entry(memory, half, at, entry, window, -1)
            entry += 1
        memory[start] = entry


@kernel
def has_entry_room(memory: Memory, at: int, time_ms: int) -> bool:
    """Whether one more payment fits into the card's block as it is."""
    if memory[at + BLOCK] == 0 or memory[at + COUNT] == entries_of(memory[at + ORDER]):
        return False
    return time_ms - memory[at + BASE_MS] <= _LARGEST_AGE


@kernel
def _move_entries(memory: Memory, half: NDArray[np.uint32], at: int, block: int, order: int, time_ms: int) -> None:
    """Move what some window still holds to the front of a block, which may be the card's own, saved."""
    first = memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]
    live = memory[at + COUNT] - first
    base_ms = entry_time(memory, half, at, first) if live > 0 else time_ms
    if live > 0:
        for column in range(_COLUMNS):
            source = column_start(memory, at, column) + first
            target = 2 * block + column * entries_of(order)
            shift = np.uint32(base_ms - memory[at + BASE_MS]) if column == TIME else np.uint32(0)
            for entry in range(live):
                half[target + entry] = np.uint32(half[source + entry] - shift)
    memory[at + BLOCK], memory[at + ORDER], memory[at + COUNT] = block, order, live
    memory[at + BASE_MS] = base_ms
    memory[at + FIRST_NUMBER] += first
    for window in range(WINDOW_COUNT):
        memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START] -= first


@kernel
def replace_block(memory: Memory, half: NDArray[np.uint32], at: int, time_ms: int) -> bool:
    """Move what some window still holds into a block with room; False where the arena has none.

    The card must have been expired to `time_ms`.
    """
    live = memory[at + COUNT] - memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]
    order = order_with_room(live)
    block = allocate_block(memory, order)
    if block == 0:
        return False
    old, old_order = memory[at + BLOCK], memory[at + ORDER]
    _move_entries(memory, half, at, block, order, time_ms)
    if old != 0:
        free_block(memory, old, old_order)
    return True


@kernel
def drop_oldest(memory: Memory, half: NDArray[np.uint32], at: int, time_ms: int) -> None:
    """Forget the older half of a card's payments, for want of room: the rest moves to the front of its block."""
    count = memory[at + COUNT]
    first = memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]
    limit = first + (count - first + 1) // 2
    attributes = column_start(memory, at, ATTRIBUTES)
    for window in range(WINDOW_COUNT):
        start = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START
        while memory[start] < limit:
            if not np.int64(half[attributes + memory[start]]) & ATTRIBUTE_REVERSED:
                count_entry(memory, half, at, memory[start], window, -1)
            memory[start] += 1
    save(memory, memory[at + BLOCK], UNIT_WORDS << memory[at + ORDER])
    _move_entries(memory, half, at, memory[at + BLOCK], memory[at + ORDER], time_ms)


@kernel
def _set_bit(memory: Memory, half: NDArray[np.uint32], place: int, bit: int, on: int) -> None:
    """Set or clear a bit of an entry that may stand since before this batch."""
    save(memory, place // 2, 1)
    half[place] = (half[place] | np.uint32(bit)) if on else (half[place] & ~np.uint32(bit))


@kernel
def last_at_merchant(memory: Memory, half: NDArray[np.uint32], at: int, merchant: int, stop: int, first: int) -> int:
    """The last entry in `first` to `stop` of a payment at this merchant that was not taken back, or -1."""
    merchants, attributes = column_start(memory, at, MERCHANT), column_start(memory, at, ATTRIBUTES)
    for entry in range(stop - 1, first - 1, -1):
        if half[merchants + entry] == merchant and not np.int64(half[attributes + entry]) & ATTRIBUTE_REVERSED:
            return entry
    return -1


@kernel
def log_amount(amount: int) -> int:
    """256 times the binary logarithm of an amount, rounded; amounts below one count as one."""
    return round(_LOG_STEPS * math.log2(max(amount, 1)))


@kernel
def _trust(memory: Memory, at: int, amount: int, sign: int) -> None:
    """Count an amount into (1) or out of (-1) the card's usual amount."""
    log = log_amount(amount)
    memory[at + USUAL_SUM] += sign * amount
    memory[at + USUAL_SQUARES] += sign * log * log
    memory[at + USUAL_COUNTS] += sign * ((1 << USUAL_SHIFT) + log)
    if usual_count(memory, at) <= 0:
        forget_usual(memory, at)


@kernel
def usual_count(memory: Memory, at: int) -> int:
    """How many payments make up the card's usual amount."""
    return memory[at + USUAL_COUNTS] >> USUAL_SHIFT


@kernel
def usual_logs(memory: Memory, at: int) -> int:
    """The sum of their logarithms."""
    return memory[at + USUAL_COUNTS] & USUAL_MASK


@kernel
def forget_usual(memory: Memory, at: int) -> None:
    """Let go of a usual amount that nothing has confirmed for too long."""
    memory[at + USUAL_SUM] = memory[at + USUAL_COUNTS] = memory[at + USUAL_SQUARES] = 0


@kernel
def fade_usual(memory: Memory, at: int) -> None:
    """Let every payment count half once there are many, so that the usual amount follows slow changes."""
    if usual_count(memory, at) >= _USUAL_PAYMENTS:
        count, logs = usual_count(memory, at) // 2, usual_logs(memory, at) // 2
        memory[at + USUAL_COUNTS] = (count << USUAL_SHIFT) + logs
        memory[at + USUAL_SUM] //= 2
        memory[at + USUAL_SQUARES] //= 2


@kernel
def append(
    memory: Memory, half: NDArray[np.uint32], at: int, time_ms: int, amount: int, attributes: int,
    tokens: Tokens, met_merchant: int, ring: int,
) -> int:  # fmt: skip
    """Add a payment at the end of the card's block, which has room; returns its number in the card's life.

    The card was expired to `time_ms`. `tokens` are as `Tokens` says; `met_merchant` is how often looking back found the
    merchant, `ring` 32 bits of the place at which the payment is remembered.
    """
    entry = memory[at + COUNT]
    if met_merchant > 0:
        before = last_at_merchant(memory, half, at, tokens[0], entry, first_met(memory, at))
        _set_bit(memory, half, column_start(memory, at, ATTRIBUTES) + before, ATTRIBUTE_SUPERSEDED, 1)
    half[column_start(memory, at, TIME) + entry] = time_ms - memory[at + BASE_MS]
    half[column_start(memory, at, AMOUNT) + entry] = amount
    half[column_start(memory, at, ATTRIBUTES) + entry] = attributes
    half[column_start(memory, at, MERCHANT) + entry] = tokens[0]
    half[column_start(memory, at, TERMINAL) + entry] = tokens[1]
    half[column_start(memory, at, DEVICE) + entry] = tokens[2]
    half[column_start(memory, at, CATEGORY) + entry] = tokens[3]
    half[column_start(memory, at, RING) + entry] = ring
    for column in range(_COLUMNS):
        mark(memory, (column_start(memory, at, column) + entry) >> 1, 1)
    for window in range(WINDOW_COUNT):
        count_entry(memory, half, at, entry, window, 1)
    if attributes & ATTRIBUTE_TRUSTED:
        _trust(memory, at, amount, 1)
        fade_usual(memory, at)
    memory[at + COUNT] = entry + 1
    memory[at + CLOCK] = time_ms
    return memory[at + FIRST_NUMBER] + entry


@kernel
def _entry_of(memory: Memory, at: int, number: int) -> int:
    """The entry of a payment by its number, or -1 where no window holds it any more."""
    entry = number - memory[at + FIRST_NUMBER]
    return entry if entry >= memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START] else -1


@kernel
def reverse(memory: Memory, half: NDArray[np.uint32], at: int, number: int) -> None:
    """Take a payment back: from now on it counts nowhere, as if it had not been. Clock and last place stay."""
    entry = _entry_of(memory, at, number)
    if entry < 0:
        return
    for window in range(WINDOW_COUNT):
        if entry >= memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START]:
            count_entry(memory, half, at, entry, window, -1)
    place = column_start(memory, at, ATTRIBUTES) + entry
    merchant = int(half[column_start(memory, at, MERCHANT) + entry])
    if merchant != 0 and not np.int64(half[place]) & ATTRIBUTE_SUPERSEDED:
        first = max(memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START], entry - CARD_MEMORY_PAYMENTS)
        before = last_at_merchant(memory, half, at, merchant, entry, first)
        if before >= 0:
            _set_bit(memory, half, column_start(memory, at, ATTRIBUTES) + before, ATTRIBUTE_SUPERSEDED, 0)
    if np.int64(half[place]) & ATTRIBUTE_TRUSTED:
        _trust(memory, at, int(half[column_start(memory, at, AMOUNT) + entry]), -1)
    _set_bit(memory, half, place, ATTRIBUTE_TRUSTED, 0)
    _set_bit(memory, half, place, ATTRIBUTE_REVERSED, 1)


@kernel
def set_refused(memory: Memory, half: NDArray[np.uint32], at: int, number: int, refused: int) -> None:
    """Note what authorisation said of a payment afterwards."""
    entry = _entry_of(memory, at, number)
    if entry < 0:
        return
    place = column_start(memory, at, ATTRIBUTES) + entry
    step = refused - (1 if np.int64(half[place]) & ATTRIBUTE_REFUSED else 0)
    _set_bit(memory, half, place, ATTRIBUTE_REFUSED, refused)
    for window in range(WINDOW_COUNT):
        base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
        if entry >= memory[base + START]:
            memory[base + COUNTED] += step * (1 << REFUSED_SHIFT)


@kernel
def set_label(memory: Memory, half: NDArray[np.uint32], at: int, number: int, is_fraud: int) -> None:
    """Note what became known of a payment: a fraud is not usual, and what was high but genuine is."""
    entry = _entry_of(memory, at, number)
    if entry < 0:
        return
    place = column_start(memory, at, ATTRIBUTES) + entry
    attributes, amount = int(half[place]), int(half[column_start(memory, at, AMOUNT) + entry])
    known, other = (ATTRIBUTE_FRAUD, ATTRIBUTE_GENUINE) if is_fraud else (ATTRIBUTE_GENUINE, ATTRIBUTE_FRAUD)
    _set_bit(memory, half, place, other, 0)
    _set_bit(memory, half, place, known, 1)
    if attributes & ATTRIBUTE_REVERSED or not attributes & ATTRIBUTE_SPEND:
        return
    if is_fraud and attributes & ATTRIBUTE_TRUSTED:
        _trust(memory, at, amount, -1)
        _set_bit(memory, half, place, ATTRIBUTE_TRUSTED, 0)
    elif not is_fraud and not attributes & ATTRIBUTE_TRUSTED:
        _trust(memory, at, amount, 1)
        fade_usual(memory, at)
        _set_bit(memory, half, place, ATTRIBUTE_TRUSTED, 1)


@kernel
def forget_card(memory: Memory, card: int) -> None:
    """Remove a card and its payments."""
    at = address(memory, CARDS, card)
    if memory[at + BLOCK] != 0:
        free_block(memory, memory[at + BLOCK], memory[at + ORDER])
    unlink(memory, CARD_INDEX, CARDS, card)
    release(memory, CARDS, card)
