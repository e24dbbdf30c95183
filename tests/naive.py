"""The slow, obvious twin of every feature: plain lists of what happened, summed anew for every payment.

Written from the catalogue and the definition of time, windows, reversals and labels (docs/features.md), not from the
kernels. It never forgets: whatever the engine evicts must not have been visible in any window any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from detector.catalogue import CATALOGUE, MEMORY_MS, WINDOW_FRACTION, Aggregate, Entity, Feature
from detector.vocabulary import Channel, EntryMode, Kind
from tests.naive_payment import (
    CARD_MEMORY_PAYMENTS,
    DAY_MS,
    HOUR_MS,
    KEYS,
    LARGEST_AMOUNT,
    LOOKING_BACK,
    OUTCOME_MEMORY_MS,
    OUTCOMES_KEPT,
    PAYMENTS,
    SMALL_AMOUNT,
    Payment,
    Record,
    cards_by_classes,
    category_class,
    is_refused,
    kilometres,
    kind_of,
    log_steps,
    mean,
    microdegrees,
    outcome_value,
    over_mean,
    place_taken_off,
    says_outcome,
    streak_points,
)


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
    # By card: how many payments make up the usual amount, their sum, the sums of their logarithms and of the squares.
    usual: dict[str, list[int]] = field(default_factory=dict)
    # By card that replaced another: copies of that one's payments, which count for the card and nowhere else.
    inherited: dict[str, list[Payment]] = field(default_factory=dict)

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
        own = self._own(record["card_token"])
        time_ms = max([event_ms, floor, *(p.time_ms for p in own)])
        amount = min(self.to_reference(record["amount_minor"], record["currency"]), LARGEST_AMOUNT)
        payment = Payment(record, partition, time_ms, amount, is_refused(record))
        if not own or own[-1].time_ms <= time_ms - MEMORY_MS:
            self.usual[record["card_token"]] = [0, 0, 0, 0]
        payment.category_z = self._category_z(payment)
        payment.risk = self._risk(payment)
        self._compare_with_usual(payment)
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
        payment.label = label["label"]
        clock_ms = [p.time_ms for p in self.payments if p.record["card_token"] == label["card_token"]][-1]
        if payment.time_ms > clock_ms - MEMORY_MS and not payment.reversed and payment.spends:
            self._trust(payment, trusted=payment.label == "genuine")
        return True

    def inherit(self, card_token: str, new_card_token: str, partition: int) -> None:
        """Let a new card go on with the history of one of this partition, but for what may have been a thief's."""
        old, own = self._own(card_token), self._own(new_card_token)
        if new_card_token in self.inherited or not old:
            return
        kept = [
            replace(p, record={**place_taken_off(p.record), "card_token": new_card_token})
            for p in old
            if p.time_ms > max(old[-1].time_ms, self.watermark_ms[partition]) - MEMORY_MS
            and not (p.reversed or p.refused or p.label == "fraud" or (p.high and p.label != "genuine"))
        ]
        if not kept:
            return
        oldest_ms = max([kept[-1].time_ms, *(p.time_ms for p in own)]) - MEMORY_MS
        youngest_ms = min((p.time_ms for p in own if p.time_ms > oldest_ms), default=kept[-1].time_ms)
        taken = [p for p in kept if oldest_ms < p.time_ms <= youngest_ms]
        self.inherited[new_card_token] = taken
        if taken:
            added = zip(self.usual.get(new_card_token, [0] * 4), self.usual[card_token], strict=True)
            usual = [sum(each) for each in added]
            self.usual[new_card_token] = [value // 2 for value in usual] if usual[0] >= 256 else usual

    def _own(self, card_token: str) -> list[Payment]:
        """All payments of a card, those that it inherited first."""
        return self.inherited.get(card_token, []) + [p for p in self.payments if p.record["card_token"] == card_token]

    def _compare_with_usual(self, payment: Payment) -> None:
        """Compare a payment with the card's usual amount; what is not high becomes part of it."""
        count, total, logs, squares = self.usual[payment.record["card_token"]]
        payment.usual = (count, total, logs, squares)
        if not payment.spends:
            return
        if count > 0 and total > 0:
            ratio = payment.amount * count / total
            payment.steps = round(256 * math.log2(ratio)) if ratio else -2048
        self._trust(payment, trusted=not payment.high)

    def _trust(self, payment: Payment, *, trusted: bool) -> None:
        """Take a payment into the card's usual amount, or out of it."""
        if payment.trusted == trusted:
            return
        payment.trusted = trusted
        usual, sign, log = self.usual[payment.record["card_token"]], 1 if trusted else -1, log_steps(payment.amount)
        for index, step in enumerate((1, payment.amount, log, log * log)):
            usual[index] += sign * step
        if usual[0] <= 0:
            usual[:] = [0, 0, 0, 0]
        elif trusted and usual[0] >= 256:
            usual[:] = [value // 2 for value in usual]

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
            self._trust(payment, trusted=False)
        elif says_outcome(record):
            payment.refused = is_refused(record)

    def _value(self, feature: Feature, payment: Payment) -> float:
        """One feature of the payment that was just added."""
        match feature.entity:
            case Entity.PAYMENT:
                return self._payment_value(feature, payment)
            case Entity.CARD:
                return self._card_value(feature, payment)
            case Entity.PLACE:
                return math.nan if payment.place is None else self._place_value(feature, payment)
            case Entity.CATEGORY:
                return payment.category_z
            case Entity.CARD_CATEGORY:
                return math.nan if payment.category is None else self._pair_value(feature, payment)
        if not payment.record.get(KEYS[feature.entity]):
            return math.nan
        if feature.entity in (Entity.MERCHANT, Entity.DEVICE):
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
            case Aggregate.PATTERN_RISK:
                return payment.risk
            case Aggregate.CATEGORY:
                return category_class(record)
            case Aggregate.IP_COUNTRY_DIFFERS if record.get("country") and record.get("ip_country"):
                return float(record["country"] != record["ip_country"])
            case Aggregate.IP_COUNTRY_DIFFERS | Aggregate.ANOMALY:  # what the trees say is no business of a twin's
                return math.nan
        raise NotImplementedError(feature)

    def _on_card(self, payment: Payment, window_ms: int) -> list[Payment]:
        """Payments of the card in (t - W, t], this one included, those taken back left out."""
        return [
            p
            for p in self._own(payment.record["card_token"])
            if payment.time_ms - window_ms < p.time_ms <= payment.time_ms and not p.reversed
        ]

    def _recent(self, payment: Payment, window_ms: int) -> list[Payment]:
        """Those of the window among the card's last payments that it looks back at: those taken back take a place."""
        own = self._own(payment.record["card_token"])
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
            case Aggregate.AMOUNT_OVER_USUAL | Aggregate.AMOUNT_Z if not payment.spends:
                return math.nan
            case Aggregate.AMOUNT_OVER_USUAL:
                count, total, *_ = payment.usual
                return payment.amount * count / total if count > 0 and total > 0 else math.nan
            case Aggregate.AMOUNT_Z:
                return self._usual_z(payment)
        if feature.aggregate in LOOKING_BACK:
            return self._looking_back(feature, payment)
        return self._last_value(feature, payment)

    @staticmethod
    def _usual_z(payment: Payment) -> float:
        """The logarithm of the amount in standard deviations of the usual ones, wider while few are known."""
        count, _, logs, squares = payment.usual
        if count < 3:
            return math.nan
        average = logs / count
        variance = max(squares / count - average * average, 0.0)
        return (log_steps(payment.amount) - average) / math.sqrt(variance + 3 * 64 * 64 / count + 1)

    def _looking_back(self, feature: Feature, payment: Payment) -> float:
        """What earlier payments of the card say, the youngest first."""
        earlier = [p for p in self._recent(payment, MEMORY_MS) if p is not payment][::-1]
        window = [p for p in earlier if p.time_ms > payment.time_ms - feature.window_ms]
        high = [p for p in window if p.high and p.label != "genuine"]
        ages = [(payment.time_ms - p.time_ms) / DAY_MS for p in high]
        match feature.aggregate:
            case Aggregate.HIGH_COUNT:
                return len(high)
            case Aggregate.VERY_HIGH_COUNT:
                return sum(p.very_high for p in high)
            case Aggregate.DAYS_SINCE_FIRST_HIGH:
                return ages[-1] if ages else math.nan
            case Aggregate.PAYMENTS_SINCE_HIGH:
                return next((index for index, p in enumerate(earlier) if p in high), math.nan)
            case Aggregate.HIGH_POINTS:
                return sum(min(p.points, 0) if p.label == "genuine" else p.points for p in window)
            case Aggregate.DAYS_SINCE_HIGH_FRAUD:
                frauds = [p for p in high if p.label == "fraud"]
                return (payment.time_ms - frauds[0].time_ms) / DAY_MS if frauds else math.nan
            case Aggregate.SMALL_COUNT:
                return sum(p.amount <= SMALL_AMOUNT for p in window)
            case Aggregate.RISKIEST:
                classes = [p.risk_class for p in window if p.label != "genuine"]
                return -9 + (max(classes, default=0) - 0.5) / 2
            case Aggregate.RISKY_COUNT:
                return sum(p.risk >= -3 for p in window if p.label != "genuine")
            case Aggregate.HOUR_SHARE:
                hours = [(p.time_ms // HOUR_MS - payment.time_ms // HOUR_MS) % 24 for p in earlier]
                return sum(hour in (0, 1, 23) for hour in hours) / len(hours) if len(hours) >= 5 else math.nan
        points = [streak_points(p) for p in earlier]
        sums = [sum(points[: length + 1]) for length in range(len(points))]
        largest = max(sums, default=0)
        if feature.aggregate == Aggregate.HIGH_STREAK:
            return max(largest, 0)
        return (payment.time_ms - earlier[sums.index(largest)].time_ms) / DAY_MS if largest > 0 else math.nan

    def _place_value(self, feature: Feature, payment: Payment) -> float:
        """What is known of the payments at a terminal, or a merchant where no terminal is given."""
        here = [p for p in self.payments if p.place == payment.place]
        if feature.aggregate in (Aggregate.COUNT, Aggregate.DISTINCT_CARDS):
            resolution = max(1, feature.window_ms // WINDOW_FRACTION)
            low, high = (payment.time_ms - feature.window_ms) // resolution, payment.time_ms // resolution
            window = [p for p in here if low < p.time_ms // resolution <= high and not p.reversed]
            return len(window) if feature.aggregate == Aggregate.COUNT else cards_by_classes(window)
        known = sorted((p for p in here if p.label is not None), key=Payment.order)[-OUTCOMES_KEPT:]
        outcomes = [
            ((payment.time_ms - p.time_ms) / DAY_MS, p.label == "fraud")
            for p in reversed(known)
            if 0 <= payment.time_ms - p.time_ms < OUTCOME_MEMORY_MS and not (p.label == "fraud" and p.high)
        ]
        return outcome_value(feature, outcomes)

    def _risk(self, payment: Payment) -> float:
        """The logarithm of frauds over genuine payments of the same pattern in 60 days, as far as they are known."""
        resolution = OUTCOME_MEMORY_MS // WINDOW_FRACTION
        low, high = (payment.time_ms - OUTCOME_MEMORY_MS) // resolution, payment.time_ms // resolution
        alike = [p for p in self.payments if p.pattern == payment.pattern and low < p.time_ms // resolution <= high]
        frauds, genuine = (sum(p.label == word for p in alike) for word in ("fraud", "genuine"))
        return math.log((frauds + 0.02) / (genuine + 2))

    def _category_z(self, payment: Payment) -> float:
        """The logarithm of the amount in standard deviations of those of its category in 30 days before it."""
        resolution = MEMORY_MS // WINDOW_FRACTION
        low, high = (payment.time_ms - MEMORY_MS) // resolution, payment.time_ms // resolution
        logs = [
            log_steps(p.amount)
            for p in self.payments
            if p.category == payment.category and low < p.time_ms // resolution <= high and not p.reversed
        ]
        if payment.category is None or len(logs) < 20:
            return math.nan
        average = sum(logs) / len(logs)
        variance = sum(log * log for log in logs) / len(logs) - average * average
        return (log_steps(payment.amount) - average) / math.sqrt(max(variance, 1.0))

    def _last_value(self, feature: Feature, payment: Payment) -> float:
        """Time and place since the card's last payment, whether or not that was taken back since."""
        own = [p for p in self._own(payment.record["card_token"]) if p is not payment]
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
        labelled = [p for p in here if p.label is not None and low < p.time_ms // resolution <= high]
        match feature.aggregate:
            case Aggregate.COUNT:
                return len(window)
            case Aggregate.DISTINCT_CARDS:
                return cards_by_classes(window)
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
        window = self._recent(payment, feature.window_ms)
        if feature.entity == Entity.CARD_CATEGORY:
            met = [p for p in window if p.category == payment.category]
        else:
            key = KEYS[feature.entity]
            met = [p for p in window if p.record.get(key) == payment.record[key]]
        if feature.aggregate == Aggregate.COUNT:
            return len(met)
        if feature.aggregate == Aggregate.IS_NEW:
            return float(met == [payment])
        raise NotImplementedError(feature)
