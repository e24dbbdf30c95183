"""What people and other systems told the scorer: states of cards, and reasons that are damped on a card.

Small dictionaries, since only a few cards are ever frozen or damped. They are read at batch boundaries and follow the
compacted topics; they are not part of the digest of feature state. A batch is looked up by the fingerprints of its
cards: the few that are known are sorted, so that a batch costs no Python a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.tokens import fingerprint_many, matching
from detector.vocabulary import CardStatus

Fingerprints = NDArray[np.uint64]


class _Known:
    """Cards that something is known of, in the order of their fingerprints."""

    def __init__(self, card_tokens: Sequence[str], key: bytes) -> None:
        words = fingerprint_many(card_tokens, key)
        order = np.lexsort((words[:, 1], words[:, 0]))
        self.key = key
        self.words = np.ascontiguousarray(words[order])
        self.card_tokens = [card_tokens[number] for number in order.tolist()]

    def places(self, cards: Fingerprints) -> NDArray[np.int64]:
        """For each card its place among those known, -1 where nothing is."""
        return matching(cards, self.words)


class Directives:
    """Card states and damped reasons, looked up a batch at a time."""

    def __init__(self) -> None:
        """Start with every card active and nothing damped."""
        self._states: dict[str, tuple[CardStatus, int]] = {}
        self._damped: dict[str, dict[str, int]] = {}
        # Made anew after a change, when a batch asks.
        self._stated: _Known | None = None
        self._status_codes = np.zeros(0, dtype=np.int64)
        self._damped_cards: _Known | None = None

    def set_card_state(self, card_token: str, status: CardStatus, command_time_ms: int) -> None:
        """Take over a card's state unless a younger command is already known."""
        known = self._states.get(card_token)
        if known is None or command_time_ms >= known[1]:
            self._states[card_token] = (status, command_time_ms)
            self._stated = None

    def damp(self, card_token: str, reasons: Sequence[str], until_ms: int) -> None:
        """Do not act on these reasons, and no others, for this card before `until_ms` of event time.

        A directive says everything that is damped on the card: it replaces the one before, and an empty one lifts it.
        """
        self._damped_cards = None
        if reasons:
            self._damped[card_token] = dict.fromkeys(reasons, until_ms)
        else:
            self._damped.pop(card_token, None)

    def card_statuses(self, cards: Fingerprints, key: bytes) -> NDArray[np.int64]:
        """Codes of `CardStatus`, one a card.

        Args:
            cards: uint64 (n, 2) fingerprints of card tokens.
            key: that they were made with.
        """
        if not self._states:
            return np.zeros(len(cards), dtype=np.int64)
        if self._stated is None or self._stated.key != key:
            self._stated = _Known(list(self._states), key)
            codes = [int(self._states[card_token][0]) for card_token in self._stated.card_tokens]
            # The last one is for place -1: a card of which nothing is known is active.
            self._status_codes = np.array([*codes, int(CardStatus.ACTIVE)], dtype=np.int64)
        codes_of_rows: NDArray[np.int64] = self._status_codes[self._stated.places(cards)]
        return codes_of_rows

    def damped_reasons(self, cards: Fingerprints, time_ms: NDArray[np.int64], key: bytes) -> list[tuple[int, str]]:
        """Pairs of (row, reason code) that are damped at the row's time.

        Args:
            cards: uint64 (n, 2) fingerprints of card tokens.
            time_ms: int64, event time of each row.
            key: that the fingerprints were made with.
        """
        if not self._damped:
            return []
        if self._damped_cards is None or self._damped_cards.key != key:
            self._damped_cards = _Known(list(self._damped), key)
        known = self._damped_cards
        places = known.places(cards)
        pairs: list[tuple[int, str]] = []
        for row in np.flatnonzero(places >= 0).tolist():
            damped = self._damped[known.card_tokens[places[row]]]
            pairs += [(row, reason) for reason, until_ms in damped.items() if time_ms[row] < until_ms]
        return pairs

    def frozen_cards(self) -> int:
        """How many cards are known not to be active."""
        return sum(status is not CardStatus.ACTIVE for status, _ in self._states.values())
