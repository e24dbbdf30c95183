"""From sums to feature values: one branch per aggregate of the catalogue.

Values are computed in float64 from integers and stored as float32, so that learning sees exactly what scoring saw.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.buckets import COUNT, FRAUDS, LABELLED, SPEND_SUM, SPENDS
from detector.catalogue import DAY_MS, HOUR_MS, Aggregate, Entity
from detector.jit import kernel
from detector.layout import (
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    WINDOW_COUNTED,
    WINDOW_DISTINCT,
    WINDOW_REFUSED,
    WINDOW_SPEND_SUM,
    WINDOW_SPENDS,
    Scratch,
)
from detector.memory import Memory

EARTH_RADIUS_KM = 6371.0088
_SHORTEST_TRAVEL_MS = 1000
_THURSDAY = 3

# Values of the payment itself, in `Scratch.values`.
(
    VALUE_AMOUNT, VALUE_OWN_SPEND, VALUE_IS_SPEND, VALUE_HOUR, VALUE_WEEKDAY, VALUE_KIND, VALUE_CHANNEL,
    VALUE_ENTRY_MODE, VALUE_IP_DIFFERS, VALUE_SINCE_LAST, VALUE_KM_LAST, VALUE_SPEED, VALUE_KM_HOME, VALUE_CARD_FRAUDS,
) = range(14)  # fmt: skip
VALUE_COUNT = 14

_AMOUNT, _HOUR, _WEEKDAY, _KIND = (
    int(Aggregate.AMOUNT),
    int(Aggregate.HOUR),
    int(Aggregate.WEEKDAY),
    int(Aggregate.KIND),
)
_CHANNEL, _ENTRY_MODE, _IP_DIFFERS = (
    int(Aggregate.CHANNEL),
    int(Aggregate.ENTRY_MODE),
    int(Aggregate.IP_COUNTRY_DIFFERS),
)
_COUNT, _SPEND_SUM, _MEAN_BEFORE = int(Aggregate.COUNT), int(Aggregate.SPEND_SUM), int(Aggregate.SPEND_MEAN_BEFORE)
_OVER_MEAN, _REFUSED, _DISTINCT = (
    int(Aggregate.AMOUNT_OVER_MEAN),
    int(Aggregate.REFUSED),
    int(Aggregate.DISTINCT_MERCHANTS),
)
_FRAUDS, _FRAUD_RATE, _IS_NEW = int(Aggregate.FRAUDS), int(Aggregate.FRAUD_RATE), int(Aggregate.IS_NEW)
_SINCE_LAST, _KM_LAST, _SPEED = (
    int(Aggregate.SECONDS_SINCE_LAST),
    int(Aggregate.KM_FROM_LAST),
    int(Aggregate.KM_PER_HOUR_FROM_LAST),
)
_KM_HOME = int(Aggregate.KM_FROM_HOME)
_CARD, _TERMINAL, _DEVICE, _FIRST_PAIR = (
    int(Entity.CARD),
    int(Entity.TERMINAL),
    int(Entity.DEVICE),
    int(Entity.CARD_TERMINAL),
)


@kernel
def kilometres(latitude_a: int, longitude_a: int, latitude_b: int, longitude_b: int) -> float:
    """Great-circle distance of two places in microdegrees (haversine, mean Earth radius of the IUGG)."""
    scale = math.pi / 180.0e6
    half_latitude = math.sin((latitude_b - latitude_a) * scale / 2.0)
    half_longitude = math.sin((longitude_b - longitude_a) * scale / 2.0)
    chord = half_latitude * half_latitude + math.cos(latitude_a * scale) * math.cos(latitude_b * scale) * (
        half_longitude * half_longitude
    )
    return 2.0 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@kernel
def speed_km_per_hour(distance_km: float, elapsed_ms: int) -> float:
    """Speed between two places; less than a second counts as a second."""
    return distance_km * HOUR_MS / max(elapsed_ms, _SHORTEST_TRAVEL_MS)


@kernel
def hour_of_day(time_ms: int) -> int:
    """Hour of the day in UTC, 0 to 23."""
    return (time_ms % DAY_MS) // HOUR_MS


@kernel
def day_of_week(time_ms: int) -> int:
    """Day of the week in UTC, 0 Monday to 6 Sunday; the epoch was a Thursday."""
    return (time_ms // DAY_MS + _THURSDAY) % 7


@kernel
def _over(amount: float, total: float, count: float) -> float:
    """Amount over the mean of `count` others, NaN where there is none or it is 0."""
    return amount * count / total if count > 0 and total > 0 else math.nan


@kernel
def _card_value(memory: Memory, aggregate: int, base: int, values: NDArray[np.float64]) -> float:
    """An aggregate of the card's own windows; `base` is the address of the window's words."""
    if aggregate == _COUNT:
        return float(memory[base + WINDOW_COUNTED])
    if aggregate == _SPEND_SUM:
        return float(memory[base + WINDOW_SPEND_SUM])
    if aggregate == _REFUSED:
        return float(memory[base + WINDOW_REFUSED])
    if aggregate == _DISTINCT:
        return float(memory[base + WINDOW_DISTINCT])
    if aggregate == _FRAUDS:
        return values[VALUE_CARD_FRAUDS]
    if aggregate == _SINCE_LAST:
        return values[VALUE_SINCE_LAST]
    if aggregate == _KM_LAST:
        return values[VALUE_KM_LAST]
    if aggregate == _SPEED:
        return values[VALUE_SPEED]
    if aggregate == _KM_HOME:
        return values[VALUE_KM_HOME]
    earlier_count = memory[base + WINDOW_SPENDS] - values[VALUE_IS_SPEND]
    earlier_sum = memory[base + WINDOW_SPEND_SUM] - values[VALUE_OWN_SPEND]
    if aggregate == _MEAN_BEFORE:
        return earlier_sum / earlier_count if earlier_count > 0 else math.nan
    return _over(values[VALUE_AMOUNT], earlier_sum, earlier_count)


@kernel
def _shared_value(aggregate: int, sums: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """An aggregate of a shared entity's window; sums[0] is -1 where the record names no such entity."""
    if sums[0] < 0:
        return math.nan
    if aggregate == _COUNT:
        return float(sums[COUNT])
    if aggregate == _SPEND_SUM:
        return float(sums[SPEND_SUM])
    if aggregate == _FRAUDS:
        return float(sums[FRAUDS])
    if aggregate == _FRAUD_RATE:
        return sums[FRAUDS] / sums[LABELLED] if sums[LABELLED] > 0 else math.nan
    others_count = sums[SPENDS] - values[VALUE_IS_SPEND]
    others_sum = sums[SPEND_SUM] - values[VALUE_OWN_SPEND]
    if aggregate == _MEAN_BEFORE:
        return others_sum / others_count if others_count > 0 else math.nan
    return _over(values[VALUE_AMOUNT], others_sum, others_count)


