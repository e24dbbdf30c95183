"""Judging decisions: hand-made payments whose money, cases and freezes can be counted on one's fingers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cardwatch.backtest.changes import changes
from cardwatch.backtest.judge import Decisions, Facts, Judgement, Terms
from cardwatch.settings import shipped_toml
from detector.policy import Policy
from detector.rates import RateTable
from detector.texts import pack_code
from detector.vocabulary import Action, Flag

DAY_MS = 86_400_000
EUR = pack_code("EUR", 3)
ALLOW, STEP_UP, REVIEW, DECLINE, FREEZE = (int(action) for action in Action)
POLICY = Policy.from_mapping(shipped_toml("policy.toml"))
RATES = RateTable.from_mapping(shipped_toml("rates.toml"))
TERMS = Terms(POLICY, RATES, answer_ms=DAY_MS, wrong_ms=7 * DAY_MS, case_actions=frozenset({REVIEW, FREEZE}))


def facts(days: list[float], cards: list[int], euros: list[int], labels: list[int], currency: int = EUR) -> Facts:
    amount = np.array(euros, dtype=np.int64) * 100
    codes = np.full(len(days), currency, dtype=np.int64)
    return Facts(
        event_time_ms=np.array([round(day * DAY_MS) for day in days], dtype=np.int64),
        card=np.array(cards, dtype=np.int64),
        currency=codes,
        amount_reference=RATES.convert(amount, codes)[0],
        spends=np.ones(len(days), dtype=bool),
        label=np.array(labels, dtype=np.int64),
    )


def judged(known: Facts, actions: list[int], scores: list[float] | None = None, flags: int = 0) -> Judgement:
    decisions = Decisions(
        name="current",
        policy=POLICY,
        action=np.array(actions, dtype=np.int64),
        flags=np.full(len(actions), flags, dtype=np.int64),
        score=np.array(scores or [0.0] * len(actions)),
        reasons=pa.array([["amount_high"] if action else [] for action in actions]),
    )
    return Judgement(known, decisions, TERMS)


def test_money_by_costs_is_the_policys_own_arithmetic() -> None:
    """A fraud that is frozen costs the bother alone, one that is allowed its amount and what would follow."""
    known = facts([0, 1], [1, 2], [100, 50], [1, 0])
    nothing_done = judged(known, [ALLOW, ALLOW]).by_costs()
    assert nothing_done["if_all_allowed_minor"] == nothing_done["cost_minor"] == 10_000 + 30_000
    both_frozen = judged(known, [FREEZE, FREEZE]).by_costs()
    assert both_frozen["cost_minor"] == 9_000 + 9_000
    assert both_frozen["saved_minor"] == 40_000 - 18_000
    assert both_frozen["bother_of_genuine_minor"] == 9_000
    asked = judged(known, [STEP_UP, ALLOW]).by_costs()
    assert asked["cost_minor"] == round(0.3 * 10_000 + 0.7 * 30_000 + 300)


def test_costs_of_other_currencies_are_converted() -> None:
    """A policy's costs in yen are brought into the reference currency before they are added."""
    yen = pack_code("JPY", 3)
    known = facts([0], [1], [0], [1], currency=yen)
    (expected,) = RATES.convert(np.array([50_000]), np.array([yen]))[0].tolist()
    assert judged(known, [ALLOW]).by_costs()["cost_minor"] == expected


def test_a_refused_payment_does_not_go_through() -> None:
    """DECLINE stops the payment, though the policy's table of stops does not speak of it."""
    known = facts([0], [1], [100], [1])
    assert judged(known, [DECLINE]).by_costs()["cost_minor"] == 30_000
    assert judged(known, [DECLINE]).by_labels()["fraud_refused_minor"] == 10_000


def test_what_a_frozen_card_would_have_paid_is_counted_until_an_agent_answers() -> None:
    """Within a day of the freeze fraud is stopped and genuine money refused; after it both go on as decided."""
    known = facts([0, 0.5, 0.6, 1.5, 1.6], [1, 1, 1, 1, 1], [10, 20, 30, 40, 50], [1, 1, 0, 1, 0])
    money = judged(known, [FREEZE, ALLOW, ALLOW, ALLOW, ALLOW]).by_labels()
    assert money["fraud_refused_minor"] == 1_000
    assert money["fraud_while_frozen_minor"] == 2_000
    assert money["fraud_lost_minor"] == 4_000
    assert money["genuine_while_frozen_minor"] == 3_000
    assert money["genuine_refused_minor"] == 0


