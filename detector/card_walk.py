"""The walk at a payment's card: what is known before, what the payment adds, and what the card says of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.cards import append, forget_usual
from detector.catalogue import CATEGORY_CLASSES, MEMORY_MS
from detector.eviction import make_room_for_payment
from detector.features import (
    COUNT,
    COUNT_BEFORE,
    DISTINCT,
    IS_NEW,
    PAIR_VALUES,
    PATTERN_RISK,
    REFUSED,
    SPEND_SUM,
    SUM_BEFORE,
    TIMES_MET,
    VALUE_AMOUNT,
    VALUE_CARD,
    VALUE_CATEGORY,
    VALUE_CHANNEL,
    VALUE_ENTRY_MODE,
    VALUE_HOUR,
    VALUE_IP_DIFFERS,
    VALUE_KIND,
    VALUE_KM_HOME,
    VALUE_KM_LAST,
    VALUE_PAIRS,
    VALUE_SINCE_LAST,
    VALUE_SPEED,
    VALUE_WEEKDAY,
    WINDOW_VALUES,
    day_of_week,
    hour_of_day,
    kilometres,
    speed_km_per_hour,
)
from detector.jit import constants, kernel
from detector.layout import (
    ATTRIBUTE_REFUSED,
    ATTRIBUTE_SPEND,
    ATTRIBUTE_TRUSTED,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CARDS,
    CATEGORY_COLUMN,
    CLOCK,
    COUNTED,
    COUNTED_MASK,
    COUNTRY_SHIFT,
    HOUR_SHIFT,
    LAST_PLACE,
    LAST_PLACE_TIME,
    PAIR_CATEGORY,
    PAIR_COUNTRY,
    PAIR_DEVICE,
    PAIR_MERCHANT,
    PAIR_TERMINAL,
    PAYMENTS,
    RATIO_SHIFT,
    REFUSED_SHIFT,
    RISK_SHIFT,
    SPENDS,
    START,
    WINDOW_COUNT,
    Columns,
)
from detector.layout import SPEND_SUM as WINDOW_SPEND_SUM
from detector.looking_back import (
    HIGH_CODE,
    distinct_merchants,
    fill_habit_values,
    fill_high_values,
    fill_usual_values,
    look_for,
    ratio_code,
)
from detector.memory import HAND, Memory, address, info
from detector.risks import risk_class
from detector.transactions import MISSING_MICRODEGREES

_MISSING = int(MISSING_MICRODEGREES)
_TOKEN_BITS = 32
_TOKEN_MASK = (1 << _TOKEN_BITS) - 1
_CATEGORY_TOKEN_MASK = (1 << HOUR_SHIFT) - 1
_DAY_WINDOW = constants(2)[1]
# Degrees that are kept in one word: the latitude above the longitude, both in microdegrees and never negative.
_PLACE_BITS, _PLACE_ZERO = 32, 1 << 30
_COUNTRY_SHIFT = 15


@kernel
def token_of(key_0: int, key_1: int) -> int:
    """32 bits of a fingerprint, as a card's history holds it; 0 for a missing token only."""
    return max((key_0 >> _TOKEN_BITS) & _TOKEN_MASK, 1) if key_0 != 0 or key_1 != 0 else 0


