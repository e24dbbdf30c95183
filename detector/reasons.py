"""Reasons: what spoke for an action, at most four codes with what was observed and what is usual.

Rules come first, then the features that moved the model's log-odds most. Features that share a reason code speak as
one, with the values of the strongest. A feature is a reason if it gave a tenth or more of all that spoke for fraud, and
if there is something to show: a missing value is not, nor is a "no" where the code says "yes". What spoke against
fraud comes behind the reasons, at most two codes with a contribution below 0 and sentences of their own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import CATALOGUE, FEATURE_INDEX, Aggregate, Feature
from detector.jit import kernel
from detector.models.version import ModelVersion
from detector.rules import Rule
from detector.vocabulary import Channel, EntryMode, Kind, WireEnum

MAXIMUM_REASONS = 4
# Of what spoke against.
MAXIMUM_AGAINST = 2
# What an action rests on, as bits.
MODEL, ANOMALY, RULE, CARD_STATE, RANDOM = 1, 2, 4, 8, 16
# Codes that no feature and no rule speaks for.
CARD_NOT_ACTIVE = "card_not_active"
UNUSUAL_PATTERN = "unusual_pattern"
OVERALL_PICTURE = "overall_picture"
RANDOM_REVIEW = "random_review"
SPECIAL_CODES = (CARD_NOT_ACTIVE, UNUSUAL_PATTERN, OVERALL_PICTURE, RANDOM_REVIEW)
# Suffixes of text keys for an observed value on the side that the code's own sentence does not speak of.
LOW, HIGH = "_low", "_high"
# Suffix of text keys for what spoke against fraud.
AGAINST = "_against"

_SMALLEST_SHARE = 0.1
_ENUMERATIONS: dict[Aggregate, type[WireEnum]] = {
    Aggregate.KIND: Kind,
    Aggregate.CHANNEL: Channel,
    Aggregate.ENTRY_MODE: EntryMode,
}
# Aggregates of which 0 is the absence of what the code says.
_NOTHING_AT_ZERO = frozenset(
    {
        *(Aggregate.IS_NEW, Aggregate.IP_COUNTRY_DIFFERS, Aggregate.FRAUDS, Aggregate.FRAUD_RATE, Aggregate.REFUSED),
        *(Aggregate.HIGH_COUNT, Aggregate.VERY_HIGH_COUNT, Aggregate.SMALL_COUNT, Aggregate.FRAUD_RUN),
        *(Aggregate.HIGH_STREAK, Aggregate.LAST_THREE, Aggregate.RISKY_COUNT, Aggregate.ANOMALY),
    }
)
# Aggregates whose values speak to the model and not to people.
_UNSPOKEN = frozenset(
    {
        *(Aggregate.CATEGORY, Aggregate.LAST_THREE, Aggregate.HIGH_POINTS, Aggregate.HIGH_STREAK),
        *(Aggregate.FRAUD_RUN_MIDDLE_DAYS, Aggregate.FRAUD_RUN_SPREAD_DAYS, Aggregate.HOUR_SHARE, Aggregate.AMOUNT_Z),
        *(Aggregate.PATTERN_RISK, Aggregate.RISKIEST, Aggregate.ANOMALY),
    }
)
# Aggregates whose values have no usual size.
_NO_USUAL = frozenset(
    {
        *(*_ENUMERATIONS, *_UNSPOKEN, Aggregate.HOUR, Aggregate.WEEKDAY),
        *(Aggregate.DAYS_SINCE_FIRST_HIGH, Aggregate.PAYMENTS_SINCE_HIGH, Aggregate.HIGH_STREAK_DAYS),
        *(Aggregate.DAYS_SINCE_HIGH_FRAUD, Aggregate.FRAUD_RUN_DAYS, Aggregate.DAYS_SINCE_FRAUD),
        *(Aggregate.DAYS_SINCE_GENUINE, Aggregate.DAYS_SINCE_OUTCOME, Aggregate.GENUINE_SINCE_FRAUD),
    }
)
_LOW_IS_THE_REASON = frozenset({Aggregate.SECONDS_SINCE_LAST})
# For these codes people want the amount beside the card's usual one, whatever feature spoke.
_AMOUNT_CODES = frozenset({"amount_high", "amount_above_usual"})
_CODES = tuple(dict.fromkeys(feature.reason for feature in CATALOGUE))
_CODE_OF_COLUMN = np.array([_CODES.index(feature.reason) for feature in CATALOGUE], dtype=np.int64)
_IS_HIDDEN_AT_ZERO = np.array([feature.aggregate in _NOTHING_AT_ZERO for feature in CATALOGUE])
_NOTHING_HIDDEN = np.zeros(len(CATALOGUE), dtype=np.bool_)
_AMOUNT = FEATURE_INDEX["amount"]
_OVER_USUAL = FEATURE_INDEX["amount_over_usual"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason in numbers.

    Attributes:
        code: the reason code.
        text_key: which sentence of `configs/messages/reasons.*.toml` explains it.
        observed: what this payment showed; None where the reason has no value.
        usual: what is usual; None where nothing is known.
        contribution: what the features behind it add to the log-odds; 0 for a rule that no feature seconds, below 0
            for what spoke against fraud.
    """

    code: str
    text_key: str
    observed: float | str | None
    usual: float | str | None
    contribution: float


