"""The desk's lists over the policy's own."""

from __future__ import annotations

import numpy as np

from detector.desk_lists import DeskLists
from detector.policy import Policy
from detector.vocabulary import Action
from tests.detector.policy_inputs import inputs, policy, shipped

SHIPPED = Policy.from_mapping(shipped("policy.toml"))


def action_of(made: Policy, **columns: object) -> Action:
    """What one plain payment gets."""
    return Action(int(made.decide(inputs(1, **columns)).action[0]))


def test_entries_stand_beside_those_of_the_policy() -> None:
    """Until they are taken off or their time is over; the policy is made anew only then."""
    rule = {"id": "bad", "when": [{"field": "merchant_id", "op": "in", "list": "bad_merchants"}], "action": "DECLINE",
            "reason": "bad"}  # fmt: skip
    configured = policy([rule])
    lists = DeskLists()
    assert lists.over(configured, 0) is configured
    lists.put("bad_merchants", "m-new", 100)
    laid_over = lists.over(configured, 50)
    assert lists.over(configured, 99) is laid_over
    for merchant in ("m-bad", "m-new"):
        assert action_of(laid_over, merchant_id=merchant) is Action.DECLINE
    assert action_of(lists.over(configured, 100), merchant_id="m-new") is Action.ALLOW
    lists.put("bad_merchants", "m-new", 300)
    assert action_of(lists.over(configured, 101), merchant_id="m-new") is Action.DECLINE
    lists.put("bad_merchants", "m-new", 0)
    assert action_of(lists.over(configured, 102), merchant_id="m-new") is Action.ALLOW
    lists.put("no rule names it", "x", 300)
    assert action_of(lists.over(configured, 103), merchant_id="m-bad") is Action.DECLINE


def test_the_shipped_rules_know_every_list() -> None:
    """What is blocked is declined and what is watched is reviewed: cards, merchants, terminals, devices, countries."""
    places = {
        "cards": {"card_token": "x"},
        "merchants": {"merchant_id": "x"},
        "terminals": {"terminal_id": "x"},
        "devices": {"device_id": "x"},
        "countries": {"country_code": "KP"},
    }
    for plural, columns in places.items():
        for adjective, wanted in (("blocked", Action.DECLINE), ("watched", Action.REVIEW)):
            lists = DeskLists()
            lists.put(f"{adjective}_{plural}", "KP" if plural == "countries" else "x", 10)
            assert action_of(lists.over(SHIPPED, 0), **columns) is wanted
            assert action_of(SHIPPED, **columns) is Action.ALLOW


def test_what_a_person_allowed_passes_unless_it_is_blocked() -> None:
    """Model, anomaly and reviewing rules are silent; a list that declines is not; a frozen card stays refused."""
    lists = DeskLists()
    lists.put("watched_cards", "card", 10)
    watched = lists.over(SHIPPED, 0)
    lists.put("blocked_merchants", "m-1", 10)
    blocked = lists.over(SHIPPED, 0)
    exempt = np.array([True])
    assert action_of(watched, score=0.9, anomaly=1.0) is not Action.ALLOW
    assert action_of(watched, score=0.9, anomaly=1.0, exempt=exempt) is Action.ALLOW
    assert action_of(blocked, score=0.9, merchant_id="m-1", exempt=exempt) is Action.DECLINE
    assert action_of(watched, card_status=1, exempt=exempt) is Action.DECLINE
