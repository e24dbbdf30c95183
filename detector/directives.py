"""What people and other systems told the scorer: states of cards, reasons damped on a card, travel, what is allowed.

Small dictionaries, since only a few cards are ever frozen or damped. They are read at batch boundaries and follow the
compacted topics; they are not part of the digest of feature state. A batch is looked up by the fingerprints of its
cards: the few that are known are sorted, so that a batch costs no Python a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.texts import pack_code
from detector.tokens import fingerprint_many, matching
from detector.transactions import COUNTRY_LETTERS
from detector.vocabulary import CardStatus

Fingerprints = NDArray[np.uint64]

# What being somewhere else speaks through: a cardholder who said that they would be there is no reason for suspicion.
TRAVEL_REASONS = ("impossible_travel", "far_from_last", "far_from_home", "new_country", "ip_country_differs")
ALLOWED_COLUMNS = ("card", "merchant", "terminal", "device", "country")


class Payments(Protocol):
    """What directives look at of a batch: fingerprints, uint64 (n, 2), 0 where nothing is given, and countries."""

    @property
    def card(self) -> Fingerprints:
        """Of card tokens."""

    @property
    def merchant(self) -> Fingerprints:
        """Of merchants."""

    @property
    def terminal(self) -> Fingerprints:
        """Of terminals."""

    @property
    def device(self) -> Fingerprints:
        """Of devices."""

    @property
    def country(self) -> Fingerprints:
        """Of countries."""

    @property
    def country_code(self) -> NDArray[np.int64]:
        """Packed ISO codes, 0 where missing."""


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
        self._travel: dict[str, tuple[frozenset[int], int]] = {}
        self._travellers: _Known | None = None
        self._allowed_at: dict[str, dict[str, int]] = {}
        self._allowed_cards: _Known | None = None
        # New cards by those that they replace.
        self._heirs: dict[str, str] = {}
        self._allowed: dict[str, dict[str, int]] = {column: {} for column in ALLOWED_COLUMNS}
        self._allowed_words: dict[str, _Known] = {}

    def travel(self, card_token: str, countries: Sequence[str], until_ms: int) -> None:
        """The cardholder is in one of these countries (ISO 3166-1 alpha-2) until `until_ms` of event time.

        It replaces what was said before; no country takes it back. For the card that replaces this one it holds too.
        """
        packed = frozenset(pack_code(country, COUNTRY_LETTERS) for country in countries)
        self._set_travel(card_token, (packed, until_ms) if countries else None)

    def _set_travel(self, card_token: str, said: tuple[frozenset[int], int] | None) -> None:
        """Note where a cardholder is, for the card and those that replace it; None takes it back."""
        self._travellers = None
        if said is None:
            self._travel.pop(card_token, None)
        else:
            self._travel[card_token] = said
        if card_token in self._heirs:
            self._set_travel(self._heirs[card_token], said)

    def allow_merchant(self, card_token: str, merchant_id: str, until_ms: int) -> None:
        """Let the card pay at a merchant until `until_ms` of event time, whatever models and reviewing rules say.

        The card that replaces it may as well.
        """
        self._allowed_cards = None
        self._allowed_at.setdefault(card_token, {})[merchant_id] = until_ms
        if card_token in self._heirs:
            self.allow_merchant(self._heirs[card_token], merchant_id, until_ms)

    def inherit(self, card_token: str, new_card_token: str) -> None:
        """Let what was said of the cardholder's journeys and merchants hold for the card that replaces this one.

        What was said of the old number, that it is watched or what is damped on it, ends with it. A card that would
        inherit from itself, over however many, inherits nothing.
        """
        heir: str | None = new_card_token
        while heir is not None:
            if heir == card_token:
                return
            heir = self._heirs.get(heir)
        self._heirs[card_token] = new_card_token
        if card_token in self._travel and new_card_token not in self._travel:
            self._set_travel(new_card_token, self._travel[card_token])
        for merchant_id, until_ms in self._allowed_at.get(card_token, {}).items():
            self.allow_merchant(new_card_token, merchant_id, until_ms)

    def allow(self, column: str, value: str, until_ms: int) -> None:
        """Let everything with this card, merchant, terminal, device or country pay until then; 0 takes it back.

        Args:
            column: one of `ALLOWED_COLUMNS`.
            value: the token or code.
            until_ms: event time.
        """
        self._allowed_words.pop(column, None)
        if until_ms > 0:
            self._allowed[column][value] = until_ms
        else:
            self._allowed[column].pop(value, None)

    def exempt(self, batch: Payments, time_ms: NDArray[np.int64], key: bytes) -> NDArray[np.bool_] | None:
        """Rows on which neither models nor rules that freeze or review may act; None where there are none.

        Args:
            batch: the payments.
            time_ms: int64, event time of each row.
            key: that the fingerprints were made with.
        """
        exempt = np.zeros(len(time_ms), dtype=np.bool_)
        if self._allowed_at:
            self._exempt_cards(exempt, batch, time_ms, key)
        for column, allowed in self._allowed.items():
            if allowed:
                known = self._allowed_words.get(column)
                if known is None or known.key != key:
                    known = self._allowed_words[column] = _Known(list(allowed), key)
                until = np.array([*(allowed[value] for value in known.card_tokens), 0], dtype=np.int64)
                exempt |= time_ms < until[known.places(getattr(batch, column))]
        return exempt if exempt.any() else None

    def _exempt_cards(self, exempt: NDArray[np.bool_], batch: Payments, time_ms: NDArray[np.int64], key: bytes) -> None:
        """Mark rows of cards that may pay at their merchant."""
        if self._allowed_cards is None or self._allowed_cards.key != key:
            self._allowed_cards = _Known(list(self._allowed_at), key)
        places = self._allowed_cards.places(batch.card)
        for row in np.flatnonzero(places >= 0).tolist():
            allowed = self._allowed_at[self._allowed_cards.card_tokens[places[row]]]
            current = [merchant_id for merchant_id, until_ms in allowed.items() if time_ms[row] < until_ms]
            if current:
                exempt[row] = _Known(current, key).places(batch.merchant[row : row + 1])[0] >= 0

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

    def damped_reasons(self, batch: Payments, time_ms: NDArray[np.int64], key: bytes) -> list[tuple[int, str]]:
        """Pairs of (row, reason code) that are damped at the row's time, by people's word or because of travel.

        Args:
            batch: the payments.
            time_ms: int64, event time of each row.
            key: that the fingerprints were made with.
        """
        return self._damped_by_word(batch.card, time_ms, key) + self._damped_by_travel(batch, time_ms, key)

    def _damped_by_travel(self, batch: Payments, time_ms: NDArray[np.int64], key: bytes) -> list[tuple[int, str]]:
        """What is damped for cardholders who are where they said they would be."""
        if not self._travel:
            return []
        if self._travellers is None or self._travellers.key != key:
            self._travellers = _Known(list(self._travel), key)
        places = self._travellers.places(batch.card)
        pairs: list[tuple[int, str]] = []
        for row in np.flatnonzero(places >= 0).tolist():
            countries, until_ms = self._travel[self._travellers.card_tokens[places[row]]]
            if time_ms[row] < until_ms and int(batch.country_code[row]) in countries:
                pairs += [(row, reason) for reason in TRAVEL_REASONS]
        return pairs

    def _damped_by_word(self, cards: Fingerprints, time_ms: NDArray[np.int64], key: bytes) -> list[tuple[int, str]]:
        """What is damped by directives for the card."""
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
