"""Looking back: what a card's own payments of the last 30 days say of the one at hand.

A card looks at the payments of its longest window, at most the last `CARD_MEMORY_PAYMENTS`, without those taken back.
Each was compared with the card's usual amount when it was scored, and carries that ratio as a code: 256 times its
binary logarithm. So high payments can be told, counted and dated without amounts of other cards or currencies.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.cards import Tokens, column_start, entry_time, first_met, log_amount, usual_count, usual_logs
from detector.catalogue import DAY_MS, HIGH_RATIO, SMALL_AMOUNT, VERY_HIGH_RATIO
from detector.features import (
    CARD_AMOUNT_Z,
    CARD_FIRST_HIGH,
    CARD_FRAUDS,
    CARD_HIGH_3D,
    CARD_HIGH_7D,
    CARD_HOUR_SHARE,
    CARD_LAST_HIGH_FRAUD,
    CARD_OVER_USUAL,
    CARD_POINTS_3D,
    CARD_POINTS_7D,
    CARD_POINTS_14D,
    CARD_RISKIEST,
    CARD_RISKY_3D,
    CARD_RISKY_DAY,
    CARD_SINCE_HIGH,
    CARD_SMALL_DAY,
    CARD_STREAK,
    CARD_STREAK_AGE,
    CARD_VERY_HIGH_7D,
    CARD_VERY_HIGH_14D,
)
from detector.jit import kernel
from detector.layout import (
    AMOUNT,
    ATTRIBUTE_FRAUD,
    ATTRIBUTE_GENUINE,
    ATTRIBUTE_REVERSED,
    ATTRIBUTE_SUPERSEDED,
    ATTRIBUTES,
    CARD_MEMORY_PAYMENTS,
    CARD_WINDOW_WORDS,
    CARD_WINDOWS,
    CATEGORY,
    COUNT,
    COUNTRY_SHIFT,
    DEVICE,
    HOUR_MASK,
    HOUR_SHIFT,
    MERCHANT,
    RATIO_MASK,
    RATIO_SHIFT,
    RISK_SHIFT,
    START,
    TERMINAL,
    USUAL_SQUARES,
    USUAL_SUM,
)
from detector.memory import Memory
from detector.risks import RISK_FIRST, RISK_STEP, RISKY_CLASS

# Codes of a ratio: 0 unknown, else 1 + 2048 + 256 log2(ratio) within 12 bits.
_LOG_STEPS = 256.0
_EVEN = 2049


def _code_above(ratio: float) -> int:
    """The first code of ratios above a limit."""
    return _EVEN + math.floor(_LOG_STEPS * math.log2(ratio)) + 1


HIGH_CODE, VERY_HIGH_CODE = _code_above(HIGH_RATIO), _code_above(VERY_HIGH_RATIO)
# Points of a payment by its ratio: what is usual counts against suspicion, what is high for it, more and more.
_POINT_LIMITS = (1.5, 2.0, 2.5, 3.0, 4.0)
_POINT_VALUES = (-1, 0, 2, 4, 7, 10)
_MOST_POINTS = _POINT_VALUES[-1]
# Points by code, 0 for an unknown ratio.
_POINT_CODES = tuple(_code_above(limit) for limit in _POINT_LIMITS)
POINTS_OF_CODE = np.array(
    [0, *(_POINT_VALUES[sum(code >= first for first in _POINT_CODES)] for code in range(1, RATIO_MASK + 1))],
    dtype=np.int64,
)
_FEWEST_USUAL, _FEWEST_HOURS = 3, 5
# Spread that is allowed for when few payments are known: three times a quarter of a doubling, over their number.
_SPREAD_OF_FEW = 3.0 * 64.0 * 64.0
_HOURS = 24
_DAY = float(DAY_MS)
_REVERSED_BIT = 2
_1D, _3D, _7D, _14D = DAY_MS, 3 * DAY_MS, 7 * DAY_MS, 14 * DAY_MS
# A class of risk stands for its middle.
_MIDDLE = 0.5
_CATEGORY_MASK = (1 << HOUR_SHIFT) - 1


@kernel
def ratio_code(memory: Memory, at: int, amount: int) -> int:
    """The code of an amount over the card's usual one, 0 where none is known."""
    count, total = usual_count(memory, at), memory[at + USUAL_SUM]
    if count <= 0 or total <= 0:
        return 0
    if amount == 0:
        return 1
    code = _EVEN + round(_LOG_STEPS * math.log2(amount * count / total))
    return min(max(code, 1), RATIO_MASK)


