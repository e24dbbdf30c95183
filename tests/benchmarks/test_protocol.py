"""The handbook's protocol on payments that can be counted on one's fingers."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from benchmarks.protocol import CHAPTER_3, Fold, Quality, Truth, card_precisions, quality

FIRST = 100


def truth(*payments: tuple[int, int, int]) -> Truth:
    """Payments as (day, card, label)."""
    return Truth(*(np.array(column, dtype=np.int64) for column in zip(*payments, strict=True)))


def test_a_fold_is_three_weeks() -> None:
    """Train, delay and test week follow one another; chapter 3 tests the week from 2018-08-08 on."""
    assert Fold(FIRST).test_first == FIRST + 14
    assert Fold.beginning(CHAPTER_3).name == "2018-08-08 to 2018-08-14"
    assert Fold.beginning(date(1970, 1, 11)).first == 10
    known = truth((FIRST - 1, 1, 0), (FIRST, 1, 0), (FIRST + 6, 1, 0), (FIRST + 7, 1, 0))
    assert Fold(FIRST).train_rows(known).tolist() == [False, True, True, False]
    assert Fold(FIRST).known_rows(known).tolist() == [True, True, True, False]


def test_cards_known_to_be_compromised_are_left_out() -> None:
    """Those with a fraud in the train week, or on a day that lies eight days or more before the test day."""
    known = truth(
        (FIRST + 3, 1, 1),
        (FIRST + 7, 2, 1),
        (FIRST + 12, 3, 1),
        (FIRST + 13, 4, 1),
        *((FIRST + 14, card, 0) for card in (1, 2, 3, 4, 5)),
        *((FIRST + 15, card, 0) for card in (1, 2, 3, 4, 5)),
        *((FIRST + 20, card, 0) for card in (1, 2, 3, 4, 5)),
        (FIRST + 21, 5, 0),
    )
    kept = Fold(FIRST).test_rows(known)
    chosen = list(zip(known.day[kept].tolist(), known.card[kept].tolist(), strict=True))
    assert [card for day, card in chosen if day == FIRST + 14] == [2, 3, 4, 5]
    assert [card for day, card in chosen if day == FIRST + 15] == [3, 4, 5]
    # On the last test day the labels of day 12 have come, those of day 13 have not.
    assert [card for day, card in chosen if day == FIRST + 20] == [4, 5]
    assert len(chosen) == 9


def test_a_fold_lies_in_a_file_that_has_all_its_weeks() -> None:
    """Neither its first day nor its last may be missing."""
    assert Fold(FIRST).lies_in(truth((FIRST, 1, 0), (FIRST + 20, 1, 0)))
    assert not Fold(FIRST).lies_in(truth((FIRST, 1, 0), (FIRST + 19, 1, 0)))
    assert not Fold(FIRST).lies_in(truth((FIRST + 1, 1, 0), (FIRST + 20, 1, 0)))


def test_a_card_that_was_found_makes_room() -> None:
    """It is not looked at again, or not before it is forgotten; cards of equal scores stand by their numbers."""
    day = np.array([0, 0, 1, 1, 9, 9])
    card = np.array([2, 1, 2, 1, 2, 1])
    label = np.array([1, 0, 1, 1, 1, 0])
    score = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.1])
    assert card_precisions(day, card, label, score, top=1) == {0: 1.0, 1: 1.0, 9: 0.0}
    assert card_precisions(day, card, label, score, top=1, forget_days=7) == {0: 1.0, 1: 1.0, 9: 1.0}
    ties = card_precisions(np.zeros(2, np.int64), np.array([2, 1]), np.array([1, 0]), np.array([0.5, 0.5]), top=1)
    assert ties == {0: 0.0}


def test_quality_is_of_the_chosen_rows() -> None:
    """AUC, AP and the mean of the days' precisions; a mean over folds adds up their payments."""
    known = truth((0, 1, 1), (0, 2, 0), (1, 3, 0), (1, 4, 1))
    found = quality(known, np.array([True, True, True, False]), np.array([0.9, 0.1, 0.5, 0.9]))
    assert (found.auc, found.ap, found.payments, found.frauds) == (1.0, 1.0, 3, 1)
    assert found.cp == pytest.approx(0.005)
    mean = Quality.mean([found, Quality(0.5, 0.0, 0.0, 1, 1)])
    assert (mean.auc, mean.ap, mean.payments, mean.frauds) == (0.75, 0.5, 4, 2)