@kernel
def fill_payment_values(batch: Columns, record: int, time_ms: int, amount: int, values: NDArray[np.float64]) -> None:
    """What the record says by itself."""
    values[VALUE_AMOUNT] = amount
    values[VALUE_HOUR] = hour_of_day(time_ms)
    values[VALUE_WEEKDAY] = day_of_week(time_ms)
    values[VALUE_KIND] = batch.kind[record]
    values[VALUE_CHANNEL] = batch.channel[record] if batch.channel[record] != 0 else math.nan
    values[VALUE_ENTRY_MODE] = batch.entry_mode[record] if batch.entry_mode[record] != 0 else math.nan
    category = batch.pairs[record, CATEGORY_COLUMN]
    given = category != 0 or batch.pairs[record, CATEGORY_COLUMN + 1] != 0
    values[VALUE_CATEGORY] = (category & _TOKEN_MASK) % CATEGORY_CLASSES if given else math.nan
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
def _fill_pairs(
    batch: Columns, record: int, tokens: tuple[int, int, int, int], met: tuple[int, int, int, int, int],
    values: NDArray[np.float64],
) -> None:  # fmt: skip
    """How often the card met each of those that the record names."""
    merchant, terminal, device, category = tokens
    at_merchant, at_terminal, on_device, in_country, in_category = met
    _fill_pair(PAIR_TERMINAL, terminal, at_terminal, values)
    _fill_pair(PAIR_MERCHANT, merchant, at_merchant, values)
    _fill_pair(PAIR_COUNTRY, batch.currency_country[record] >> _COUNTRY_SHIFT, in_country, values)
    _fill_pair(PAIR_DEVICE, device, on_device, values)
    _fill_pair(PAIR_CATEGORY, category & _CATEGORY_TOKEN_MASK, in_category, values)


@kernel
def _tokens(batch: Columns, record: int, hour: int, risk: float) -> tuple[int, int, int, int]:
    """The tokens of merchant, terminal, device and category with hour and risk, as a card's history holds them."""
    keys = batch.pairs[record]
    category = token_of(keys[8], keys[9])
    if category != 0:
        category = max(category & _CATEGORY_TOKEN_MASK, 1)
    return (
        token_of(keys[2], keys[3]),
        token_of(keys[0], keys[1]),
        token_of(keys[6], keys[7]),
        category | (hour << HOUR_SHIFT) | (risk_class(risk) << RISK_SHIFT),
    )


@kernel
def observe_card(
    memory: Memory, card: int, batch: Columns, record: int, time_ms: int, about: tuple[int, int],
    values: NDArray[np.float64],
) -> tuple[int, int]:  # fmt: skip
    """Add the payment (`about`: spends, amount) to its card, whose row is saved, and fill the card's values.

    Returns:
        The payment's number in the card's life, and whether it is far above the card's usual amount.
    """
    half = memory.view(np.uint32)
    at = address(memory, CARDS, card)
    spends, amount = about
    make_room_for_payment(memory, half, card, time_ms)
    if memory[at + CLOCK] <= time_ms - MEMORY_MS:
        forget_usual(memory, at)
    _fill_last_values(memory, at, batch, record, time_ms, values)
    hour = hour_of_day(time_ms)
    tokens = _tokens(batch, record, hour, values[PATTERN_RISK])
    country = batch.currency_country[record] >> _COUNTRY_SHIFT
    met = look_for(memory, half, at, tokens, country)
    fill_habit_values(
        memory, half, at, hour, memory[at + CARD_WINDOWS + _DAY_WINDOW * CARD_WINDOW_WORDS + START], values
    )
    fill_high_values(memory, half, at, time_ms, values)
    code = ratio_code(memory, at, amount) if spends else 0
    fill_usual_values(memory, at, amount, spends, values)
    attributes = (
        (ATTRIBUTE_SPEND if spends else 0)
        | (ATTRIBUTE_REFUSED if batch.refused[record] else 0)
        | (ATTRIBUTE_TRUSTED if spends and code < HIGH_CODE else 0)
        | (code << RATIO_SHIFT)
        | (country << COUNTRY_SHIFT)
    )
    ring = info(memory, PAYMENTS, HAND) & _TOKEN_MASK
    number = append(memory, half, at, time_ms, amount, attributes, tokens, met[0] if tokens[0] != 0 else 0, ring)
    _note_place(memory, at, batch, record, time_ms)
    _fill_pairs(batch, record, tokens, met, values)
    _fill_window_values(memory, half, at, spends, amount, values)
    return number, 1 if code >= HIGH_CODE else 0
