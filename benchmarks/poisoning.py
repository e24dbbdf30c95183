"""Poisoning: an attacker floods false labels. What the caps of one source hold back, and what they do not.

A small seeded world through the engine and the shipped trainer. Some fifty agents label every payment truthfully a day
later. For some days false labels come instead, and what they have in common is one source: a labeller who calls plain
purchases online fraud, or thieves' payments genuine; a large web shop whose payments are called fraud, by whomever; a
cardholder who pays again and again and disputes everything. What is judged are the payments of everybody else and what
they really were; they are the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from benchmarks.small_bank import KEY, START_MS, Size, SmallBank, policy_of_models, shipped_models
from cardwatch.replay.evaluation import average_precision
from detector.assessments import Assessments
from detector.catalogue import DAY_MS, HOUR_MS
from detector.models.logistic import Caps
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, Channel, EntryMode, LabelSource

NAME = "poisoning"
PURPOSE = "false labels of one labeller, merchant or card, with and without caps, in a small simulated world"

PAGE = results.REPOSITORY / "docs" / "detection.md"
_CARDS, _SHOPS, _WEBSHOPS = 4_000, 200, 100
_AGENTS = 50
_ONLINE_SHARE = 0.3
# Of what is paid online: by the one web shop that is large.
_LARGE_WEBSHOP_SHARE = 0.3
# Of genuine payments online: travellers, who pay from another country. Half of all frauds look like theirs.
_ABROAD_SHARE = 0.01
# Of genuine payments in shops: large amounts. The other half of frauds look like them.
_LARGE_SHARE = 0.003
_MATURITY_DAYS = 3
_JUDGED_DAYS = 3
_ATTACKER = "attacker"
# More than anybody pays in a day.
_OFFSETS_A_DAY = 1_000_000
MOMENTS = ("before", "during", "after")

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Setting:
    """The world and its times.

    Attributes:
        quiet_days, attacked_days, recovery_days: before, during and after the attack, three at least of each.
        payments_a_day: of honest people and of thieves.
        fraud_share: of them that thieves make.
        seed: of everything.
    """

    quiet_days: int = 12
    attacked_days: int = 5
    recovery_days: int = 7
    payments_a_day: int = 20_000
    fraud_share: float = 0.005
    seed: int = 7

    @property
    def days(self) -> int:
        """All of them."""
        return self.quiet_days + self.attacked_days + self.recovery_days

    def moments(self) -> dict[str, range]:
        """The days that are judged: the last before the attack, the last of it, and the last of all."""
        ends = (self.quiet_days, self.quiet_days + self.attacked_days, self.days)
        return {name: range(end - _JUDGED_DAYS, end) for name, end in zip(MOMENTS, ends, strict=True)}


class Kind(Enum):
    """Who lies, and of what."""

    LABELLER_ACCUSES = "a labeller calls plain purchases online fraud"
    LABELLER_COVERS = "a labeller calls thieves' payments from abroad genuine"
    MERCHANT = "payments at one large web shop are called fraud"
    CARD = "a cardholder pays online again and again, and calls it fraud"


@dataclass(frozen=True, slots=True)
class Attack:
    """False labels.

    Attributes:
        kind: of attack.
        strength: share of the payments in question that are labelled falsely; of the cardholder, payments a day.
    """

    kind: Kind
    strength: float


ATTACKS = (
    *(Attack(Kind.LABELLER_ACCUSES, share) for share in (0.02, 0.2, 1.0)),
    Attack(Kind.LABELLER_COVERS, 1.0),
    *(Attack(Kind.MERCHANT, share) for share in (0.2, 1.0)),
    *(Attack(Kind.CARD, a_day) for a_day in (200, 2_000)),
)


@dataclass(frozen=True, slots=True)
class Harm:
    """Honest traffic of some days.

    Attributes:
        ap: average precision.
        pattern_score: mean score of what the false labels are about: thieves' payments from abroad where those are
            called genuine, otherwise genuine purchases online from at home.
        refused_a_day: genuine payments that were refused.
    """

    ap: float
    pattern_score: float
    refused_a_day: float


@dataclass(frozen=True, slots=True)
class Run:
    """What came of an attack on models with some caps.

    Attributes:
        harm: by moment.
        false_a_day: labels that were false, on an attacked day.
        honest_moves: how far the labeller, the merchant and the card that moved the model most did so in a day, as the
            caps count it, on the judged days before the attack.
    """

    harm: Mapping[str, Harm]
    false_a_day: float
    honest_moves: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Day:
    """Payments in the order of time, a row each.

    Attributes:
        card, place: int64, their numbers; places from `_SHOPS` on are web shops.
        amount: float64, EUR.
        time_ms: int64.
        is_abroad: whether the device was in another country than the shop.
        fraud: int64, 1 where a thief paid, which is what honest people say.
    """

    card: NDArray[np.int64]
    place: NDArray[np.int64]
    amount: Float64
    time_ms: NDArray[np.int64]
    is_abroad: Bools
    fraud: NDArray[np.int64]

    def __len__(self) -> int:
        """How many."""
        return len(self.fraud)

    @property
    def is_online(self) -> Bools:
        """Whether the merchant has no place."""
        return self.place >= _SHOPS

    @property
    def is_honest(self) -> Bools:
        """Whether it is a payment of anybody but the cardholder who lies."""
        return self.card < _CARDS

    def pattern(self, kind: Kind) -> Bools:
        """What an attack of this kind is about."""
        about: Bools = self.is_online & ~self.is_abroad & (self.fraud == 0)
        if kind == Kind.LABELLER_COVERS:
            about = self.is_abroad & (self.fraud == 1)
        return self.is_honest & about


def honest_day(rng: np.random.Generator, setting: Setting, number: int) -> _Day:
    """A day of the world: thieves pay large amounts in shops, or online from another country."""
    count = setting.payments_a_day
    fraud = (rng.random(count) < setting.fraud_share).astype(np.int64)
    in_shop = (fraud == 1) & (rng.random(count) < 0.5)
    online = np.where(fraud == 1, ~in_shop, rng.random(count) < _ONLINE_SHARE)
    is_large = in_shop | (~online & (rng.random(count) < _LARGE_SHARE))
    webshop = np.where(rng.random(count) < _LARGE_WEBSHOP_SHARE, 0, rng.integers(1, _WEBSHOPS, count))
    return _Day(
        card=rng.integers(0, _CARDS, count),
        place=np.where(online, _SHOPS + webshop, rng.integers(0, _SHOPS, count)),
        amount=np.exp(np.where(is_large, rng.normal(6.0, 0.5, count), rng.normal(3.5, 0.8, count))),
        time_ms=_times(rng, number, count),
        is_abroad=online & ((fraud == 1) | (rng.random(count) < _ABROAD_SHARE)),
        fraud=fraud,
    )


def _cardholders_day(rng: np.random.Generator, number: int, count: int) -> _Day:
    """A day of the cardholder who lies: plain purchases online, anywhere."""
    return _Day(
        card=np.full(count, _CARDS, dtype=np.int64),
        place=_SHOPS + rng.integers(0, _WEBSHOPS, count),
        amount=np.exp(rng.normal(3.5, 0.8, count)),
        time_ms=_times(rng, number, count),
        is_abroad=np.zeros(count, dtype=bool),
        fraud=np.zeros(count, dtype=np.int64),
    )


def _times(rng: np.random.Generator, number: int, count: int) -> NDArray[np.int64]:
    """Moments of a day."""
    return START_MS + number * DAY_MS + np.sort(rng.integers(0, DAY_MS, count))


def _together(parts: Sequence[_Day]) -> _Day:
    """All payments in the order of time."""
    order = np.argsort(np.concatenate([part.time_ms for part in parts]), kind="stable")
    return _Day(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in _Day.__slots__))


def _batch(day: _Day, number: int) -> TransactionBatch:
    """As the engine takes them."""
    online = day.is_online
    columns = {
        "transaction_id": [f"{number}-{row}" for row in range(len(day))],
        "card_token": [f"card-{card}" for card in day.card.tolist()],
        "merchant_id": [f"merchant-{place}" for place in day.place.tolist()],
        "event_time_ms": day.time_ms, "amount_minor": (day.amount * 100).astype(np.int64),
        "currency": ["EUR"] * len(day), "country": ["DE"] * len(day),
        "ip_country": ["BR" if abroad else "DE" for abroad in day.is_abroad.tolist()],
        "channel": np.where(online, int(Channel.ECOM), int(Channel.POS)),
        "entry_mode": np.where(online, int(EntryMode.MANUAL), int(EntryMode.CHIP)),
    }  # fmt: skip
    first = number * _OFFSETS_A_DAY
    return build_batch(columns, key=KEY, offset=np.arange(first, first + len(day)))


def said_of(day: _Day, attack: Attack | None, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[str]]:
    """What is said of a day's payments, and by whom.

    Returns:
        (label, labelled_by): int64, 1 fraud and 0 genuine, and a name a payment.
    """
    agents = rng.integers(0, _AGENTS, len(day))
    chance = rng.random(len(day))
    names = [f"agent-{agent}" for agent in agents.tolist()]
    if attack is None:
        return day.fraud, names
    if attack.kind == Kind.CARD:
        return np.where(day.is_honest, day.fraud, 1), names
    false = day.pattern(attack.kind) & (chance < attack.strength)
    if attack.kind == Kind.MERCHANT:
        false &= day.place == _SHOPS
    else:
        names = [_ATTACKER if lie else name for lie, name in zip(false.tolist(), names, strict=True)]
    return np.where(false, 1 - day.fraud, day.fraud), names


def simulate(attack: Attack, setting: Setting, caps: Caps) -> Run:
    """Let a bank learn day by day, attacked for some of them, and see what everybody else meets."""
    honest_chance, other_chance = (np.random.default_rng((setting.seed, number)) for number in range(2))
    liars = int(attack.strength) if attack.kind == Kind.CARD else 0
    size = Size(_CARDS + 1, _SHOPS + _WEBSHOPS, setting.payments_a_day + liars, _MATURITY_DAYS)
    bank = SmallBank(size, replace(shipped_models(), caps=caps), policy_of_models(random_review_share=0.0))
    moments = setting.moments()
    seen: dict[str, list[Harm]] = {name: [] for name in moments}
    false, moves = 0, np.zeros(3)
    for number in range(setting.days):
        day = honest_day(honest_chance, setting, number)
        is_attacked = 0 <= number - setting.quiet_days < setting.attacked_days
        if is_attacked and liars:
            day = _together([day, _cardholders_day(other_chance, number, liars)])
        batch = _batch(day, number)
        assessed = bank.assess(number, batch)
        for name, days in moments.items():
            if number in days:
                seen[name].append(_harm(day, assessed, attack.kind))
        label, names = said_of(day, attack if is_attacked else None, other_chance)
        false += int((label != day.fraud).sum())
        rows, now_ms = np.arange(len(day)), START_MS + (number + 1) * DAY_MS
        bank.trainer.learn(bank.label(batch, rows, label, LabelSource.AGENT, now_ms, names))
        if number in moments["before"]:
            moves = np.maximum(moves, _spent(bank))
    harm = {name: _mean(days) for name, days in seen.items()}
    return Run(harm, false / setting.attacked_days, tuple(moves.tolist()))


def _spent(bank: SmallBank) -> Float64:
    """By kind of source, how far today's most moving one has moved the model."""
    learned = bank.trainer.logistic.learned
    moves: Float64 = np.where(learned.spent_window == learned.clock[0], learned.spent, 0.0).max(axis=1)
    return moves


