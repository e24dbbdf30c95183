"""The policy chooses the action of least expected cost, within what the model, rules and people allow."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ConfigurationError
from detector.policy import Policy, PolicyInputs
from detector.reasons import ANOMALY, CARD_STATE, MODEL, RANDOM, RULE, PolicyResult
from detector.vocabulary import Action, CardStatus, Channel, Flag, Kind
from tests.detector.policy_inputs import cut, feature_row, inputs, model_with, policy, shipped

_BURST = {
    "id": "burst",
    "when": [{"feature": "card_count_1h", "op": ">=", "value": 8}],
    "action": "FREEZE",
    "reason": "card_testing",
}


def _rule(action: str, reason: str = "because", merchant: str = "m-bad") -> dict[str, Any]:
    when = [{"field": "merchant_id", "op": "==", "value": merchant}]
    return {"id": f"{action}-{reason}-{merchant}", "when": when, "action": action, "reason": reason}


def _naive_action(made: Policy, score: float, amount: float, currency: str, *, cold: bool) -> int:
    costs = made.costs[made.cost_rows[currency]]
    best, least = 0, float("inf")
    for action in (Action.ALLOW, Action.STEP_UP, Action.REVIEW, Action.FREEZE):
        if score < made.least_score[action] or (cold and action is Action.FREEZE):
            continue
        payment, follow_on = made.stops[action]
        cost = score * ((1 - payment) * amount + (1 - follow_on) * costs[0]) + (costs[action] if action else 0)
        if cost < least:
            best, least = int(action), cost
    return best


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 10**9), st.sampled_from(["EUR", "JPY", "XXX"])),
        min_size=1,
        max_size=40,
    ),
    st.booleans(),
)
def test_equals_naive_twin(rows: list[tuple[float, int, str]], cold: bool) -> None:  # noqa: FBT001 - Hypothesis
    """The action of least expected cost, in the payment's currency where costs are known, else in the reference's."""
    made = policy()
    given_rows = inputs(
        len(rows),
        score=[row[0] for row in rows],
        amount_minor=[row[1] for row in rows],
        amount_reference=[row[1] // 3 for row in rows],
        currency=[row[2] for row in rows],
        cold_start=cold,
    )
    result = made.decide(given_rows)
    for index, (score, amount, currency) in enumerate(rows):
        known = currency in made.cost_rows
        expected = _naive_action(made, score, amount if known else amount // 3, currency if known else "EUR", cold=cold)
        assert result.action[index] == expected
        assert result.expected_loss_minor[index] == round(score * amount)
        assert bool(result.drivers[index] & MODEL) is (expected != Action.ALLOW)


def test_severity_grows_with_the_score() -> None:
    """On one and the same payment the shipped policy never becomes milder as the score rises, and uses every action."""
    made = Policy.from_mapping(shipped("policy.toml"))
    scores = np.linspace(0, 1, 2_001)
    seen = set()
    for amount in (500, 5_000, 50_000, 500_000):
        action = made.decide(inputs(len(scores), score=scores, amount_minor=amount, random_unit=1.0)).action
        assert (np.diff(action) >= 0).all()
        assert action[0] == Action.ALLOW
        assert action[-1] == Action.FREEZE
        seen |= set(action.tolist())
    assert seen == {Action.ALLOW, Action.STEP_UP, Action.REVIEW, Action.FREEZE}


def test_cold_model_neither_freezes_nor_declines() -> None:
    """Until enough frauds are learned only rules may freeze, and the flag says so."""
    scores = np.linspace(0, 1, 101)
    cold = policy([_BURST]).decide(inputs(101, score=scores, amount_minor=10**8, cold_start=True))
    assert cold.action.max() < Action.DECLINE
    assert (cold.flags & Flag.COLD_START).all()
    features = np.stack([feature_row(card_count_1h=9)])
    assert policy([_BURST]).decide(inputs(1, features=features, cold_start=True)).action[0] == Action.FREEZE
    assert not policy().decide(inputs(1)).flags.any()


@pytest.mark.parametrize("status", [CardStatus.FROZEN, CardStatus.BLOCKED, CardStatus.REISSUED])
def test_card_that_is_not_active_is_declined(status: CardStatus) -> None:
    """Whatever the score or a rule says, and for everything that would use the card."""
    kinds = [Kind.PURCHASE, Kind.CASH, Kind.VERIFICATION, Kind.REFUND, Kind.REVERSAL, Kind.OUTCOME]
    made = policy([_rule("FREEZE")])
    result = made.decide(inputs(6, kind=kinds, card_status=status, score=0.99, merchant_id="m-bad"))
    assert result.action.tolist() == [Action.DECLINE] * 3 + [Action.ALLOW] * 3
    assert [bool(driver & CARD_STATE) for driver in result.drivers.tolist()] == [True] * 3 + [False] * 3


def test_model_acts_on_spending_alone() -> None:
    """Verifications meet rules but not the model; refunds, reversals and outcomes are always allowed."""
    kinds = [Kind.PURCHASE, Kind.CASH, Kind.VERIFICATION, Kind.REFUND, Kind.REVERSAL, Kind.OUTCOME]
    model_only = policy(random_review_share=1.0).decide(inputs(6, kind=kinds, score=0.99, anomaly=1.0))
    assert model_only.action.tolist() == [Action.FREEZE] * 2 + [Action.ALLOW] * 4
    with_rule = policy([_rule("FREEZE")]).decide(inputs(6, kind=kinds, merchant_id="m-bad"))
    assert with_rule.action.tolist() == [Action.FREEZE] * 3 + [Action.ALLOW] * 3
    assert with_rule.rule_hits.tolist() == [1, 1, 1, 0, 0, 0]


def test_most_severe_wish_wins() -> None:
    """Rules and model ask each for its own; ALLOW rules only watch."""
    rules = [_rule("ALLOW", "watched"), _rule("REVIEW", "looked_at"), _rule("DECLINE", "refused", "m-worse")]
    made = policy(rules)
    merchants = ["m-bad", "m-worse", "m-good", None]
    calm = made.decide(inputs(4, merchant_id=merchants))
    assert calm.action.tolist() == [Action.REVIEW, Action.DECLINE, Action.ALLOW, Action.ALLOW]
    assert calm.rule_hits.tolist() == [0b011, 0b100, 0, 0]
    assert calm.rule_reasons == {0: ["looked_at"], 1: ["refused"]}
    alarmed = made.decide(inputs(4, merchant_id=merchants, score=0.99))
    assert alarmed.action.tolist() == [Action.FREEZE] * 4
    watched = policy(rules[:1]).decide(inputs(1, merchant_id="m-bad"))
    assert (watched.action[0], watched.rule_hits[0], watched.rule_reasons) == (Action.ALLOW, 1, {})


def test_anomaly_brings_a_review() -> None:
    """What no label has taught may still be looked at by a person, even with a cold model."""
    result = policy().decide(inputs(3, anomaly=[0.98, 0.999, 1.0], score=[0.0, 0.0, 0.99], cold_start=False))
    assert result.action.tolist() == [Action.ALLOW, Action.REVIEW, Action.FREEZE]
    assert [bool(driver & ANOMALY) for driver in result.drivers.tolist()] == [False, True, True]
    unknown = replace(model_with(), anomaly_sample=np.full(16_384, np.nan, dtype=np.float32), anomalies_sampled=0)
    assert policy().decide(inputs(1, anomaly=1.0, model=unknown)).action[0] == Action.ALLOW


def test_random_review_takes_its_share_of_what_is_allowed() -> None:
    """A small share of allowed spending is reviewed, chosen by identity alone, and flagged."""
    units = np.linspace(0, 1, 1_000, endpoint=False)
    result = policy(random_review_share=0.02).decide(inputs(1_000, random_unit=units))
    chosen = (result.flags & Flag.RANDOM_REVIEW) != 0
    assert chosen.sum() == 20
    assert (result.action[chosen] == Action.REVIEW).all()
    assert (result.drivers[chosen] == RANDOM).all()
    suspected = policy(random_review_share=1.0).decide(inputs(1, score=0.99))
    assert (suspected.action[0], suspected.flags[0]) == (Action.FREEZE, 0)


class TestDamping:
    """After a person has overruled us, the same reasons do not act on that card for a while."""

    _HIT = np.stack([feature_row(card_count_1h=9)])

    def test_damped_rule_does_not_act(self) -> None:
        """A rule whose reason is damped is noted but does nothing."""
        result = policy([_BURST]).decide(inputs(1, features=self._HIT, damped=[(0, "card_testing")]))
        assert (result.action[0], result.rule_hits[0], result.drivers[0]) == (Action.ALLOW, 1, 0)

    def test_other_reasons_still_act(self) -> None:
        """Damping one reason leaves the others' wishes in force."""
        rules = [_BURST, _rule("REVIEW", "looked_at")]
        given_rows = inputs(1, features=self._HIT, merchant_id="m-bad", damped=[(0, "card_testing"), (0, "odd")])
        result = policy(rules).decide(given_rows)
        assert (result.action[0], result.drivers[0]) == (Action.REVIEW, RULE)
        both = replace(given_rows, damped=[(0, "card_testing"), (0, "looked_at")])
        assert policy(rules).decide(both).action[0] == Action.ALLOW

    def test_model_acts_on_what_is_not_damped(self) -> None:
        """What damped reasons add is taken out of the model's log-odds; what is left decides."""
        told = {("card_country_is_new", 1.0): 6.0, ("card_count_1h", 20.0): 6.0, ("amount", 900.0): 0.5}
        model = model_with(told)
        features = np.stack([feature_row(card_country_is_new=1, card_count_1h=20, amount=900)])
        score = model.probabilities(model.binner.bins(features))
        given_rows = inputs(1, features=features, score=score, model=model)
        assert score[0] == pytest.approx(1 / (1 + np.exp(-12.5 - model.base_log_odds)))
        for damped, expected in (
            ((), Action.FREEZE),
            (("odd",), Action.FREEZE),
            (("new_country",), Action.FREEZE),
            (("many_payments",), Action.FREEZE),
            (("new_country", "many_payments"), Action.ALLOW),
            (("overall_picture",), Action.ALLOW),
        ):
            result = policy().decide(replace(given_rows, damped=[(0, code) for code in damped]))
            assert (result.action[0], result.drivers[0]) == (expected, MODEL if expected else 0), damped

    def test_what_speaks_against_fraud_is_heard(self) -> None:
        """Damping a reason never makes a payment more suspicious."""
        model = model_with({("card_country_is_new", 1.0): 9.0, ("card_count_1h", 1.0): -3.0})
        features = np.stack([feature_row(card_country_is_new=1, card_count_1h=1)])
        given_rows = inputs(1, features=features, score=0.6, model=model)
        assert policy().decide(given_rows).action[0] == Action.FREEZE
        damped = replace(given_rows, damped=[(0, "many_payments")])
        assert policy().decide(damped).action[0] == Action.FREEZE
        assert policy().decide(replace(damped, damped=[(0, "new_country")])).action[0] < Action.REVIEW

    def test_anomaly_and_its_reason(self) -> None:
        """An anomaly review is damped by its own code."""
        for code, expected in (("unusual_pattern", Action.ALLOW), ("new_country", Action.REVIEW)):
            assert policy().decide(inputs(1, anomaly=1.0, damped=[(0, code)])).action[0] == expected

    def test_card_state_and_milder_actions_are_not_damped(self) -> None:
        """A frozen card stays declined, a blocked merchant refused, and asking the cardholder is still allowed."""
        made = policy([_rule("DECLINE", "refused")])
        damped = [(row, code) for row in range(3) for code in ("refused", "card_not_active", "overall_picture")]
        columns = {"merchant_id": ["m-bad", None, None], "card_status": [0, 1, 0], "score": [0, 0, 0.05]}
        result = made.decide(inputs(3, amount_minor=10**6, damped=damped, **columns))
        assert result.action.tolist() == [Action.DECLINE, Action.DECLINE, Action.STEP_UP]


