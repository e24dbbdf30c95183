"""The walk at a payment's shared entities: terminal, merchant, device and category."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.buckets import Amounts, sums_of
from detector.cards import log_amount
from detector.distinct import card_amounts, distinct_cards
from detector.features import (
    CATEGORY_Z,
    DEVICE_CARDS_HOUR,
    DEVICE_COUNT_DAY,
    DEVICE_COUNT_HOUR,
    DEVICE_FRAUDS,
    FIRST_DEVICE,
    FIRST_MERCHANT,
    FIRST_PLACE,
    MERCHANT_COUNT_BEFORE,
    MERCHANT_FRAUDS,
    MERCHANT_LABELLED,
    MERCHANT_SUM_BEFORE,
    PLACE_CARDS_HOUR,
    PLACE_COUNT_DAY,
    PLACE_COUNT_HOUR,
)
from detector.jit import kernel
from detector.layout import (
    ENTITIES,
    ENTITY_KEY_COLUMNS,
    SHARED_CATEGORY,
    SHARED_DAY,
    SHARED_DEVICE,
    SHARED_HOUR,
    SHARED_KINDS,
    SHARED_MERCHANT,
    SHARED_MONTH,
    SHARED_TERMINAL,
    Columns,
)
from detector.memory import Memory, address
from detector.outcomes import look_at_outcomes
from detector.shared_windows import add_entity_payment, find_or_create_entity, history_of, slide_windows

_FEWEST_IN_CATEGORY = 20


@kernel
def is_place(kind: int, has_terminal: int) -> int:
    """Whether an entity of this kind is the payment's place: its terminal, or its merchant where none is given."""
    if kind == SHARED_TERMINAL:
        return 1
    return 1 if kind == SHARED_MERCHANT and has_terminal == 0 else 0


@kernel
def amounts_of(kind: int, spends: int, amount: int, sign: int) -> Amounts:
    """What a payment adds to (sign 1) or takes from (-1) an entity: of a category, its logarithm and the square."""
    if kind == SHARED_CATEGORY:
        log = log_amount(amount)
        return sign, 0, 0, sign * log, sign * log * log
    return sign, sign * spends, 0, 0, sign * spends * amount


@kernel
def _forget_values(first: int, stop: int, values: NDArray[np.float64]) -> None:
    """Nothing is known of an entity that the record does not name."""
    for place in range(first, stop):
        values[place] = math.nan


@kernel
def _fill_category(shared: Memory, entity: int, amount: int, is_in: int, values: NDArray[np.float64]) -> None:
    """The amount against those of its category before it; `is_in` says whether it is among them already."""
    count, _, _, logs, squares = sums_of(shared, history_of(shared, entity, SHARED_MONTH))
    if is_in != 0:
        own = log_amount(amount)
        count, logs, squares = count - 1, logs - own, squares - own * own
    if count >= _FEWEST_IN_CATEGORY:
        mean = logs / float(count)
        variance = squares / float(count) - mean * mean
        values[CATEGORY_Z] = (log_amount(amount) - mean) / math.sqrt(max(variance, 1.0))


@kernel
def _fill_values(
    shared: Memory, kind: int, entity: int, place: int, time_ms: int, about: tuple[int, int],
    values: NDArray[np.float64],
) -> None:  # fmt: skip
    """What an entity says, this payment (`about`: spends, amount) included."""
    spends, amount = about
    if place != 0:
        count, _, _, first, second = sums_of(shared, history_of(shared, entity, SHARED_HOUR))
        values[PLACE_COUNT_HOUR], values[PLACE_CARDS_HOUR] = count, distinct_cards(first, second)
        values[PLACE_COUNT_DAY] = sums_of(shared, history_of(shared, entity, SHARED_DAY))[0]
        look_at_outcomes(shared, address(shared, ENTITIES, entity), time_ms, values)
    if kind == SHARED_MERCHANT:
        _, spending, labelled, frauds, spent = sums_of(shared, history_of(shared, entity, SHARED_MONTH))
        values[MERCHANT_COUNT_BEFORE], values[MERCHANT_SUM_BEFORE] = spending - spends, spent - spends * amount
        values[MERCHANT_LABELLED], values[MERCHANT_FRAUDS] = labelled, frauds
    elif kind == SHARED_DEVICE:
        count, _, _, first, second = sums_of(shared, history_of(shared, entity, SHARED_HOUR))
        values[DEVICE_COUNT_HOUR], values[DEVICE_CARDS_HOUR] = count, distinct_cards(first, second)
        values[DEVICE_COUNT_DAY] = sums_of(shared, history_of(shared, entity, SHARED_DAY))[0]
        values[DEVICE_FRAUDS] = sums_of(shared, history_of(shared, entity, SHARED_MONTH))[3]


@kernel
def observe_shared(
    shared: Memory, batch: Columns, record: int, time_ms: int, about: tuple[int, int, int],
    numbers: NDArray[np.int64], values: NDArray[np.float64],
) -> None:  # fmt: skip
    """Add the payment (`about`: spends, amount, whether it is in) to its shared entities, and fill their values.

    One that is in them already, since its row was applied before, is not added. `numbers` are the `bucket_numbers` of
    its time.
    """
    _forget_values(FIRST_PLACE, FIRST_DEVICE, values)
    _forget_values(FIRST_MERCHANT, CATEGORY_Z + 1, values)
    has_terminal = 1 if batch.pairs[record, 0] != 0 or batch.pairs[record, 1] != 0 else 0
    of_card = card_amounts(batch.card[record, 1], 1)
    for kind in range(SHARED_KINDS):
        column = ENTITY_KEY_COLUMNS[kind]
        key_0, key_1 = batch.pairs[record, column], batch.pairs[record, column + 1]
        if key_0 == 0 and key_1 == 0:
            continue
        place = is_place(kind, has_terminal)
        entity = find_or_create_entity(shared, kind, key_0, key_1, time_ms)
        slide_windows(shared, kind, entity, place, numbers)
        if kind == SHARED_CATEGORY:
            _fill_category(shared, entity, about[1], about[2], values)
        if about[2] == 0:
            amounts = amounts_of(kind, about[0], about[1], 1)
            add_entity_payment(shared, kind, entity, place, amounts, of_card, numbers)
        _fill_values(shared, kind, entity, place, time_ms, (about[0], about[1]), values)
