"""Rules are data: conditions evaluated in columns, each operator as its name says, and wrong ones refused by name."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigurationError
from detector.rules import FIELDS, MAXIMUM_RULES
from detector.vocabulary import Channel, EntryMode, Kind
from tests.detector.policy_inputs import feature_row, inputs, policy

_OPERATORS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def _hits(when: list[dict[str, Any]], count: int, **columns: Any) -> list[bool]:
    made = policy([{"id": "r", "when": when, "action": "REVIEW", "reason": "because"}])
    return [bool(hit) for hit in made.decide(inputs(count, **columns)).rule_hits.tolist()]


@given(
    st.sampled_from(sorted(_OPERATORS)),
    st.sampled_from([0.1, 0.7, 1.0, 3.0]),
    st.lists(st.sampled_from([0.1, 0.7, 1.0, 2.9999, 3.0, float("nan")]), min_size=1, max_size=12),
)
def test_comparisons_of_features_equal_naive_twin(name: str, limit: float, values: list[float]) -> None:
    """Compared as float32, like the features themselves; a missing value never fulfils a condition."""
    features = np.stack([feature_row(amount_over_usual=value) for value in values])
    found = _hits([{"feature": "amount_over_usual", "op": name, "value": limit}], len(values), features=features)
    assert found == [not np.isnan(value) and _OPERATORS[name](np.float32(value), np.float32(limit)) for value in values]


@pytest.mark.parametrize(
    ("field", "column", "values", "op", "value", "expected"),
    [
        ("score", "score", [0.2, 0.5], ">=", 0.5, [False, True]),
        ("anomaly", "anomaly", [0.2, 0.5], "<", 0.5, [True, False]),
        ("amount_minor", "amount_minor", [99, 100], ">", 99, [False, True]),
        ("amount_reference", "amount_reference", [99, 100], "==", 100, [False, True]),
        ("mcc", "mcc", [7995, 0], "!=", 1, [True, False]),
        ("mcc", "mcc", [7995, 5411, 0], "in", [7995, 6051], [True, False, False]),
        ("mcc", "mcc", [7995, 5411, 0], "not_in", [7995, 6051], [False, True, False]),
        ("kind", "kind", [Kind.PURCHASE, Kind.CASH], "==", "purchase", [True, False]),
        ("channel", "channel", [Channel.ECOM, Channel.POS, 0], "in", ["ecom", "moto"], [True, False, False]),
        ("channel", "channel", [Channel.ECOM, Channel.POS, 0], "!=", "ecom", [False, True, False]),
        ("entry_mode", "entry_mode", [EntryMode.CHIP, 0], "not_in", ["manual"], [True, False]),
        ("currency", "currency", ["EUR", "USD"], "==", "EUR", [True, False]),
        ("country", "country_code", ["PH", None, "DE"], "not_in", ["DE"], [True, False, False]),
        ("merchant_id", "merchant_id", ["m-1", None, "m-2"], "!=", "m-1", [False, False, True]),
        ("card_token", "card_token", ["c-1", "c-2"], "in", ["c-2"], [False, True]),
        ("terminal_id", "terminal_id", ["t-1", None, "t-2"], "in", ["t-2"], [False, False, True]),
        ("device_id", "device_id", ["d-1", None, "d-2"], "not_in", ["d-2"], [True, False, False]),
    ],
)
def test_fields(field: str, column: str, values: list[Any], op: str, value: Any, expected: list[bool]) -> None:
    """Every field can be asked for, in its own words; what is not given fulfils nothing, not even `!=`."""
    assert _hits([{"field": field, "op": op, "value": value}], len(values), **{column: values}) == expected


def test_every_field_is_tested() -> None:
    """A field that is added gets a row above."""
    (mark,) = (m for m in test_fields.pytestmark if m.name == "parametrize")
    assert {row[0] for row in mark.args[1]} == set(FIELDS)


def test_all_conditions_must_hold() -> None:
    """Conditions are joined by "and", in whatever order they stand."""
    conditions: list[dict[str, Any]] = [
        {"field": "merchant_id", "op": "in", "list": "bad_merchants"},
        {"feature": "card_count_1h", "op": ">=", "value": 3},
        {"field": "mcc", "op": "in", "list": "bad_codes"},
    ]
    features = np.stack([feature_row(card_count_1h=count) for count in (3, 2, 3, 3)])
    columns = {"merchant_id": ["m-bad", "m-bad", "m-good", "m-worse"], "mcc": [7995, 7995, 7995, 1]}
    for when in (conditions, conditions[::-1]):
        assert _hits(when, 4, features=features, **columns) == [True, False, False, False]


def test_empty_list_holds_nothing() -> None:
    """`in` an empty list never holds, `not_in` holds wherever there is a value."""
    made: dict[str, Any] = {"lists": {"none": []}}
    for op, expected in (("in", [0, 0]), ("not_in", [1, 0])):
        when = [{"field": "merchant_id", "op": op, "list": "none"}]
        rule = {"id": "r", "when": when, "action": "REVIEW", "reason": "because"}
        hits = policy([rule], **made).decide(inputs(2, merchant_id=["m", None])).rule_hits
        assert hits.tolist() == expected


def test_each_rule_has_its_bit() -> None:
    """All 62 rules can be told apart in one mask; a 63rd is refused."""
    rules = [
        {
            "id": f"r{index}",
            "when": [{"field": "amount_minor", "op": ">=", "value": index}],
            "action": "ALLOW",
            "reason": "because",
        }
        for index in range(MAXIMUM_RULES)
    ]
    hits = policy(rules).decide(inputs(3, amount_minor=[0, 30, 61])).rule_hits
    assert hits.tolist() == [1, 2**31 - 1, 2**62 - 1]
    with pytest.raises(ConfigurationError, match=r"rules\[62\].id: must be one of at most 62 rules"):
        policy([*rules, {"id": "one_more"}])


_GOOD: dict[str, Any] = {"field": "amount_minor", "op": ">", "value": 1}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, r"rules\[0\].id: must be a text"),
        ({"action": "BLOCK"}, r"rules\[0\].action: must be one of ALLOW, STEP_UP, REVIEW, DECLINE, FREEZE"),
        ({"reason": 5}, r"rules\[0\].reason: must be a text"),
        ({"when": []}, r"rules\[0\].when: must be a list of one or more conditions"),
        ({"then": "FREEZE"}, r"rules\[0\].then: unknown"),
        ({"when": [{"op": ">", "value": 1}]}, r"rules\[0\].when\[0\].feature: must be given, or field"),
        ({"when": [_GOOD, {**_GOOD, "feature": "amount"}]}, r"rules\[0\].when\[1\].feature: must be given, or field"),
        ({"when": [{**_GOOD, "field": "colour"}]}, r"when\[0\].field: must be one of score, anomaly"),
        ({"when": [{"feature": "colour", "op": ">", "value": 1}]}, r"when\[0\].feature: must be the name of a feature"),
        ({"when": [{**_GOOD, "op": "~"}]}, r"when\[0\].op: must be one of <, <="),
        ({"when": [{**_GOOD, "field": "kind"}]}, r"when\[0\].op: must be one of ==, !=, in, not_in"),
        ({"when": [{**_GOOD, "value": "1"}]}, r"when\[0\].value: must be a number"),
        ({"when": [{**_GOOD, "value": True}]}, r"when\[0\].value: must be a number"),
        ({"when": [{**_GOOD, "op": "in"}]}, r"when\[0\].value: must be a list"),
        ({"when": [{**_GOOD, "list": "bad_codes"}]}, r"when\[0\].value: must be given, or list, but not both"),
        ({"when": [{"field": "mcc", "op": ">", "list": "bad_codes"}]}, r"when\[0\].op: must be in or not_in"),
        ({"when": [{"field": "mcc", "op": "in", "list": "worst"}]}, r"when\[0\].list: must be one of"),
        (
            {"when": [{"field": "mcc", "op": "in", "list": "bad_merchants"}]},
            r"when\[0\].list: must be a list of numbers",
        ),
        ({"when": [{"field": "country", "op": "in", "list": "bad_codes"}]}, r"when\[0\].list: must be a list of texts"),
        ({"when": [{"field": "kind", "op": "in", "list": "bad_merchants"}]}, r"when\[0\].list: must be one of"),
        ({"when": [{"field": "kind", "op": "==", "value": "gift"}]}, r"when\[0\].value: must be out of purchase, cash"),
        ({"when": [{"field": "country", "op": "==", "value": 49}]}, r"when\[0\].value: must be a text"),
    ],
)
def test_wrong_rule_is_named(change: dict[str, Any], named: str) -> None:
    """The message has the place in the file and what would be right."""
    rule = {"id": "r", "when": [_GOOD], "action": "REVIEW", "reason": "because"}
    with pytest.raises(ConfigurationError, match=named):
        policy([rule | change])


def test_rules_have_names_of_their_own() -> None:
    """Decisions name rules by id, so two may not share one."""
    rule = {"id": "r", "when": [_GOOD], "action": "REVIEW", "reason": "because"}
    with pytest.raises(ConfigurationError, match=r"rules\[1\].id: must be different for each rule"):
        policy([rule, rule])
