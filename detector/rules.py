"""Declarative rules: conditions on features and fields, evaluated in columns, never as code.

A rule hits where all its conditions hold. A condition on a missing value never holds, whatever its operator: a rule
acts on what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.section import Section
from detector.texts import pack_code
from detector.tokens import fingerprint_many, matching
from detector.transactions import COUNTRY_LETTERS, CURRENCY_LETTERS
from detector.vocabulary import Action, Channel, EntryMode, Kind, WireEnum

# Hits are bits of an int64, whose sign bit stays clear.
MAXIMUM_RULES = 62

_COMPARISONS: dict[str, Callable[[Any, Any], NDArray[np.bool_]]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_MEMBERSHIPS = ("in", "not_in")
_ORDERLESS = ("==", "!=", *_MEMBERSHIPS)
_OPERATORS = (*_COMPARISONS, *_MEMBERSHIPS)
_NUMBERS = ("score", "anomaly", "amount_minor", "amount_reference", "mcc")
_ENUMERATIONS: dict[str, type[WireEnum]] = {"kind": Kind, "channel": Channel, "entry_mode": EntryMode}
# Texts that are codes of so many letters, and tokens; each with the column that holds the codes or the fingerprints.
_CODES = {"currency": ("currency", CURRENCY_LETTERS), "country": ("country_code", COUNTRY_LETTERS)}
_TOKENS = {"merchant_id": "merchant", "card_token": "card", "terminal_id": "terminal", "device_id": "device"}
_TEXTS = (*_CODES, *_TOKENS)
FIELDS: tuple[str, ...] = (*_NUMBERS, *_ENUMERATIONS, *_TEXTS)
# Fields in which code 0 means "not given".
_ZERO_IS_MISSING = frozenset({"mcc", "channel", "entry_mode"})

Values = tuple[float, ...] | frozenset[str]


class RuleInputs(Protocol):
    """What rules look at: columns of one length, see `policy.PolicyInputs`."""

    @property
    def features(self) -> NDArray[np.float32]:
        """Feature matrix."""

    @property
    def fingerprint_key(self) -> bytes:
        """What fingerprints of tokens were made with."""


@lru_cache(maxsize=256)
def _numbers(values: tuple[float, ...], dtype: type[np.float32 | np.float64]) -> NDArray[Any]:
    """What a condition on numbers compares with."""
    return np.array(values, dtype=dtype)


@lru_cache(maxsize=256)
def _packed(values: frozenset[str], length: int) -> NDArray[np.int64]:
    """What a condition on codes of letters compares with; a text that is no such code equals none."""
    return np.array(sorted(pack_code(value, length) for value in values), dtype=np.int64)


@lru_cache(maxsize=256)
def _fingerprints(values: frozenset[str], key: bytes) -> NDArray[np.uint64]:
    """What a condition on tokens compares with, in order."""
    words = fingerprint_many(list(values), key)
    return np.ascontiguousarray(words[np.lexsort((words[:, 1], words[:, 0]))])


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column with fixed values.

    Attributes:
        column: index of the feature, or -1 for a field.
        field: name of the field, "" for a feature.
        operator: one of < <= > >= == != in not_in.
        values: what to compare with: one number for comparisons, any number for `in` and `not_in`; texts for texts.
        list_name: of the list that the values come from, "" if they stand in the rule.
    """

    column: int
    field: str
    operator: str
    values: Values
    list_name: str

    @property
    def never_holds(self) -> bool:
        """Whether it cannot hold anywhere, as with a list that nothing is on."""
        return not self.values and self.operator == "in"

    def holds(self, inputs: RuleInputs, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the condition holds, for each row of `among`; all others are False."""
        if self.field in _TEXTS:
            return self._holds_text(inputs, among)
        # Features are float32, so the values are compared as float32: 0.7 is then the same number on both sides.
        is_feature = self.column >= 0
        numbers = inputs.features[:, self.column] if is_feature else getattr(inputs, self.field)
        values = _numbers(tuple(self.values), np.float32 if is_feature else np.float64)
        if self.operator in _MEMBERSHIPS:
            held = np.isin(numbers, values) == (self.operator == "in")
        else:
            held = _COMPARISONS[self.operator](numbers, values[0])
        if is_feature and self.operator in {"!=", "not_in"}:
            held &= ~np.isnan(numbers)
        elif self.field in _ZERO_IS_MISSING:
            held &= numbers != 0
        held &= among
        return held

    def _holds_text(self, inputs: RuleInputs, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The same for texts, which are looked at only where all other conditions hold."""
        held = np.zeros(len(among), dtype=np.bool_)
        rows = np.flatnonzero(among)
        texts = frozenset(str(value) for value in self.values)
        if self.field in _CODES:
            name, length = _CODES[self.field]
            codes = getattr(inputs, name)[rows]
            is_given, is_listed = codes != 0, np.isin(codes, _packed(texts, length))
        else:
            words = getattr(inputs, _TOKENS[self.field])[rows]
            is_given = (words != 0).any(axis=1)
            is_listed = matching(words, _fingerprints(texts, inputs.fingerprint_key)) >= 0
        held[rows] = is_given & (is_listed == (self.operator in {"in", "=="}))
        return held


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do where all conditions hold.

    Attributes:
        id: unique; written into decisions.
        action: what the rule asks for; ALLOW makes it a rule that only watches.
        reason: reason code.
        conditions: all must hold; those on numbers come first, since they cost least.
    """

    id: str
    action: Action
    reason: str
    conditions: tuple[Condition, ...]

    @property
    def shown_column(self) -> int:
        """The feature that the rule's evidence shows: the first it looks at; -1 if it looks at none."""
        return next((condition.column for condition in self.conditions if condition.column >= 0), -1)

    @property
    def never_hits(self) -> bool:
        """Whether one of its conditions cannot hold anywhere."""
        return any(condition.never_holds for condition in self.conditions)

    def with_lists(self, lists: Mapping[str, Values]) -> Rule:
        """The same rule with the values of named lists replaced."""
        conditions = (
            replace(condition, values=lists[condition.list_name]) if condition.list_name in lists else condition
            for condition in self.conditions
        )
        return replace(self, conditions=tuple(conditions))


def evaluate(rules: Sequence[Rule], inputs: RuleInputs, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Evaluate rules in columns.

    Args:
        rules: at most 62.
        inputs: the columns.
        among: the rows that rules may act on.

    Returns:
        int64 bit masks, bit i of a row for rule i.
    """
    hits = np.zeros(len(among), dtype=np.int64)
    for bit, rule in enumerate(rules):
        if rule.never_hits:
            continue
        left = among
        for condition in rule.conditions:
            left = condition.holds(inputs, left)
            if not left.any():
                break
        else:
            hits[left] |= 1 << bit
    return hits


def parse_lists(section: Section) -> dict[str, Values]:
    """Parse `[lists]`: each all numbers or all texts.

    Raises:
        ConfigurationError: a list mixes types, or is none.
    """
    lists: dict[str, Values] = {}
    for name in section.keys():  # noqa: SIM118 - a Section is no dictionary
        lists[name] = parse_list(section, name)
    return lists


def parse_list(section: Section, name: str) -> Values:
    """Parse one list of numbers or of texts.

    Raises:
        ConfigurationError: it mixes types, or is no list.
    """
    values = section.sequence(name)
    if all(isinstance(value, str) for value in values):
        return frozenset(values)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        section.refuse(name, "a list of texts or a list of numbers")
    return tuple(float(value) for value in values)


def parse_rules(sections: Sequence[Section], columns: Mapping[str, int], lists: Mapping[str, Values]) -> list[Rule]:
    """Parse `[[rules]]`.

    Args:
        sections: one a rule.
        columns: features by name.
        lists: by name.

    Raises:
        ConfigurationError: a rule cannot be used; the message names the setting and what would be right.
    """
    if len(sections) > MAXIMUM_RULES:
        sections[MAXIMUM_RULES].refuse("id", f"one of at most {MAXIMUM_RULES} rules")
    rules: list[Rule] = []
    for section in sections:
        section.refuse_unknown(("id", "when", "action", "reason"))
        name = section.text("id")
        if any(rule.id == name for rule in rules):
            section.refuse("id", "different for each rule")
        conditions = [_condition(part, columns, lists) for part in section.sections("when")]
        if not conditions:
            section.refuse("when", "a list of one or more conditions")
        action = Action[section.choice("action", [action.name for action in Action])]
        ordered = sorted(conditions, key=lambda condition: condition.field in _TEXTS)
        rules.append(Rule(name, action, section.text("reason"), tuple(ordered)))
    return rules


def _condition(section: Section, columns: Mapping[str, int], lists: Mapping[str, Values]) -> Condition:
    """Parse one table of `when`."""
    section.refuse_unknown(("feature", "field", "op", "value", "list"))
    if ("feature" in section) == ("field" in section):
        section.refuse("feature", "given, or field, but not both")
    column, field = -1, ""
    if "feature" in section:
        name = section.text("feature")
        if name not in columns:
            section.refuse("feature", "the name of a feature of the catalogue")
        column = columns[name]
    else:
        field = section.choice("field", FIELDS)
    is_orderless = field in _TEXTS or field in _ENUMERATIONS
    operator = section.choice("op", _ORDERLESS if is_orderless else _OPERATORS)
    if ("value" in section) == ("list" in section):
        section.refuse("value", "given, or list, but not both")
    if "list" in section:
        return Condition(column, field, operator, _named(section, field, operator, lists), section.text("list"))
    return Condition(column, field, operator, _literal(section, field, operator), "")


def _named(section: Section, field: str, operator: str, lists: Mapping[str, Values]) -> Values:
    """The values of a named list, checked against the field."""
    name = section.text("list")
    if operator not in _MEMBERSHIPS:
        section.refuse("op", "in or not_in where a list is named")
    if name not in lists or field in _ENUMERATIONS:
        section.refuse("list", f"one of [lists] ({', '.join(lists)}), and for texts or numbers")
    values = lists[name]
    if values and (field in _TEXTS) != isinstance(values, frozenset):
        section.refuse("list", f"a list of {'texts' if field in _TEXTS else 'numbers'}")
    return values


def _literal(section: Section, field: str, operator: str) -> Values:
    """The values that stand in the rule itself, checked against the field."""
    given = section.sequence("value") if operator in _MEMBERSHIPS else [section.raw("value")]
    if field in _ENUMERATIONS:
        codes = _ENUMERATIONS[field].by_wire()
        if not all(isinstance(value, str) and value in codes for value in given):
            section.refuse("value", f"out of {', '.join(codes)}")
        return tuple(float(codes[value]) for value in given)
    if field in _TEXTS:
        if not all(isinstance(value, str) for value in given):
            section.refuse("value", "a text, or for in and not_in a list of texts")
        return frozenset(given)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        section.refuse("value", "a number, or for in and not_in a list of numbers")
    return tuple(float(value) for value in given)
