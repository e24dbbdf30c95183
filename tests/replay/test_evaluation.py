"""Measures of quality against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cardwatch.replay.evaluation import DAY_MS, auc_roc, average_precision, card_precision_at

# Few different scores, so that there are ties.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60)


@given(rows)
def test_auc_and_average_precision_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """Ties included; without frauds or without genuine payments there is no number."""
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score / 7 for _, score in pairs])
    if labels.min() == labels.max():
        assert math.isnan(auc_roc(labels, scores))
    else:
        assert math.isclose(auc_roc(labels, scores), roc_auc_score(labels, scores), rel_tol=1e-12)
    if labels.any():
        assert math.isclose(average_precision(labels, scores), average_precision_score(labels, scores), rel_tol=1e-12)
    else:
        assert math.isnan(average_precision(labels, scores))


def test_a_card_that_was_found_is_not_looked_at_again() -> None:
    """Of the two most suspicious cards of a day the share that was hit; one found on day 0 makes room on day 1."""
    labels = np.array([1, 0, 0, 1, 0, 1])
    scores = np.array([0.9, 0.8, 0.1, 0.9, 0.7, 0.6])
    cards = np.array([1, 2, 3, 1, 2, 3])
    days = np.array([0, 0, 0, 1, 1, 1]) * DAY_MS
    assert card_precision_at(labels, scores, cards, days, top=2) == 0.5
    assert card_precision_at(labels, scores, cards, days, top=1) == 0.5
