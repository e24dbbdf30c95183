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

from detector.catalogue import DAY_MS, HOUR_MS, OUTCOME_MEMORY_MS, WINDOWS_MS, Aggregate, Entity, Feature
from detector.jit import constants, kernel

EARTH_RADIUS_KM = 6371.0088
_SHORTEST_TRAVEL_MS = 1000
_THURSDAY = 3

# Places in `values`: of the payment and of the card's last state,
(
    VALUE_AMOUNT, VALUE_HOUR, VALUE_WEEKDAY, VALUE_KIND, VALUE_CHANNEL, VALUE_ENTRY_MODE, VALUE_IP_DIFFERS,
    VALUE_CATEGORY, VALUE_SINCE_LAST, VALUE_KM_LAST, VALUE_SPEED, VALUE_KM_HOME,
) = constants(12)  # fmt: skip
# of the card's usual amount and of what looking back over its payments found,
(
    CARD_OVER_USUAL, CARD_AMOUNT_Z, CARD_HIGH_3D, CARD_HIGH_7D, CARD_VERY_HIGH_7D, CARD_VERY_HIGH_14D, CARD_FIRST_HIGH,
    CARD_SINCE_HIGH, CARD_POINTS_3D, CARD_POINTS_7D, CARD_POINTS_14D, CARD_STREAK, CARD_STREAK_AGE, CARD_FRAUDS,
    CARD_LAST_HIGH_FRAUD, CARD_SMALL_DAY, CARD_HOUR_SHARE, PATTERN_RISK, CARD_RISKIEST, CARD_RISKY_DAY, CARD_RISKY_3D,
) = constants(12 + 21)[12:]  # fmt: skip
# of the place, the merchant, the device and the category,
(
    PLACE_COUNT_HOUR, PLACE_COUNT_DAY, PLACE_FRAUD_RUN, PLACE_RUN_AGE, PLACE_RUN_MIDDLE, PLACE_RUN_SPREAD,
    PLACE_LAST_FRAUD, PLACE_LAST_GENUINE, PLACE_LAST_OUTCOME, PLACE_LAST_THREE, PLACE_FRAUD_RATE, PLACE_GENUINE_SINCE,
    PLACE_CARDS_HOUR, MERCHANT_COUNT_BEFORE, MERCHANT_SUM_BEFORE, MERCHANT_LABELLED, MERCHANT_FRAUDS, DEVICE_COUNT_HOUR,
    DEVICE_COUNT_DAY, DEVICE_CARDS_HOUR, DEVICE_FRAUDS, CATEGORY_Z, VALUE_CARD,
) = constants(33 + 23)[33:]  # fmt: skip
FIRST_PLACE, FIRST_MERCHANT, FIRST_DEVICE = PLACE_COUNT_HOUR, MERCHANT_COUNT_BEFORE, DEVICE_COUNT_HOUR
# of each window of the card six,
COUNT, SPEND_SUM, COUNT_BEFORE, SUM_BEFORE, REFUSED, DISTINCT = constants(6)
WINDOW_VALUES = 6
VALUE_PAIRS = VALUE_CARD + WINDOW_VALUES * len(WINDOWS_MS)
# and of each pair two.
IS_NEW, TIMES_MET = constants(2)
PAIR_VALUES = 2
VALUE_COUNT = int(VALUE_PAIRS + PAIR_VALUES * 5)

# What the plan does with the values a and b: take a, a / b, the payment's amount over the mean a / b, or nothing yet.
_TAKE, _QUOTIENT, _OVER_MEAN, _LATER = constants(4)