@kernel
def fill_usual_values(memory: Memory, at: int, amount: int, spends: int, values: NDArray[np.float64]) -> None:
    """An amount that is spent against the card's usual ones."""
    count, total = usual_count(memory, at), memory[at + USUAL_SUM]
    values[CARD_OVER_USUAL] = values[CARD_AMOUNT_Z] = math.nan
    if spends and count > 0 and total > 0:
        values[CARD_OVER_USUAL] = amount * float(count) / total
    if spends and count >= _FEWEST_USUAL:
        mean = usual_logs(memory, at) / float(count)
        variance = max(memory[at + USUAL_SQUARES] / float(count) - mean * mean, 0.0)
        values[CARD_AMOUNT_Z] = (log_amount(amount) - mean) / math.sqrt(variance + _SPREAD_OF_FEW / count + 1.0)


@kernel
def look_for(
    memory: Memory, half: NDArray[np.uint32], at: int, tokens: Tokens, country: int
) -> tuple[int, int, int, int, int]:
    """How often the card met this merchant, terminal, device, country and category."""
    attributes, merchants = column_start(memory, at, ATTRIBUTES), column_start(memory, at, MERCHANT)
    terminals, devices = column_start(memory, at, TERMINAL), column_start(memory, at, DEVICE)
    categories = column_start(memory, at, CATEGORY)
    merchant, terminal, device = np.uint32(tokens[0]), np.uint32(tokens[1]), np.uint32(tokens[2])
    category, code, mask = np.uint32(tokens[3] & _CATEGORY_MASK), np.uint32(country), np.uint32(_CATEGORY_MASK)
    at_merchant = at_terminal = on_device = in_country = in_category = np.uint32(0)
    one = np.uint32(1)
    for entry in range(first_met(memory, at), memory[at + COUNT]):
        # Unsigned places and narrow types let LLVM make vectors of this.
        bits = half[np.uint64(attributes + entry)]
        live = ((bits >> np.uint32(_REVERSED_BIT)) & one) ^ one
        at_merchant += live & np.uint32(half[np.uint64(merchants + entry)] == merchant)
        at_terminal += live & np.uint32(half[np.uint64(terminals + entry)] == terminal)
        on_device += live & np.uint32(half[np.uint64(devices + entry)] == device)
        in_country += live & np.uint32((bits >> np.uint32(COUNTRY_SHIFT)) == code)
        in_category += live & np.uint32((half[np.uint64(categories + entry)] & mask) == category)
    return int(at_merchant), int(at_terminal), int(on_device), int(in_country), int(in_category)


@kernel
def fill_habit_values(
    memory: Memory, half: NDArray[np.uint32], at: int, hour: int, day_start: int, values: NDArray[np.float64]
) -> None:
    """At which hours the card pays, and how many small payments it made since the entry `day_start`."""
    attributes, categories = column_start(memory, at, ATTRIBUTES), column_start(memory, at, CATEGORY)
    amounts = column_start(memory, at, AMOUNT)
    before, after = np.uint32((hour + _HOURS - 1) % _HOURS), np.uint32((hour + 1) % _HOURS)
    now, one, small = np.uint32(hour), np.uint32(1), np.uint32(SMALL_AMOUNT)
    payments = alike = few = np.uint32(0)
    for entry in range(first_met(memory, at), memory[at + COUNT]):
        live = ((half[np.uint64(attributes + entry)] >> np.uint32(_REVERSED_BIT)) & one) ^ one
        then = (half[np.uint64(categories + entry)] >> np.uint32(HOUR_SHIFT)) & np.uint32(HOUR_MASK)
        payments += live
        alike += live & (np.uint32(then == now) | np.uint32(then == before) | np.uint32(then == after))
    for entry in range(max(day_start, first_met(memory, at)), memory[at + COUNT]):
        live = ((half[np.uint64(attributes + entry)] >> np.uint32(_REVERSED_BIT)) & one) ^ one
        few += live & np.uint32(half[np.uint64(amounts + entry)] <= small)
    values[CARD_HOUR_SHARE] = float(alike) / float(payments) if payments >= _FEWEST_HOURS else math.nan
    values[CARD_SMALL_DAY] = few


