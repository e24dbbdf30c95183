"""Selective labels, in a small seeded world and through the engine itself.

Learning from alerts alone drifts; a random share of reviews, weighted by their propensity, does not.
"""

from __future__ import annotations

import pytest

from benchmarks.selective import ALERTS, EVERYTHING, SILENCE, UNWEIGHTED, WAYS, WEIGHTED, Learned, Setting, simulate

pytestmark = [pytest.mark.compiled, pytest.mark.slow]
_SETTING = Setting(days=90, payments_a_day=3_000)


@pytest.fixture(scope="module")
def learned() -> dict[str, Learned]:
    return {name: simulate(name, way, _SETTING) for name, way in WAYS.items()}


def test_learning_from_alerts_alone_drifts(learned: dict[str, Learned]) -> None:
    """It never sees the new fraud, and its score says less and less of the world."""
    whole = learned[EVERYTHING]
    for name in (ALERTS, SILENCE):
        assert learned[name].ap < 0.3 * whole.ap
        assert learned[name].ap_of_new_fraud < 0.1 * whole.ap_of_new_fraud
        assert learned[name].foreseen_over_real < 0.2


def test_a_random_share_with_weights_does_not(learned: dict[str, Learned]) -> None:
    """With a twentieth of the labels it finds the new fraud, and its score keeps to the frauds that there are."""
    whole, weighted = learned[EVERYTHING], learned[WEIGHTED]
    assert weighted.ap > 0.6 * whole.ap
    assert weighted.ap_of_new_fraud > 0.5 * whole.ap_of_new_fraud
    assert 0.6 < weighted.foreseen_over_real < 1.2


def test_without_weights_the_silence_of_the_others_prevails(learned: dict[str, Learned]) -> None:
    """The few frauds that chance has found drown among payments that nobody looked at: hardly any is alerted."""
    plain, weighted = learned[UNWEIGHTED], learned[WEIGHTED]
    assert abs(plain.foreseen_over_real - 1) > 2 * abs(weighted.foreseen_over_real - 1)
    assert plain.ap < weighted.ap
    assert plain.alerts_a_day < 0.1 * weighted.alerts_a_day
    assert plain.ap_of_new_fraud < weighted.ap_of_new_fraud