_A, _E = Aggregate, Entity
_SINGLE = {
    (_E.PAYMENT, _A.AMOUNT, 0): VALUE_AMOUNT,
    (_E.PAYMENT, _A.HOUR, 0): VALUE_HOUR,
    (_E.PAYMENT, _A.WEEKDAY, 0): VALUE_WEEKDAY,
    (_E.PAYMENT, _A.KIND, 0): VALUE_KIND,
    (_E.PAYMENT, _A.CHANNEL, 0): VALUE_CHANNEL,
    (_E.PAYMENT, _A.ENTRY_MODE, 0): VALUE_ENTRY_MODE,
    (_E.PAYMENT, _A.IP_COUNTRY_DIFFERS, 0): VALUE_IP_DIFFERS,
    (_E.PAYMENT, _A.CATEGORY, 0): VALUE_CATEGORY,
    (_E.CARD, _A.SECONDS_SINCE_LAST, 0): VALUE_SINCE_LAST,
    (_E.CARD, _A.KM_FROM_LAST, 0): VALUE_KM_LAST,
    (_E.CARD, _A.KM_PER_HOUR_FROM_LAST, 0): VALUE_SPEED,
    (_E.CARD, _A.KM_FROM_HOME, 0): VALUE_KM_HOME,
    (_E.CARD, _A.AMOUNT_OVER_USUAL, 0): CARD_OVER_USUAL,
    (_E.CARD, _A.AMOUNT_Z, 0): CARD_AMOUNT_Z,
    (_E.CARD, _A.HIGH_COUNT, 3 * DAY_MS): CARD_HIGH_3D,
    (_E.CARD, _A.HIGH_COUNT, 7 * DAY_MS): CARD_HIGH_7D,
    (_E.CARD, _A.VERY_HIGH_COUNT, 7 * DAY_MS): CARD_VERY_HIGH_7D,
    (_E.CARD, _A.VERY_HIGH_COUNT, 14 * DAY_MS): CARD_VERY_HIGH_14D,
    (_E.CARD, _A.DAYS_SINCE_FIRST_HIGH, 30 * DAY_MS): CARD_FIRST_HIGH,
    (_E.CARD, _A.PAYMENTS_SINCE_HIGH, 30 * DAY_MS): CARD_SINCE_HIGH,
    (_E.CARD, _A.HIGH_POINTS, 3 * DAY_MS): CARD_POINTS_3D,
    (_E.CARD, _A.HIGH_POINTS, 7 * DAY_MS): CARD_POINTS_7D,
    (_E.CARD, _A.HIGH_POINTS, 14 * DAY_MS): CARD_POINTS_14D,
    (_E.CARD, _A.HIGH_STREAK, 30 * DAY_MS): CARD_STREAK,
    (_E.CARD, _A.HIGH_STREAK_DAYS, 30 * DAY_MS): CARD_STREAK_AGE,
    (_E.CARD, _A.FRAUDS, 30 * DAY_MS): CARD_FRAUDS,
    (_E.CARD, _A.DAYS_SINCE_HIGH_FRAUD, 30 * DAY_MS): CARD_LAST_HIGH_FRAUD,
    (_E.CARD, _A.SMALL_COUNT, DAY_MS): CARD_SMALL_DAY,
    (_E.CARD, _A.HOUR_SHARE, 30 * DAY_MS): CARD_HOUR_SHARE,
    (_E.PAYMENT, _A.PATTERN_RISK, OUTCOME_MEMORY_MS): PATTERN_RISK,
    (_E.CARD, _A.RISKIEST, DAY_MS): CARD_RISKIEST,
    (_E.CARD, _A.RISKY_COUNT, DAY_MS): CARD_RISKY_DAY,
    (_E.CARD, _A.RISKY_COUNT, 3 * DAY_MS): CARD_RISKY_3D,
    (_E.PLACE, _A.COUNT, HOUR_MS): PLACE_COUNT_HOUR,
    (_E.PLACE, _A.COUNT, DAY_MS): PLACE_COUNT_DAY,
    (_E.PLACE, _A.DISTINCT_CARDS, HOUR_MS): PLACE_CARDS_HOUR,
    (_E.PLACE, _A.FRAUD_RUN, OUTCOME_MEMORY_MS): PLACE_FRAUD_RUN,
    (_E.PLACE, _A.FRAUD_RUN_DAYS, OUTCOME_MEMORY_MS): PLACE_RUN_AGE,
    (_E.PLACE, _A.FRAUD_RUN_MIDDLE_DAYS, OUTCOME_MEMORY_MS): PLACE_RUN_MIDDLE,
    (_E.PLACE, _A.FRAUD_RUN_SPREAD_DAYS, OUTCOME_MEMORY_MS): PLACE_RUN_SPREAD,
    (_E.PLACE, _A.DAYS_SINCE_FRAUD, OUTCOME_MEMORY_MS): PLACE_LAST_FRAUD,
    (_E.PLACE, _A.DAYS_SINCE_GENUINE, OUTCOME_MEMORY_MS): PLACE_LAST_GENUINE,
    (_E.PLACE, _A.DAYS_SINCE_OUTCOME, OUTCOME_MEMORY_MS): PLACE_LAST_OUTCOME,
    (_E.PLACE, _A.LAST_THREE, OUTCOME_MEMORY_MS): PLACE_LAST_THREE,
    (_E.PLACE, _A.FRAUD_RATE, OUTCOME_MEMORY_MS): PLACE_FRAUD_RATE,
    (_E.PLACE, _A.GENUINE_SINCE_FRAUD, OUTCOME_MEMORY_MS): PLACE_GENUINE_SINCE,
    (_E.DEVICE, _A.COUNT, HOUR_MS): DEVICE_COUNT_HOUR,
    (_E.DEVICE, _A.COUNT, DAY_MS): DEVICE_COUNT_DAY,
    (_E.DEVICE, _A.DISTINCT_CARDS, HOUR_MS): DEVICE_CARDS_HOUR,
    (_E.DEVICE, _A.FRAUDS, 30 * DAY_MS): DEVICE_FRAUDS,
    (_E.CATEGORY, _A.AMOUNT_Z, 30 * DAY_MS): CATEGORY_Z,
}
_OF_CARD_WINDOW = {_A.COUNT: COUNT, _A.SPEND_SUM: SPEND_SUM, _A.REFUSED: REFUSED, _A.DISTINCT_MERCHANTS: DISTINCT}
_OF_MERCHANT = {
    _A.AMOUNT_OVER_MEAN: (_OVER_MEAN, MERCHANT_SUM_BEFORE, MERCHANT_COUNT_BEFORE),
    _A.FRAUD_RATE: (_QUOTIENT, MERCHANT_FRAUDS, MERCHANT_LABELLED),
}


