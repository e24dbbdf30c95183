"""What a run of decisions was worth: by action, in money, in work for people, in cards frozen without need.

A replay is open: a card that was frozen goes on paying in the file. What a freeze would have kept from happening is
therefore counted for as long as an agent needs to answer, and never longer; what a policy assumes beyond that (the
follow-on loss) is counted apart, by its own costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cardwatch.replay.evaluation import DAY_MS, auc_roc, average_precision, card_precision_at
from detector.policy import Policy
from detector.rates import RateTable
from detector.texts import pack_code
from detector.transactions import CURRENCY_LETTERS
from detector.vocabulary import Action, Flag, Label

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

_UNKNOWN = -1
_REFUSING = (int(Action.DECLINE), int(Action.FREEZE))
_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the file, whoever decides; columns of one length, in time order.

    Attributes:
        event_time_ms, card: int64; equal numbers are equal cards.
        currency: int64, packed ISO 4217 codes.
        amount_reference: int64, minor units of the reference currency.
        spends: bool, whether money is spent: a purchase or cash.
        label: int64, 1 fraud, 0 genuine, -1 unknown.
    """

    event_time_ms: Int64
    card: Int64
    currency: Int64
    amount_reference: Int64
    spends: NDArray[np.bool_]
    label: Int64

    def __len__(self) -> int:
        """Number of payments."""
        return len(self.event_time_ms)

    @property
    def days(self) -> Int64:
        """Day of each payment, counted from the first."""
        days: Int64 = (self.event_time_ms - self.event_time_ms[0]) // DAY_MS
        return days

    @property
    def day_count(self) -> int:
        """Days from the first payment to the last, both included."""
        return int(self.days[-1]) + 1


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided of every payment.

    Attributes:
        name: "current" or "candidate".
        policy: that decided.
        action, flags: int64, codes and bits of the vocabulary.
        score: float64.
        reasons: codes of each, strongest first.
    """

    name: str
    policy: Policy
    action: Int64
    flags: Int64
    score: Float64
    reasons: pa.ListArray

    @property
    def first(self) -> NDArray[np.bool_]:
        """Whether a payment was decided for the first time; a repeated one counts once."""
        first: NDArray[np.bool_] = (self.flags & int(Flag.DUPLICATE)) == 0
        return first


@dataclass(frozen=True, slots=True)
class Terms:
    """How a backtest counts.

    Attributes:
        costs: the policy by whose costs both are judged.
        rates: to bring costs into the reference currency.
        answer_ms: how long a card stays frozen, and a case open, until an agent has answered.
        wrong_ms: a freeze without any fraud on its card within this time, before or after, was wrong.
        case_actions: codes of the actions that open a case.
    """

    costs: Policy
    rates: RateTable
    answer_ms: int
    wrong_ms: int
    case_actions: frozenset[int]


class Judgement:
    """The numbers of one run.

    Attributes:
        facts, decisions, terms: what is judged, and how.
    """

    def __init__(self, facts: Facts, decisions: Decisions, terms: Terms) -> None:
        self.facts, self.decisions, self.terms = facts, decisions, terms

    def as_json(self) -> dict[str, Any]:
        """All numbers, as JSON has them; what cannot be known is null."""
        return {
            "policy_version": self.decisions.policy.version,
            "actions": self.actions(),
            "money": {"by_costs": self.by_costs(), "by_labels": self.by_labels()},
            "work": self.work(),
            "freezes": self.freezes(),
            "quality": self.quality(),
            "days": self.by_day(),
            "precision_recall": self.curve(),
        }

    def actions(self) -> dict[str, dict[str, int]]:
        """The confusion matrix: payments by action and by what they were."""
        label, action = self.facts.label, self.decisions.action
        columns = (("genuine", Label.GENUINE), ("fraud", Label.FRAUD), ("unknown", _UNKNOWN))
        return {
            each.wire: {
                name: int(((action == each) & (label == code) & self.decisions.first).sum()) for name, code in columns
            }
            for each in Action
        }

    @cached_property
    def costs(self) -> Float64:
        """What each labelled payment cost by the terms' policy, minor units of the reference currency; 0 elsewhere."""
        return self._costs_by(self.terms.costs, self.decisions.action)

    @cached_property
    def costs_if_allowed(self) -> Float64:
        """The same if every payment had been allowed."""
        return self._costs_by(self.terms.costs, np.zeros(len(self.facts), dtype=np.int64))

    def _costs_by(self, policy: Policy, action: Int64) -> Float64:
        """What actions on labelled payments cost by a policy; 0 elsewhere."""
        fraud = (self.facts.label == Label.FRAUD).astype(np.float64)
        return np.where(self._counted, _costs(self.facts, action, fraud, policy, self.terms.rates), 0.0)

    @property
    def _counted(self) -> NDArray[np.bool_]:
        """Payments that count in money: spent, first seen, and of a kind that is known."""
        counted: NDArray[np.bool_] = self.facts.spends & self.decisions.first & (self.facts.label != _UNKNOWN)
        return counted

    def by_costs(self) -> dict[str, int]:
        """Money by the costs of the terms' policy, and what is saved by those of the run's own.

        `foreseen` is the cost that the scores of the run promised.
        """
        decided = self.facts.spends & self.decisions.first
        foreseen = _costs(self.facts, self.decisions.action, self.decisions.score, self.terms.costs, self.terms.rates)
        genuine = self._counted & (self.facts.label == Label.GENUINE)
        own, nothing = self.decisions.policy, np.zeros(len(self.facts), dtype=np.int64)
        own_saved = self._costs_by(own, nothing) - self._costs_by(own, self.decisions.action)
        allowed, cost = float(self.costs_if_allowed.sum()), float(self.costs.sum())
        return {
            "if_all_allowed_minor": round(allowed),
            "cost_minor": round(cost),
            "saved_minor": round(allowed - cost),
            "saved_by_own_costs_minor": round(float(own_saved.sum())),
            "bother_of_genuine_minor": round(float(self.costs[genuine].sum())),
            "foreseen_cost_minor": round(float(foreseen[decided].sum())),
        }

    def by_labels(self) -> dict[str, int]:
        """Money by what payments really were: fraud stopped and lost, genuine payments refused."""
        amount = self.facts.amount_reference
        fraud = self._counted & (self.facts.label == Label.FRAUD)
        genuine = self._counted & (self.facts.label == Label.GENUINE)
        refused = np.isin(self.decisions.action, _REFUSING)
        while_frozen = self.frozen & ~refused
        return {
            "fraud_minor": int(amount[fraud].sum()),
            "fraud_refused_minor": int(amount[fraud & refused].sum()),
            "fraud_while_frozen_minor": int(amount[fraud & while_frozen].sum()),
            "fraud_asked_minor": int(
                amount[fraud & ~self.frozen & (self.decisions.action == int(Action.STEP_UP))].sum()
            ),
            "fraud_lost_minor": int(amount[fraud & ~refused & ~while_frozen].sum()),
            "genuine_refused_minor": int(amount[genuine & refused].sum()),
            "genuine_while_frozen_minor": int(amount[genuine & while_frozen].sum()),
            "genuine_asked": int((genuine & (self.decisions.action == int(Action.STEP_UP))).sum()),
        }

    def work(self) -> dict[str, float]:
        """What people have to do: alerts, cases and wrong alerts a day."""
        alerts, cases = self._alerts_by_day(), self._cases_by_day()
        wrong = (self.decisions.action != Action.ALLOW) & self.decisions.first & (self.facts.label == Label.GENUINE)
        return {
            "alerts": int(alerts.sum()),
            "alerts_a_day": float(alerts.mean()),
            "alerts_on_the_busiest_day": int(alerts.max()),
            "cases": int(cases.sum()),
            "cases_a_day": float(cases.mean()),
            "cases_on_the_busiest_day": int(cases.max()),
            "wrong_alerts_a_day": float(wrong.sum() / self.facts.day_count),
        }

    def freezes(self) -> dict[str, Any]:
        """Freezes, and those that were wrong: no fraud on the card within the time that terms say."""
        rows = self.freeze_rows
        wrong = self._without_fraud
        known = self.facts.label[rows] != _UNKNOWN
        return {
            "freezes": len(rows),
            "cards": len(np.unique(self.facts.card[rows])),
            "wrong_freezes": int((wrong & known).sum()),
            "wrongly_frozen_cards": len(self.wrongly_frozen_cards),
            "not_known": int((wrong & ~known).sum()),
            "wrongly_frozen_card_days": float((wrong & known).sum() * self.terms.answer_ms / DAY_MS),
        }

    @property
    def wrongly_frozen_cards(self) -> set[int]:
        """Cards of wrong freezes; where the payment that froze has no label, nobody knows."""
        known = self.facts.label[self.freeze_rows] != _UNKNOWN
        return set(self.facts.card[self.freeze_rows[self._without_fraud & known]].tolist())

    def quality(self) -> dict[str, float | None]:
        """AUC ROC, Average Precision and Card Precision@100 of the score, over what is labelled."""
        known = (self.facts.label != _UNKNOWN) & self.decisions.first
        labels, scores = self.facts.label[known], self.decisions.score[known]
        measured = {
            "auc_roc": auc_roc(labels, scores) if len(labels) else float("nan"),
            "average_precision": average_precision(labels, scores),
            "card_precision_at_100": card_precision_at(
                labels, scores, self.facts.card[known], self.facts.event_time_ms[known]
            ),
        }
        return {name: value if np.isfinite(value) else None for name, value in measured.items()}

    def by_day(self) -> dict[str, list[float]]:
        """Alerts, cases and money saved by the policy's costs, day for day."""
        saved = np.bincount(self.facts.days, weights=self.costs_if_allowed - self.costs, minlength=self.facts.day_count)
        return {
            "alerts": self._alerts_by_day().tolist(),
            "cases": self._cases_by_day().tolist(),
            "saved_minor": [round(value) for value in saved.tolist()],
        }

    def curve(self) -> list[tuple[float, float]]:
        """Precision over recall at up to 200 thresholds, from the strictest on."""
        known = (self.facts.label != _UNKNOWN) & self.decisions.first
        labels, scores = self.facts.label[known], self.decisions.score[known]
        frauds = int(labels.sum())
        if not frauds:
            return []
        hits = np.cumsum(labels[np.argsort(-scores, kind="stable")])
        wanted = np.unique(np.linspace(1, frauds, min(frauds, _CURVE_POINTS)).round().astype(np.int64))
        places = np.searchsorted(hits, wanted)
        return [(hit / frauds, hit / (place + 1)) for hit, place in zip(wanted.tolist(), places.tolist(), strict=True)]

    @cached_property
    def freeze_rows(self) -> Int64:
        """Rows at which a card was frozen: those of FREEZE that no earlier one had frozen already."""
        asked = np.flatnonzero((self.decisions.action == int(Action.FREEZE)) & self.decisions.first)
        return _beginnings(self.facts, asked, self.terms.answer_ms)

    @cached_property
    def frozen(self) -> NDArray[np.bool_]:
        """Whether a payment fell into the time in which its card was frozen, the one that froze it left out."""
        frozen = np.zeros(len(self.facts), dtype=bool)
        for row, rows in _rows_of_cards(self.facts, self.freeze_rows):
            later = self.facts.event_time_ms[rows] - self.facts.event_time_ms[row]
            frozen[rows[(rows > row) & (later < self.terms.answer_ms)]] = True
        return frozen

    @cached_property
    def _without_fraud(self) -> NDArray[np.bool_]:
        """By freeze: whether its card had no known fraud within the time that terms say."""
        wrong = np.ones(len(self.freeze_rows), dtype=bool)
        for index, (row, rows) in enumerate(_rows_of_cards(self.facts, self.freeze_rows)):
            near = np.abs(self.facts.event_time_ms[rows] - self.facts.event_time_ms[row]) <= self.terms.wrong_ms
            wrong[index] = not (self.facts.label[rows[near]] == Label.FRAUD).any()
        return wrong

    def _alerts_by_day(self) -> Int64:
        """Decisions that are not ALLOW."""
        alerts = (self.decisions.action != Action.ALLOW) & self.decisions.first
        return np.bincount(self.facts.days[alerts], minlength=self.facts.day_count)

    def _cases_by_day(self) -> Int64:
        """Cases that are opened: an alert on a card whose case is open joins it."""
        opening = np.isin(self.decisions.action, list(self.terms.case_actions)) & self.decisions.first
        rows = _beginnings(self.facts, np.flatnonzero(opening), self.terms.answer_ms)
        return np.bincount(self.facts.days[rows], minlength=self.facts.day_count)


