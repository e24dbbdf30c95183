"""Cards that pay in batches of their partition: all of them once, or some drawn at random."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PARTITIONS, BATCH = 8, 4_096

# A partition, and the numbers of the cards of it that pay.
Paying = tuple[int, NDArray[np.int64]]


def all_cards(cards: int, rng: np.random.Generator) -> Iterator[Paying]:
    """Every card once, partition by partition."""
    for partition in range(PARTITIONS):
        order = rng.permutation(np.arange(partition, cards, PARTITIONS))
        for start in range(0, len(order), BATCH):
            yield partition, order[start : start + BATCH]


def some_cards(cards: int, payments: int, rng: np.random.Generator) -> Iterator[Paying]:
    """Random cards, the partitions in turn."""
    for start in range(0, payments, BATCH):
        partition = start // BATCH % PARTITIONS
        count = min(BATCH, payments - start)
        yield partition, PARTITIONS * rng.integers(0, cards // PARTITIONS, count) + partition
