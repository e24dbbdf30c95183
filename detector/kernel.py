"""The walk over a batch: every record in log order, features first, then what it changes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.buckets import Amounts, sums_of
from detector.cards import append, distinct_merchants, find_or_create_card, look_back, reverse, set_refused
from detector.catalogue import MEMORY_MS
from detector.eviction import make_room_for_card, make_room_for_payment, sweep_cards, sweep_entities
from detector.features import (
    COUNT,
    COUNT_BEFORE,
    DISTINCT,
    FRAUDS,
    IS_NEW,
    LABELLED,
    PAIR_VALUES,
    REFUSED,
    SPEND_SUM,
    SUM_BEFORE,
    TIMES_MET,
    VALUE_AMOUNT,
    VALUE_CARD,
    VALUE_CARD_FRAUDS,
    VALUE_CHANNEL,
    VALUE_ENTRY_MODE,
    VALUE_HOUR,
    VALUE_IP_DIFFERS,
    VALUE_KIND,
    VALUE_KM_HOME,
    VALUE_KM_LAST,
    VALUE_PAIRS,
    VALUE_SHARED,
    VALUE_SINCE_LAST,
    VALUE_SPEED,
    VALUE_WEEKDAY,
    WINDOW_VALUES,
    day_of_week,
    evaluate,
    hour_of_day,
    kilometres,
    speed_km_per_hour,
)
from detector.jit import kernel
from detector.layout import (
    ABOUT_CHANNEL_SHIFT,
    ABOUT_CURRENCY_SHIFT,
    ABOUT_KIND_SHIFT,
    ABOUT_REFUSED_AT_FIRST,
    ABOUT_SPEND,
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_SPEND,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CLOCK,
    COUNTED,
    COUNTED_MASK,
    COUNTRY_SHIFT,
    ENTITY_KEY_COLUMNS,
    GENERATION,
    LARGEST_AMOUNT,
    LAST_PLACE,
    LAST_PLACE_TIME,
    LATE_RECORDS,
    NEXT_OFFSET,
    PAIR_COUNTRY,
    PAIR_DEVICE,
    PAIR_MERCHANT,
    PAIR_TERMINAL,
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
    REFUSED_SHIFT,
    SHARED_KINDS,
    SPENDS,
    STARTED,
    STATE_LIVE,
    STATE_OTHER,
    STATE_REVERSED,
    USELESS_REFERENCES,
    WATERMARK,
    WINDOW_COUNT,
    Columns,
    Limits,
    Observed,
    Scratch,
)
from detector.layout import SPEND_SUM as WINDOW_SPEND_SUM
from detector.lookahead import GROUP, look_ahead
from detector.memory import (
    HAND,
    Memory,
    address,
    find,
    info,
    put,
    save_row,
)
from detector.ring import recall, remember, watermark_of, withdraw
from detector.shared import bucket_numbers
from detector.shared_windows import add_entity_payment, find_or_create_entity, history_of, slide_windows
from detector.transactions import MISSING_MICRODEGREES
from detector.vocabulary import Kind

_PURCHASE, _CASH, _REVERSAL, _OUTCOME = int(Kind.PURCHASE), int(Kind.CASH), int(Kind.REVERSAL), int(Kind.OUTCOME)
_MISSING = int(MISSING_MICRODEGREES)
_TOKEN_BITS = 32
_TOKEN_MASK = (1 << _TOKEN_BITS) - 1
# Degrees that are kept in one word: the latitude above the longitude, both in microdegrees and never negative.
_PLACE_BITS, _PLACE_ZERO = 32, 1 << 30
_COUNTRY_SHIFT = 15


@kernel
def token_of(key_0: int, key_1: int) -> int:
    """32 bits of a fingerprint, as a card's history holds it; 0 for a missing token only."""
    return max((key_0 >> _TOKEN_BITS) & _TOKEN_MASK, 1) if key_0 != 0 or key_1 != 0 else 0


