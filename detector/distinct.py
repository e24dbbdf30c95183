"""How many cards were at a place or a device within an hour: counters that commute, in words of the hour's buckets.

Every card falls into one of eight classes by its fingerprint. A bucket counts payments by class, 16 bits each, so the
sums of a window slide, payments come in any order, and what is taken back is taken out exactly. How many cards there
were follows from how many classes are in use (linear counting): 1, 2, 4, 6, 8, 11, 17, and 25 for 25 or more. It
costs no memory of its own and no look-up; exact sets would take a block for every terminal and device.

A class that is met over 65,535 times within an hour runs over into the next; by then all classes are in use.

Source: Whang, Vander-Zanden, Taylor: *A linear-time probabilistic counting algorithm for database applications* (1990).
"""

from __future__ import annotations

import math

import numpy as np

from detector.buckets import Amounts
from detector.jit import kernel

CARD_CLASSES = 8
_CLASSES_A_WORD = 4
_COUNTER_BITS = 16
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
# Cards by classes in use; where all are, as many as would leave less than half a class empty.
_CARDS_OF_CLASSES = np.array(
    [
        *(round(CARD_CLASSES * math.log(CARD_CLASSES / (CARD_CLASSES - used))) for used in range(CARD_CLASSES)),
        math.ceil(CARD_CLASSES * math.log(2 * CARD_CLASSES)) + 2,
    ],
    dtype=np.int64,
)


@kernel
def card_amounts(card_1: int, sign: int) -> Amounts:
    """What a payment adds to (sign 1) or takes from (-1) a bucket of an hour: itself, and its card's class.

    `card_1` is the second word of the card's fingerprint. The counters stand where other buckets hold frauds and spent.
    """
    counter = sign << (_COUNTER_BITS * (card_1 & (_CLASSES_A_WORD - 1)))
    if card_1 & _CLASSES_A_WORD:
        return sign, 0, 0, 0, counter
    return sign, 0, 0, counter, 0


@kernel
def distinct_cards(first: int, second: int) -> int:
    """About how many cards there were, from the two words of counters."""
    used = 0
    for counter in range(_CLASSES_A_WORD):
        used += 1 if (first >> (_COUNTER_BITS * counter)) & _COUNTER_MASK else 0
        used += 1 if (second >> (_COUNTER_BITS * counter)) & _COUNTER_MASK else 0
    return _CARDS_OF_CLASSES[used]
