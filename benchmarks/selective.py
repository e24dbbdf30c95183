"""Selective labels: what becomes of a model that learns only from what it has suspected itself.

Agents look at alerts. What is not alerted gets no label from them, so a model that learns from alerts alone learns a
world made of its own opinions: it does not see a new kind of fraud that it lets through, and it takes the share of
frauds among its alerts for the share in the world. Two remedies are compared with labels for everything: to call what
nobody complained of genuine, and to review a small random share of what is allowed, each such label standing for all
the payments of which it was drawn (inverse-propensity weights).

The world is small and seeded: a known fraud at the start, a new one later, and a habit of genuine cardholders that
changes. The model is cardwatch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from cardwatch.replay.evaluation import average_precision
from cardwatch.settings import shipped_toml
from detector.examples import Examples
from detector.models import ModelsConfig, Trainer

NAME = "selective"
PURPOSE = "learning from alerts alone, and from alerts and a random share, in a small simulated world"

PAGE = results.REPOSITORY / "docs" / "detection.md"
_FEATURES = tuple((name, tuple(np.arange(1, 10) / 10)) for name in ("distance", "pace", "hour"))
# A world of some hundred thousand payments must be learned sooner than the shipped rate would.
_RATE = 0.4
_NEW_FRAUD_SHARE = 0.6
_NEW_HABIT_SHARE = 0.03
_JUDGED_DAYS = 20

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setting:
    """The world and the policy.

    Attributes:
        days, payments_a_day, fraud_share: how much happens.
        labelled_days: of which somebody has labelled everything, so that there is a model to begin with.
        new_fraud_day: from this day on most frauds are of a kind not seen before.
        new_habit_day: from this day on many genuine cardholders do what only thieves did.
        alert_from: the score from which agents look.
        review_share: of all else that they look at by chance.
        seed: of everything.
    """

    days: int = 150
    labelled_days: int = 10
    payments_a_day: int = 10_000
    fraud_share: float = 0.01
    new_fraud_day: int = 30
    new_habit_day: int = 45
    alert_from: float = 0.1
    review_share: float = 0.05
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of one way to learn, over the last days.

    Attributes:
        name: of the way.
        ap: average precision.
        ap_of_new_fraud: of the kind that was not seen before, against genuine payments.
        foreseen_over_real: frauds that the scores foresee, over those that were.
        alerts_a_day, reviews_a_day: what agents look at.
    """

    name: str
    ap: float
    ap_of_new_fraud: float
    foreseen_over_real: float
    alerts_a_day: float
    reviews_a_day: float


@dataclass(frozen=True, slots=True)
class _Day:
    """A day's payments: features, what they were, and a number in [0, 1) that chance gave each."""

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    unit: Float64


# What is learned of a day: rows, labels and weights, from the day, its alerts and its random reviews.
Way = Callable[
    [_Day, NDArray[np.bool_], NDArray[np.bool_], Setting], tuple[NDArray[np.bool_], NDArray[np.int64], Float64]
]


def _everything(day: _Day, _alerts: Any, _reviews: Any, _setting: Setting) -> Any:
    """All labels: what nobody has, and all else is measured by."""
    return np.ones(len(day.label), dtype=bool), day.label, np.ones(len(day.label))


def _alerts_alone(day: _Day, alerts: Any, _reviews: Any, _setting: Setting) -> Any:
    """What agents said of alerts."""
    return alerts, day.label, np.ones(len(day.label))


def _silence_is_genuine(day: _Day, alerts: Any, _reviews: Any, _setting: Setting) -> Any:
    """What agents said of alerts, all else taken for genuine."""
    return np.ones(len(day.label), dtype=bool), np.where(alerts, day.label, 0), np.ones(len(day.label))


def _reviews_unweighted(day: _Day, alerts: Any, reviews: Any, _setting: Setting) -> Any:
    """Alerts and random reviews, one like the other."""
    return alerts | reviews, day.label, np.ones(len(day.label))


def _reviews_weighted(day: _Day, alerts: Any, reviews: Any, setting: Setting) -> Any:
    """Alerts and random reviews, each weighted by how seldom its like is looked at."""
    return alerts | reviews, day.label, np.where(alerts, 1.0, 1.0 / setting.review_share)


WEIGHTED = "alerts and a random share, weighted"
WAYS: dict[str, Way] = {
    "labels of everything": _everything,
    "labels of alerts alone": _alerts_alone,
    "labels of alerts, silence is genuine": _silence_is_genuine,
    "alerts and a random share, unweighted": _reviews_unweighted,
    WEIGHTED: _reviews_weighted,
}


# Shares of what is allowed that are reviewed, the shipped one first.
SHARES = (0.0002, 0.002, 0.01, 0.05, 0.2)


def run(options: Options) -> None:
    """Simulate, save, and write the table."""
    setting = Setting()
    learned = []
    for name, way in WAYS.items():
        options.say(name)
        learned.append(simulate(name, way, setting))
    by_share = []
    for share in SHARES:
        options.say(f"weighted, {share:.2%} reviewed")
        by_share.append((share, simulate(WEIGHTED, WAYS[WEIGHTED], replace(setting, review_share=share))))
    results.save(
        NAME,
        {
            "setting": asdict(setting),
            "ways": [asdict(each) for each in learned],
            "shares": [{"share": share, **asdict(each)} for share, each in by_share],
        },
    )
    results.write_section(NAME, _text(setting, learned, by_share), PAGE)


