"""What a card that replaces another inherits: the history of the cardholder, and not that of whoever stole the number.

A card that was reissued pays under a new token, often in another partition, which another worker owns. Its history
travels as a record (`History`), and the new card takes it over with its first payment: so what is usual for the
cardholder stays usual, and shops and devices they know are not new.

Left behind is what may not have been the cardholder's: payments known to be frauds, those refused or taken back, those
far above the usual amount unless they are known to be genuine, and the place where the old card was last. Shared
entities have counted those payments once and do not hear of them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.arena import allocate_block, entries_of, free_block, order_with_room
from detector.cards import (
    column_start,
    count_entry,
    entry_time,
    expire,
    fade_usual,
    find_or_create_card,
    last_at_merchant,
)
from detector.catalogue import DAY_MS, MEMORY_MS
from detector.eviction import make_room_for_card
from detector.jit import kernel
from detector.layout import (
    AMOUNT,
    ATTRIBUTE_FRAUD,
    ATTRIBUTE_GENUINE,
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_SUPERSEDED,
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
    FIRST_NUMBER,
    INHERITED,
    LONGEST,
    MERCHANT,
    ORDER,
    PAYMENTS,
    PROGRESS,
    RATIO_MASK,
    RATIO_SHIFT,
    RING,
    START,
    TIME,
    USUAL_COUNTS,
    USUAL_SQUARES,
    USUAL_SUM,
    WINDOW_COUNT,
)
from detector.looking_back import HIGH_CODE
from detector.memory import HAND, Memory, address, find, info, save_row
from detector.state import EngineState, PartitionState
from detector.tokens import fingerprint_many, matching

# Columns that travel: amounts to categories.
HISTORY_COLUMNS = int(CATEGORY) - int(AMOUNT) + 1
_LEFT_BEHIND = ATTRIBUTE_REVERSED | ATTRIBUTE_REFUSED | ATTRIBUTE_FRAUD
# Half the numbers of the ring away: the payment itself lies in the ring of another partition, and is not shown.
_NOWHERE = 1 << 31
_TOKEN_MASK = (1 << 32) - 1
# A history that is older than windows reach, and than events may be late, is of no use any more.
_KEPT_MS = MEMORY_MS + 10 * DAY_MS


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What travels from a card to the one that replaces it.

    Attributes:
        times_ms: int64 (n,), increasing, at least one; effective times of payments.
        columns: uint32 (6, n), their amounts, attributes, merchants, terminals, devices and categories as blocks have
            them (`detector.layout`).
        usual: the words of the usual amount: sum, counts and squares.
    """

    times_ms: NDArray[np.int64]
    columns: NDArray[np.uint32]
    usual: tuple[int, int, int]

    @property
    def clock_ms(self) -> int:
        """Time of its youngest payment."""
        return int(self.times_ms[-1])


class Cards(Protocol):
    """What is looked at of a batch."""

    @property
    def partition(self) -> int:
        """The source partition."""

    @property
    def card(self) -> NDArray[np.uint64]:
        """uint64 (n, 2), fingerprints of card tokens."""


def history_of(partition: PartitionState, card_token: str, key: bytes) -> History | None:
    """What a card of an open partition leaves to the one that replaces it; None where it has nothing to leave."""
    memory = partition.memory
    words = fingerprint_many([card_token], key).view(np.int64)[0]
    card = int(find(memory, CARD_INDEX, CARDS, int(words[0]), int(words[1]), 0))
    if card == 0:
        return None
    half, at = memory.view(np.uint32), int(address(memory, CARDS, card))
    first, stop = int(memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]), int(memory[at + COUNT])
    starts = [int(column_start(memory, at, column)) for column in range(int(CATEGORY) + 1)]
    columns = np.array([half[start + first : start + stop] for start in starts], dtype=np.uint32)
    attributes = columns[ATTRIBUTES].astype(np.int64)
    is_high = ((attributes >> RATIO_SHIFT) & RATIO_MASK) >= HIGH_CODE
    times = memory[at + BASE_MS] + columns[TIME].astype(np.int64)
    goes = (attributes & _LEFT_BEHIND == 0) & (~is_high | (attributes & ATTRIBUTE_GENUINE != 0))
    goes &= times > partition.watermark_ms - MEMORY_MS
    if not goes.any():
        return None
    columns[ATTRIBUTES] &= np.uint32(~ATTRIBUTE_SUPERSEDED & _TOKEN_MASK)
    usual = (int(memory[at + USUAL_SUM]), int(memory[at + USUAL_COUNTS]), int(memory[at + USUAL_SQUARES]))
    return History(times[goes], columns[AMOUNT:, goes], usual)