@kernel
def _pair_value(aggregate: int, kind: int, pair_earlier: NDArray[np.int64]) -> float:
    """Whether a pair is new, or how often the card has been there, this payment included."""
    earlier = pair_earlier[kind]
    if earlier < 0:
        return math.nan
    if aggregate == _IS_NEW:
        return 1.0 if earlier == 0 else 0.0
    return float(earlier + 1)


@kernel
def _payment_value(aggregate: int, values: NDArray[np.float64]) -> float:
    """A value of the payment itself."""
    if aggregate == _AMOUNT:
        return values[VALUE_AMOUNT]
    if aggregate == _HOUR:
        return values[VALUE_HOUR]
    if aggregate == _WEEKDAY:
        return values[VALUE_WEEKDAY]
    if aggregate == _KIND:
        return values[VALUE_KIND]
    if aggregate == _CHANNEL:
        return values[VALUE_CHANNEL]
    if aggregate == _ENTRY_MODE:
        return values[VALUE_ENTRY_MODE]
    return values[VALUE_IP_DIFFERS]


@kernel
def evaluate(plan: NDArray[np.int64], memory: Memory, card_at: int, scratch: Scratch, out: NDArray[np.float32]) -> None:
    """Fill one row of the feature matrix from what the record's entities hold now; `card_at` is the card's address."""
    for index in range(plan.shape[0]):
        aggregate, entity, window = plan[index, 0], plan[index, 1], plan[index, 2]
        if entity == 0:
            value = _payment_value(aggregate, scratch.values)
        elif entity == _CARD:
            value = _card_value(memory, aggregate, card_at + CARD_WINDOWS + window * CARD_WINDOW_WORDS, scratch.values)
        elif entity <= _DEVICE:
            value = _shared_value(aggregate, scratch.shared_sums[entity - _TERMINAL, window], scratch.values)
        else:
            value = _pair_value(aggregate, entity - _FIRST_PAIR, scratch.pair_earlier)
        out[index] = np.float32(value)