def simulate(name: str, way: Way, setting: Setting) -> Learned:
    """Let a model learn day by day what a way gives it, and judge the last days."""
    rng = np.random.default_rng(setting.seed)
    trainer = Trainer(_models(), _FEATURES, "selective")
    judged: list[tuple[_Day, Float64]] = []
    for number in range(setting.days):
        day = _make(rng, setting, number)
        bins = trainer.binner.bins(day.features)
        # Calibration would mend in part what weights are for: the learner is judged by what it says itself.
        score = trainer.logistic.predict_proba_many(bins)
        if number < setting.labelled_days:
            alerts, reviews = np.ones(len(day.label), dtype=bool), np.zeros(len(day.label), dtype=bool)
        else:
            alerts = score >= setting.alert_from
            reviews = ~alerts & (day.unit < setting.review_share)
        rows, label, weight = way(day, alerts, reviews, setting)
        trainer.learn(
            Examples.of_nobody(bins[rows], label[rows], weight[rows], np.zeros(int(rows.sum()), dtype=np.int64))
        )
        if number >= setting.days - _JUDGED_DAYS:
            judged.append((day, score))
    return _judge(name, judged, setting)


def _models() -> ModelsConfig:
    """The shipped models with the features of this world, and without bounds that would undo weights."""
    shipped = ModelsConfig.from_mapping(shipped_toml("models.toml"))
    logistic = replace(shipped.logistic, learning_rate=_RATE, fields=("*",), clip_gradient=1e6, smallest_gradient=0.0)
    return replace(shipped, logistic=logistic)


def _make(rng: np.random.Generator, setting: Setting, number: int) -> _Day:
    """A day of the world."""
    count = setting.payments_a_day
    features = rng.random((count, len(_FEATURES)))
    # What thieves do, genuine cardholders seldom do: distance and pace are rarely high.
    features[:, :2] **= 14
    label = (rng.random(count) < setting.fraud_share).astype(np.int64)
    frauds = np.flatnonzero(label)
    share = _NEW_FRAUD_SHARE if number >= setting.new_fraud_day else 0.0
    of_new_kind = rng.random(len(frauds)) < share
    features[frauds, 0] = np.where(of_new_kind, features[frauds, 0], 0.8 + 0.2 * rng.random(len(frauds)))
    features[frauds, 1] = np.where(of_new_kind, 0.8 + 0.2 * rng.random(len(frauds)), features[frauds, 1])
    travelling = (label == 0) & (rng.random(count) < _NEW_HABIT_SHARE)
    if number >= setting.new_habit_day:
        features[travelling, 0] = 0.8 + 0.2 * rng.random(int(travelling.sum()))
    is_new = np.zeros(count, dtype=bool)
    is_new[frauds[of_new_kind]] = True
    return _Day(features.astype(np.float32), label, is_new, rng.random(count))


def _judge(name: str, judged: list[tuple[_Day, Float64]], setting: Setting) -> Learned:
    """The numbers of the last days together."""
    label = np.concatenate([day.label for day, _ in judged])
    is_new = np.concatenate([day.is_new for day, _ in judged])
    score = np.concatenate([score for _, score in judged])
    unit = np.concatenate([day.unit for day, _ in judged])
    against = is_new | (label == 0)
    alerts = score >= setting.alert_from
    return Learned(
        name=name,
        ap=average_precision(label, score),
        ap_of_new_fraud=average_precision(label[against], score[against]),
        foreseen_over_real=float(score.sum() / max(int(label.sum()), 1)),
        alerts_a_day=float(alerts.sum() / len(judged)),
        reviews_a_day=float((~alerts & (unit < setting.review_share)).sum() / len(judged)),
    )


def _text(setting: Setting, learned: list[Learned], by_share: list[tuple[float, Learned]]) -> str:
    """The tables."""
    numbers = ["AP", "AP of the new fraud", "foreseen / real frauds", "alerts a day"]
    looked_at = f"scores from {setting.alert_from:g} on, and by chance at {setting.review_share:.0%} of the rest"
    said = (
        f"{setting.payments_a_day:,} payments a day, {setting.fraud_share:.0%} of them fraud; a new kind of fraud from "
        f"day {setting.new_fraud_day}, a new habit of genuine cardholders from day {setting.new_habit_day}. Agents "
        f"look at {looked_at}. The last {_JUDGED_DAYS} of {setting.days} days:"
    )
    shares = "The same for other shares of what is allowed that are reviewed by chance, weighted:"
    return "\n\n".join(
        (
            said,
            results.table(["learned from", *numbers], [[each.name, *_numbers(each)] for each in learned]),
            shares,
            results.table(
                ["share reviewed", "random reviews a day", *numbers],
                [[f"{share:.2%}", f"{each.reviews_a_day:,.0f}", *_numbers(each)] for share, each in by_share],
            ),
        )
    )


def _numbers(learned: Learned) -> list[str]:
    """Cells of a row."""
    return [
        f"{learned.ap:.3f}",
        f"{learned.ap_of_new_fraud:.3f}",
        f"{learned.foreseen_over_real:.2f}",
        f"{learned.alerts_a_day:,.0f}",
    ]
