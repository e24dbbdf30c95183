"""A card that replaces another goes on with the cardholder's history, and with nothing of the thief's."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue import CATALOGUE
from detector.inheritance import HISTORY_COLUMNS, Histories, History, history_of
from detector.tokens import fingerprint_many
from tests.detector.event_streams import DAY_MS, START_MS, STEPS, Event, build_events, random_steps
from tests.detector.test_features_against_naive import CONFIG, KEY, Run, expected_row, new_state, to_reference
from tests.naive import NaiveEngine

OLD, NEW = "tok_0", "tok_new"


class Inheriting(Run):
    """A run that lets cards inherit before it assesses a batch, as the score role does."""

    def __init__(self, partitions: int) -> None:
        super().__init__(new_state(partitions))
        self.histories = Histories(KEY)

    def leave(self) -> None:
        """Let the new card's worker know what the old one leaves."""
        history = history_of(self.state.partition(0), OLD, KEY)
        if history is not None:
            self.histories.put(NEW, history)

    def hand_over(self, partition: int) -> None:
        """Let the new card take over what waits for it."""
        self.histories.hand_over(self.state, Batch(partition, fingerprint_many([NEW, "another"], KEY)))


@dataclass
class Batch:
    """What is looked at of a batch."""

    partition: int
    card: np.ndarray[Any, np.dtype[np.uint64]]


def renamed(event: Event, old: str, new: str, partition: int) -> Event:
    """The same with another card, of another partition."""
    if event.value["card_token"] != old:
        return event
    return Event(partition, event.is_label, {**event.value, "card_token": new})


def play(events: list[Event], at: int, late: int, rng: random.Random | None) -> None:
    """Compare the engine with its twin: a card is replaced at an event, and its history comes `late` events later.

    Until then every other payment is still made with the old card.
    """
    partitions = 2
    run, naive = Inheriting(partitions), NaiveEngine(to_reference, CONFIG.lateness_ms, CONFIG.identity_memory_ms)
    news = {place for place in range(at, len(events)) if place >= at + late or (place - at) % 2 == 0}
    events = [renamed(event, OLD, NEW, 1) if place in news else event for place, event in enumerate(events)]
    pieces = (events[: at + late], events[at + late :])
    expected = []
    for number, piece in enumerate(pieces):
        run.take_cut(piece, rng)
        for event in piece:
            if event.is_label:
                naive.label(event.value, event.partition)
            else:
                expected.append((event, naive.observe(event.value, event.partition)))
        if number == 0:
            run.leave()
            run.hand_over(1)
            naive.inherit(OLD, NEW, 0)
            run.hand_over(1)
    if not expected:
        return
    features = run.column("features")
    for row, (event, naively) in enumerate(expected):
        assert run.column("effective_time_ms")[row] == naively.effective_time_ms, event
        ours, theirs = features[row], expected_row(naively, run.column("anomaly")[row])
        unequal = np.flatnonzero(~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))))
        assert not len(unequal), (row, event, [(CATALOGUE[i].name, ours[i], theirs[i]) for i in unequal])


@given(steps=st.lists(STEPS, max_size=40), at=st.integers(0, 30), late=st.sampled_from([0, 0, 3, 9]))
@settings(max_examples=25)
def test_a_new_card_is_as_usual_as_the_old_one(steps: list[Any], at: int, late: int) -> None:
    """Whatever came before, and also where the history comes after its first payments."""
    play(build_events(steps, 2), at, late, random.Random(at))


@pytest.mark.compiled
@pytest.mark.parametrize("seed", range(3))
def test_long_histories_are_inherited(seed: int) -> None:
    """With hundreds of payments, in windows of every length."""
    events = build_events(random_steps(seed, 600), 2)
    play(events, 400, 60 * seed, random.Random(seed))


def test_a_history_waits_as_long_as_it_may_be_of_use() -> None:
    """Windows of cards reach back 30 days, and events may be late; what is older goes when another has come."""
    histories, state = Histories(KEY), new_state(1)
    for day, waiting in ((0, ["day-0"]), (39, ["day-0", "day-39"]), (41, ["day-39", "day-41"])):
        columns = np.zeros((HISTORY_COLUMNS, 1), dtype=np.uint32)
        histories.put(f"day-{day}", History(np.array([START_MS + day * DAY_MS]), columns, (0, 0, 0)))
        histories.hand_over(state, Batch(0, fingerprint_many(["another"], KEY)))
        assert [card for card in ("day-0", "day-39", "day-41") if card in histories] == waiting