@dataclass(frozen=True)
class PolicyResult:
    """What a policy decided, one row a record.

    Attributes:
        action: int64 codes of `Action`.
        flags: int64 bit masks of `Flag`: cold_start and random_review.
        rule_hits: int64 bit masks over `rules`.
        expected_loss_minor: int64, score x amount, minor units of the transaction's currency.
        drivers: int64 bit masks of MODEL, ANOMALY, RULE, CARD_STATE and RANDOM: what the action rests on.
        rules: of the policy.
    """

    action: NDArray[np.int64]
    flags: NDArray[np.int64]
    rule_hits: NDArray[np.int64]
    expected_loss_minor: NDArray[np.int64]
    drivers: NDArray[np.int64]
    rules: tuple[Rule, ...]

    def rules_of(self, row: int) -> list[Rule]:
        """Rules that hit on a row and ask for more than ALLOW, the most severe first."""
        hits = int(self.rule_hits[row])
        asking = (rule for bit, rule in enumerate(self.rules) if hits >> bit & 1 and rule.action)
        return sorted(asking, key=lambda rule: -rule.action)

    @cached_property
    def rule_reasons(self) -> dict[int, list[str]]:
        """Reason codes of the rows on which rules asked for more than ALLOW."""
        rows = np.flatnonzero(self.drivers & RULE).tolist()
        return {row: list(dict.fromkeys(rule.reason for rule in self.rules_of(row))) for row in rows}


def _shown(value: float) -> float | None:
    """A number for people and JSON: six significant digits, None for NaN."""
    return None if math.isnan(value) else float(f"{value:.6g}")


def _text_key(feature: Feature, code: str, observed: float, usual: float) -> str:
    """The sentence that fits the side on which the observed value lies."""
    if feature.aggregate in _NO_USUAL or feature.aggregate in _NOTHING_AT_ZERO:
        return code
    if feature.aggregate in _LOW_IS_THE_REASON:
        return f"{code}{HIGH}" if observed > usual else code
    return f"{code}{LOW}" if observed < usual else code


def feature_evidence(column: int, row: Sequence[float], usual_values: Sequence[float], contribution: float) -> Evidence:
    """Evidence of one feature.

    Args:
        column: of the feature.
        row: all features of the payment.
        usual_values: of all features, see `ModelVersion.usual_values`.
        contribution: log-odds.
    """
    feature = CATALOGUE[column]
    code = feature.reason
    if feature.aggregate in _ENUMERATIONS:
        name = _ENUMERATIONS[feature.aggregate](int(row[column])).wire
        return Evidence(code, code, name, None, contribution)
    observed, usual = row[column], usual_values[column]
    if code in _AMOUNT_CODES:
        observed, ratio = row[_AMOUNT], row[_OVER_USUAL]
        usual = observed / ratio if ratio > 0 else usual_values[_AMOUNT]
    elif feature.aggregate in _UNSPOKEN:
        observed = float("nan")
    if feature.aggregate in _NO_USUAL:
        usual = float("nan")
    return Evidence(code, _text_key(feature, code, observed, usual), _shown(observed), _shown(usual), contribution)


def _against(column: int, row: Sequence[float], usual_values: Sequence[float], log_odds: float) -> Evidence:
    """Evidence of one feature that took `log_odds` from the score."""
    shown = feature_evidence(column, row, usual_values, -log_odds)
    return Evidence(shown.code, f"{shown.code}{AGAINST}", shown.observed, shown.usual, shown.contribution)


@kernel
def _rank_rows(
    features: NDArray[np.float32],
    contributions: NDArray[np.float64],
    code_of_column: NDArray[np.int64],
    is_hidden_at_zero: NDArray[np.bool_],
    sums: NDArray[np.float64],
    strongest: NDArray[np.int64],
    columns: NDArray[np.int64],
    shares: NDArray[np.float64],
) -> None:
    """The strongest codes of each row: their strongest column (-1 behind the last) and their log-odds.

    `sums` and `strongest` are room for one row, an element a code.
    """
    for row in range(features.shape[0]):
        sums[:] = 0.0
        strongest[:] = -1
        total = 0.0
        for column in range(features.shape[1]):
            contribution = contributions[row, column]
            value = features[row, column]
            if contribution <= 0.0:
                continue
            total += contribution
            if np.isnan(value) or (value == 0.0 and is_hidden_at_zero[column]):
                continue
            code = code_of_column[column]
            sums[code] += contribution
            if strongest[code] < 0 or contribution > contributions[row, strongest[code]]:
                strongest[code] = column
        for place in range(columns.shape[1]):
            best = -1
            for code in range(sums.shape[0]):
                if strongest[code] >= 0 and (best < 0 or sums[code] > sums[best]):
                    best = code
            if best < 0 or sums[best] < _SMALLEST_SHARE * total:
                columns[row, place:] = -1
                break
            columns[row, place] = strongest[best]
            shares[row, place] = sums[best]
            strongest[best] = -1


