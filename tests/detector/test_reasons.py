"""Reasons: at most four, rules first, each with a value that a person can read and a sentence that fits it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue import CATALOGUE, FEATURE_INDEX
from detector.models import ModelVersion
from detector.policy import Policy
from detector.reasons import (
    _NOTHING_AT_ZERO,
    AGAINST,
    SPECIAL_CODES,
    Evidence,
    _ranked,
    explain,
    feature_evidence,
)
from detector.vocabulary import CardStatus, Channel
from tests.detector.policy_inputs import feature_row, inputs, model_with, policy, shipped

_NAN = float("nan")
_BURST = {
    "id": "burst",
    "when": [{"field": "score", "op": ">=", "value": 0}, {"feature": "card_count_1h", "op": ">=", "value": 8}],
    "action": "FREEZE",
    "reason": "card_testing",
}

# Sentences that stand ready for features to come.
_AWAITED = {
    "category_new", "amount_unusual_for_category", "amount_unusual_for_category_low", "place_recent_frauds",
    "many_high_payments", "many_high_payments_low", "risky_pattern", "usual_hour_differs",
}  # fmt: skip


def _explained(made: Policy, model: ModelVersion, features: dict[str, float], **columns: Any) -> list[Evidence]:
    row = inputs(1, features=np.stack([feature_row(**features)]), model=model, **columns)
    return list(explain(np.array([0]), row.features, model.binner.bins(row.features), model, made.decide(row))[0])


def test_strongest_features_come_first() -> None:
    """Sorted by what they add to the log-odds, small ones left out; behind them stands what spoke against."""
    model = model_with(
        {
            ("card_country_is_new", 1.0): 2.0,
            ("place_fraud_run", 3.0): 4.0,
            ("hour", 3.0): 0.3,
            ("card_seconds_since_last", 5.0): -3.0,
        }
    )
    values = {"card_country_is_new": 1.0, "place_fraud_run": 3.0, "hour": 3.0, "card_seconds_since_last": 5.0}
    found = _explained(policy(), model, values, score=0.9)
    assert [(e.code, e.text_key, e.observed, e.usual, e.contribution) for e in found] == [
        ("place_recent_frauds", "place_recent_frauds", 3.0, 0.0, 4.0),
        ("new_country", "new_country", 1.0, 0.0, 2.0),
        ("quick_succession", "quick_succession_against", 5.0, 0.0, -3.0),
    ]


def test_what_spoke_against_is_shown_apart() -> None:
    """At most two codes, the strongest first, also of what did not happen; never a code that is a reason as well."""
    weights = {
        ("place_fraud_run", 3.0): 4.0,
        ("place_fraud_rate_10", 0.0): -2.5,
        ("card_country_is_new", 0.0): -2.0,
        ("card_frauds_30d", 0.0): -1.5,
        ("hour", 12.0): -1.0,
    }
    found = _explained(policy(), model_with(weights), dict(weights.keys()), score=0.9)
    assert [(e.text_key, e.observed, e.contribution) for e in found] == [
        ("place_recent_frauds", 3.0, 4.0),
        ("new_country_against", 0.0, -2.0),
    ]


def test_features_of_one_code_speak_as_one() -> None:
    """Their contributions are added, and the strongest one's value is shown."""
    model = model_with({("card_count_1h", 10.0): 1.0, ("card_count_24h", 25.0): 2.0, ("card_country_is_new", 1.0): 2.5})
    found = _explained(
        policy(), model, {"card_count_1h": 10, "card_count_24h": 25, "card_country_is_new": 1}, score=0.9
    )
    assert [(e.code, e.observed, e.contribution) for e in found] == [
        ("many_payments", 25.0, 3.0),
        ("new_country", 1.0, 2.5),
    ]


def test_rules_come_first_and_at_most_four_are_given() -> None:
    """A rule shows the feature it looked at; the model fills up to four."""
    codes = {
        ("card_country_is_new", 1.0): 2.0, ("card_merchant_is_new", 1.0): 1.9, ("card_terminal_is_new", 1.0): 1.8,
        ("card_device_is_new", 1.0): 1.7,
    }  # fmt: skip
    values = {"card_count_1h": 9.0, **{name: 1.0 for name, _ in codes}}
    found = _explained(policy([_BURST]), model_with(codes), values, score=0.9)
    assert [e.code for e in found] == ["card_testing", "new_country", "new_merchant", "new_terminal"]
    assert found[0] == Evidence("card_testing", "card_testing", 9.0, 0.0, 0.0)


def test_rule_and_feature_of_one_code_are_one_reason() -> None:
    """The rule's place, the model's contribution."""
    rule = {**_BURST, "reason": "many_payments"}
    model = model_with({("card_count_1h", 9.0): 1.5, ("card_country_is_new", 1.0): 2.0})
    found = _explained(policy([rule]), model, {"card_count_1h": 9, "card_country_is_new": 1}, score=0.9)
    assert [(e.code, e.observed, e.contribution) for e in found] == [
        ("many_payments", 9.0, 1.5),
        ("new_country", 1.0, 2.0),
    ]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"card_status": int(CardStatus.FROZEN)}, "card_not_active"),
        ({"anomaly": 1.0}, "unusual_pattern"),
        ({"random_unit": 0.0}, "random_review"),
        ({"score": 0.9}, "overall_picture"),
    ],
)
def test_every_action_has_a_reason(columns: dict[str, Any], code: str) -> None:
    """Card states, anomalies, chance, and a score in which nothing stands out have codes of their own."""
    found = _explained(policy(random_review_share=0.1), model_with(), {}, **columns)
    assert [e.code for e in found] == [code]


