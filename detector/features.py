"""From sums to feature values: what the walk wrote down of one payment, and how the catalogue reads it.

The walk fills `values`, float64, with what it knows of the payment, its card, its shared entities and its pairs; the
catalogue's plan says for each feature which value it is, or which quotient of values. Values are computed in float64
from integers and stored as float32, so that learning sees exactly what scoring saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import DAY_MS, HOUR_MS, WINDOWS_MS, Aggregate, Entity, Feature
from detector.jit import constants, kernel

EARTH_RADIUS_KM = 6371.0088
_SHORTEST_TRAVEL_MS = 1000
_THURSDAY = 3

# Places in `values`: of the payment and its card,
(
    VALUE_AMOUNT, VALUE_HOUR, VALUE_WEEKDAY, VALUE_KIND, VALUE_CHANNEL, VALUE_ENTRY_MODE, VALUE_IP_DIFFERS,
    VALUE_SINCE_LAST, VALUE_KM_LAST, VALUE_SPEED, VALUE_KM_HOME, VALUE_CARD_FRAUDS, VALUE_CARD,
) = constants(13)  # fmt: skip
# of each window of the card and then of each shared entity (kind by kind) six,
COUNT, SPEND_SUM, COUNT_BEFORE, SUM_BEFORE, REFUSED, DISTINCT = constants(6)
# the last two of which are for shared entities
LABELLED, FRAUDS = REFUSED, DISTINCT
WINDOW_VALUES = 6
_WINDOW_COUNT = len(WINDOWS_MS)
_SHARED_KINDS = 3
VALUE_SHARED = VALUE_CARD + WINDOW_VALUES * _WINDOW_COUNT
# and of each pair two.
IS_NEW, TIMES_MET = constants(2)
PAIR_VALUES = 2
VALUE_PAIRS = VALUE_SHARED + WINDOW_VALUES * _WINDOW_COUNT * _SHARED_KINDS
VALUE_COUNT = int(VALUE_PAIRS + PAIR_VALUES * 4)

# What the plan does with the values a and b: take a, a / b, or the payment's amount over the mean a / b.
_TAKE, _QUOTIENT, _OVER_MEAN = constants(3)

_OF_PAYMENT = {
    Aggregate.AMOUNT: VALUE_AMOUNT,
    Aggregate.HOUR: VALUE_HOUR,
    Aggregate.WEEKDAY: VALUE_WEEKDAY,
    Aggregate.KIND: VALUE_KIND,
    Aggregate.CHANNEL: VALUE_CHANNEL,
    Aggregate.ENTRY_MODE: VALUE_ENTRY_MODE,
    Aggregate.IP_COUNTRY_DIFFERS: VALUE_IP_DIFFERS,
    Aggregate.SECONDS_SINCE_LAST: VALUE_SINCE_LAST,
    Aggregate.KM_FROM_LAST: VALUE_KM_LAST,
    Aggregate.KM_PER_HOUR_FROM_LAST: VALUE_SPEED,
    Aggregate.KM_FROM_HOME: VALUE_KM_HOME,
}
_OF_WINDOW = {
    Aggregate.COUNT: (_TAKE, COUNT, COUNT),
    Aggregate.SPEND_SUM: (_TAKE, SPEND_SUM, SPEND_SUM),
    Aggregate.SPEND_MEAN_BEFORE: (_QUOTIENT, SUM_BEFORE, COUNT_BEFORE),
    Aggregate.AMOUNT_OVER_MEAN: (_OVER_MEAN, SUM_BEFORE, COUNT_BEFORE),
    Aggregate.REFUSED: (_TAKE, REFUSED, REFUSED),
    Aggregate.DISTINCT_MERCHANTS: (_TAKE, DISTINCT, DISTINCT),
    Aggregate.FRAUDS: (_TAKE, FRAUDS, FRAUDS),
    Aggregate.FRAUD_RATE: (_QUOTIENT, FRAUDS, LABELLED),
}


def _plan_of(feature: Feature) -> tuple[int, int, int]:
    """What to do for one feature: the operation, and the places of its values."""
    if feature.aggregate in _OF_PAYMENT:
        place = int(_OF_PAYMENT[feature.aggregate])
        return int(_TAKE), place, place
    if feature.entity == Entity.CARD and feature.aggregate == Aggregate.FRAUDS:
        return int(_TAKE), int(VALUE_CARD_FRAUDS), int(VALUE_CARD_FRAUDS)
    if feature.entity >= Entity.CARD_TERMINAL:
        value = IS_NEW if feature.aggregate == Aggregate.IS_NEW else TIMES_MET
        place = int(VALUE_PAIRS + PAIR_VALUES * (feature.entity - Entity.CARD_TERMINAL) + value)
        return int(_TAKE), place, place
    window = WINDOWS_MS.index(feature.window_ms)
    start = int(VALUE_CARD)
    if feature.entity != Entity.CARD:
        start = int(VALUE_SHARED) + WINDOW_VALUES * _WINDOW_COUNT * (feature.entity - Entity.TERMINAL)
    operation, first, second = _OF_WINDOW[feature.aggregate]
    start += WINDOW_VALUES * window
    return int(operation), start + int(first), start + int(second)


def plan(features: Sequence[Feature]) -> NDArray[np.int64]:
    """The catalogue as the kernel reads it: int64 of shape (F, 3), an operation and the places of two values."""
    return np.array([_plan_of(feature) for feature in features], dtype=np.int64).reshape(-1, 3)


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
def evaluate(plan: NDArray[np.int64], values: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Fill one row of the feature matrix; a quotient by 0, or of what is not known, is NaN."""
    amount = values[VALUE_AMOUNT]
    for index in range(plan.shape[0]):
        operation = plan[index, 0]
        first, second = values[plan[index, 1]], values[plan[index, 2]]
        if operation == _TAKE:
            value = first
        elif operation == _QUOTIENT:
            value = first / second if second > 0 else math.nan
        else:
            value = amount * second / first if second > 0 and first > 0 else math.nan
        out[index] = np.float32(value)