def _plan_of(feature: Feature) -> tuple[int, int, int]:
    """What to do for one feature: the operation, and the places of its values."""
    if feature.aggregate == Aggregate.ANOMALY:
        return int(_LATER), 0, 0
    single = _SINGLE.get((feature.entity, feature.aggregate, feature.window_ms))
    if single is not None:
        return int(_TAKE), int(single), int(single)
    if feature.entity == Entity.MERCHANT:
        operation, first, second = _OF_MERCHANT[feature.aggregate]
        return int(operation), int(first), int(second)
    if feature.entity >= Entity.CARD_TERMINAL:
        value = IS_NEW if feature.aggregate == Aggregate.IS_NEW else TIMES_MET
        place = int(VALUE_PAIRS + PAIR_VALUES * (feature.entity - Entity.CARD_TERMINAL) + value)
        return int(_TAKE), place, place
    start = int(VALUE_CARD) + WINDOW_VALUES * WINDOWS_MS.index(feature.window_ms)
    if feature.aggregate in {Aggregate.SPEND_MEAN_BEFORE, Aggregate.AMOUNT_OVER_MEAN}:
        operation = _QUOTIENT if feature.aggregate == Aggregate.SPEND_MEAN_BEFORE else _OVER_MEAN
        return int(operation), start + int(SUM_BEFORE), start + int(COUNT_BEFORE)
    place = start + int(_OF_CARD_WINDOW[feature.aggregate])
    return int(_TAKE), place, place


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
    """Fill one row of the feature matrix; a quotient by 0 or of what is not known is NaN, as is a model's answer."""
    amount = values[VALUE_AMOUNT]
    for index in range(plan.shape[0]):
        operation = plan[index, 0]
        first, second = values[plan[index, 1]], values[plan[index, 2]]
        if operation == _TAKE:
            value = first
        elif operation == _QUOTIENT:
            value = first / second if second > 0 else math.nan
        elif operation == _LATER:
            value = math.nan
        else:
            value = amount * second / first if second > 0 and first > 0 else math.nan
        out[index] = np.float32(value)
