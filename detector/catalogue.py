"""The one catalogue of features: name, entity, aggregate, window, unit, meaning, and what a missing value means.

The catalogue drives the kernels (`plan` turns it into opcodes), the models (grids of bins), the documentation and the
explanations (reason codes and the sentence keys of `configs/messages`). Feature matrices are float32 of shape
(n, FEATURE_COUNT), column i being `CATALOGUE[i]`; a missing value is NaN. A new feature is one entry here and, if its
aggregate is new, one branch in `detector/features.py` with its naive twin in `tests/naive.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

SECOND_MS = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOWS_MS: tuple[int, ...] = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
MEMORY_MS = WINDOWS_MS[-1]
# A shared entity's window is made of buckets no coarser than this fraction of itself (DESIGN, decision 7).
WINDOW_FRACTION = 64


class Entity(IntEnum):
    """Whose history a feature is about."""

    PAYMENT = 0
    CARD = 1
    TERMINAL = 2
    MERCHANT = 3
    DEVICE = 4
    CARD_TERMINAL = 5
    CARD_MERCHANT = 6
    CARD_COUNTRY = 7
    CARD_DEVICE = 8


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


# Fixed, explainable grids: counts grow by about a half, money and ratios by the 1-2-5 series or finer.
COUNTS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 17.0, 25.0, 40.0, 60.0, 100.0, 200.0, 500.0)
FEW = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0)
MONEY = tuple(float(m * 10**e) for e in range(2, 7) for m in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
RATIOS = (
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.25,
    1.5,
    1.75,
    2.0,
    2.25,
    2.5,
    2.75,
    3.0,
    3.5,
    4.0,
    4.5,
    5.0,
    6.0,
    8.0,
    12.0,
    20.0,
    50.0,
)
RATES = (0.001, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SECONDS = (
    1.0,
    10.0,
    60.0,
    300.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    28800.0,
    57600.0,
    86400.0,
    172800.0,
    604800.0,
)
KILOMETRES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 8000.0)
SPEEDS = (5.0, 20.0, 60.0, 120.0, 300.0, 600.0, 900.0, 2000.0, 10000.0)
YES_NO = (0.5,)
HOURS = tuple(float(hour) for hour in range(1, 24))
WEEKDAYS = tuple(float(day) for day in range(1, 7))
CODES = tuple(float(code) for code in range(1, 8))

_HOUR, _DAY, _WEEK, _MONTH = WINDOWS_MS
_WINDOW_NAMES = {_HOUR: "1h", _DAY: "24h", _WEEK: "7d", _MONTH: "30d"}
_NEVER = "never"
_NO_EARLIER = "the card has no earlier purchase in the window"


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


_A = Aggregate
_PAYMENTS = "payments"
_MINOR = "minor units of the reference currency"

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
    *(
        _windowed(Entity.CARD, _A.COUNT, w, _PAYMENTS, "Payments of the card, this one included", COUNTS, "many_payments")
        for w in WINDOWS_MS
    ),
    *(
        _windowed(Entity.CARD, _A.SPEND_SUM, w, _MINOR, "Spent with the card, this payment included", MONEY, "high_spend")
        for w in (_HOUR, _DAY, _WEEK)
    ),
    _windowed(Entity.CARD, _A.SPEND_MEAN_BEFORE, _MONTH, _MINOR, "Mean purchase of the card before this one", MONEY, "amount_above_usual"),
    *(
        _windowed(Entity.CARD, _A.AMOUNT_OVER_MEAN, w, "ratio", "Amount over the card's mean purchase before it", RATIOS, "amount_above_usual")
        for w in (_WEEK, _MONTH)
    ),
    *(
        _windowed(Entity.CARD, _A.REFUSED, w, "attempts", "Refused attempts of the card", FEW, "refused_attempts")
        for w in (_HOUR, _DAY)
    ),
    *(
        _windowed(Entity.CARD, _A.DISTINCT_MERCHANTS, w, "merchants", "Different merchants the card paid", COUNTS, "many_merchants")
        for w in (_HOUR, _DAY, _MONTH)
    ),
    _windowed(Entity.CARD, _A.FRAUDS, _MONTH, "frauds", "Frauds on this card that became known", FEW, "card_known_fraud"),
    _card(_A.SECONDS_SINCE_LAST, "card_seconds_since_last", "seconds", "Time since the card's last payment", "no payment in 30 days", SECONDS, "quick_succession"),
    _card(_A.KM_FROM_LAST, "card_km_from_last", "km", "Distance from the card's last place", "a place is not given, or the last is older than 30 days", KILOMETRES, "far_from_last"),
    _card(_A.KM_PER_HOUR_FROM_LAST, "card_km_per_hour", "km/h", "Speed needed from the card's last place", "as for the distance", SPEEDS, "impossible_travel"),
    _card(_A.KM_FROM_HOME, "card_km_from_home", "km", "Distance from the cardholder's home", "a place is not given", KILOMETRES, "far_from_home"),
    _is_new(Entity.CARD_TERMINAL, "terminal"),
    _is_new(Entity.CARD_MERCHANT, "merchant"),
    _is_new(Entity.CARD_COUNTRY, "country"),
    _is_new(Entity.CARD_DEVICE, "device"),
    _windowed(Entity.CARD_MERCHANT, _A.COUNT, _MONTH, _PAYMENTS, "Payments of the card at this merchant", COUNTS, "many_at_merchant"),
    *(
        _windowed(entity, _A.COUNT, w, _PAYMENTS, f"Payments at this {entity.name.lower()}", COUNTS, f"{entity.name.lower()}_burst")
        for entity in (Entity.TERMINAL, Entity.MERCHANT, Entity.DEVICE)
        for w in (_HOUR, _DAY)
    ),
    *(
        _windowed(entity, _A.AMOUNT_OVER_MEAN, _WEEK, "ratio", f"Amount over the mean purchase at this {entity.name.lower()}", RATIOS, "amount_unusual_here")
        for entity in (Entity.TERMINAL, Entity.MERCHANT)
    ),
    *(
        _windowed(entity, _A.FRAUDS, w, "frauds", f"Frauds at this {entity.name.lower()} that became known", FEW, f"{entity.name.lower()}_known_fraud")
        for entity in (Entity.TERMINAL, Entity.MERCHANT, Entity.DEVICE)
        for w in (_WEEK, _MONTH)
    ),
    *(
        _windowed(entity, _A.FRAUD_RATE, w, "share", f"Frauds among the labels received for this {entity.name.lower()}", RATES, f"{entity.name.lower()}_known_fraud")
        for entity in (Entity.TERMINAL, Entity.MERCHANT)
        for w in (_DAY, _WEEK, _MONTH)
    ),
)  # fmt: skip

FEATURE_COUNT = len(CATALOGUE)
FEATURE_INDEX: dict[str, int] = {feature.name: index for index, feature in enumerate(CATALOGUE)}


SHARED_ENTITIES = (Entity.TERMINAL, Entity.MERCHANT, Entity.DEVICE)
_LABEL_AGGREGATES = frozenset({Aggregate.FRAUDS, Aggregate.FRAUD_RATE})


def window_needs(*, labels: bool) -> tuple[tuple[bool, ...], ...]:
    """Which windows of each shared entity some feature asks for, of payments or of labels.

    Returns:
        A row per entity of `SHARED_ENTITIES`, a column per window of `WINDOWS_MS`. What nothing asks for is not kept.
    """
    needed = {(f.entity, f.window_ms) for f in CATALOGUE if (f.aggregate in _LABEL_AGGREGATES) == labels}
    return tuple(tuple((entity, window) in needed for window in WINDOWS_MS) for entity in SHARED_ENTITIES)


def catalogue_digest() -> str:
    """Hex digest of what models and stored features depend on: names, order, definitions and grids."""
    text = "\n".join(
        f"{f.name}|{int(f.entity)}|{int(f.aggregate)}|{f.window_ms}|{','.join(map(repr, f.grid))}" for f in CATALOGUE
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
