"""A payment as the slow twin of the engine sees it, and the obvious arithmetic on payments and outcomes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from detector.catalogue import Aggregate, Entity, Feature
from detector.tokens import fingerprint
from detector.vocabulary import APPROVED_RESPONSE_CODES

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EARTH_RADIUS_KM = 6371.0088
SPENDING = ("purchase", "cash")
PAYMENTS = ("purchase", "cash", "refund", "verification")
# The fingerprint key of tests.
KEY = bytes(range(16))
CARD_MEMORY_PAYMENTS = 1024
LARGEST_AMOUNT = 2**32 - 1
HIGH_RATIO, VERY_HIGH_RATIO, SMALL_AMOUNT = 2.2, 3.5, 200
POINT_LIMITS, POINTS = (1.5, 2.0, 2.5, 3.0, 4.0), (-1, 0, 2, 4, 7, 10)
RISKS = [-9 + step / 2 for step in range(24)]
OUTCOMES_KEPT, OUTCOME_MEMORY_MS = 32, 60 * DAY_MS
KEYS = {
    Entity.CARD: "card_token",
    Entity.MERCHANT: "merchant_id",
    Entity.DEVICE: "device_id",
    Entity.CARD_TERMINAL: "terminal_id",
    Entity.CARD_MERCHANT: "merchant_id",
    Entity.CARD_COUNTRY: "country",
    Entity.CARD_DEVICE: "device_id",
}

LOOKING_BACK = frozenset(
    {
        Aggregate.HIGH_COUNT, Aggregate.VERY_HIGH_COUNT, Aggregate.DAYS_SINCE_FIRST_HIGH, Aggregate.PAYMENTS_SINCE_HIGH,
        Aggregate.HIGH_POINTS, Aggregate.HIGH_STREAK, Aggregate.HIGH_STREAK_DAYS, Aggregate.DAYS_SINCE_HIGH_FRAUD,
        Aggregate.SMALL_COUNT, Aggregate.HOUR_SHARE, Aggregate.RISKIEST, Aggregate.RISKY_COUNT,
    }
)  # fmt: skip

Record = Mapping[str, Any]


@dataclass
class Payment:
    """A payment as it was seen, and what became of it."""

    record: Record
    partition: int
    time_ms: int
    amount: int
    refused: bool
    reversed: bool = False
    label: str | None = None
    # Against the card's usual amount when it was scored: 256 times the binary logarithm of the ratio, None unknown.
    steps: int | None = None
    trusted: bool = False
    usual: tuple[int, ...] = ()
    category_z: float = math.nan
    risk: float = math.nan

    @property
    def kind(self) -> str:
        return kind_of(self.record)

    def order(self) -> tuple[int, int]:
        """Where its outcome stands among those of its place: by time, equal ones by 16 bits of the identity."""
        identity = fingerprint(f"{self.record['card_token']}\x1f{self.record['transaction_id']}", KEY)
        return self.time_ms, identity[1] & 0xFFFF

    @property
    def high(self) -> bool:
        return self.steps is not None and self.steps > 256 * math.log2(HIGH_RATIO)

    @property
    def very_high(self) -> bool:
        return self.steps is not None and self.steps > 256 * math.log2(VERY_HIGH_RATIO)

    @property
    def points(self) -> int:
        if self.steps is None:
            return 0
        return POINTS[sum(self.steps > 256 * math.log2(limit) for limit in POINT_LIMITS)]

    @property
    def place(self) -> tuple[str, Any] | None:
        for key in ("terminal_id", "merchant_id"):
            if self.record.get(key):
                return key, self.record[key]
        return None

    @property
    def category(self) -> Any:
        return category_of(self.record)

    @property
    def pattern(self) -> tuple[Any, int, int]:
        """Category, size in four classes a doubling, and part of the day of three hours."""
        return self.category, int(4 * math.log2(max(self.amount, 1))), self.time_ms // HOUR_MS % 24 // 3

    @property
    def risk_class(self) -> int:
        return sum(self.risk >= edge for edge in RISKS)

    @property
    def spends(self) -> bool:
        return self.kind in SPENDING


def kind_of(record: Record) -> str:
    return str(record.get("kind", "purchase"))


def category_of(record: Record) -> Any:
    """The category's name, or else its code."""
    return record.get("merchant_category") or record.get("mcc") or None


