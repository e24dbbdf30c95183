"""Selective labels, in a small seeded world: learning from alerts alone drifts, a weighted random share does not."""

from __future__ import annotations

import pytest

from benchmarks.selective import WAYS, WEIGHTED, Learned, Setting, simulate

pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def learned() -> dict[str, Learned]:
    return {name: simulate(name, way, Setting()) for name, way in WAYS.items()}


def test_learning_from_alerts_alone_drifts(learned: dict[str, Learned]) -> None:
    """It never sees the new fraud, and its score says less and less of the world."""
    whole = learned["labels of everything"]
    for name in ("labels of alerts alone", "labels of alerts, silence is genuine"):
        assert learned[name].ap < 0.5 * whole.ap
        assert learned[name].ap_of_new_fraud < 0.2 * whole.ap_of_new_fraud
        assert learned[name].foreseen_over_real < 0.6


def test_a_random_share_with_weights_does_not(learned: dict[str, Learned]) -> None:
    """It finds the new fraud nearly as well as with all labels, and foresees as many frauds as there are."""
    whole, weighted = learned["labels of everything"], learned[WEIGHTED]
    assert weighted.ap > 0.85 * whole.ap
    assert weighted.ap_of_new_fraud > 0.8 * whole.ap_of_new_fraud
    assert 0.9 < weighted.foreseen_over_real < 1.1


def test_without_weights_the_score_is_off(learned: dict[str, Learned]) -> None:
    """Alerts count for more than their share of the world, so frauds are foreseen that do not come."""
    plain, weighted = learned["alerts and a random share, unweighted"], learned[WEIGHTED]
    assert abs(plain.foreseen_over_real - 1) > 3 * abs(weighted.foreseen_over_real - 1)