_FLIGHT = {"card_km_per_hour": 2_000.0, "card_km_from_last": 6_000.0}
_ONE_MERCHANT = {"card_count_1h": 6.0, "card_distinct_merchants_1h": 1.0, "card_spend_1h": 50_000.0}


def _columns_of(result: PolicyResult) -> list[bytes]:
    return [getattr(result, f.name).tobytes() for f in fields(result) if f.name != "rules"]


def _mixed(seed: int, count: int) -> PolicyInputs:
    rng = np.random.default_rng(seed)
    features = np.stack([feature_row(card_count_1h=int(rng.integers(1, 12))) for _ in range(count)])
    codes = np.array(["card_testing", "looked_at", "many_payments"])
    return inputs(
        count,
        features=features,
        score=rng.random(count) ** 4,
        anomaly=rng.random(count),
        kind=rng.integers(0, 6, count),
        card_status=rng.choice([0, 0, 0, 1], count),
        amount_minor=rng.integers(0, 10**6, count),
        random_unit=rng.random(count),
        currency=rng.choice(["EUR", "JPY", "XXX"], count).tolist(),
        merchant_id=[None if pick == 0 else ("m-bad", "m-good")[pick - 1] for pick in rng.integers(0, 3, count)],
        damped=[(int(row), str(rng.choice(codes))) for row in rng.integers(0, count, count // 2)],
    )


@given(st.integers(0, 2**31), st.lists(st.integers(0, 50), max_size=6))
@settings(max_examples=40)
def test_cuts_do_not_change_a_bit(seed: int, cuts: list[int]) -> None:
    """What is decided on a row does not depend on the rows beside it."""
    made = policy([_BURST, _rule("REVIEW", "looked_at")], random_review_share=0.1)
    whole = _mixed(seed, 50)
    edges = [0, *sorted(cuts), 50]
    pieces = [made.decide(cut(whole, start, stop)) for start, stop in itertools.pairwise(edges)]
    together = made.decide(whole)
    for index, column in enumerate(_columns_of(together)):
        assert b"".join(_columns_of(piece)[index] for piece in pieces) == column


def test_lists_can_be_replaced_while_running() -> None:
    """What the desk puts on a list counts from then on; the policy before stays as it was."""
    made = Policy.from_mapping(shipped("policy.toml"))
    blocked = made.with_lists({"blocked_merchants": ["m-9"], "unused": [1]})
    row = inputs(1, merchant_id="m-9", random_unit=1.0)
    assert made.decide(row).action[0] == Action.ALLOW
    assert blocked.decide(row).action[0] == Action.DECLINE
    assert blocked.rule_ids == made.rule_ids
    with pytest.raises(ConfigurationError, match=r"lists\.blocked_merchants"):
        made.with_lists({"blocked_merchants": ["m-9", 3]})


@pytest.mark.parametrize(
    ("features", "channel", "action", "rule"),
    [
        ({"card_count_1h": 8, "card_spend_1h": 900}, 0, Action.FREEZE, "card_testing"),
        ({"card_count_1h": 8, "card_spend_1h": 90_000, "card_distinct_merchants_1h": 5}, 0, Action.ALLOW, None),
        ({"card_refused_1h": 5}, 0, Action.FREEZE, "refused_in_a_row"),
        (_FLIGHT, Channel.POS, Action.FREEZE, "impossible_travel"),
        (_FLIGHT, Channel.ECOM, Action.ALLOW, None),
        ({"card_km_per_hour": 5_000, "card_km_from_last": 40}, Channel.POS, Action.ALLOW, None),
        (_ONE_MERCHANT, 0, Action.REVIEW, "burst_at_one_merchant"),
        ({"device_count_1h": 20}, 0, Action.REVIEW, "device_burst"),
    ],
)
def test_shipped_rules_catch_what_they_name(
    features: dict[str, float], channel: int, action: Action, rule: str | None
) -> None:
    """Card testing, guessing, impossible travel and bursts are caught without a model; their neighbours are not."""
    made = Policy.from_mapping(shipped("policy.toml"))
    row = inputs(1, features=np.stack([feature_row(**features)]), cold_start=True, random_unit=1.0, channel=channel)
    result = made.decide(row)
    assert result.action[0] == action
    assert [found.id for found in result.rules_of(0)] == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("version", 3, "version: must be a text"),
        ("reference_currency", "CHF", "reference_currency: must be one of .costs.: EUR, USD"),
        ("random_review_share", 1.5, "random_review_share: must be a number from 0 to 1; it is 1.5"),
        ("thresholds.freeze", "high", "thresholds.freeze: must be a number"),
        ("thresholds.decline", 0.5, "thresholds.decline: unknown"),
        ("thresholds.anomaly_review_share", 0.5, "thresholds.anomaly_review_share: must be a number from 0 to 0.1"),
        ("stops.freeze.payment", 2, "stops.freeze.payment: must be a number"),
        ("stops.block", {}, "stops.block: unknown"),
        ("costs.EUR.freeze", 90.5, "costs.EUR.freeze: must be an integer"),
        ("costs.EUR.block", 90, "costs.EUR.block: unknown"),
        ("lists.blocked_cards", "card", "lists.blocked_cards: must be a list"),
        ("lists.blocked_cards", ["card", 1], "lists.blocked_cards: must be a list of texts or a list of numbers"),
        ("rules", {}, "rules: must be a list"),
        ("limits", {}, "limits: unknown"),
    ],
)
def test_wrong_setting_is_named(path: str, value: Any, named: str) -> None:
    """The message has the setting's path, what would be right and what was found."""
    mapping = shipped("policy.toml")
    table = mapping
    *parents, key = path.split(".")
    for parent in parents:
        table = table[parent]
    table[key] = value
    with pytest.raises(ConfigurationError, match=named):
        Policy.from_mapping(mapping)