def category_class(record: Record) -> float:
    """One of 251 classes, by 32 bits of the name's fingerprint under a key of zeros, or of the spread-out code."""
    name = record.get("merchant_category")
    if name:
        return (fingerprint(name, bytes(16))[0] & 0xFFFFFFFF) % 251
    return (int(record["mcc"]) * 0x9E3779B97F4A7C15 & 0xFFFFFFFF) % 251 if record.get("mcc") else math.nan


def log_steps(amount: int) -> int:
    """256 times the binary logarithm."""
    return round(256 * math.log2(max(amount, 1)))


def is_refused(record: Record) -> bool:
    """Whether authorisation, or asking the cardholder, ended with a refusal."""
    code = record.get("response_code")
    return (code is not None and code not in APPROVED_RESPONSE_CODES) or record.get("step_up") == "failed"


def says_outcome(record: Record) -> bool:
    """Whether a record says at all how authorisation, or asking the cardholder, ended."""
    return record.get("response_code") is not None or record.get("step_up") is not None


def microdegrees(record: Record, prefix: str = "") -> tuple[int, int] | None:
    """The place of a payment, or of a home, if both coordinates are given."""
    latitude, longitude = record.get(prefix + "latitude"), record.get(prefix + "longitude")
    if latitude is None or longitude is None:
        return None
    return round(latitude * 1e6), round(longitude * 1e6)


def place_taken_off(record: Record) -> dict[str, Any]:
    """The record as if nobody had said where it was."""
    return {name: value for name, value in record.items() if name not in ("latitude", "longitude")}


def kilometres(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Great-circle distance by the haversine formula."""
    radians = math.pi / 180e6
    up, across = math.sin((b[0] - a[0]) * radians / 2), math.sin((b[1] - a[1]) * radians / 2)
    chord = up * up + math.cos(a[0] * radians) * math.cos(b[0] * radians) * (across * across)
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def mean(amounts: Iterable[int]) -> float:
    """Mean of integers, NaN of none."""
    values = list(amounts)
    return sum(values) / len(values) if values else math.nan


def over_mean(amount: int, others: Iterable[int]) -> float:
    """An amount over the mean of others, NaN where there is no mean or it is 0."""
    values = list(others)
    return amount * len(values) / sum(values) if sum(values) > 0 else math.nan


def streak_points(payment: Payment) -> int:
    """Points of a payment in a streak: a known high fraud has the most, what else is known none above 0."""
    if payment.label == "fraud" and payment.high:
        return POINTS[-1]
    return payment.points if payment.label is None else min(payment.points, 0)


def cards_by_classes(payments: Iterable[Payment]) -> int:
    """About how many cards made these payments: linear counting by three bits of the card's fingerprint."""
    used = len({fingerprint(p.record["card_token"], KEY)[1] % 8 for p in payments})
    return 25 if used == 8 else round(-8 * math.log(1 - used / 8))


def outcome_value(feature: Feature, outcomes: list[tuple[float, bool]]) -> float:
    """An aggregate of known outcomes: age in days and whether it was a fraud, the youngest first."""
    genuine = [days for days, fraud in outcomes if not fraud]
    frauds = [days for days, fraud in outcomes if fraud]
    run = [days for days, _ in itertools.takewhile(lambda outcome: outcome[1], outcomes)]
    before = min(run[-1] + 30, genuine[0]) if run and genuine else (run[-1] + 30 if run else math.nan)
    match feature.aggregate:
        case Aggregate.FRAUD_RUN:
            return len(run)
        case Aggregate.FRAUD_RUN_DAYS:
            return run[-1] if run else math.nan
        case Aggregate.FRAUD_RUN_MIDDLE_DAYS:
            return (run[-1] + before) / 2 if run else math.nan
        case Aggregate.FRAUD_RUN_SPREAD_DAYS:
            return before - run[-1] if run else math.nan
        case Aggregate.DAYS_SINCE_FRAUD:
            return frauds[0] if frauds else math.nan
        case Aggregate.DAYS_SINCE_GENUINE:
            return genuine[0] if genuine else math.nan
        case Aggregate.DAYS_SINCE_OUTCOME:
            return outcomes[0][0] if outcomes else math.nan
        case Aggregate.LAST_THREE:
            codes = [2 if fraud else 1 for _, fraud in outcomes[:3]]
            first, second, third = [*codes, 0, 0, 0][:3]
            return 9 * first + 3 * second + third
        case Aggregate.FRAUD_RATE:
            return mean(int(fraud) for _, fraud in outcomes[:10])
        case Aggregate.GENUINE_SINCE_FRAUD:
            return len(list(itertools.takewhile(lambda outcome: not outcome[1], outcomes)))
    raise NotImplementedError(feature)
