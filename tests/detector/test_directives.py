"""Directives: a few cards among many are found by their fingerprints."""

from __future__ import annotations

import numpy as np

from detector.directives import Directives
from detector.tokens import fingerprint_many
from detector.vocabulary import CardStatus

KEY = bytes(range(16))
CARDS = fingerprint_many(["a", "b", "c", "a"], KEY)
TIMES = np.array([10, 10, 10, 20])


def test_states_of_cards_are_found() -> None:
    """The youngest command counts; cards of which nothing is known are active, as is everybody at first."""
    directives = Directives()
    assert directives.card_statuses(CARDS, KEY).tolist() == [0, 0, 0, 0]
    directives.set_card_state("a", CardStatus.FROZEN, 5)
    directives.set_card_state("c", CardStatus.BLOCKED, 5)
    frozen, blocked = int(CardStatus.FROZEN), int(CardStatus.BLOCKED)
    assert directives.card_statuses(CARDS, KEY).tolist() == [frozen, 0, blocked, frozen]
    directives.set_card_state("a", CardStatus.BLOCKED, 4)
    directives.set_card_state("c", CardStatus.ACTIVE, 6)
    assert directives.card_statuses(CARDS, KEY).tolist() == [frozen, 0, 0, frozen]
    assert directives.frozen_cards() == 1


def test_damped_reasons_end_at_their_time() -> None:
    """A reason is damped before its time and no longer; another directive replaces it, an empty one lifts it."""
    directives = Directives()
    assert directives.damped_reasons(CARDS, TIMES, KEY) == []
    directives.damp("a", ["x", "y"], 20)
    directives.damp("b", ["z"], 11)
    assert directives.damped_reasons(CARDS, TIMES, KEY) == [(0, "x"), (0, "y"), (1, "z")]
    directives.damp("a", [], 0)
    assert directives.damped_reasons(CARDS, TIMES, KEY) == [(1, "z")]


def test_another_key_finds_the_same_cards() -> None:
    """What was looked up under one key is not taken for another's."""
    directives = Directives()
    directives.set_card_state("b", CardStatus.FROZEN, 5)
    for key in (KEY, bytes(16), KEY):
        found = directives.card_statuses(fingerprint_many(["a", "b"], key), key)
        assert found.tolist() == [0, int(CardStatus.FROZEN)]
