"""The policy: from score, anomaly, rules and amount to the action of least expected cost.

What an action costs, for a payment of amount A that is fraud with probability p:

    p x ((1 - stops payment) x A + (1 - stops follow-on) x follow-on loss) + bother

The follow-on loss is what a stolen card would still suffer if nobody acted; bother is what asking, reviewing or
freezing costs, right or wrong. The model may choose ALLOW, STEP_UP, REVIEW and, once it has learned enough frauds,
FREEZE; rules may ask for anything, and the most severe wish wins. A card that is not active is answered DECLINE.

Payments of kind purchase and cash get actions of the model, of rules and of the card's state; verifications get those
of rules and of the card's state; refunds, reversals and outcomes are always ALLOW.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_INDEX
from detector.deadline import DeadlinePolicy
from detector.jit import kernel
from detector.models.version import ModelVersion
from detector.rates import by_currency
from detector.reasons import ANOMALY, CARD_STATE, MODEL, RANDOM, RULE, UNUSUAL_PATTERN, PolicyResult, features_behind
from detector.rules import Rule, Values, evaluate, parse_list, parse_lists, parse_rules
from detector.section import Section
from detector.vocabulary import Action, CardStatus, Flag, Kind

_CHOICES = (Action.ALLOW, Action.STEP_UP, Action.REVIEW, Action.FREEZE)
_BOTHERING = _CHOICES[1:]
_SETTINGS = (
    "version", "reference_currency", "random_review_share", "thresholds", "stops", "costs", "lists", "rules",
    "deadline",
)  # fmt: skip
_CHOICES_WARM = np.array([int(action) for action in _CHOICES], dtype=np.int64)
_CHOICES_COLD = np.array([int(action) for action in _CHOICES if action is not Action.FREEZE], dtype=np.int64)
_FOLLOW_ON = 0
# Plain numbers, for the kernels.
_ALLOW, _REVIEW, _DECLINE = int(Action.ALLOW), int(Action.REVIEW), int(Action.DECLINE)
_PURCHASE, _CASH, _VERIFICATION = int(Kind.PURCHASE), int(Kind.CASH), int(Kind.VERIFICATION)
_ACTIVE, _RANDOM_REVIEW = int(CardStatus.ACTIVE), int(Flag.RANDOM_REVIEW)


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """What is decided on: columns of one length.

    Attributes:
        score: float64, probability of fraud.
        anomaly: float64, 0 to 1.
        features: float32 (n, F), NaN where missing.
        amount_minor: int64, minor units of `currency`.
        currency: int64, ISO 4217 codes as `texts.pack_letters` packs them.
        amount_reference: int64, minor units of the policy's reference currency.
        kind, channel, entry_mode: int64 codes of the vocabulary.
        mcc: int64, 0 where missing.
        country_code: int64, ISO 3166-1 alpha-2 codes as `texts.pack_letters` packs them, 0 where missing.
        merchant, card, terminal, device: uint64 (n, 2) fingerprints, 0 where missing.
        fingerprint_key: what they were made with.
        card_status: int64 codes of `CardStatus`.
        cold_start: whether the model has learned too few frauds to freeze.
        random_unit: float64 in [0, 1), uniform, decided by the transaction's identity alone.
        damped: (row, reason code) pairs on which a person has overruled us.
        exempt: rows that a person allowed whatever models and reviewing or freezing rules say; None: none.
        model: the version that scored; it says what a high anomaly score is, and what spoke where reasons are damped.
    """

    score: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    features: NDArray[np.float32]
    amount_minor: NDArray[np.int64]
    currency: NDArray[np.int64]
    amount_reference: NDArray[np.int64]
    kind: NDArray[np.int64]
    channel: NDArray[np.int64]
    entry_mode: NDArray[np.int64]
    mcc: NDArray[np.int64]
    country_code: NDArray[np.int64]
    merchant: NDArray[np.uint64]
    card: NDArray[np.uint64]
    terminal: NDArray[np.uint64]
    device: NDArray[np.uint64]
    fingerprint_key: bytes
    card_status: NDArray[np.int64]
    cold_start: bool
    random_unit: NDArray[np.float64]
    damped: Sequence[tuple[int, str]]
    exempt: NDArray[np.bool_] | None
    model: ModelVersion


class _Terms(NamedTuple):
    """A policy as its kernel reads it.

    Attributes:
        costs: a row a currency: the follow-on loss, then the bother of each action by its code.
        cost_rows: int64 by packed currency code, -1 where nothing is said of the currency.
        reference_row: of the reference currency.
        stops: a row an action: shares of the payment and of the follow-on loss that it stops.
        least_score: by action.
        rule_actions: int64, what each rule asks for.
    """

    costs: NDArray[np.float64]
    cost_rows: NDArray[np.int64]
    reference_row: int
    stops: NDArray[np.float64]
    least_score: NDArray[np.float64]
    rule_actions: NDArray[np.int64]


class _Wishes(NamedTuple):
    """What is decided of each row, before what people and chance have to say."""

    action: NDArray[np.int64]
    drivers: NDArray[np.int64]
    expected_loss: NDArray[np.int64]


@kernel
def _cheapest(score: float, amount: int, own: NDArray[np.float64], terms: _Terms, choices: NDArray[np.int64]) -> int:
    """The action of least expected cost, the milder one where two cost the same."""
    least, found = np.inf, 0
    for index in range(choices.shape[0]):
        choice = choices[index]
        if score < terms.least_score[choice]:
            continue
        through = (1.0 - terms.stops[choice, 0]) * amount + (1.0 - terms.stops[choice, 1]) * own[0]
        cost = score * through + (own[choice] if choice > 0 else 0.0)
        if cost < least:
            least = cost
            found = choice
    return found


@kernel
def _cheapest_by_model(
    score: float,
    amount_minor: int,
    amount_reference: int,
    currency: int,
    choices: NDArray[np.int64],
    terms: _Terms,
) -> int:
    """The action of least expected cost, in the payment's own currency where its costs are known."""
    cost_row = terms.cost_rows[currency]
    if cost_row < 0:
        return _cheapest(score, amount_reference, terms.costs[terms.reference_row], terms, choices)
    return _cheapest(score, amount_minor, terms.costs[cost_row], terms, choices)


