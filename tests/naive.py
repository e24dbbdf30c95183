"""The slow, obvious twin of every feature: plain lists of what happened, summed anew for every payment.

Written from the catalogue and the definition of time, windows, reversals and labels (docs/detector.md), not from the
kernels. It never forgets: whatever the engine evicts must not have been visible in any window any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.catalogue import CATALOGUE, MEMORY_MS, WINDOW_FRACTION, Aggregate, Entity, Feature
from detector.vocabulary import APPROVED_RESPONSE_CODES, Channel, EntryMode, Kind

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EARTH_RADIUS_KM = 6371.0088
SPENDING = ("purchase", "cash")
PAYMENTS = ("purchase", "cash", "refund", "verification")
CARD_MEMORY_PAYMENTS = 1024
LARGEST_AMOUNT = 2**32 - 1
KEYS = {
    Entity.CARD: "card_token",
    Entity.TERMINAL: "terminal_id",
    Entity.MERCHANT: "merchant_id",
    Entity.DEVICE: "device_id",
    Entity.CARD_TERMINAL: "terminal_id",
    Entity.CARD_MERCHANT: "merchant_id",
    Entity.CARD_COUNTRY: "country",
    Entity.CARD_DEVICE: "device_id",
}

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
    label_time_ms: int = 0

    @property
    def kind(self) -> str:
        return kind_of(self.record)

    @property
    def spends(self) -> bool:
        return self.kind in SPENDING


@dataclass(frozen=True)
class NaiveAssessment:
    """What one record came to; `features` is None for records that are no payment of their own."""

    features: dict[str, float] | None
    effective_time_ms: int
    late: bool
    duplicate: bool

    def row(self) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """The features in the catalogue's order, as float32."""
        values = {} if self.features is None else self.features
        return np.array([values.get(feature.name, math.nan) for feature in CATALOGUE], dtype=np.float32)


def kind_of(record: Record) -> str:
    return str(record.get("kind", "purchase"))


def is_refused(record: Record) -> bool:
    """Whether authorisation, or asking the cardholder, ended with a refusal."""
    code = record.get("response_code")
    return (code is not None and code not in APPROVED_RESPONSE_CODES) or record.get("step_up") == "failed"


def microdegrees(record: Record, prefix: str = "") -> tuple[int, int] | None:
    """The place of a payment, or of a home, if both coordinates are given."""
    latitude, longitude = record.get(prefix + "latitude"), record.get(prefix + "longitude")
    if latitude is None or longitude is None:
        return None
    return round(latitude * 1e6), round(longitude * 1e6)


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


