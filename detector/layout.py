"""Where things stand inside the rows of each table, and which tables form the state of a partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.buckets import LEVEL_WORDS
from detector.catalogue import FEATURE_COUNT, WINDOWS_MS
from detector.jit import constants
from detector.memory import LINE

WINDOW_COUNT = len(WINDOWS_MS)
LONGEST = constants(WINDOW_COUNT)[-1]

# A card. Fields 0 to 3 are the key and free list of `memory`; its payments lie in a block of the arena, and what has
# the number n in the card's life is entry n - FIRST_NUMBER of it. A window is four words from CARD_WINDOWS on.
(
    GENERATION, CLOCK, LAST_PLACE, LAST_PLACE_TIME, BLOCK, ORDER, COUNT, FIRST_NUMBER, BASE_MS, CARD_WINDOWS,
) = constants(14)[4:]  # fmt: skip
# COUNTED holds two counts: payments, and of them the refused ones above REFUSED_SHIFT.
START, COUNTED, SPENDS, SPEND_SUM = constants(4)
CARD_WINDOW_WORDS = 4
REFUSED_SHIFT = 32
COUNTED_MASK = (1 << REFUSED_SHIFT) - 1
CARD_WORDS = CARD_WINDOWS + WINDOW_COUNT * CARD_WINDOW_WORDS

# A payment in a card's block: columns of uint32, each as long as the block has entries. TIME is relative to the card's
# BASE_MS. Tokens are 32 bits of their fingerprint: within one card's history that is as good as the whole.
TIME, AMOUNT, ATTRIBUTES, MERCHANT, TERMINAL, DEVICE, RING = constants(7)
LARGEST_AMOUNT = (1 << 32) - 1
# REFUSED follows outcomes that come later; SUPERSEDED says that a later payment at the same merchant stands behind it.
(
    ATTRIBUTE_SPEND, ATTRIBUTE_REFUSED, ATTRIBUTE_REVERSED, ATTRIBUTE_SUPERSEDED, ATTRIBUTE_FRAUD,
) = (1, 2, 4, 8, 16)  # fmt: skip
COUNTRY_SHIFT = 16
# What a card has met before (merchants, terminals, ...) is looked for among so many of its last payments.
CARD_MEMORY_PAYMENTS = 1024

# Whom a card meets.
PAIR_TERMINAL, PAIR_MERCHANT, PAIR_COUNTRY, PAIR_DEVICE = constants(4)
PAIR_KINDS = 4

# A remembered payment: identity, what it did, how it was decided, and its label. The bins of its features stand in a
# row of the same number of the table BINS.
(
    PAYMENT_TIME, PAYMENT_CARD, PAYMENT_GENERATION, PAYMENT_NUMBER, PAYMENT_STATE, DECIDED, SCORE_BITS, ANOMALY_BITS,
    FIRST_OFFSET, EXPECTED_LOSS, RULE_HITS, REASONS, LABEL_STATE, LABEL_TIME, PAYMENT_AMOUNT, PAYMENT_AMOUNT_MINOR,
    PAYMENT_ABOUT, PAYMENT_SEQUENCE,
) = constants(22)[4:]  # fmt: skip
PAYMENT_CARD_KEY = 22
PAYMENT_ENTITY_KEYS = 24
PAYMENT_WORDS = PAYMENT_ENTITY_KEYS + 6
BIN_WORDS = (FEATURE_COUNT + 7) // 8
# Bits of PAYMENT_ABOUT, for what people are shown and for taking a payment back.
ABOUT_SPEND, ABOUT_REFUSED_AT_FIRST = 1, 2
ABOUT_KIND_SHIFT, ABOUT_CHANNEL_SHIFT, ABOUT_CURRENCY_SHIFT, ABOUT_COUNTRY_SHIFT = 4, 7, 12, 27
# Values of PAYMENT_STATE.
STATE_LIVE, STATE_REVERSED, STATE_OTHER = constants(4)[1:]
# Values of LABEL_STATE are a label's code plus one; 0 is "no label yet".
LABEL_OFFSET = 1

# A shared entity: key (kind in KEY_2), youngest time, and per window the words of a history of `detector.buckets`.
SHARED_TERMINAL, SHARED_MERCHANT, SHARED_DEVICE = 0, 1, 2
SHARED_KINDS = 3
LAST_TIME = 4
LEVELS = LINE
ENTITY_WORDS = LEVELS + LEVEL_WORDS * WINDOW_COUNT

# Columns of the eight-word `Columns.pairs` where the fingerprints of terminal, merchant and device start.
ENTITY_KEY_COLUMNS = (0, 2, 6)

# The single row of the progress table.
WATERMARK, NEXT_OFFSET, LABEL_NEXT_OFFSET, STARTED, LATE_RECORDS, USELESS_REFERENCES, FORCED_EVICTIONS = constants(7)
PROGRESS_WORDS = 8

# Table ids of a partition's memory, and of the memory of shared entities.
PROGRESS, CARDS, CARD_INDEX, PAYMENTS, PAYMENT_INDEX, BINS = constants(6)
ENTITIES, ENTITY_INDEX = constants(2)


class Limits(NamedTuple):
    """Times that bound memory, in milliseconds of event time."""

    lateness_ms: int
    identity_memory_ms: int
    retention_ms: int
    slowest_watermark_ms: int


class Columns(NamedTuple):
    """A batch as the kernel reads it: int64 columns; fingerprints are int64 views of shape (n, 2)."""

    event_time_ms: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    amount_reference: NDArray[np.int64]
    kind: NDArray[np.int64]
    channel: NDArray[np.int64]
    entry_mode: NDArray[np.int64]
    refused: NDArray[np.int64]
    outcome_known: NDArray[np.int64]
    currency_country: NDArray[np.int64]
    offset: NDArray[np.int64]
    card: NDArray[np.int64]
    identity: NDArray[np.int64]
    refers_to: NDArray[np.int64]
    pairs: NDArray[np.int64]
    ip_country: NDArray[np.int64]
    places: NDArray[np.int64]


class Observed(NamedTuple):
    """What the kernel writes, one row a record."""

    features: NDArray[np.float32]
    effective_time_ms: NDArray[np.int64]
    late: NDArray[np.int64]
    payment_row: NDArray[np.int64]
    duplicate: NDArray[np.int64]


class Scratch(NamedTuple):
    """Small arrays the kernel reuses for every record."""

    values: NDArray[np.float64]
    ahead: NDArray[np.int64]
    bucket_numbers: NDArray[np.int64]