def _ranked(
    features: NDArray[np.float32],
    contributions: NDArray[np.float64],
    count: int = MAXIMUM_REASONS,
    hidden_at_zero: NDArray[np.bool_] = _IS_HIDDEN_AT_ZERO,
) -> list[list[tuple[int, float]]]:
    """For each row (column, log-odds) of its strongest reasons, features of one code as one."""
    columns = np.empty((len(features), count), dtype=np.int64)
    shares = np.empty((len(features), count))
    codes = len(_CODES)
    _rank_rows(
        features, contributions, _CODE_OF_COLUMN, hidden_at_zero,
        np.empty(codes), np.empty(codes, dtype=np.int64), columns, shares,
    )  # fmt: skip
    pairs = zip(columns.tolist(), shares.tolist(), strict=True)
    return [[(c, s) for c, s in zip(*pair, strict=True) if c >= 0] for pair in pairs]


def features_behind(codes: Collection[str]) -> NDArray[np.bool_]:
    """Features that speak through some reason codes, bool[F]: all of them where nothing could be named."""
    if OVERALL_PICTURE in codes:
        return np.ones(len(CATALOGUE), dtype=np.bool_)
    return np.array([feature.reason in codes for feature in CATALOGUE])


def _first_reasons(
    result: PolicyResult, row: int, values: Sequence[float], usual_values: Sequence[float]
) -> list[Evidence]:
    """What comes before the model's reasons: the card's state, rules, anomaly and chance."""
    drivers = int(result.drivers[row])
    found = [Evidence(CARD_NOT_ACTIVE, CARD_NOT_ACTIVE, None, None, 0.0)] if drivers & CARD_STATE else []
    for rule in result.rules_of(row):
        column = rule.shown_column
        shown = feature_evidence(column, values, usual_values, 0.0) if column >= 0 else None
        observed, usual = (shown.observed, shown.usual) if shown else (None, None)
        found.append(Evidence(rule.reason, rule.reason, observed, usual, 0.0))
    if drivers & ANOMALY:
        found.append(Evidence(UNUSUAL_PATTERN, UNUSUAL_PATTERN, None, None, 0.0))
    if drivers & RANDOM:
        found.append(Evidence(RANDOM_REVIEW, RANDOM_REVIEW, None, None, 0.0))
    return found


def explain(
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    bins: NDArray[np.uint8],
    model: ModelVersion,
    result: PolicyResult,
) -> Mapping[int, list[Evidence]]:
    """Explain chosen rows.

    Args:
        rows: int64, which.
        features: float32 (n, F) of all rows.
        bins: uint8 (n, F) of all rows.
        model: the version that scored them.
        result: what the policy decided on all rows.

    Returns:
        For each row up to four reasons: the card's state and rules first, then the strongest of the model; at least
        one wherever the action is not ALLOW. Behind them up to two that spoke against, of other codes.
    """
    chosen, contributions = features[rows], model.contributions(bins[rows])
    ranked = _ranked(chosen, contributions)
    # That something did not happen is no reason, but may well speak against.
    against = _ranked(chosen, -contributions, MAXIMUM_AGAINST, _NOTHING_HIDDEN)
    # Python's own numbers: one by one, numpy's are ten times slower.
    usual_values, values_of = model.usual_values.tolist(), chosen.tolist()
    explained: dict[int, list[Evidence]] = {}
    for index, row in enumerate(rows.tolist()):
        found: dict[str, Evidence] = {}
        values = values_of[index]
        for evidence in _first_reasons(result, row, values, usual_values):
            found.setdefault(evidence.code, evidence)
        for column, contribution in ranked[index]:
            code = CATALOGUE[column].reason
            if code in found:
                found[code] = replace(found[code], contribution=contribution)
            else:
                found[code] = feature_evidence(column, values, usual_values, contribution)
        if not found:
            found[OVERALL_PICTURE] = Evidence(OVERALL_PICTURE, OVERALL_PICTURE, None, None, 0.0)
        reasons = list(found.values())[:MAXIMUM_REASONS]
        codes = {reason.code for reason in reasons}
        explained[row] = reasons + [
            _against(column, values, usual_values, share)
            for column, share in against[index]
            if CATALOGUE[column].reason not in codes
        ]
    return explained
