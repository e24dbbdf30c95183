"""The walk over a batch: every record in log order, features first, then what it changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.card_walk import fill_payment_values, observe_card
from detector.cards import find_or_create_card, reverse, set_refused
from detector.eviction import make_room_for_card, sweep_cards, sweep_entities
from detector.features import evaluate
from detector.jit import kernel
from detector.layout import (
    ABOUT_CHANNEL_SHIFT,
    ABOUT_CURRENCY_SHIFT,
    ABOUT_HIGH,
    ABOUT_KIND_SHIFT,
    ABOUT_REFUSED_AT_FIRST,
    ABOUT_SPEND,
    CARDS,
    CATEGORY_COLUMN,
    CLOCK,
    ENTITY_KEY_COLUMNS,
    GENERATION,
    LARGEST_AMOUNT,
    LATE_RECORDS,
    NEXT_OFFSET,
    PAYMENT_ABOUT,
    PAYMENT_AMOUNT,
    PAYMENT_AMOUNT_MINOR,
    PAYMENT_CARD,
    PAYMENT_CARD_KEY,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_GENERATION,
    PAYMENT_INDEX,
    PAYMENT_NUMBER,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENTS,
    PROGRESS,
    SHARED_KINDS,
    STARTED,
    STATE_LIVE,
    STATE_OTHER,
    STATE_REVERSED,
    USELESS_REFERENCES,
    WATERMARK,
    Columns,
    Limits,
    Observed,
    Scratch,
)
from detector.lookahead import GROUP, look_ahead
from detector.memory import Memory, address, find, put, save_row
from detector.patterns import fill_pattern_risk, pattern_of
from detector.ring import recall, remember, watermark_of, withdraw
from detector.shared import bucket_numbers
from detector.shared_rows import PAID, TAKEN_BACK, count_row, names_entity, write_payment
from detector.shared_walk import observe_shared
from detector.vocabulary import Kind

_PURCHASE, _CASH, _REVERSAL, _OUTCOME = int(Kind.PURCHASE), int(Kind.CASH), int(Kind.REVERSAL), int(Kind.OUTCOME)


@kernel
def _apply_reference(
    memory: Memory, shared: Memory, batch: Columns, record: int, known: int, limits: Limits, scratch: Scratch,
    observed: Observed,
) -> None:  # fmt: skip
    """What a reversal or an outcome does to the payment it names; an outcome that says nothing does nothing."""
    row = recall(memory, batch.refers_to[record, 0], batch.refers_to[record, 1], limits)
    at = address(memory, PAYMENTS, row)
    card = memory[at + PAYMENT_CARD]
    card_at = address(memory, CARDS, card)
    if (
        row == 0
        or memory[at + PAYMENT_STATE] != STATE_LIVE
        or memory[card_at + GENERATION] != memory[at + PAYMENT_GENERATION]
        or (batch.kind[record] == _OUTCOME and batch.outcome_known[record] == 0)
    ):
        memory[address(memory, PROGRESS, 1) + USELESS_REFERENCES] += 1
        return
    half = memory.view(np.uint32)
    save_row(memory, CARDS, card)
    if batch.kind[record] == _OUTCOME:
        set_refused(memory, half, card_at, memory[at + PAYMENT_NUMBER], batch.refused[record])
        return
    reverse(memory, half, card_at, memory[at + PAYMENT_NUMBER])
    put(memory, at + PAYMENT_STATE, STATE_REVERSED)
    index = observed.shared_row_count[0]
    write_payment(memory, at, TAKEN_BACK, batch.offset[record], observed.shared_rows, index)
    if names_entity(observed.shared_rows, index):
        observed.shared_row_count[0] = index + 1
        if batch.offset[record] >= known:
            count_row(shared, observed.shared_rows, index, limits, scratch.bucket_numbers)


@kernel
def _remember_payment(
    memory: Memory, batch: Columns, record: int, time_ms: int, card: int, number: int, about: tuple[int, int, int],
    limits: Limits,
) -> int:  # fmt: skip
    """Enter a payment (`about`: spends, amount, is high) into the ring with card and entities; its bins come later."""
    row = remember(memory, batch, record, time_ms, STATE_LIVE, limits)
    at = address(memory, PAYMENTS, row)
    memory[at + PAYMENT_CARD] = card
    memory[at + PAYMENT_GENERATION] = memory[address(memory, CARDS, card) + GENERATION]
    memory[at + PAYMENT_NUMBER] = number
    memory[at + PAYMENT_AMOUNT] = about[1]
    memory[at + PAYMENT_AMOUNT_MINOR] = batch.amount_minor[record]
    memory[at + PAYMENT_ABOUT] = (
        (ABOUT_SPEND if about[0] else 0)
        | (ABOUT_REFUSED_AT_FIRST if batch.refused[record] else 0)
        | (batch.kind[record] << ABOUT_KIND_SHIFT)
        | (batch.channel[record] << ABOUT_CHANNEL_SHIFT)
        | (batch.currency_country[record] << ABOUT_CURRENCY_SHIFT)
        | (ABOUT_HIGH if about[2] else 0)
    )
    memory[at + PAYMENT_CARD_KEY] = batch.card[record, 0]
    memory[at + PAYMENT_CARD_KEY + 1] = batch.card[record, 1]
    for kind in range(SHARED_KINDS):
        for word in range(2):
            memory[at + PAYMENT_ENTITY_KEYS + 2 * kind + word] = batch.pairs[record, ENTITY_KEY_COLUMNS[kind] + word]
    return row


@kernel
def _observe_payment(
    memory: Memory, shared: Memory, batch: Columns, record: int, known: int, limits: Limits, plan: NDArray[np.int64],
    scratch: Scratch, observed: Observed,
) -> None:  # fmt: skip
    """A payment seen for the first time: its features, and what it leaves behind."""
    make_room_for_card(memory)
    card = find_or_create_card(memory, batch.card[record, 0], batch.card[record, 1])
    save_row(memory, CARDS, card)
    kind = batch.kind[record]
    spends = 1 if kind == _PURCHASE or kind == _CASH else 0
    about = (spends, min(batch.amount_reference[record], LARGEST_AMOUNT))
    clock = memory[address(memory, CARDS, card) + CLOCK]
    time_ms = max(batch.event_time_ms[record], clock, watermark_of(memory) - limits.lateness_ms)
    fill_payment_values(batch, record, time_ms, about[1], scratch.values)
    bucket_numbers(time_ms, limits.slowest_watermark_ms - limits.lateness_ms, scratch.bucket_numbers)
    pattern = pattern_of(batch.pairs[record, CATEGORY_COLUMN], time_ms, about[1])
    fill_pattern_risk(shared, pattern, scratch.bucket_numbers, scratch.values)
    number, is_high = observe_card(memory, card, batch, record, time_ms, about, scratch.values)
    is_in = 1 if batch.offset[record] < known else 0
    observe_shared(shared, batch, record, time_ms, (about[0], about[1], is_in), scratch.bucket_numbers, scratch.values)
    evaluate(plan, scratch.values, observed.features[record])
    row = _remember_payment(memory, batch, record, time_ms, card, number, (about[0], about[1], is_high), limits)
    index = observed.shared_row_count[0]
    write_payment(memory, address(memory, PAYMENTS, row), PAID, batch.offset[record], observed.shared_rows, index)
    observed.shared_row_count[0] += 1 if names_entity(observed.shared_rows, index) else 0
    observed.payment_row[record] = row
    observed.effective_time_ms[record] = time_ms


@kernel
def _observe_record(
    memory: Memory, shared: Memory, batch: Columns, record: int, known: int, limits: Limits, plan: NDArray[np.int64],
    scratch: Scratch, observed: Observed,
) -> None:  # fmt: skip
    """One record: a duplicate, a word about an earlier payment, or a payment."""
    key_0, key_1 = batch.identity[record, 0], batch.identity[record, 1]
    first = find(memory, PAYMENT_INDEX, PAYMENTS, key_0, key_1, 0)
    if first != 0:
        first_time_ms = memory[address(memory, PAYMENTS, first) + PAYMENT_TIME]
        if first_time_ms > watermark_of(memory) - limits.identity_memory_ms:
            observed.duplicate[record] = 1
            observed.payment_row[record] = first
            observed.effective_time_ms[record] = first_time_ms
            return
        withdraw(memory, first)
    if batch.kind[record] == _REVERSAL or batch.kind[record] == _OUTCOME:
        _apply_reference(memory, shared, batch, record, known, limits, scratch, observed)
        time_ms = max(batch.event_time_ms[record], watermark_of(memory) - limits.lateness_ms)
        observed.payment_row[record] = remember(memory, batch, record, time_ms, STATE_OTHER, limits)
        observed.effective_time_ms[record] = time_ms
    else:
        _observe_payment(memory, shared, batch, record, known, limits, plan, scratch, observed)
    if batch.event_time_ms[record] < observed.effective_time_ms[record]:
        observed.late[record] = 1
        memory[address(memory, PROGRESS, 1) + LATE_RECORDS] += 1


@kernel
def observe_batch(
    memory: Memory, shared: Memory, batch: Columns, known: int, limits: Limits, plan: NDArray[np.int64],
    scratch: Scratch, observed: Observed,
) -> None:  # fmt: skip
    """Walk a batch in log order. What it changes is in the journals; `observed.features` must come as NaN.

    Shared entities contain what stands below the offset `known` already.
    """
    save_row(memory, PROGRESS, 1)
    progress = address(memory, PROGRESS, 1)
    records = batch.event_time_ms.shape[0]
    for record in range(records):
        if record % GROUP == 0:
            look_ahead(memory, shared, batch, record, min(record + GROUP, records), scratch.ahead)
        event_time_ms = batch.event_time_ms[record]
        if memory[progress + STARTED] == 0 or event_time_ms > memory[progress + WATERMARK]:
            memory[progress + WATERMARK] = event_time_ms
            memory[progress + STARTED] = 1
        sweep_cards(memory, limits)
        sweep_entities(shared, limits)
        _observe_record(memory, shared, batch, record, known, limits, plan, scratch, observed)
        memory[progress + NEXT_OFFSET] = batch.offset[record] + 1