class Histories:
    """Histories that wait for the cards that they were left to; kept as long as they may be of use.

    One stays when it was taken over: who starts again from an older checkpoint needs it once more.
    """

    def __init__(self, key: bytes) -> None:
        """Look cards up by fingerprints under this key."""
        self._key = key
        self._by_card: dict[str, History] = {}
        self._words = np.zeros((0, 2), dtype=np.uint64)
        self._in_order: list[History] = []
        # Many come at once where a worker starts: they are put in order when a batch asks.
        self._is_arranged = True

    def __contains__(self, card_token: object) -> bool:
        """Whether one waits for this card."""
        return card_token in self._by_card

    def put(self, card_token: str, history: History) -> None:
        """Let one wait for a card that replaces another, in place of any before."""
        self._by_card[card_token] = history
        self._is_arranged = False

    def _arrange(self) -> None:
        """Let go of what is of no use any more, and put the rest in the order of fingerprints."""
        oldest_ms = max(history.clock_ms for history in self._by_card.values()) - _KEPT_MS
        self._by_card = {card: history for card, history in self._by_card.items() if history.clock_ms > oldest_ms}
        tokens = list(self._by_card)
        words = fingerprint_many(tokens, self._key)
        order = np.lexsort((words[:, 1], words[:, 0]))
        self._words = np.ascontiguousarray(words[order])
        self._in_order = [self._by_card[tokens[number]] for number in order.tolist()]
        self._is_arranged = True

    def hand_over(self, state: EngineState, batch: Cards) -> int:
        """Let the cards of a batch take over what waits for them, before it is assessed; returns how many did.

        Raises:
            StateError: the batch's partition is not open.
            CapacityError: there is no room for it at all; nothing has changed.
        """
        if not self._by_card:
            return 0
        if not self._is_arranged:
            self._arrange()
        places = np.unique(matching(batch.card, self._words))
        partition, taken = state.partition(batch.partition), 0
        for place in places[places >= 0].tolist():
            history, words = self._in_order[place], self._words[place].view(np.int64)
            with state.change(partition):
                usual = np.array(history.usual, dtype=np.int64)
                key = (int(words[0]), int(words[1]))
                taken += int(_take_over(partition.memory, *key, history.times_ms, history.columns, usual))
        return taken


@kernel
def _take_over(
    memory: Memory, key_0: int, key_1: int, times_ms: NDArray[np.int64], columns: NDArray[np.uint32],
    usual: NDArray[np.int64],
) -> int:  # fmt: skip
    """Give a card a history, once; returns 1 where it took it now.

    A card that has paid already takes what is not younger than its first payment: its payments keep their order.
    """
    half = memory.view(np.uint32)
    save_row(memory, PROGRESS, 1)
    card = find(memory, CARD_INDEX, CARDS, key_0, key_1, 0)
    if card == 0:
        make_room_for_card(memory)
        card = find_or_create_card(memory, key_0, key_1)
    at = address(memory, CARDS, card)
    if memory[at + INHERITED] != 0:
        return 0
    save_row(memory, CARDS, card)
    memory[at + INHERITED] = 1
    now_ms = max(memory[at + CLOCK], times_ms[-1])
    expire(memory, half, at, now_ms)
    own = memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]
    youngest_ms = entry_time(memory, half, at, own) if own < memory[at + COUNT] else now_ms
    begin, stop = 0, len(times_ms)
    while begin < stop and times_ms[begin] <= now_ms - MEMORY_MS:
        begin += 1
    while stop > begin and times_ms[stop - 1] > youngest_ms:
        stop -= 1
    if stop == begin or not _prepend(memory, half, at, times_ms[begin:stop], columns[:, begin:stop]):
        return 0
    memory[at + CLOCK] = now_ms
    memory[at + USUAL_SUM] += usual[0]
    memory[at + USUAL_COUNTS] += usual[1]
    memory[at + USUAL_SQUARES] += usual[2]
    fade_usual(memory, at)
    _count_anew(memory, half, at, now_ms)
    return 1


@kernel
def _prepend(
    memory: Memory, half: NDArray[np.uint32], at: int, times_ms: NDArray[np.int64], columns: NDArray[np.uint32]
) -> bool:
    """Put payments before those that the card's longest window holds, in a new block; False where there is none."""
    first = memory[at + CARD_WINDOWS + LONGEST * CARD_WINDOW_WORDS + START]
    older, live = len(times_ms), memory[at + COUNT] - first
    order = order_with_room(older + live)
    block = allocate_block(memory, order)
    if block == 0:
        return False
    before, before_order, before_ms = memory[at + BLOCK], memory[at + ORDER], memory[at + BASE_MS]
    sources = 2 * before + first
    size, size_before = entries_of(order), entries_of(before_order)
    nowhere = np.uint32(((info(memory, PAYMENTS, HAND) & _TOKEN_MASK) ^ _NOWHERE) & _TOKEN_MASK)
    for column in range(TIME, RING + 1):
        target = 2 * block + column * size
        for entry in range(older):
            if column == TIME:
                half[target + entry] = np.uint32(times_ms[entry] - times_ms[0])
            elif column == RING:
                half[target + entry] = nowhere
            else:
                half[target + entry] = columns[column - AMOUNT, entry]
        shift = np.int64(before_ms - times_ms[0]) if column == TIME else np.int64(0)
        for entry in range(live):
            half[target + older + entry] = np.uint32(np.int64(half[sources + column * size_before + entry]) + shift)
    memory[at + BLOCK], memory[at + ORDER], memory[at + COUNT] = block, order, older + live
    memory[at + BASE_MS] = times_ms[0]
    memory[at + FIRST_NUMBER] += first - older
    if before != 0:
        free_block(memory, before, before_order)
    return True


@kernel
def _count_anew(memory: Memory, half: NDArray[np.uint32], at: int, now_ms: int) -> None:
    """Count the payments of a block that nobody has seen yet into the windows that end now."""
    for window in range(WINDOW_COUNT):
        base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
        for word in range(CARD_WINDOW_WORDS):
            memory[base + word] = 0
    attributes, merchants = column_start(memory, at, ATTRIBUTES), column_start(memory, at, MERCHANT)
    for entry in range(memory[at + COUNT]):
        if np.int64(half[attributes + entry]) & ATTRIBUTE_REVERSED:
            continue
        for window in range(WINDOW_COUNT):
            count_entry(memory, half, at, entry, window, 1)
        merchant = int(half[merchants + entry])
        if merchant != 0:
            before = last_at_merchant(memory, half, at, merchant, entry, max(0, entry - CARD_MEMORY_PAYMENTS))
            if before >= 0:
                half[attributes + before] |= np.uint32(ATTRIBUTE_SUPERSEDED)
    expire(memory, half, at, now_ms)
