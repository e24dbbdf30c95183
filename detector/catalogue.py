"""The one catalogue of features: name, entity, aggregate, window, unit, meaning, and what a missing value means.

The catalogue drives the kernels (`plan` turns it into opcodes), the models (grids of bins), the documentation and the
explanations (reason codes and the sentence keys of `configs/messages`). Feature matrices are float32 of shape
(n, FEATURE_COUNT), column i being `CATALOGUE[i]`; a missing value is NaN. A new feature is one entry here and, if its
aggregate is new, a place in `detector/features.py`, a kernel and its naive twin: `docs/adding-a-feature.md`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOWS_MS: tuple[int, ...] = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
MEMORY_MS = WINDOWS_MS[-1]
# Windows of shared entities, and how long the outcome of a payment speaks for its place.
OUTCOME_MEMORY_MS = 60 * DAY_MS
SHARED_WINDOWS_MS: tuple[int, ...] = (HOUR_MS, DAY_MS, 30 * DAY_MS, OUTCOME_MEMORY_MS)
# A shared entity's window is made of buckets no coarser than this fraction of itself (DESIGN, decision 7).
WINDOW_FRACTION = 64


class Entity(IntEnum):
    """Whose history a feature is about."""

    PAYMENT = 0
    CARD = 1
    # The terminal, or the merchant where no terminal is given.
    PLACE = 2
    MERCHANT = 3
    DEVICE = 4
    CATEGORY = 5
    CARD_TERMINAL = 6
    CARD_MERCHANT = 7
    CARD_COUNTRY = 8
    CARD_DEVICE = 9
    CARD_CATEGORY = 10


class Aggregate(IntEnum):
    """How a feature's value comes about; the opcode of the feature kernel."""

    AMOUNT = 0
    HOUR = 1
    WEEKDAY = 2
    KIND = 3
    CHANNEL = 4
    ENTRY_MODE = 5
    IP_COUNTRY_DIFFERS = 6
    COUNT = 7
    SPEND_SUM = 8
    SPEND_MEAN_BEFORE = 9
    AMOUNT_OVER_MEAN = 10
    REFUSED = 11
    DISTINCT_MERCHANTS = 12
    FRAUDS = 13
    FRAUD_RATE = 14
    IS_NEW = 15
    SECONDS_SINCE_LAST = 16
    KM_FROM_LAST = 17
    KM_PER_HOUR_FROM_LAST = 18
    KM_FROM_HOME = 19
    CATEGORY = 20
    AMOUNT_OVER_USUAL = 21
    AMOUNT_Z = 22
    HIGH_COUNT = 23
    VERY_HIGH_COUNT = 24
    DAYS_SINCE_FIRST_HIGH = 25
    PAYMENTS_SINCE_HIGH = 26
    HIGH_POINTS = 27
    HIGH_STREAK = 28
    HIGH_STREAK_DAYS = 29
    DAYS_SINCE_HIGH_FRAUD = 30
    SMALL_COUNT = 31
    HOUR_SHARE = 32
    FRAUD_RUN = 33
    FRAUD_RUN_DAYS = 34
    FRAUD_RUN_MIDDLE_DAYS = 35
    FRAUD_RUN_SPREAD_DAYS = 36
    DAYS_SINCE_FRAUD = 37
    DAYS_SINCE_GENUINE = 38
    DAYS_SINCE_OUTCOME = 39
    LAST_THREE = 40
    GENUINE_SINCE_FRAUD = 41
    PATTERN_RISK = 42
    RISKIEST = 43
    RISKY_COUNT = 44
    DISTINCT_CARDS = 45
    ANOMALY = 46


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix.

    Attributes:
        name: unique; also the name that rules and model configuration use.
        entity, aggregate, window_ms: what is computed; window_ms is 0 where there is no window.
        unit: unit of the value.
        meaning: one sentence for people.
        missing: when the value is NaN.
        grid: increasing bin edges; bin(x) is the number of edges <= x, NaN has a bin of its own behind the last.
        reason: the reason code this feature speaks for.
    """

    name: str
    entity: Entity
    aggregate: Aggregate
    window_ms: int
    unit: str
    meaning: str
    missing: str
    grid: tuple[float, ...]
    reason: str

    @property
    def text_key(self) -> str:
        """Key of the explaining sentence in `configs/messages/reasons.*.toml`."""
        return self.reason


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    """Edges from first to last, both included."""
    return tuple(first + step * index for index in range(round((last - first) / step) + 1))


# Fixed, explainable grids, the same for every portfolio: counts grow by about a half, money is finest where payments
# are, ratios grow by a tenth, days count days.
COUNTS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 100.0, 200.0, 500.0)
FEW = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0)
MONEY = (
    *(50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0),
    *_steps(1_000.0, 2_800.0, 200.0),
    *_steps(3_000.0, 9_500.0, 500.0),
    *_steps(10_000.0, 99_000.0, 1_000.0),
    *_steps(100_000.0, 975_000.0, 25_000.0),
    *_steps(1_000_000.0, 5_000_000.0, 250_000.0),
    *(10_000_000.0, 20_000_000.0),
)
SPENT = tuple(float(m * 10**e) for e in range(2, 7) for m in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
RATIOS = (
    *(0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0, 12.0, 20.0),
)
SCORES = _steps(-6.0, 6.0, 0.25)
RATES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999)
DAYS = (0.25, 0.5, 0.75, *_steps(1.0, 45.0, 1.0), 50.0)
HALF_DAYS = (*_steps(0.25, 1.75, 0.25), *_steps(2.0, 45.0, 0.5), 50.0)
SPREADS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 15.0)
POINTS = (*_steps(-30.0, 18.0, 2.0), *_steps(20.0, 100.0, 5.0), 120.0, 150.0)
STREAKS = (1.0, *_steps(2.0, 18.0, 2.0), *_steps(20.0, 95.0, 5.0), 120.0, 150.0)
SECONDS = (
    *(1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0),
    *(86_400.0, 172_800.0, 345_600.0, 604_800.0),
)
KILOMETRES = (1.0, 3.0, 10.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 1_000.0, 3_000.0, 8_000.0)
SPEEDS = (5.0, 20.0, 60.0, 120.0, 300.0, 600.0, 900.0, 2_000.0, 10_000.0)
YES_NO = (0.5,)
HOURS = tuple(float(hour) for hour in range(1, 24))
WEEKDAYS = tuple(float(day) for day in range(1, 7))
CODES = tuple(float(code) for code in range(1, 8))
# Merchant categories fall into so many classes by a hash of their name or code.
CATEGORY_CLASSES = 251
CATEGORIES = _steps(1.0, CATEGORY_CLASSES - 1.0, 1.0)
LAST_OUTCOMES = _steps(1.0, 26.0, 1.0)
RISKS = _steps(-9.0, 2.5, 0.5)
# Of the anomaly score; finest where few payments are.
ANOMALIES = (*_steps(0.02, 0.78, 0.02), *_steps(0.8, 0.99, 0.01), 0.995, 0.998)
# The logarithm of frauds over genuine payments from which a pattern is risky: one in twenty.
RISKY = -3.0

# Times the card's usual amount above which a payment is high, and very high; a known fraud this high is explained by its
# amount and says nothing about the place.
HIGH_RATIO, VERY_HIGH_RATIO = 2.2, 3.5
# Amounts, in minor units of the reference currency, with which stolen numbers are tried.
SMALL_AMOUNT = 200

_HOUR, _DAY, _WEEK, _MONTH = WINDOWS_MS
_WINDOW_NAMES = {_HOUR: "1h", _DAY: "24h", 3 * _DAY: "3d", _WEEK: "7d", 14 * _DAY: "14d", _MONTH: "30d"}
_NEVER = "never"


def _payment(
    name: str, aggregate: Aggregate, unit: str, meaning: str, missing: str, grid: tuple[float, ...], reason: str
) -> Feature:
    """A feature of the payment alone."""
    return Feature(name, Entity.PAYMENT, aggregate, 0, unit, meaning, missing, grid, reason)


def _windowed(
    entity: Entity, aggregate: Aggregate, window_ms: int, unit: str, meaning: str, grid: tuple[float, ...], reason: str
) -> Feature:
    """A feature over a sliding window; its name is made of entity, aggregate and window."""
    suffix = {
        Aggregate.COUNT: "count",
        Aggregate.SPEND_SUM: "spend",
        Aggregate.SPEND_MEAN_BEFORE: "mean_before",
        Aggregate.AMOUNT_OVER_MEAN: "amount_over_mean",
        Aggregate.REFUSED: "refused",
        Aggregate.DISTINCT_MERCHANTS: "distinct_merchants",
        Aggregate.FRAUDS: "frauds",
        Aggregate.FRAUD_RATE: "fraud_rate",
        Aggregate.HIGH_COUNT: "high",
        Aggregate.VERY_HIGH_COUNT: "very_high",
        Aggregate.HIGH_POINTS: "high_points",
        Aggregate.SMALL_COUNT: "small",
        Aggregate.RISKIEST: "riskiest",
        Aggregate.RISKY_COUNT: "risky",
        Aggregate.DISTINCT_CARDS: "cards",
    }[aggregate]
    missing = {
        Aggregate.SPEND_MEAN_BEFORE: "no earlier purchase in the window",
        Aggregate.AMOUNT_OVER_MEAN: "no earlier purchase in the window, or all of them of amount 0",
        Aggregate.FRAUD_RATE: "nothing labelled in the window",
    }.get(aggregate, _NEVER)
    if entity not in (Entity.CARD, Entity.CARD_MERCHANT):
        missing = f"no {entity.name.lower()} given" + ("" if missing == _NEVER else f", or {missing}")
    name = f"{entity.name.lower()}_{suffix}_{_WINDOW_NAMES[window_ms]}"
    return Feature(name, entity, aggregate, window_ms, unit, meaning, missing, grid, reason)


def _is_new(entity: Entity, noun: str) -> Feature:
    """Whether the card meets this terminal, merchant, country or device for the first time in 30 days."""
    return Feature(
        f"{entity.name.lower()}_is_new", entity, Aggregate.IS_NEW, MEMORY_MS, "yes or no",
        f"1 if the card has no earlier payment with this {noun} in 30 days, else 0",
        f"no {noun} given", YES_NO, f"new_{noun}",
    )  # fmt: skip


def _card(
    aggregate: Aggregate, name: str, unit: str, meaning: str, missing: str, grid: tuple[float, ...], reason: str
) -> Feature:
    """A feature of the card's last state, without a window of its own."""
    return Feature(name, Entity.CARD, aggregate, 0, unit, meaning, missing, grid, reason)