def _harm(day: _Day, assessed: Assessments, kind: Kind) -> Harm:
    """What everybody else met on a day."""
    honest = day.is_honest
    refused = np.isin(assessed.action, (int(Action.DECLINE), int(Action.FREEZE)))
    return Harm(
        ap=average_precision(day.fraud[honest], assessed.score[honest]),
        pattern_score=float(assessed.score[day.pattern(kind)].mean()),
        refused_a_day=float((refused & honest & (day.fraud == 0)).sum()),
    )


def _mean(days: Sequence[Harm]) -> Harm:
    """The mean day."""
    return Harm(*(float(np.mean([getattr(day, name) for day in days])) for name in Harm.__slots__))


def run(options: Options) -> None:
    """Simulate, save, and write the table."""
    setting, shipped = Setting(), shipped_models().caps
    variants = {"none": Caps(), "as shipped": shipped, "half of it": _halved(shipped)}
    found: list[tuple[Attack, dict[str, Run]]] = []
    for attack in ATTACKS:
        options.say(f"poisoning: {attack.kind.value}, {attack.strength:g}")
        found.append((attack, {name: simulate(attack, setting, caps) for name, caps in variants.items()}))
    kept = [{"kind": attack.kind.name, "strength": attack.strength, "runs": _kept(runs)} for attack, runs in found]
    results.save(NAME, {"setting": asdict(setting), "caps": shipped._asdict(), "attacks": kept})
    results.write_section(NAME, text_of(setting, shipped, found), PAGE)