def test_a_freeze_is_wrong_where_no_fraud_is_near() -> None:
    """Card 1 has a fraud five days later, card 2 one after ten days, card 3 none, and of card 4 nothing is known."""
    known = facts([0, 0, 0, 0, 5, 10], [1, 2, 3, 4, 1, 2], [9, 9, 9, 9, 9, 9], [0, 0, 0, -1, 1, 1])
    freezes = judged(known, [FREEZE, FREEZE, FREEZE, FREEZE, ALLOW, ALLOW]).freezes()
    assert freezes["freezes"] == 4
    assert freezes["wrongly_frozen_cards"] == freezes["wrong_freezes"] == 2
    assert freezes["wrongly_frozen_card_days"] == 2.0
    assert freezes["not_known"] == 1


def test_alerts_on_a_card_join_its_open_case() -> None:
    """Three alerts within a day are one case and one freeze; the next day's are another."""
    known = facts([0, 0.2, 0.4, 1.5, 1.9], [1, 1, 1, 1, 2], [9, 9, 9, 9, 9], [1, 1, 1, 1, 0])
    run = judged(known, [FREEZE, FREEZE, REVIEW, FREEZE, STEP_UP])
    assert run.work()["alerts"] == 5
    assert run.work()["cases"] == 2
    assert run.work()["cases_a_day"] == 1.0
    assert run.freezes()["freezes"] == 2


def test_the_confusion_matrix_counts_everything_once() -> None:
    """By action and truth; a payment that is seen again is not counted again."""
    known = facts([0, 1, 2], [1, 2, 3], [9, 9, 9], [1, 0, -1])
    actions = judged(known, [FREEZE, FREEZE, ALLOW]).actions()
    assert actions["FREEZE"] == {"genuine": 1, "fraud": 1, "unknown": 0}
    assert actions["ALLOW"] == {"genuine": 0, "fraud": 0, "unknown": 1}
    repeated = judged(known, [FREEZE, FREEZE, ALLOW], flags=int(Flag.DUPLICATE)).actions()
    assert all(count == 0 for row in repeated.values() for count in row.values())


def test_precision_over_recall_ends_at_all_frauds() -> None:
    """The first threshold is the strictest; at the last one every fraud is found."""
    known = facts([0, 0, 0, 0], [1, 2, 3, 4], [9] * 4, [1, 0, 1, 0])
    curve = judged(known, [ALLOW] * 4, [0.9, 0.8, 0.7, 0.1]).curve()
    assert curve == [(0.5, 1.0), (1.0, pytest.approx(2 / 3))]
    quality = judged(known, [ALLOW] * 4, [0.9, 0.8, 0.7, 0.1]).quality()
    assert quality["auc_roc"] == 0.75


def test_changes_say_what_was_decided_differently_and_why() -> None:
    """Each change is counted by its actions and by the reason of the more severe decision."""
    known = facts([0, 1, 2], [1, 2, 3], [10, 20, 30], [1, 0, 0])
    old, new = judged(known, [ALLOW, FREEZE, ALLOW]), judged(known, [FREEZE, ALLOW, ALLOW])
    found = changes(old, new)
    assert found["payments"] == 2
    assert [(each["from"], each["to"], each["frauds"]) for each in found["by_action"]] == [
        ("ALLOW", "FREEZE", 1),
        ("FREEZE", "ALLOW", 0),
    ]
    assert {(each["reason"], each["candidate_is"]) for each in found["by_reason"]} == {
        ("amount_high", "stricter"),
        ("amount_high", "milder"),
    }
    assert found["cards"]["wrongly_frozen_by_current_only"] == 1
    assert found["cards"]["wrongly_frozen_by_candidate_only"] == 0
    # The fraud of 10 euros and what would follow no longer happens; both runs bother one card by a freeze.
    assert found["saved_more_minor"] == 1_000 + 30_000


def test_the_costs_above_are_the_shipped_ones() -> None:
    """Whoever changes them changes these tests."""
    assert POLICY.costs[POLICY.cost_rows["EUR"]].tolist() == [30_000.0, 300.0, 800.0, 0.0, 9_000.0]