def test_missing_and_absent_things_are_no_reasons() -> None:
    """A missing value, a "no" and a "none" may move the score, but there is nothing to show of them."""
    model = model_with({("card_country_is_new", 0.0): 2.0, ("card_frauds_30d", 0.0): 2.0, ("hour", _NAN): 2.0})
    found = _explained(policy(), model, {"card_country_is_new": 0, "card_frauds_30d": 0}, score=0.9)
    assert [e.code for e in found] == ["overall_picture"]


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_ranking_equals_naive_twin(seed: int) -> None:
    """Sums by code, the strongest column of each, a tenth of all that spoke as the least, and four at most."""
    rng = np.random.default_rng(seed)
    features = rng.choice(np.array([np.nan, 0.0, 1.0, 2.0], dtype=np.float32), (5, len(CATALOGUE)))
    contributions = rng.choice([-1.0, 0.0, 0.01, 0.5, 1.0, 2.0], features.shape) * rng.random(features.shape) ** 3
    for row, ranked in enumerate(_ranked(features, contributions)):
        sums: dict[str, float] = {}
        strongest: dict[str, int] = {}
        for column, feature in enumerate(CATALOGUE):
            value, given_log_odds = features[row, column], contributions[row, column]
            hidden = np.isnan(value) or (value == 0 and feature.aggregate in _NOTHING_AT_ZERO)
            if given_log_odds > 0 and not hidden:
                sums[feature.reason] = sums.get(feature.reason, 0.0) + given_log_odds
                best = strongest.setdefault(feature.reason, column)
                strongest[feature.reason] = column if given_log_odds > contributions[row, best] else best
        least = 0.1 * contributions[row][contributions[row] > 0].sum()
        codes = [code for code in sorted(sums, key=lambda code: -sums[code]) if sums[code] >= least][:4]
        assert [column for column, _ in ranked] == [strongest[code] for code in codes]
        assert [share for _, share in ranked] == pytest.approx([sums[code] for code in codes])


def _evidence(name: str, usual: float = _NAN, **others: float) -> Evidence:
    usual_values = np.full(len(CATALOGUE), _NAN)
    usual_values[FEATURE_INDEX[name]] = usual
    return feature_evidence(FEATURE_INDEX[name], feature_row(**others).tolist(), usual_values.tolist(), 1.0)


def test_amounts_stand_beside_the_cards_own_mean() -> None:
    """Whatever spoke, people see the amount and what this card usually pays."""
    shown = _evidence("card_mean_before_30d", amount=90_000, card_mean_before_30d=5_000, amount_over_usual=20)
    assert (shown.code, shown.text_key) == ("amount_above_usual", "amount_above_usual")
    assert (shown.observed, shown.usual) == (90_000.0, 4_500.0)
    assert _evidence("amount", 3_000.0, amount=90_000).usual == 3_000.0


def test_sentence_fits_the_side_of_the_observed_value() -> None:
    """Fewer than usual are not called "many payments", and long after is not called "soon after"."""
    assert _evidence("card_count_24h", 3.0, card_count_24h=9).text_key == "many_payments"
    assert _evidence("card_count_24h", 3.0, card_count_24h=1).text_key == "many_payments_low"
    assert _evidence("card_seconds_since_last", 3600.0, card_seconds_since_last=5).text_key == "quick_succession"
    assert _evidence("card_seconds_since_last", 3600.0, card_seconds_since_last=1e6).text_key == "quick_succession_high"


def test_values_are_fit_for_people() -> None:
    """Codes are words, hours have no usual value, and float32's digits are rounded away."""
    assert _evidence("channel", 1.0, channel=int(Channel.ECOM)) == Evidence("channel", "channel", "ecom", None, 1.0)
    assert _evidence("hour", 12.0, hour=3).usual is None
    assert _evidence("merchant_fraud_rate_30d", 0.0, merchant_fraud_rate_30d=0.1).observed == 0.1
    assert _evidence("category", 12.0, category=31).observed is None


def test_every_text_key_has_its_sentence() -> None:
    """No agent reads a code: features on both sides of their usual value, shipped rules and special reasons."""
    texts = shipped("messages/reasons.en.toml")
    keys = set(SPECIAL_CODES) | {rule.reason for rule in Policy.from_mapping(shipped("policy.toml")).rules}
    for feature in CATALOGUE:
        for usual in (-1.0, 1e12):
            others = {"amount": 1.0, "amount_over_usual": 1 / usual} | {feature.name: 1.0}
            keys.add(_evidence(feature.name, usual, **others).text_key)
        keys.add(f"{feature.reason}{AGAINST}")
    assert keys <= set(texts)
    assert set(texts) - keys <= _AWAITED
