"""Selective labels: what becomes of a model that learns only from what it has suspected itself.

Agents look at alerts. What is not alerted gets no label from them, so a model that learns from alerts alone learns a
world made of its own opinions: it does not see a new kind of fraud that it lets through, and it takes the share of
frauds among its alerts for the share in the world. Two remedies are compared with labels for everything: to call what
nobody complained of genuine, and besides to review a small random share of what is allowed, each fraud found there
standing for all those that nobody drew (inverse-propensity weights).

The world is small and seeded: a known fraud at the start, a new one later, and a habit of genuine cardholders that
changes. All else is cardwatch's own: the engine decides what is reviewed and joins the agents' labels, payments mature,
the shipped models learn. Nobody here knows a propensity; it comes with the examples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from benchmarks.small_bank import KEY, START_MS, Size, SmallBank, policy_of_models, shipped_models
from cardwatch.replay.evaluation import average_precision
from detector.assessments import Assessments
from detector.catalogue import DAY_MS
from detector.examples import Examples
from detector.policy import Policy
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, Channel, EntryMode, Flag, LabelSource

NAME = "selective"
PURPOSE = "learning from alerts alone, and from alerts and a random share, in a small simulated world"

PAGE = results.REPOSITORY / "docs" / "detection.md"
_CARDS, _MERCHANTS = 2_000, 150
_NEW_FRAUD_SHARE = 0.6
_NEW_HABIT_SHARE = 0.03
# Genuine payments by telephone with a typed number, which is what the new fraud looks like.
_TYPED_SHARE = 0.01
_JUDGED_DAYS = 20
_MATURITY_DAYS = 14

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

    days: int = 120
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
class Way:
    """Whose labels come, and what is done with them.

    Attributes:
        everything: whether all payments get their labels, by themselves.
        reviews: whether agents look at what chance has chosen, besides what was suspected.
        silence: whether what nobody complained of becomes genuine.
        weights: whether examples count inversely to their propensity, as the engine and the trainer do it.
    """

    everything: bool = False
    reviews: bool = False
    silence: bool = False
    weights: bool = False


@dataclass(frozen=True, slots=True)
class _Day:
    """A day's payments, and what they were."""

    batch: TransactionBatch
    label: NDArray[np.int64]
    is_new: NDArray[np.bool_]