def _costs(facts: Facts, action: Int64, fraud: Float64, policy: Policy, rates: RateTable) -> Float64:
    """The policy's cost of an action on each payment, given the probability that it is fraud.

    Returns:
        Minor units of the reference currency.
    """
    reference = pack_code(policy.reference_currency, CURRENCY_LETTERS)
    own = {pack_code(currency, CURRENCY_LETTERS): row for currency, row in policy.cost_rows.items()}
    stops = policy.stops.copy()
    # What is refused does not go through, whatever `[stops]` says of the actions that the model may choose.
    stops[int(Action.DECLINE)] = 1.0, 0.0
    result = np.empty(len(facts))
    for code in np.unique(facts.currency).tolist():
        rows = facts.currency == code
        row, currency = (own[code], code) if code in own else (policy.cost_rows[policy.reference_currency], reference)
        table = np.rint(policy.costs[row]).astype(np.int64)
        converted, _ = rates.convert(table, np.full(len(table), currency, dtype=np.int64))
        done = action[rows]
        bother = np.where(done == int(Action.ALLOW), 0.0, converted[done])
        through = (1.0 - stops[done, 0]) * facts.amount_reference[rows] + (1.0 - stops[done, 1]) * converted[0]
        result[rows] = fraud[rows] * through + bother
    return result


def _beginnings(facts: Facts, rows: Int64, length_ms: int) -> Int64:
    """Of chosen rows those at which something of a given length begins for their card: none is open already."""
    ends: dict[int, int] = {}
    begun = []
    chosen = zip(rows.tolist(), facts.card[rows].tolist(), facts.event_time_ms[rows].tolist(), strict=True)
    for row, card, time_ms in chosen:
        if time_ms >= ends.get(card, time_ms):
            begun.append(row)
            ends[card] = time_ms + length_ms
    return np.array(begun, dtype=np.int64)


def _rows_of_cards(facts: Facts, rows: Int64) -> list[tuple[int, Int64]]:
    """With each chosen row all rows of its card, in time order."""
    order = np.argsort(facts.card, kind="stable")
    cards = facts.card[order]
    starts = np.searchsorted(cards, facts.card[rows], side="left")
    stops = np.searchsorted(cards, facts.card[rows], side="right")
    return [
        (row, order[start:stop])
        for row, start, stop in zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True)
    ]
