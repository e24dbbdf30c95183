"""Directives: a few cards among many are found by their fingerprints."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.directives import ALLOWED_COLUMNS, TRAVEL_REASONS, Directives, Fingerprints
from detector.texts import pack_letters
from detector.tokens import fingerprint_many
from detector.vocabulary import CardStatus

KEY = bytes(range(16))
CARDS = fingerprint_many(["a", "b", "c", "a"], KEY)
TIMES = np.array([10, 10, 10, 20])


@dataclass(frozen=True)
class Payments:
    """Payments of the cards above, in three countries."""

    card: Fingerprints = field(default_factory=lambda: CARDS)
    merchant: Fingerprints = field(default_factory=lambda: fingerprint_many(["m", "n", None, "n"], KEY))
    terminal: Fingerprints = field(default_factory=lambda: fingerprint_many([None, "t", None, None], KEY))
    device: Fingerprints = field(default_factory=lambda: fingerprint_many([None, None, "d", None], KEY))
    country: Fingerprints = field(default_factory=lambda: fingerprint_many(["JP", "DE", None, "DE"], KEY))
    country_code: NDArray[np.int64] = field(default_factory=lambda: pack_letters(["JP", "DE", None, "DE"], 2))


PAYMENTS = Payments()


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
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == []
    directives.damp("a", ["x", "y"], 20)
    directives.damp("b", ["z"], 11)
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == [(0, "x"), (0, "y"), (1, "z")]
    directives.damp("a", [], 0)
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == [(1, "z")]


def test_another_key_finds_the_same_cards() -> None:
    """What was looked up under one key is not taken for another's."""
    directives = Directives()
    directives.set_card_state("b", CardStatus.FROZEN, 5)
    for key in (KEY, bytes(16), KEY):
        found = directives.card_statuses(fingerprint_many(["a", "b"], key), key)
        assert found.tolist() == [0, int(CardStatus.FROZEN)]


def exempt(directives: Directives) -> list[bool]:
    """Which rows are exempt."""
    found = directives.exempt(PAYMENTS, TIMES, KEY)
    return [False] * len(TIMES) if found is None else found.tolist()


def test_travel_damps_what_distance_speaks_for_where_it_was_announced() -> None:
    """Only on that card, in those countries, before its end; no country takes it back."""
    directives = Directives()
    directives.travel("a", ["JP", "SG"], 15)
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == [(0, reason) for reason in TRAVEL_REASONS]
    directives.travel("a", ["DE"], 20)
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == []
    directives.travel("a", ["DE"], 21)
    assert {row for row, _ in directives.damped_reasons(PAYMENTS, TIMES, KEY)} == {3}
    directives.travel("a", [], 0)
    assert directives.damped_reasons(PAYMENTS, TIMES, KEY) == []


def test_a_card_may_pay_at_its_merchant_until_then() -> None:
    """At that merchant, not at another; another card may not; the end is the end."""
    directives = Directives()
    directives.allow_merchant("a", "n", 21)
    assert exempt(directives) == [False, False, False, True]
    directives.allow_merchant("a", "m", 11)
    assert exempt(directives) == [True, False, False, True]
    directives.allow_merchant("a", "n", 20)
    assert exempt(directives) == [True, False, False, False]


@pytest.mark.parametrize(
    ("column", "value", "rows"),
    [("card", "a", [0, 3]), ("merchant", "n", [1, 3]), ("terminal", "t", [1]), ("device", "d", [2]),
     ("country", "DE", [1, 3])],
)  # fmt: skip
def test_what_is_allowed_for_everybody(column: str, value: str, rows: list[int]) -> None:
    """Cards, merchants, terminals, devices and countries, each until its time or until it is taken back."""
    assert column in ALLOWED_COLUMNS
    directives = Directives()
    directives.allow(column, value, 100)
    assert np.flatnonzero(exempt(directives)).tolist() == rows
    directives.allow(column, "another", 100)
    directives.allow(column, value, 20)
    assert np.flatnonzero(exempt(directives)).tolist() == [row for row in rows if TIMES[row] < 20]
    directives.allow(column, value, 0)
    assert not any(exempt(directives))