def _place(aggregate: Aggregate, name: str, unit: str, meaning: str, missing: str, grid: tuple[float, ...]) -> Feature:
    """A feature of the latest known outcomes at the place."""
    gap = "" if missing == _NEVER else f", or {missing}"
    return Feature(
        f"place_{name}", Entity.PLACE, aggregate, OUTCOME_MEMORY_MS, unit, meaning, f"no terminal or merchant given{gap}",
        grid, "place_recent_frauds",
    )  # fmt: skip


def _looking_back(
    aggregate: Aggregate, name: str, unit: str, meaning: str, missing: str, grid: tuple[float, ...], reason: str
) -> Feature:
    """A feature of the card's payments of 30 days."""
    return Feature(f"card_{name}", Entity.CARD, aggregate, MEMORY_MS, unit, meaning, missing, grid, reason)


# The feature that is a model's answer and not the walk's: the trees' score, told before the model with labels is asked.
ANOMALY = "anomaly"

_A = Aggregate
_PAYMENTS = "payments"
_MINOR = "minor units of the reference currency"
_HIGH = f"above {HIGH_RATIO} times the card's usual amount"
_BY_CLASSES = "counted by eight classes of cards: 1, 2, 4, 6, 8, 11, 17, 25 and more"

CATALOGUE: tuple[Feature, ...] = (
    _payment("amount", _A.AMOUNT, _MINOR, "Amount of this payment", _NEVER, MONEY, "amount_high"),
    _payment("hour", _A.HOUR, "hour of day, UTC", "Hour in which the payment happens", _NEVER, HOURS, "unusual_hour"),
    _payment("weekday", _A.WEEKDAY, "0 Monday to 6 Sunday, UTC", "Day of the week", _NEVER, WEEKDAYS, "unusual_day"),
    _payment("kind", _A.KIND, "code", "Kind of payment, a code of the vocabulary", _NEVER, CODES, "kind"),
    _payment("channel", _A.CHANNEL, "code", "Channel, a code of the vocabulary", "not given", CODES, "channel"),
    _payment("entry_mode", _A.ENTRY_MODE, "code", "How the card was presented", "not given", CODES, "entry_mode"),
    _payment(
        "ip_country_differs", _A.IP_COUNTRY_DIFFERS, "yes or no", "1 if the device's country is not the payment's",
        "one of the countries is not given", YES_NO, "ip_country_differs",
    ),
    _payment("category", _A.CATEGORY, "class", "Class of the merchant's category, a hash of its code or name", "not given", CATEGORIES, "risky_pattern"),
    Feature("pattern_risk", Entity.PAYMENT, _A.PATTERN_RISK, OUTCOME_MEMORY_MS, "log ratio", "Logarithm of known frauds over genuine payments of the same category, size (four classes a doubling) and part of the day (three hours)", _NEVER, RISKS, "risky_pattern"),
    _windowed(Entity.CARD, _A.RISKIEST, _DAY, "log ratio", "Highest such risk, as it was scored, among the card's earlier payments not known to be genuine", RISKS, "risky_pattern"),
    *(
        _windowed(Entity.CARD, _A.RISKY_COUNT, w, _PAYMENTS, "How many of them were risky: one fraud in twenty, or more", COUNTS, "risky_pattern")
        for w in (_DAY, 3 * _DAY)
    ),
    *(
        _windowed(Entity.CARD, _A.COUNT, w, _PAYMENTS, "Payments of the card, this one included", COUNTS, "many_payments")
        for w in WINDOWS_MS
    ),
    *(
        _windowed(Entity.CARD, _A.SPEND_SUM, w, _MINOR, "Spent with the card, this payment included", SPENT, "high_spend")
        for w in (_HOUR, _DAY, _WEEK)
    ),
    _windowed(Entity.CARD, _A.SPEND_MEAN_BEFORE, _MONTH, _MINOR, "Mean purchase of the card before this one", SPENT, "amount_above_usual"),
    *(
        _windowed(Entity.CARD, _A.REFUSED, w, "attempts", "Refused attempts of the card", FEW, "refused_attempts")
        for w in (_HOUR, _DAY)
    ),
    *(
        _windowed(Entity.CARD, _A.DISTINCT_MERCHANTS, w, "merchants", "Different merchants the card paid", COUNTS, "many_merchants")
        for w in (_HOUR, _DAY, _MONTH)
    ),
    _card(_A.SECONDS_SINCE_LAST, "card_seconds_since_last", "seconds", "Time since the card's last payment", "no payment in 30 days", SECONDS, "quick_succession"),
    _card(_A.KM_FROM_LAST, "card_km_from_last", "km", "Distance from the card's last place", "a place is not given, or the last is older than 30 days", KILOMETRES, "far_from_last"),
    _card(_A.KM_PER_HOUR_FROM_LAST, "card_km_per_hour", "km/h", "Speed needed from the card's last place", "as for the distance", SPEEDS, "impossible_travel"),
    _card(_A.KM_FROM_HOME, "card_km_from_home", "km", "Distance from the cardholder's home", "a place is not given", KILOMETRES, "far_from_home"),
    _card(_A.AMOUNT_OVER_USUAL, "amount_over_usual", "ratio", "Amount over the card's usual amount: the mean of what was not suspiciously high, or turned out to be genuine", "nothing usual is known, or this spends nothing", RATIOS, "amount_above_usual"),
    _card(_A.AMOUNT_Z, "amount_z", "standard deviations", "Logarithm of the amount against the card's usual ones", "fewer than three usual amounts", SCORES, "amount_above_usual"),
    *(
        _windowed(Entity.CARD, _A.HIGH_COUNT, w, _PAYMENTS, f"Earlier payments {_HIGH}, without those known to be genuine", COUNTS, "many_high_payments")
        for w in (3 * _DAY, _WEEK)
    ),
    *(
        _windowed(Entity.CARD, _A.VERY_HIGH_COUNT, w, _PAYMENTS, f"Earlier payments above {VERY_HIGH_RATIO} times the card's usual amount, without those known to be genuine", COUNTS, "many_high_payments")
        for w in (_WEEK, 14 * _DAY)
    ),
    _looking_back(_A.DAYS_SINCE_FIRST_HIGH, "days_since_first_high", "days", f"Age of the first payment in 30 days {_HIGH}", "none", DAYS, "many_high_payments"),
    _looking_back(_A.PAYMENTS_SINCE_HIGH, "payments_since_high", _PAYMENTS, f"Payments since the last one {_HIGH}", "none in 30 days", COUNTS, "many_high_payments"),
    *(
        _windowed(Entity.CARD, _A.HIGH_POINTS, w, "points", "Points of earlier payments: -1 for a usual amount, up to 10 for a very high one, none for what is known to be genuine", POINTS, "many_high_payments")
        for w in (3 * _DAY, _WEEK, 14 * _DAY)
    ),
    _looking_back(_A.HIGH_STREAK, "high_streak", "points", "Largest sum of such points over the latest payments, however many", _NEVER, STREAKS, "many_high_payments"),
    _looking_back(_A.HIGH_STREAK_DAYS, "high_streak_days", "days", "Age of the first of those payments", "no such sum is above 0", DAYS, "many_high_payments"),
    _windowed(Entity.CARD, _A.FRAUDS, _MONTH, "frauds", "Payments of the card known to be frauds", FEW, "card_known_fraud"),
    _looking_back(_A.DAYS_SINCE_HIGH_FRAUD, "days_since_high_fraud", "days", f"Age of the last known fraud {_HIGH}", "none in 30 days", DAYS, "card_known_fraud"),
    _windowed(Entity.CARD, _A.SMALL_COUNT, _DAY, _PAYMENTS, f"Earlier payments of at most {SMALL_AMOUNT / 100:.2f}", COUNTS, "card_testing"),
    _looking_back(_A.HOUR_SHARE, "hour_share", "share", "Share of the card's payments within an hour of this time of day", "fewer than five payments in 30 days", RATES, "usual_hour_differs"),
    _is_new(Entity.CARD_TERMINAL, "terminal"),
    _is_new(Entity.CARD_MERCHANT, "merchant"),
    _is_new(Entity.CARD_COUNTRY, "country"),
    _is_new(Entity.CARD_DEVICE, "device"),
    _is_new(Entity.CARD_CATEGORY, "category"),
    _windowed(Entity.CARD_MERCHANT, _A.COUNT, _MONTH, _PAYMENTS, "Payments of the card at this merchant", COUNTS, "many_at_merchant"),
    _windowed(Entity.CARD_CATEGORY, _A.COUNT, _MONTH, _PAYMENTS, "Payments of the card in this category", COUNTS, "many_in_category"),
    *(
        _windowed(Entity.PLACE, _A.COUNT, w, _PAYMENTS, "Payments at this terminal, or merchant where none is given", COUNTS, "place_burst")
        for w in (_HOUR, _DAY)
    ),
    _windowed(Entity.PLACE, _A.DISTINCT_CARDS, _HOUR, "cards", f"Different cards at this terminal, or merchant where none is given, {_BY_CLASSES}", COUNTS, "many_cards_here"),
    _place(_A.FRAUD_RUN, "fraud_run", "frauds", "Latest known outcomes here that are all frauds, without those whose amount explains them", _NEVER, COUNTS),
    _place(_A.FRAUD_RUN_DAYS, "fraud_run_days", "days", "Age of the first of them", "there are none", HALF_DAYS),
    _place(_A.FRAUD_RUN_MIDDLE_DAYS, "fraud_run_middle_days", "days", "Likely age of their beginning: between the last genuine payment before them and the first", "there are none", HALF_DAYS),
    _place(_A.FRAUD_RUN_SPREAD_DAYS, "fraud_run_spread_days", "days", "How uncertain that is", "there are none", SPREADS),
    _place(_A.DAYS_SINCE_FRAUD, "days_since_fraud", "days", "Age of the last known fraud here", "none in 60 days", HALF_DAYS),
    _place(_A.DAYS_SINCE_GENUINE, "days_since_genuine", "days", "Age of the last payment here known to be genuine", "none in 60 days", HALF_DAYS),
    _place(_A.DAYS_SINCE_OUTCOME, "days_since_outcome", "days", "Age of the last payment here whose outcome is known", "none in 60 days", DAYS),
    _place(_A.LAST_THREE, "last_three", "code", "The last three known outcomes, the latest first, in base 3: 2 a fraud, 1 genuine, 0 none", _NEVER, LAST_OUTCOMES),
    _place(_A.FRAUD_RATE, "fraud_rate_10", "share", "Frauds among the last ten known outcomes", "nothing known in 60 days", RATES),
    _place(_A.GENUINE_SINCE_FRAUD, "genuine_since_fraud", _PAYMENTS, "Payments known to be genuine since the last known fraud", _NEVER, COUNTS),
    _windowed(Entity.MERCHANT, _A.AMOUNT_OVER_MEAN, _MONTH, "ratio", "Amount over the mean purchase at this merchant", RATIOS, "amount_unusual_here"),
    _windowed(Entity.MERCHANT, _A.FRAUD_RATE, _MONTH, "share", "Frauds among the merchant's payments whose outcome is known", RATES, "merchant_known_fraud"),
    *(
        _windowed(Entity.DEVICE, _A.COUNT, w, _PAYMENTS, "Payments at this device", COUNTS, "device_burst")
        for w in (_HOUR, _DAY)
    ),
    _windowed(Entity.DEVICE, _A.DISTINCT_CARDS, _HOUR, "cards", f"Different cards on this device, {_BY_CLASSES}", COUNTS, "many_cards_on_device"),
    _windowed(Entity.DEVICE, _A.FRAUDS, _MONTH, "frauds", "Payments at this device known to be frauds", FEW, "device_known_fraud"),
    Feature("category_amount_z", Entity.CATEGORY, _A.AMOUNT_Z, _MONTH, "standard deviations", "Logarithm of the amount against those of the category in 30 days", "no category given, or fewer than 20 payments in it", SCORES, "amount_unusual_for_category"),
    _payment(ANOMALY, _A.ANOMALY, "0 to 1", "How unlike what is usual the payment is, by the trees that need no label; 0 until they have seen enough", _NEVER, ANOMALIES, "unusual_pattern"),
)  # fmt: skip

FEATURE_COUNT = len(CATALOGUE)
FEATURE_INDEX: dict[str, int] = {feature.name: index for index, feature in enumerate(CATALOGUE)}


def catalogue_digest() -> str:
    """Hex digest of what models and stored features depend on: names, order, definitions and grids."""
    text = "\n".join(
        f"{f.name}|{int(f.entity)}|{int(f.aggregate)}|{f.window_ms}|{','.join(map(repr, f.grid))}" for f in CATALOGUE
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