@kernel
def _wish_rows(
    score: NDArray[np.float64],
    anomaly: NDArray[np.float64],
    anomaly_level: float,
    amount_minor: NDArray[np.int64],
    amount_reference: NDArray[np.int64],
    currency: NDArray[np.int64],
    kind: NDArray[np.int64],
    hits: NDArray[np.int64],
    choices: NDArray[np.int64],
    terms: _Terms,
    wishes: _Wishes,
) -> None:
    """What model, anomaly and rules ask for, the most severe wish winning."""
    for row in range(score.shape[0]):
        wishes.expected_loss[row] = np.int64(np.rint(score[row] * amount_minor[row]))
        wished, drivers = 0, 0
        if kind[row] == _PURCHASE or kind[row] == _CASH:
            wished = _cheapest_by_model(
                score[row], amount_minor[row], amount_reference[row], currency[row], choices, terms
            )
            if wished > 0:
                drivers |= MODEL
            if anomaly[row] > anomaly_level:
                drivers |= ANOMALY
        if drivers & ANOMALY:
            wished = max(wished, _REVIEW)
        left, bit, asked = hits[row], 0, 0
        while left != 0:
            if left & 1:
                asked = max(asked, terms.rule_actions[bit])
            left >>= 1
            bit += 1
        if asked > 0:
            drivers |= RULE
        wishes.action[row] = max(wished, asked)
        wishes.drivers[row] = drivers


@kernel
def _settle_rows(
    kind: NDArray[np.int64],
    card_status: NDArray[np.int64],
    random_unit: NDArray[np.float64],
    random_share: float,
    action: NDArray[np.int64],
    drivers: NDArray[np.int64],
    flags: NDArray[np.int64],
) -> None:
    """Refuse what would use a card that is not active, and choose some of what is allowed for a person's review."""
    for row in range(kind.shape[0]):
        spends = kind[row] == _PURCHASE or kind[row] == _CASH
        if card_status[row] != _ACTIVE and (spends or kind[row] == _VERIFICATION):
            action[row] = _DECLINE
            drivers[row] |= CARD_STATE
        if spends and action[row] == _ALLOW and random_unit[row] < random_share:
            action[row] = _REVIEW
            drivers[row] |= RANDOM
            flags[row] |= _RANDOM_REVIEW