@kernel
def _take_back_shared(memory: Memory, shared: Memory, at: int, limits: Limits, numbers: NDArray[np.int64]) -> None:
    """Take the remembered payment at this address out of its terminal, merchant and device."""
    spends = memory[at + PAYMENT_ABOUT] & ABOUT_SPEND
    time_ms = memory[at + PAYMENT_TIME]
    bucket_numbers(time_ms, limits.slowest_watermark_ms - limits.lateness_ms, numbers)
    for kind in range(SHARED_KINDS):
        key_0, key_1 = memory[at + PAYMENT_ENTITY_KEYS + 2 * kind], memory[at + PAYMENT_ENTITY_KEYS + 2 * kind + 1]
        if key_0 != 0 or key_1 != 0:
            entity = find_or_create_entity(shared, kind, key_0, key_1)
            amounts = (-1, -spends, -spends * memory[at + PAYMENT_AMOUNT])
            add_entity_payment(shared, kind, entity, time_ms, amounts, numbers)


@kernel
def _apply_reference(
    memory: Memory, shared: Memory, batch: Columns, record: int, limits: Limits, scratch: Scratch
) -> None:
    """What a reversal or an outcome does to the payment it names."""
    row = recall(memory, batch.refers_to[record, 0], batch.refers_to[record, 1], limits)
    at = address(memory, PAYMENTS, row)
    card = memory[at + PAYMENT_CARD]
    card_at = address(memory, CARDS, card)
    if (
        row == 0
        or memory[at + PAYMENT_STATE] != STATE_LIVE
        or memory[card_at + GENERATION] != memory[at + PAYMENT_GENERATION]
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
    _take_back_shared(memory, shared, at, limits, scratch.bucket_numbers)


@kernel
def _fill_payment_values(batch: Columns, record: int, time_ms: int, amount: int, values: NDArray[np.float64]) -> None:
    """What the record says by itself."""
    values[VALUE_AMOUNT] = amount
    values[VALUE_HOUR] = hour_of_day(time_ms)
    values[VALUE_WEEKDAY] = day_of_week(time_ms)
    values[VALUE_KIND] = batch.kind[record]
    values[VALUE_CHANNEL] = batch.channel[record] if batch.channel[record] != 0 else math.nan
    values[VALUE_ENTRY_MODE] = batch.entry_mode[record] if batch.entry_mode[record] != 0 else math.nan
    country_0, country_1 = batch.pairs[record, 4], batch.pairs[record, 5]
    ip_0, ip_1 = batch.ip_country[record, 0], batch.ip_country[record, 1]
    if (country_0 == 0 and country_1 == 0) or (ip_0 == 0 and ip_1 == 0):
        values[VALUE_IP_DIFFERS] = math.nan
    else:
        values[VALUE_IP_DIFFERS] = 0.0 if country_0 == ip_0 and country_1 == ip_1 else 1.0


@kernel
def _fill_last_values(
    memory: Memory, at: int, batch: Columns, record: int, time_ms: int, values: NDArray[np.float64]
) -> None:
    """What the last state of the card at this address says, before this payment changes it."""
    values[VALUE_SINCE_LAST] = values[VALUE_KM_LAST] = values[VALUE_SPEED] = values[VALUE_KM_HOME] = math.nan
    clock = memory[at + CLOCK]
    if clock != 0 and clock > time_ms - MEMORY_MS:
        values[VALUE_SINCE_LAST] = (time_ms - clock) / 1000.0
    latitude, longitude = batch.places[record, 0], batch.places[record, 1]
    if latitude == _MISSING or longitude == _MISSING:
        return
    place_time = memory[at + LAST_PLACE_TIME]
    if place_time != 0 and place_time > time_ms - MEMORY_MS:
        place = memory[at + LAST_PLACE]
        distance = kilometres(
            (place >> _PLACE_BITS) - _PLACE_ZERO, (place & _TOKEN_MASK) - _PLACE_ZERO, latitude, longitude
        )
        values[VALUE_KM_LAST] = distance
        values[VALUE_SPEED] = speed_km_per_hour(distance, time_ms - place_time)
    if batch.places[record, 2] != _MISSING and batch.places[record, 3] != _MISSING:
        values[VALUE_KM_HOME] = kilometres(batch.places[record, 2], batch.places[record, 3], latitude, longitude)


@kernel
def _note_place(memory: Memory, at: int, batch: Columns, record: int, time_ms: int) -> None:
    """Keep where the card was last; its row is saved."""
    latitude, longitude = batch.places[record, 0], batch.places[record, 1]
    if latitude != _MISSING and longitude != _MISSING:
        memory[at + LAST_PLACE] = ((latitude + _PLACE_ZERO) << _PLACE_BITS) | (longitude + _PLACE_ZERO)
        memory[at + LAST_PLACE_TIME] = time_ms


@kernel
def _fill_window_values(
    memory: Memory, half: NDArray[np.uint32], at: int, spends: int, amount: int, values: NDArray[np.float64]
) -> None:
    """The windows of the card at this address, this payment included."""
    for window in range(WINDOW_COUNT):
        base = at + CARD_WINDOWS + window * CARD_WINDOW_WORDS
        into = VALUE_CARD + window * WINDOW_VALUES
        counted = memory[base + COUNTED]
        values[into + COUNT] = counted & COUNTED_MASK
        values[into + REFUSED] = counted >> REFUSED_SHIFT
        values[into + SPEND_SUM] = memory[base + WINDOW_SPEND_SUM]
        values[into + COUNT_BEFORE] = memory[base + SPENDS] - spends
        values[into + SUM_BEFORE] = memory[base + WINDOW_SPEND_SUM] - spends * amount
        values[into + DISTINCT] = distinct_merchants(memory, half, at, window)


@kernel
def _fill_pair(pair: int, token: int, met: int, values: NDArray[np.float64]) -> None:
    """How often the card met one terminal, merchant, country or device before this payment; token 0 is none given."""
    into = VALUE_PAIRS + PAIR_VALUES * pair
    values[into + IS_NEW] = (1.0 if met == 0 else 0.0) if token != 0 else math.nan
    values[into + TIMES_MET] = met + 1.0 if token != 0 else math.nan


@kernel
def _observe_card(
    memory: Memory, card: int, batch: Columns, record: int, time_ms: int, about: tuple[int, int],
    values: NDArray[np.float64],
) -> int:  # fmt: skip
    """Add the payment (`about`: spends, amount) to its card; fills the card's values, returns the payment's number."""
    half = memory.view(np.uint32)
    at = address(memory, CARDS, card)
    spends, amount = about
    make_room_for_payment(memory, half, card, time_ms)
    _fill_last_values(memory, at, batch, record, time_ms, values)
    terminal = token_of(batch.pairs[record, 0], batch.pairs[record, 1])
    merchant = token_of(batch.pairs[record, 2], batch.pairs[record, 3])
    device = token_of(batch.pairs[record, 6], batch.pairs[record, 7])
    country = batch.currency_country[record] >> _COUNTRY_SHIFT
    tokens = (merchant, terminal, device)
    at_merchant, at_terminal, on_device, in_country, frauds = look_back(memory, half, at, tokens, country)
    attributes = (
        (ATTRIBUTE_SPEND if spends else 0)
        | (ATTRIBUTE_REFUSED if batch.refused[record] else 0)
        | (country << COUNTRY_SHIFT)
    )
    met = at_merchant if merchant != 0 else 0
    ring = info(memory, PAYMENTS, HAND) & _TOKEN_MASK
    number = append(memory, half, at, time_ms, amount, attributes, tokens, met, ring)
    _note_place(memory, at, batch, record, time_ms)
    values[VALUE_CARD_FRAUDS] = frauds
    _fill_pair(PAIR_TERMINAL, terminal, at_terminal, values)
    _fill_pair(PAIR_MERCHANT, merchant, at_merchant, values)
    _fill_pair(PAIR_COUNTRY, country, in_country, values)
    _fill_pair(PAIR_DEVICE, device, on_device, values)
    _fill_window_values(memory, half, at, spends, amount, values)
    return number


@kernel
def _fill_shared_values(sums: Amounts, spends: int, amount: int, into: int, values: NDArray[np.float64]) -> None:
    """One window of a shared entity, this payment included."""
    payments, spending, labelled, frauds, spent = sums
    values[into + COUNT] = payments
    values[into + SPEND_SUM] = spent
    values[into + COUNT_BEFORE] = spending - spends
    values[into + SUM_BEFORE] = spent - spends * amount
    values[into + LABELLED] = labelled
    values[into + FRAUDS] = frauds


@kernel
def _observe_shared(
    shared: Memory, batch: Columns, record: int, time_ms: int, about: tuple[int, int], limits: Limits,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Add the payment (`about`: spends, amount) to its terminal, merchant and device; fills their values."""
    spends, amount = about
    bucket_numbers(time_ms, limits.slowest_watermark_ms - limits.lateness_ms, scratch.bucket_numbers)
    for kind in range(SHARED_KINDS):
        word = ENTITY_KEY_COLUMNS[kind]
        key_0, key_1 = batch.pairs[record, word], batch.pairs[record, word + 1]
        if key_0 == 0 and key_1 == 0:
            start = VALUE_SHARED + kind * WINDOW_COUNT * WINDOW_VALUES
            scratch.values[start : start + WINDOW_COUNT * WINDOW_VALUES] = math.nan
            continue
        entity = find_or_create_entity(shared, kind, key_0, key_1)
        amounts = (1, spends, spends * amount)
        slide_windows(shared, kind, entity, scratch.bucket_numbers)
        add_entity_payment(shared, kind, entity, time_ms, amounts, scratch.bucket_numbers)
        for window in range(WINDOW_COUNT):
            into = VALUE_SHARED + (kind * WINDOW_COUNT + window) * WINDOW_VALUES
            sums = sums_of(shared, history_of(shared, entity, window))
            _fill_shared_values(sums, spends, amount, into, scratch.values)


@kernel
def _remember_payment(
    memory: Memory, batch: Columns, record: int, time_ms: int, card: int, number: int, about: tuple[int, int],
    limits: Limits,
) -> int:  # fmt: skip
    """Enter a payment (`about`: spends, amount) into the ring with its card and its entities; its bins come later."""
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
    )
    memory[at + PAYMENT_CARD_KEY] = batch.card[record, 0]
    memory[at + PAYMENT_CARD_KEY + 1] = batch.card[record, 1]
    for kind in range(SHARED_KINDS):
        for word in range(2):
            memory[at + PAYMENT_ENTITY_KEYS + 2 * kind + word] = batch.pairs[record, ENTITY_KEY_COLUMNS[kind] + word]
    return row


@kernel
def _observe_payment(
    memory: Memory, shared: Memory, batch: Columns, record: int, limits: Limits, plan: NDArray[np.int64],
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
    _fill_payment_values(batch, record, time_ms, about[1], scratch.values)
    number = _observe_card(memory, card, batch, record, time_ms, about, scratch.values)
    _observe_shared(shared, batch, record, time_ms, about, limits, scratch)
    evaluate(plan, scratch.values, observed.features[record])
    observed.payment_row[record] = _remember_payment(memory, batch, record, time_ms, card, number, about, limits)
    observed.effective_time_ms[record] = time_ms


@kernel
def _observe_record(
    memory: Memory, shared: Memory, batch: Columns, record: int, limits: Limits, plan: NDArray[np.int64],
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
        _apply_reference(memory, shared, batch, record, limits, scratch)
        time_ms = max(batch.event_time_ms[record], watermark_of(memory) - limits.lateness_ms)
        observed.payment_row[record] = remember(memory, batch, record, time_ms, STATE_OTHER, limits)
        observed.effective_time_ms[record] = time_ms
    else:
        _observe_payment(memory, shared, batch, record, limits, plan, scratch, observed)
    if batch.event_time_ms[record] < observed.effective_time_ms[record]:
        observed.late[record] = 1
        memory[address(memory, PROGRESS, 1) + LATE_RECORDS] += 1


@kernel
def observe_batch(
    memory: Memory, shared: Memory, batch: Columns, limits: Limits, plan: NDArray[np.int64], scratch: Scratch,
    observed: Observed,
) -> None:  # fmt: skip
    """Walk a batch in log order. What it changes is in the journals; `observed.features` must come as NaN."""
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
        _observe_record(memory, shared, batch, record, limits, plan, scratch, observed)
        memory[progress + NEXT_OFFSET] = batch.offset[record] + 1