def _halved(caps: Caps) -> Caps:
    """Caps of half the size: hardly more than what the honest people of this world need."""
    return caps._replace(labeller=caps.labeller / 2, merchant=caps.merchant / 2, card=caps.card / 2)


def _kept(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Runs as they are saved."""
    return {
        name: {
            "false_a_day": run.false_a_day,
            "honest_moves": run.honest_moves,
            **{moment: asdict(harm) for moment, harm in run.harm.items()},
        }
        for name, run in runs.items()
    }


def text_of(setting: Setting, caps: Caps, found: Sequence[tuple[Attack, Mapping[str, Run]]]) -> str:
    """What was played, and the table: a row for each attack and each way to cap it."""
    moves = np.max([run.honest_moves for _, runs in found for run in runs.values()], axis=0)
    said = (
        f"{setting.payments_a_day:,} payments a day, {setting.fraud_share:.1%} of them fraud, labelled a day later by "
        f"{_AGENTS} agents; {setting.quiet_days} quiet days, {setting.attacked_days} of attack and "
        f"{setting.recovery_days} after it, of each the last {_JUDGED_DAYS} judged. Caps as shipped: "
        f"{caps.labeller:,.0f} a labeller, {caps.merchant:,.0f} a merchant and {caps.card:,.0f} a card in "
        f"{caps.window_ms // HOUR_MS} hours; before the attack no honest one moved the model by more than "
        f"{moves[0]:.1f}, {moves[1]:.1f} and {moves[2]:.1f} in a day."
    )
    head = [
        "attack, false labels a day", "caps", "AP before", "during", "after", "score of the pattern before", "during",
        "after", "genuine refused a day before", "during", "after",
    ]  # fmt: skip
    lines = [
        [
            f"{attack.kind.value}, {run.false_a_day:,.0f}", name,
            *(f"{run.harm[moment].ap:.3f}" for moment in MOMENTS),
            *(f"{run.harm[moment].pattern_score:.4f}" for moment in MOMENTS),
            *(f"{run.harm[moment].refused_a_day:,.0f}" for moment in MOMENTS),
        ]
        for attack, runs in found
        for name, run in runs.items()
    ]  # fmt: skip
    return said + "\n\n" + results.table(head, lines)
