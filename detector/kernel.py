"""The walk over a batch: every record in log order, features first, then what it changes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.buckets import FRAUDS, window_sums
from detector.cards import append, expire, find_or_create_card, look_up_pairs, reverse, set_refused
from detector.catalogue import MEMORY_MS
from detector.eviction import make_room_for_card, make_room_for_entities, sweep_cards, sweep_entities
from detector.features import (
    VALUE_AMOUNT,
    VALUE_CARD_FRAUDS,
    VALUE_CHANNEL,
    VALUE_ENTRY_MODE,
    VALUE_HOUR,
    VALUE_IP_DIFFERS,
    VALUE_IS_SPEND,
    VALUE_KIND,
    VALUE_KM_HOME,
    VALUE_KM_LAST,
    VALUE_OWN_SPEND,
    VALUE_SINCE_LAST,
    VALUE_SPEED,
    VALUE_WEEKDAY,
    day_of_week,
    evaluate,
    hour_of_day,
    kilometres,
    speed_km_per_hour,
)
from detector.jit import kernel
from detector.layout import (
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_REFUSED_AT_FIRST,
    ATTRIBUTE_SPEND,
    CARD_LABELS,
    CARDS,
    CHANNEL_SHIFT,
    CLOCK,
    CURRENCY_SHIFT,
    ENTITY_KEY_COLUMNS,
    FEATURES,
    FIRST_OFFSET,
    GENERATION,
    KIND_SHIFT,
    LABEL_HEAD,
    LAST_LATITUDE,
    LAST_LONGITUDE,
    LAST_PLACE_TIME,
    LATE_RECORDS,
    NEXT_OFFSET,
    PAYMENT_AMOUNT,
    PAYMENT_CARD,
    PAYMENT_CARD_KEY,
    PAYMENT_CHUNK,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_GENERATION,
    PAYMENT_INDEX,
    PAYMENT_SLOT,
    PAYMENT_SPENDS,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    PROGRESS,
    SHARED_KINDS,
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
from detector.lookahead import GROUP, look_ahead
from detector.memory import (
    CAPACITY,
    HAND,
    HASH,
    KEY_1,
    TAIL,
    USED,
    Memory,
    address,
    find,
    info,
    link,
    set_info,
    touch,
    unlink,
)
from detector.shared import add_entity_payment, bucket_numbers, find_or_create_entity, sum_windows
from detector.transactions import MISSING_MICRODEGREES
from detector.vocabulary import Kind

_PURCHASE, _CASH, _REVERSAL, _OUTCOME = int(Kind.PURCHASE), int(Kind.CASH), int(Kind.REVERSAL), int(Kind.OUTCOME)
_MISSING = int(MISSING_MICRODEGREES)


@kernel
def ring_row(memory: Memory, sequence: int) -> int:
    """The row of the ring of payments that the n-th entry stands in."""
    return 1 + (sequence - 1) % info(memory, PAYMENTS, CAPACITY)


@kernel
def _watermark(memory: Memory) -> int:
    """Largest event time of the partition so far."""
    return memory[address(memory, PROGRESS, 1) + WATERMARK]


@kernel
def _withdraw(memory: Memory, row: int) -> None:
    """Take a remembered payment out of the index."""
    unlink(memory, PAYMENT_INDEX, PAYMENTS, row)
    touch(memory, PAYMENTS, row)
    memory[address(memory, PAYMENTS, row) + PAYMENT_STATE] = 0


@kernel
def _drop_old_payments(memory: Memory, limits: Limits) -> None:
    """Let go of the oldest payments where the ring is full or their features have waited long enough."""
    for _ in range(2):
        tail, hand = info(memory, PAYMENTS, TAIL), info(memory, PAYMENTS, HAND)
        if tail == hand:
            return
        row = ring_row(memory, tail)
        at = address(memory, PAYMENTS, row)
        full = hand - tail >= info(memory, PAYMENTS, CAPACITY)
        if not full and memory[at + PAYMENT_TIME] > _watermark(memory) - limits.retention_ms:
            return
        if memory[at + PAYMENT_STATE] != 0:
            _withdraw(memory, row)
        set_info(memory, PAYMENTS, TAIL, tail + 1)


@kernel
def _remember(memory: Memory, batch: Columns, record: int, time_ms: int, state: int, limits: Limits) -> int:
    """Enter a record into the ring of remembered payments; returns its row."""
    _drop_old_payments(memory, limits)
    hand = info(memory, PAYMENTS, HAND)
    row = ring_row(memory, hand)
    set_info(memory, PAYMENTS, HAND, hand + 1)
    set_info(memory, PAYMENTS, USED, max(info(memory, PAYMENTS, USED), row + 1))
    touch(memory, PAYMENTS, row)
    at = address(memory, PAYMENTS, row)
    for index in range(PAYMENT_WORDS):
        memory[at + index] = 0
    memory[at + HASH] = batch.identity[record, 0]
    memory[at + KEY_1] = batch.identity[record, 1]
    memory[at + PAYMENT_TIME] = time_ms
    memory[at + PAYMENT_STATE] = state
    memory[at + FIRST_OFFSET] = batch.offset[record]
    link(memory, PAYMENT_INDEX, PAYMENTS, row)
    return row


@kernel
def _recall(memory: Memory, key_0: int, key_1: int, limits: Limits) -> int:
    """The payment with this identity within the memory of identities, or 0."""
    row = find(memory, PAYMENT_INDEX, PAYMENTS, key_0, key_1, 0)
    if row == 0:
        return 0
    oldest = _watermark(memory) - limits.identity_memory_ms
    return row if memory[address(memory, PAYMENTS, row) + PAYMENT_TIME] > oldest else 0


@kernel
def _apply_reference(
    memory: Memory, shared: Memory, batch: Columns, record: int, limits: Limits, scratch: Scratch
) -> None:
    """What a reversal or an outcome does to the payment it names."""
    row = _recall(memory, batch.refers_to[record, 0], batch.refers_to[record, 1], limits)
    at = address(memory, PAYMENTS, row)
    card = memory[at + PAYMENT_CARD]
    if (
        row == 0
        or memory[at + PAYMENT_STATE] != STATE_LIVE
        or memory[address(memory, CARDS, card) + GENERATION] != memory[at + PAYMENT_GENERATION]
    ):
        memory[address(memory, PROGRESS, 1) + USELESS_REFERENCES] += 1
        return
    chunk, slot = memory[at + PAYMENT_CHUNK], memory[at + PAYMENT_SLOT]
    if batch.kind[record] == _OUTCOME:
        set_refused(memory, card, chunk, slot, batch.refused[record])
        return
    reverse(memory, card, chunk, slot)
    touch(memory, PAYMENTS, row)
    memory[at + PAYMENT_STATE] = STATE_REVERSED
    make_room_for_entities(shared)
    spends = memory[at + PAYMENT_SPENDS]
    bucket_numbers(memory[at + PAYMENT_TIME], limits.slowest_watermark_ms - limits.lateness_ms, scratch.bucket_numbers)
    for kind in range(SHARED_KINDS):
        key_0, key_1 = memory[at + PAYMENT_ENTITY_KEYS + 2 * kind], memory[at + PAYMENT_ENTITY_KEYS + 2 * kind + 1]
        if key_0 != 0 or key_1 != 0:
            entity = find_or_create_entity(shared, kind, key_0, key_1)
            add_entity_payment(
                shared, kind, entity, memory[at + PAYMENT_TIME], -1, spends, spends * memory[at + PAYMENT_AMOUNT],
                scratch.bucket_numbers,
            )  # fmt: skip


@kernel
def _fill_payment_values(batch: Columns, record: int, time_ms: int, spends: int, values: NDArray[np.float64]) -> None:
    """What the record says by itself."""
    values[VALUE_AMOUNT] = batch.amount_reference[record]
    values[VALUE_OWN_SPEND] = batch.amount_reference[record] * spends
    values[VALUE_IS_SPEND] = spends
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
def _fill_card_values(
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
        distance = kilometres(memory[at + LAST_LATITUDE], memory[at + LAST_LONGITUDE], latitude, longitude)
        values[VALUE_KM_LAST] = distance
        values[VALUE_SPEED] = speed_km_per_hour(distance, time_ms - place_time)
    if batch.places[record, 2] != _MISSING and batch.places[record, 3] != _MISSING:
        values[VALUE_KM_HOME] = kilometres(batch.places[record, 2], batch.places[record, 3], latitude, longitude)


@kernel
def _card_frauds(memory: Memory, at: int, time_ms: int, sums: NDArray[np.int64]) -> float:
    """Frauds on the card that became known in (t - 30 d, t]."""
    last_chunk = memory[at + LABEL_HEAD + 1]
    if last_chunk == 0:
        return 0.0
    window_sums(memory, last_chunk, CARD_LABELS, time_ms - MEMORY_MS, time_ms, sums)
    return float(sums[FRAUDS])


@kernel
def _note_place(memory: Memory, at: int, batch: Columns, record: int, time_ms: int) -> None:
    """Keep where the card was last; its row is already touched."""
    if batch.places[record, 0] != _MISSING and batch.places[record, 1] != _MISSING:
        memory[at + LAST_LATITUDE] = batch.places[record, 0]
        memory[at + LAST_LONGITUDE] = batch.places[record, 1]
        memory[at + LAST_PLACE_TIME] = time_ms


@kernel
def _observe_shared(
    shared: Memory, batch: Columns, record: int, time_ms: int, spends: int, limits: Limits, scratch: Scratch
) -> None:
    """Add the payment to its terminal, merchant and device, and sum their windows."""
    make_room_for_entities(shared)
    sums = scratch.shared_sums
    bucket_numbers(time_ms, limits.slowest_watermark_ms - limits.lateness_ms, scratch.bucket_numbers)
    for kind in range(SHARED_KINDS):
        word = ENTITY_KEY_COLUMNS[kind]
        key_0, key_1 = batch.pairs[record, word], batch.pairs[record, word + 1]
        if key_0 == 0 and key_1 == 0:
            for window in range(WINDOW_COUNT):
                sums[kind, window, 0] = -1
            continue
        entity = find_or_create_entity(shared, kind, key_0, key_1)
        spend = batch.amount_reference[record] * spends
        add_entity_payment(shared, kind, entity, time_ms, 1, spends, spend, scratch.bucket_numbers)
        sum_windows(shared, entity, scratch.bucket_numbers, sums[kind])


@kernel
def _remember_payment(
    memory: Memory, batch: Columns, record: int, time_ms: int, card: int, place: tuple[int, int], spends: int,
    limits: Limits, features: NDArray[np.float32],
) -> int:  # fmt: skip
    """Enter a payment into the ring with its card, its event (`place`: chunk, slot), its entities and its features."""
    row = _remember(memory, batch, record, time_ms, STATE_LIVE, limits)
    at = address(memory, PAYMENTS, row)
    memory[at + PAYMENT_CARD] = card
    memory[at + PAYMENT_GENERATION] = memory[address(memory, CARDS, card) + GENERATION]
    memory[at + PAYMENT_CHUNK] = place[0]
    memory[at + PAYMENT_SLOT] = place[1]
    memory[at + PAYMENT_SPENDS] = spends
    memory[at + PAYMENT_AMOUNT] = batch.amount_reference[record]
    memory[at + PAYMENT_CARD_KEY] = batch.card[record, 0]
    memory[at + PAYMENT_CARD_KEY + 1] = batch.card[record, 1]
    for kind in range(SHARED_KINDS):
        for word in range(2):
            memory[at + PAYMENT_ENTITY_KEYS + 2 * kind + word] = batch.pairs[record, ENTITY_KEY_COLUMNS[kind] + word]
    stored = memory[at + FEATURES : at + PAYMENT_WORDS].view(np.float32)
    for index in range(features.shape[0]):
        stored[index] = features[index]
    return row


@kernel
def _observe_payment(
    memory: Memory, shared: Memory, batch: Columns, record: int, limits: Limits, plan: NDArray[np.int64],
    scratch: Scratch, observed: Observed,
) -> None:  # fmt: skip
    """A payment seen for the first time: its features, and what it leaves behind."""
    make_room_for_card(memory)
    card = find_or_create_card(memory, batch.card[record, 0], batch.card[record, 1])
    at = address(memory, CARDS, card)
    kind = batch.kind[record]
    spends = 1 if kind == _PURCHASE or kind == _CASH else 0
    time_ms = max(batch.event_time_ms[record], memory[at + CLOCK], _watermark(memory) - limits.lateness_ms)
    expire(memory, card, time_ms)
    _fill_payment_values(batch, record, time_ms, spends, scratch.values)
    _fill_card_values(memory, at, batch, record, time_ms, scratch.values)
    scratch.values[VALUE_CARD_FRAUDS] = _card_frauds(memory, at, time_ms, scratch.shared_sums[0, 0])
    look_up_pairs(memory, card, batch.pairs, record, scratch.pair_rows, scratch.pair_earlier)
    attributes = (
        (ATTRIBUTE_SPEND if spends else 0)
        | (ATTRIBUTE_REFUSED | ATTRIBUTE_REFUSED_AT_FIRST if batch.refused[record] else 0)
        | (kind << KIND_SHIFT)
        | (batch.channel[record] << CHANNEL_SHIFT)
        | (batch.currency_country[record] << CURRENCY_SHIFT)
    )
    amounts = (batch.amount_reference[record], batch.amount_minor[record])
    place = append(memory, card, time_ms, amounts, attributes, batch.pairs, record, scratch.pair_rows)
    _note_place(memory, at, batch, record, time_ms)
    _observe_shared(shared, batch, record, time_ms, spends, limits, scratch)
    features = observed.features[record]
    evaluate(plan, memory, at, scratch, features)
    observed.payment_row[record] = _remember_payment(
        memory, batch, record, time_ms, card, place, spends, limits, features
    )
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
        if first_time_ms > _watermark(memory) - limits.identity_memory_ms:
            observed.duplicate[record] = 1
            observed.payment_row[record] = first
            observed.effective_time_ms[record] = first_time_ms
            return
        _withdraw(memory, first)
    if batch.kind[record] == _REVERSAL or batch.kind[record] == _OUTCOME:
        _apply_reference(memory, shared, batch, record, limits, scratch)
        time_ms = max(batch.event_time_ms[record], _watermark(memory) - limits.lateness_ms)
        observed.payment_row[record] = _remember(memory, batch, record, time_ms, STATE_OTHER, limits)
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
    touch(memory, PROGRESS, 1)
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
