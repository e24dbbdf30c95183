"""The evaluation protocol of the Fraud Detection Handbook, written from its description.

A fold is a train week, a week in which its labels are still on their way, and a test week. Of the test week those cards
are left out that are known to be compromised: that had a fraud in the train week, or on a day since then of which the
labels have come, seven days late. Scores are judged by AUC ROC, Average Precision, and Card Precision@100: of the 100
most suspicious cards of a day the share that was really hit, a card that was found not being looked at again.

Source: Le Borgne, Siblini, Lebichot, Bontempi: *Reproducible Machine Learning for Credit Card Fraud Detection*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from cardwatch.replay.evaluation import DAY_MS, auc_roc, average_precision

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

WEEK_DAYS = 7
TOP_CARDS = 100
# First days of the train weeks: the fold of chapter 3, and those that chapters 5 to 7 choose and test their models on.
CHAPTER_3 = date(2018, 7, 25)
VALIDATION = (date(2018, 7, 11), date(2018, 7, 4), date(2018, 6, 27), date(2018, 6, 20))
TEST = (date(2018, 8, 15), date(2018, 8, 8), date(2018, 8, 1), date(2018, 7, 25))


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of each payment: columns of one length, in time order.

    Attributes:
        day: int64, days since 1970.
        card: int64, in the order of the file's card numbers.
        label: int64, 1 fraud, 0 genuine.
    """

    day: Int64
    card: Int64
    label: Int64

    @classmethod
    def of(cls, event_time_ms: Int64, card: Int64, label: Int64) -> Truth:
        """From times in UTC."""
        return cls(event_time_ms // DAY_MS, card, label)


@dataclass(frozen=True, slots=True)
class Fold:
    """Three weeks; `first` is the day on which the train week begins, in days since 1970."""

    first: int

    @classmethod
    def beginning(cls, day: date) -> Fold:
        """The fold whose train week begins on a date."""
        return cls(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) // DAY_MS)

    @property
    def test_first(self) -> int:
        """First day of the test week."""
        return self.first + 2 * WEEK_DAYS

    @property
    def name(self) -> str:
        """Its test week, as people write it."""
        days = (datetime.fromtimestamp(day * DAY_MS / 1000, UTC) for day in (self.test_first, self.test_first + 6))
        return " to ".join(f"{day:%Y-%m-%d}" for day in days)

    def train_rows(self, truth: Truth) -> NDArray[np.bool_]:
        """Payments of the train week."""
        return (truth.day >= self.first) & (truth.day < self.first + WEEK_DAYS)

    def known_rows(self, truth: Truth) -> NDArray[np.bool_]:
        """Payments whose labels, seven days late, have come when the test week begins."""
        return truth.day < self.first + WEEK_DAYS

    def test_rows(self, truth: Truth) -> NDArray[np.bool_]:
        """Payments of the test week whose cards are not yet known to be compromised."""
        fraud = truth.label == 1
        known = np.zeros(int(truth.card.max()) + 1, dtype=bool)
        known[truth.card[self.train_rows(truth) & fraud]] = True
        kept = np.zeros(len(truth.day), dtype=bool)
        for number in range(WEEK_DAYS):
            # On a test day the labels of the day eight days before have come.
            known[truth.card[(truth.day == self.first + WEEK_DAYS + number - 1) & fraud]] = True
            today = truth.day == self.test_first + number
            kept |= today & ~known[truth.card]
        return kept

    def lies_in(self, truth: Truth) -> bool:
        """Whether the file has all three weeks."""
        return int(truth.day[0]) <= self.first and self.test_first + WEEK_DAYS - 1 <= int(truth.day[-1])


@dataclass(frozen=True, slots=True)
class Quality:
    """How good scores are on some payments."""

    auc: float
    ap: float
    cp: float
    payments: int = 0
    frauds: int = 0

    @classmethod
    def mean(cls, parts: Sequence[Quality]) -> Quality:
        """The mean over folds."""
        columns = zip(*((part.auc, part.ap, part.cp) for part in parts), strict=True)
        auc, ap, cp = (float(np.mean(column)) for column in columns)
        return cls(auc, ap, cp, sum(part.payments for part in parts), sum(part.frauds for part in parts))


def quality(truth: Truth, rows: NDArray[np.bool_], scores: Float64) -> Quality:
    """AUC ROC, Average Precision and Card Precision@100 of the rows that are true in `rows`."""
    chosen = np.flatnonzero(rows)
    label, score = truth.label[chosen], scores[chosen]
    cards = card_precisions(truth.day[chosen], truth.card[chosen], label, score)
    return Quality(
        auc=auc_roc(label, score),
        ap=average_precision(label, score),
        cp=float(np.mean(list(cards.values()))) if cards else float("nan"),
        payments=len(chosen),
        frauds=int(label.sum()),
    )


def card_precisions(
    day: Int64, card: Int64, label: Int64, score: Float64, top: int = TOP_CARDS, forget_days: int | None = None
) -> dict[int, float]:
    """Card Precision@top by day.

    A card's score on a day is its highest. Cards of equal scores stand in the order of their numbers.

    Args:
        day: of each payment.
        card: its number.
        label: 1 fraud, 0 genuine.
        score: higher is more suspicious.
        top: how many cards are looked at a day.
        forget_days: after so many days a card that was found is looked at again; never, if not given.
    """
    found: dict[int, int] = {}
    precisions = {}
    for today in np.unique(day).tolist():
        rows = np.flatnonzero(day == today)
        names, inverse = np.unique(card[rows], return_inverse=True)
        best, hit = np.full(len(names), -np.inf), np.zeros(len(names), dtype=np.int64)
        np.maximum.at(best, inverse, score[rows])
        np.maximum.at(hit, inverse, label[rows])
        watched = np.array([not _is_put_aside(found.get(name), today, forget_days) for name in names.tolist()])
        chosen = np.flatnonzero(watched)[np.argsort(-best[watched], kind="stable")[:top]]
        caught = names[chosen[hit[chosen] == 1]]
        found.update(dict.fromkeys(caught.tolist(), today))
        precisions[today] = len(caught) / top
    return precisions


def _is_put_aside(found_on: int | None, today: int, forget_days: int | None) -> bool:
    """Whether a card has been found and is not looked at today."""
    return found_on is not None and (forget_days is None or today - found_on <= forget_days)