@dataclass(frozen=True)
class Policy:
    """A policy, compiled. Immutable; `with_lists` makes another.

    Attributes:
        version: name, written into every decision.
        reference_currency: ISO 4217 code; must be the rate table's.
        random_review_share: share of allowed payments that people review all the same, so that labels stay honest.
        least_score: float64 by action code: below it the model does not take the action.
        anomaly_review_share: payments whose anomaly score is among this highest share are at least reviewed.
        stops: float64 by action code, (share of the payment stopped, share of the follow-on loss stopped).
        cost_rows: row of `costs` by currency.
        costs: float64 (currencies, 5), the follow-on loss, then the bother by action code; minor units.
        rules: at most 62.
        deadline: what a waiting caller is told when there is no decision in time; without it everything is declined.
    """

    version: str
    reference_currency: str
    random_review_share: float
    least_score: NDArray[np.float64]
    anomaly_review_share: float
    stops: NDArray[np.float64]
    cost_rows: Mapping[str, int]
    costs: NDArray[np.float64]
    rules: tuple[Rule, ...]
    deadline: DeadlinePolicy = field(default_factory=DeadlinePolicy)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], features: Mapping[str, int] = FEATURE_INDEX) -> Policy:
        """Parse the content of `configs/policy.toml`.

        Args:
            mapping: the content.
            features: columns by feature name.

        Raises:
            ConfigurationError: a setting is missing, unknown or out of bounds; the message names it and says what would
                be right.
        """
        root = Section(mapping, "")
        root.refuse_unknown(_SETTINGS)
        thresholds = root.section("thresholds")
        thresholds.refuse_unknown((*(action.wire.lower() for action in _BOTHERING), "anomaly_review_share"))
        least_score = np.zeros(len(Action))
        for action in _BOTHERING:
            least_score[action] = thresholds.number(action.wire.lower(), 0.0, 1.0)
        cost_rows, costs = _costs(root)
        lists = parse_lists(root.section("lists")) if "lists" in root else {}
        return cls(
            version=root.text("version"),
            reference_currency=root.text("reference_currency"),
            random_review_share=root.number("random_review_share", 0.0, 1.0),
            least_score=least_score,
            anomaly_review_share=thresholds.number("anomaly_review_share", 0.0, 0.1),
            stops=_stops(root.section("stops")),
            cost_rows=cost_rows,
            costs=costs,
            rules=tuple(parse_rules(root.sections("rules"), features, lists)),
            deadline=DeadlinePolicy.from_section(root.section("deadline")) if "deadline" in root else DeadlinePolicy(),
        )

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """Names of the rules, in the order of the bits of `rule_hits`."""
        return tuple(rule.id for rule in self.rules)

    def with_lists(self, lists: Mapping[str, Sequence[Any]]) -> Policy:
        """The same policy with some named lists replaced by what the desk says.

        Raises:
            ConfigurationError: a list mixes texts and numbers.
        """
        section = Section(lists, "lists")
        parsed: dict[str, Values] = {name: parse_list(section, name) for name in lists}
        return replace(self, rules=tuple(rule.with_lists(parsed) for rule in self.rules))

    def decide(self, inputs: PolicyInputs) -> PolicyResult:
        """Decide rows; what is decided on a row does not depend on the rows beside it.

        Returns:
            Actions with what they rest on; the arrays are the caller's.
        """
        kind = inputs.kind
        actionable = (kind <= _CASH) | (kind == _VERIFICATION)
        hits = evaluate(self.rules, inputs, actionable)
        wishes = _Wishes(*np.empty((len(_Wishes._fields), len(kind)), dtype=np.int64))
        _wish_rows(
            inputs.score, inputs.anomaly, inputs.model.anomaly_level(self.anomaly_review_share), inputs.amount_minor,
            inputs.amount_reference, inputs.currency, kind, hits, _CHOICES_COLD if inputs.cold_start else _CHOICES_WARM,
            self._terms, wishes,
        )  # fmt: skip
        if inputs.damped:
            self._damp(inputs, hits, wishes)
        if inputs.exempt is not None:
            self._exempt(inputs.exempt, hits, wishes.action, wishes.drivers)
        flags = np.full(len(kind), int(Flag.COLD_START) if inputs.cold_start else 0, dtype=np.int64)
        _settle_rows(
            kind, inputs.card_status, inputs.random_unit, self.random_review_share, wishes.action, wishes.drivers, flags
        )
        return PolicyResult(wishes.action, flags, hits, wishes.expected_loss, wishes.drivers, self.rules)

    def list_values(self) -> dict[str, Values]:
        """What is on each list that a rule names."""
        conditions = (condition for rule in self.rules for condition in rule.conditions)
        return {condition.list_name: condition.values for condition in conditions if condition.list_name}

    def _exempt(
        self,
        exempt: NDArray[np.bool_],
        hits: NDArray[np.int64],
        action: NDArray[np.int64],
        drivers: NDArray[np.int64],
    ) -> None:
        """Let allowed payments pass; rules that decline still do, for who is blocked is so for everybody."""
        for row in np.flatnonzero(exempt & (action > _ALLOW)).tolist():
            declines = any(
                hits[row] >> bit & 1 and rule.action is Action.DECLINE for bit, rule in enumerate(self.rules)
            )
            action[row], drivers[row] = (_DECLINE, RULE) if declines else (_ALLOW, 0)

    @cached_property
    def _terms(self) -> _Terms:
        """The policy as its kernel reads it."""
        return _Terms(
            costs=self.costs,
            cost_rows=by_currency(self.cost_rows, -1).astype(np.int64),
            reference_row=self.cost_rows[self.reference_currency],
            stops=self.stops,
            least_score=self.least_score,
            rule_actions=np.array([int(rule.action) for rule in self.rules], dtype=np.int64),
        )

    def _damp(self, inputs: PolicyInputs, hits: NDArray[np.int64], wishes: _Wishes) -> None:
        """Take back FREEZE and REVIEW as far as what spoke for them is damped on the card.

        What is left decides: rules whose reason is not damped, the model without what the damped reasons add to its
        log-odds, the anomaly.
        """
        damped: dict[int, set[str]] = {}
        for row, code in inputs.damped:
            if wishes.action[row] in {Action.REVIEW, Action.FREEZE}:
                damped.setdefault(row, set()).add(code)
        for row, codes in damped.items():
            left, kept = Action.ALLOW, 0
            for bit, rule in enumerate(self.rules):
                if hits[row] >> bit & 1 and rule.reason not in codes:
                    left, kept = max(left, rule.action), kept | RULE
            if wishes.drivers[row] & MODEL:
                still_wished = self._model_action_without(inputs, row, codes)
                if still_wished > Action.ALLOW:
                    left, kept = max(left, still_wished), kept | MODEL
            if wishes.drivers[row] & ANOMALY and UNUSUAL_PATTERN not in codes:
                left, kept = max(left, Action.REVIEW), kept | ANOMALY
            wishes.action[row], wishes.drivers[row] = int(left), kept

    def _model_action_without(self, inputs: PolicyInputs, row: int, codes: Collection[str]) -> Action:
        """What the model would ask for on a row if some reasons did not speak."""
        features = inputs.features[row : row + 1]
        score = inputs.model.probability_without(inputs.model.binner.bins(features), features_behind(codes))
        return Action(
            _cheapest_by_model(
                min(score, float(inputs.score[row])),
                inputs.amount_minor[row],
                inputs.amount_reference[row],
                inputs.currency[row],
                _CHOICES_COLD if inputs.cold_start else _CHOICES_WARM,
                self._terms,
            )
        )


