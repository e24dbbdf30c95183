"""What people and other systems told the scorer: states of cards, and reasons that are damped on a card.

Small dictionaries, since only a few cards are ever frozen or damped. They are read at batch boundaries and follow the
compacted topics; they are not part of the digest of feature state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.vocabulary import CardStatus


class Directives:
    """Card states and damped reasons, looked up a batch at a time."""

    def __init__(self) -> None:
        """Start with every card active and nothing damped."""
        self._states: dict[str, tuple[CardStatus, int]] = {}
        self._damped: dict[str, dict[str, int]] = {}

    def set_card_state(self, card_token: str, status: CardStatus, command_time_ms: int) -> None:
        """Take over a card's state unless a younger command is already known."""
        known = self._states.get(card_token)
        if known is None or command_time_ms >= known[1]:
            self._states[card_token] = (status, command_time_ms)

    def damp(self, card_token: str, reasons: Sequence[str], until_ms: int) -> None:
        """Do not act on these reasons, and no others, for this card before `until_ms` of event time.

        A directive says everything that is damped on the card: it replaces the one before, and an empty one lifts it.
        """
        if reasons:
            self._damped[card_token] = dict.fromkeys(reasons, until_ms)
        else:
            self._damped.pop(card_token, None)

    def card_statuses(self, card_tokens: Sequence[str]) -> NDArray[np.int64]:
        """Codes of `CardStatus`, one a card."""
        codes = np.zeros(len(card_tokens), dtype=np.int64)
        if self._states:
            for row, card_token in enumerate(card_tokens):
                known = self._states.get(card_token)
                if known is not None:
                    codes[row] = known[0]
        return codes

    def damped_reasons(self, card_tokens: Sequence[str], time_ms: NDArray[np.int64]) -> list[tuple[int, str]]:
        """Pairs of (row, reason code) that are damped at the row's time."""
        pairs: list[tuple[int, str]] = []
        if self._damped:
            for row, card_token in enumerate(card_tokens):
                damped = self._damped.get(card_token, {})
                pairs += [(row, reason) for reason, until_ms in damped.items() if time_ms[row] < until_ms]
        return pairs

    def frozen_cards(self) -> int:
        """How many cards are known not to be active."""
        return sum(status is not CardStatus.ACTIVE for status, _ in self._states.values())