EVERYTHING, ALERTS, SILENCE = "labels of everything", "labels of alerts alone", "alerts, silence is genuine"
UNWEIGHTED, WEIGHTED = "alerts and a random share, unweighted", "alerts and a random share, weighted"
WAYS: dict[str, Way] = {
    EVERYTHING: Way(everything=True),
    ALERTS: Way(),
    SILENCE: Way(silence=True),
    UNWEIGHTED: Way(reviews=True, silence=True),
    WEIGHTED: Way(reviews=True, silence=True, weights=True),
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


class _Bank:
    """A small bank and its agents."""

    def __init__(self, way: Way, setting: Setting) -> None:
        self._way, self._setting = way, setting
        size = Size(_CARDS, _MERCHANTS, setting.payments_a_day, _MATURITY_DAYS)
        self._bank = SmallBank(size, shipped_models(), _policy(setting))

    def work(self, number: int, day: _Day) -> Assessments:
        """Score a day, look at it, and learn overnight what became known."""
        assessed = self._bank.assess(number, day.batch)
        by_chance = assessed.flags & int(Flag.RANDOM_REVIEW) != 0
        asked = (assessed.action != Action.ALLOW) & (self._way.reviews | ~by_chance)
        everything = self._way.everything or number < self._setting.labelled_days
        rows = np.arange(len(day.label)) if everything else np.flatnonzero(asked)
        now_ms = START_MS + (number + 1) * DAY_MS
        source = LabelSource.IMPORT if everything else LabelSource.AGENT
        self._learn(self._bank.label(day.batch, rows, day.label[rows], source, now_ms))
        if self._way.silence:
            for silent in self._bank.silent(now_ms):
                self._learn(silent)
        return assessed

    def _learn(self, examples: Examples) -> None:
        """Let the models learn."""
        if not self._way.weights:
            examples = replace(examples, propensity=np.ones(len(examples)))
        self._bank.trainer.learn(examples)


def _policy(setting: Setting) -> Policy:
    """One that only has people look."""
    never = {"step_up": 1.0, "freeze": 1.0, "anomaly_review_share": 0.0, "review": setting.alert_from}
    return policy_of_models(thresholds=never, random_review_share=setting.review_share)


def simulate(name: str, way: Way, setting: Setting) -> Learned:
    """Let a bank learn day by day in one way, and judge the last days."""
    rng = np.random.default_rng(setting.seed)
    bank = _Bank(way, setting)
    judged: list[tuple[_Day, Assessments]] = []
    for number in range(setting.days):
        day = _make(rng, setting, number)
        assessed = bank.work(number, day)
        if number >= setting.days - _JUDGED_DAYS:
            judged.append((day, assessed))
    return _judge(name, judged)


def _make(rng: np.random.Generator, setting: Setting, number: int) -> _Day:
    """A day of the world: what thieves do, genuine cardholders seldom do."""
    count = setting.payments_a_day
    amount = np.exp(rng.normal(3.5, 0.8, count))
    typed = rng.random(count) < _TYPED_SHARE
    label = (rng.random(count) < setting.fraud_share).astype(np.int64)
    frauds = np.flatnonzero(label)
    of_new_kind = rng.random(len(frauds)) < (_NEW_FRAUD_SHARE if number >= setting.new_fraud_day else 0.0)
    large = np.exp(rng.normal(6.0, 0.5, count))
    amount[frauds[~of_new_kind]] = large[frauds[~of_new_kind]]
    typed[frauds] = of_new_kind
    travelling = (label == 0) & (rng.random(count) < _NEW_HABIT_SHARE)
    if number >= setting.new_habit_day:
        amount[travelling] = large[travelling]
    is_new = np.zeros(count, dtype=bool)
    is_new[frauds[of_new_kind]] = True
    times = START_MS + number * DAY_MS + np.sort(rng.integers(0, DAY_MS, count))
    columns = {
        "transaction_id": [f"{number}-{row}" for row in range(count)],
        "card_token": [f"card-{card}" for card in rng.integers(0, _CARDS, count).tolist()],
        "merchant_id": [f"merchant-{place}" for place in rng.integers(0, _MERCHANTS, count).tolist()],
        "event_time_ms": times, "amount_minor": (amount * 100).astype(np.int64), "currency": ["EUR"] * count,
        "channel": np.where(typed, int(Channel.MOTO), int(Channel.POS)),
        "entry_mode": np.where(typed, int(EntryMode.MANUAL), int(EntryMode.CHIP)),
    }  # fmt: skip
    first = number * count
    return _Day(build_batch(columns, key=KEY, offset=np.arange(first, first + count)), label, is_new)


def _judge(name: str, judged: list[tuple[_Day, Assessments]]) -> Learned:
    """The numbers of the last days together."""
    label = np.concatenate([day.label for day, _ in judged])
    is_new = np.concatenate([day.is_new for day, _ in judged])
    score = np.concatenate([assessed.score for _, assessed in judged])
    flags = np.concatenate([assessed.flags for _, assessed in judged])
    asked = np.concatenate([assessed.action for _, assessed in judged]) != Action.ALLOW
    by_chance = flags & int(Flag.RANDOM_REVIEW) != 0
    against = is_new | (label == 0)
    return Learned(
        name=name,
        ap=average_precision(label, score),
        ap_of_new_fraud=average_precision(label[against], score[against]),
        foreseen_over_real=float(score.sum() / max(int(label.sum()), 1)),
        alerts_a_day=float((asked & ~by_chance).sum() / len(judged)),
        reviews_a_day=float((asked & by_chance).sum() / len(judged)),
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