@dataclass
class NaiveEngine:
    """All history in lists.

    Attributes:
        to_reference: converts (amount_minor, currency) to minor units of the reference currency.
        lateness_ms: how far behind its partition an event may be before it is moved up.
        identity_memory_ms: how long identities are remembered, in event time.
    """

    to_reference: Callable[[int, str], int]
    lateness_ms: int = 2 * DAY_MS
    identity_memory_ms: int = 2 * DAY_MS
    payments: list[Payment] = field(default_factory=list)
    watermark_ms: dict[int, int] = field(default_factory=dict)
    identities: list[tuple[int, tuple[str, str], int, Payment | None]] = field(default_factory=list)

    def observe(self, record: Record, partition: int = 0, *, with_features: bool = True) -> NaiveAssessment:
        """Take the next record of a partition; without its features where nobody looks at them."""
        event_ms = int(record["event_time_ms"])
        watermark = max(self.watermark_ms.get(partition, event_ms), event_ms)
        self.watermark_ms[partition] = watermark
        identity = (record["card_token"], record["transaction_id"])
        first = self._recall(partition, identity)
        if first is not None:
            return NaiveAssessment(None, first[2], late=False, duplicate=True)
        floor = watermark - self.lateness_ms
        if kind_of(record) not in PAYMENTS:
            self._refer(record, partition)
            time_ms = max(event_ms, floor)
            self.identities.append((partition, identity, time_ms, None))
            return NaiveAssessment(None, time_ms, late=event_ms < time_ms, duplicate=False)
        own = [p for p in self.payments if p.record["card_token"] == record["card_token"]]
        time_ms = max([event_ms, floor, *(p.time_ms for p in own)])
        amount = min(self.to_reference(record["amount_minor"], record["currency"]), LARGEST_AMOUNT)
        payment = Payment(record, partition, time_ms, amount, is_refused(record))
        self.payments.append(payment)
        self.identities.append((partition, identity, time_ms, payment))
        features = {feature.name: self._value(feature, payment) for feature in CATALOGUE} if with_features else None
        return NaiveAssessment(features, time_ms, late=event_ms < time_ms, duplicate=False)

    def label(self, label: Mapping[str, Any], partition: int = 0) -> bool:
        """Take a label; returns whether it changed anything. A later one replaces the earlier."""
        identity = (label["card_token"], label["transaction_id"])
        met = [entry for entry in self.identities if entry[0] == partition and entry[1] == identity]
        payment = met[-1][3] if met else None
        if payment is None or payment.label == label["label"]:
            return False
        payment.label, payment.label_time_ms = label["label"], int(label["label_time_ms"])
        return True

    def _recall(
        self, partition: int, identity: tuple[str, str]
    ) -> tuple[int, tuple[str, str], int, Payment | None] | None:
        """What this identity stands for, if it is remembered: the latest record that was no duplicate."""
        oldest = self.watermark_ms[partition] - self.identity_memory_ms
        met = [entry for entry in self.identities if entry[0] == partition and entry[1] == identity]
        return met[-1] if met and met[-1][2] > oldest else None

    def _refer(self, record: Record, partition: int) -> None:
        """A reversal takes its payment back; an outcome says whether it was refused."""
        entry = self._recall(partition, (record["card_token"], record.get("refers_to", "")))
        payment = None if entry is None else entry[3]
        if payment is None or payment.reversed:
            return
        if kind_of(record) == "reversal":
            payment.reversed = True
        else:
            payment.refused = is_refused(record)

    def _value(self, feature: Feature, payment: Payment) -> float:
        """One feature of the payment that was just added."""
        if feature.entity == Entity.PAYMENT:
            return self._payment_value(feature, payment)
        if payment.record.get(KEYS[feature.entity]) is None:
            return math.nan
        if feature.entity == Entity.CARD:
            return self._card_value(feature, payment)
        if feature.entity in (Entity.TERMINAL, Entity.MERCHANT, Entity.DEVICE):
            return self._shared_value(feature, payment)
        return self._pair_value(feature, payment)

    def _payment_value(self, feature: Feature, payment: Payment) -> float:
        record = payment.record
        match feature.aggregate:
            case Aggregate.AMOUNT:
                return payment.amount
            case Aggregate.HOUR:
                return payment.time_ms // HOUR_MS % 24
            case Aggregate.WEEKDAY:
                return (payment.time_ms // DAY_MS + 3) % 7
            case Aggregate.KIND:
                return Kind.by_wire()[payment.kind]
            case Aggregate.CHANNEL:
                return Channel.by_wire()[record["channel"]] if record.get("channel") else math.nan
            case Aggregate.ENTRY_MODE:
                return EntryMode.by_wire()[record["entry_mode"]] if record.get("entry_mode") else math.nan
            case Aggregate.IP_COUNTRY_DIFFERS if record.get("country") and record.get("ip_country"):
                return float(record["country"] != record["ip_country"])
            case Aggregate.IP_COUNTRY_DIFFERS:
                return math.nan
        raise NotImplementedError(feature)

    def _on_card(self, payment: Payment, window_ms: int) -> list[Payment]:
        """Payments of the card in (t - W, t], this one included, those taken back left out."""
        return [
            p
            for p in self.payments
            if p.record["card_token"] == payment.record["card_token"]
            and payment.time_ms - window_ms < p.time_ms <= payment.time_ms
            and not p.reversed
        ]

    def _recent(self, payment: Payment, window_ms: int) -> list[Payment]:
        """Those of the window among the card's last payments that it looks back at: those taken back take a place."""
        own = [p for p in self.payments if p.record["card_token"] == payment.record["card_token"]]
        last = {id(p) for p in own[-CARD_MEMORY_PAYMENTS - 1 :]}
        return [p for p in self._on_card(payment, window_ms) if id(p) in last]

    def _card_value(self, feature: Feature, payment: Payment) -> float:
        window = self._on_card(payment, feature.window_ms or MEMORY_MS)
        spends = [p.amount for p in window if p.spends]
        before = [p.amount for p in window if p.spends and p is not payment]
        match feature.aggregate:
            case Aggregate.COUNT:
                return len(window)
            case Aggregate.SPEND_SUM:
                return sum(spends)
            case Aggregate.SPEND_MEAN_BEFORE:
                return mean(before)
            case Aggregate.AMOUNT_OVER_MEAN:
                return over_mean(payment.amount, before)
            case Aggregate.REFUSED:
                return sum(p.refused for p in window)
            case Aggregate.DISTINCT_MERCHANTS:
                recent = self._recent(payment, feature.window_ms)
                return len({p.record.get("merchant_id") for p in recent} - {None})
            case Aggregate.FRAUDS:
                return sum(p.label == "fraud" for p in self._recent(payment, feature.window_ms))
        return self._last_value(feature, payment)

    def _last_value(self, feature: Feature, payment: Payment) -> float:
        """Time and place since the card's last payment, whether or not that was taken back since."""
        own = [p for p in self.payments if p.record["card_token"] == payment.record["card_token"] and p is not payment]
        recent = [p for p in own if p.time_ms > payment.time_ms - MEMORY_MS]
        here = microdegrees(payment.record)
        if feature.aggregate == Aggregate.SECONDS_SINCE_LAST:
            return (payment.time_ms - recent[-1].time_ms) / 1000 if recent else math.nan
        if feature.aggregate == Aggregate.KM_FROM_HOME:
            home = microdegrees(payment.record, "home_")
            return kilometres(home, here) if home and here else math.nan
        placed = [p for p in recent if microdegrees(p.record)]
        there = microdegrees(placed[-1].record) if placed else None
        if here is None or there is None:
            return math.nan
        if feature.aggregate == Aggregate.KM_FROM_LAST:
            return kilometres(there, here)
        if feature.aggregate == Aggregate.KM_PER_HOUR_FROM_LAST:
            return kilometres(there, here) * HOUR_MS / max(payment.time_ms - placed[-1].time_ms, 1000)
        raise NotImplementedError(feature)

    def _shared_value(self, feature: Feature, payment: Payment) -> float:
        """An aggregate of a terminal, merchant or device over absolute buckets of time, all partitions together."""
        resolution = max(1, feature.window_ms // WINDOW_FRACTION)
        low, high = (payment.time_ms - feature.window_ms) // resolution, payment.time_ms // resolution
        key = KEYS[feature.entity]
        here = [p for p in self.payments if p.record.get(key) == payment.record[key]]
        window = [p for p in here if low < p.time_ms // resolution <= high and not p.reversed]
        labelled = [p for p in here if p.label is not None and low < p.label_time_ms // resolution <= high]
        match feature.aggregate:
            case Aggregate.COUNT:
                return len(window)
            case Aggregate.SPEND_SUM:
                return sum(p.amount for p in window if p.spends)
            case Aggregate.SPEND_MEAN_BEFORE:
                return mean(p.amount for p in window if p.spends and p is not payment)
            case Aggregate.AMOUNT_OVER_MEAN:
                return over_mean(payment.amount, (p.amount for p in window if p.spends and p is not payment))
            case Aggregate.FRAUDS:
                return sum(p.label == "fraud" for p in labelled)
            case Aggregate.FRAUD_RATE:
                return mean(int(p.label == "fraud") for p in labelled)
        raise NotImplementedError(feature)

    def _pair_value(self, feature: Feature, payment: Payment) -> float:
        """What the card has had to do with this terminal, merchant, country or device."""
        key = KEYS[feature.entity]
        window = self._recent(payment, feature.window_ms)
        met = [p for p in window if p.record.get(key) == payment.record[key]]
        if feature.aggregate == Aggregate.COUNT:
            return len(met)
        if feature.aggregate == Aggregate.IS_NEW:
            return float(met == [payment])
        raise NotImplementedError(feature)