@kernel
def fill_high_values(
    memory: Memory, half: NDArray[np.uint32], at: int, time_ms: int, values: NDArray[np.float64]
) -> None:
    """How high the card's payments were lately, the youngest first, and which of them are known to be frauds."""
    attributes, categories = column_start(memory, at, ATTRIBUTES), column_start(memory, at, CATEGORY)
    riskiest, risky_1, risky_3 = 0, 0, 0
    for place in (CARD_FIRST_HIGH, CARD_SINCE_HIGH, CARD_STREAK_AGE, CARD_LAST_HIGH_FRAUD):
        values[place] = math.nan
    high_3, high_7, very_7, very_14, points_3, points_7, points_14 = 0, 0, 0, 0, 0, 0, 0
    frauds, since, streak, largest = 0, 0, 0, 0
    for entry in range(memory[at + COUNT] - 1, first_met(memory, at) - 1, -1):
        bits = np.int64(half[attributes + entry])
        if bits & ATTRIBUTE_REVERSED:
            continue
        age_ms = time_ms - entry_time(memory, half, at, entry)
        code = (bits >> RATIO_SHIFT) & RATIO_MASK
        genuine, fraud = bits & ATTRIBUTE_GENUINE, bits & ATTRIBUTE_FRAUD
        points = POINTS_OF_CODE[code]
        if code >= HIGH_CODE and not genuine:
            high_3 += 1 if age_ms < _3D else 0
            high_7 += 1 if age_ms < _7D else 0
            if code >= VERY_HIGH_CODE:
                very_7 += 1 if age_ms < _7D else 0
                very_14 += 1 if age_ms < _14D else 0
            if math.isnan(values[CARD_SINCE_HIGH]):
                values[CARD_SINCE_HIGH] = since
            values[CARD_FIRST_HIGH] = age_ms / _DAY
        since += 1
        if not genuine and age_ms < _3D:
            risk = int(half[categories + entry]) >> RISK_SHIFT
            riskiest = max(riskiest, risk) if age_ms < _1D else riskiest
            risky_1 += 1 if risk >= RISKY_CLASS and age_ms < _1D else 0
            risky_3 += 1 if risk >= RISKY_CLASS else 0
        known = min(points, 0) if genuine else points
        points_3 += known if age_ms < _3D else 0
        points_7 += known if age_ms < _7D else 0
        points_14 += known if age_ms < _14D else 0
        if fraud:
            frauds += 1
            if code >= HIGH_CODE and math.isnan(values[CARD_LAST_HIGH_FRAUD]):
                values[CARD_LAST_HIGH_FRAUD] = age_ms / _DAY
        if fraud and code >= HIGH_CODE:
            streak += _MOST_POINTS
        else:
            streak += min(points, 0) if fraud or genuine else points
        if streak > largest:
            largest = streak
            values[CARD_STREAK_AGE] = age_ms / _DAY
    values[CARD_HIGH_3D], values[CARD_HIGH_7D] = high_3, high_7
    values[CARD_VERY_HIGH_7D], values[CARD_VERY_HIGH_14D] = very_7, very_14
    values[CARD_POINTS_3D], values[CARD_POINTS_7D], values[CARD_POINTS_14D] = points_3, points_7, points_14
    values[CARD_RISKIEST] = RISK_FIRST + RISK_STEP * (riskiest - _MIDDLE)
    values[CARD_RISKY_DAY], values[CARD_RISKY_3D] = risky_1, risky_3
    values[CARD_STREAK] = largest
    values[CARD_FRAUDS] = frauds


@kernel
def distinct_merchants(memory: Memory, half: NDArray[np.uint32], at: int, window: int) -> int:
    """How many merchants the card paid in a window, among its last payment and those that it looked back at."""
    attributes, merchants = column_start(memory, at, ATTRIBUTES), column_start(memory, at, MERCHANT)
    first = memory[at + CARD_WINDOWS + window * CARD_WINDOW_WORDS + START]
    first = max(first, memory[at + COUNT] - 1 - CARD_MEMORY_PAYMENTS)
    unlike = np.uint32(ATTRIBUTE_REVERSED | ATTRIBUTE_SUPERSEDED)
    nobody = np.uint32(0)
    found = np.uint32(0)
    for entry in range(first, memory[at + COUNT]):
        is_last = np.uint32((half[np.uint64(attributes + entry)] & unlike) == nobody)
        found += is_last & np.uint32(half[np.uint64(merchants + entry)] != nobody)
    return int(found)