def _stops(section: Section) -> NDArray[np.float64]:
    """Parse `[stops]`: the shares of loss that each action stops."""
    section.refuse_unknown([action.wire.lower() for action in _BOTHERING])
    stops = np.zeros((len(Action), 2))
    for action in _BOTHERING:
        entry = section.section(action.wire.lower())
        entry.refuse_unknown(("payment", "follow_on"))
        stops[action] = entry.number("payment", 0.0, 1.0), entry.number("follow_on", 0.0, 1.0)
    return stops


def _costs(root: Section) -> tuple[dict[str, int], NDArray[np.float64]]:
    """Parse `[costs]`: what bothering costs and what a stolen card would still suffer, by currency."""
    section = root.section("costs")
    rows: dict[str, int] = {}
    costs: list[list[float]] = []
    for currency in section.keys():  # noqa: SIM118 - a Section is no dictionary
        entry = section.section(currency)
        entry.refuse_unknown(("follow_on_loss", *(action.wire.lower() for action in _BOTHERING)))
        row = [0.0] * len(Action)
        row[_FOLLOW_ON] = float(entry.integer("follow_on_loss", 0, 10**12))
        for action in _BOTHERING:
            row[action] = float(entry.integer(action.wire.lower(), 0, 10**12))
        rows[currency] = len(costs)
        costs.append(row)
    if root.text("reference_currency") not in rows:
        root.refuse("reference_currency", f"one of [costs]: {', '.join(rows)}")
    return rows, np.array(costs)
