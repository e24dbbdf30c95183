"""Where things stand inside the rows of each table, and which tables form the state of a partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT, WINDOWS_MS
from detector.jit import constants
from detector.sliding import WINDOW_WORDS

WINDOW_COUNT = len(WINDOWS_MS)
LONGEST = constants(WINDOW_COUNT)[-1]

# A card. Fields 0 to 3 are the index key and chain of `memory`; a window is seven words from CARD_WINDOWS on.
GENERATION, CLOCK, LABEL_CLOCK, EVENT_HEAD, EVENT_TAIL, LAST_LATITUDE, LAST_LONGITUDE, LAST_PLACE_TIME = constants(12)[
    4:
]
LABEL_HEAD, CARD_WINDOWS = constants(15)[12::2]
START_CHUNK, START_SLOT, WINDOW_COUNTED, WINDOW_SPENDS, WINDOW_SPEND_SUM, WINDOW_REFUSED, WINDOW_DISTINCT = constants(7)
CARD_WINDOW_WORDS = 7
CARD_WORDS = CARD_WINDOWS + WINDOW_COUNT * CARD_WINDOW_WORDS

# A payment in a card's event list; chunks look like those of `buckets`.
EVENTS_PER_CHUNK = 4
EVENT_TIME, AMOUNT_REFERENCE, AMOUNT_MINOR, ATTRIBUTES, PAIRS_PLACE, PAIRS_OTHER, MERCHANT_WORD = constants(7)
EVENT_WORDS = 7
EVENT_FIRST = 4
EVENT_CHUNK_WORDS = EVENT_FIRST + EVENTS_PER_CHUNK * EVENT_WORDS
# REFUSED follows outcomes that come later; REFUSED_AT_FIRST is what the payment's own record said.
ATTRIBUTE_SPEND, ATTRIBUTE_REFUSED, ATTRIBUTE_REVERSED, ATTRIBUTE_REFUSED_AT_FIRST = 1, 2, 4, 8
KIND_SHIFT, CHANNEL_SHIFT, CURRENCY_SHIFT, COUNTRY_SHIFT = 4, 7, 12, 27
PAIR_SHIFT = 32
PAIR_MASK = (1 << PAIR_SHIFT) - 1

# A pair of a card with a terminal, merchant, country or device: key, chain, and its live events per window.
PAIR_TERMINAL, PAIR_MERCHANT, PAIR_COUNTRY, PAIR_DEVICE = constants(4)
PAIR_KINDS = 4
PAIR_COUNTS = 4
PAIR_WORDS = PAIR_COUNTS + WINDOW_COUNT

# A remembered payment: identity and chain, what it did, how it was decided, the features as scored, and its label.
(
    PAYMENT_TIME, PAYMENT_CARD, PAYMENT_GENERATION, PAYMENT_CHUNK, PAYMENT_SLOT, PAYMENT_STATE, DECIDED, SCORE_BITS,
    ANOMALY_BITS, FIRST_OFFSET, EXPECTED_LOSS, RULE_HITS, REASONS, LABEL_STATE, LABEL_TIME, PAYMENT_SPENDS,
    PAYMENT_AMOUNT,
) = constants(21)[4:]  # fmt: skip
PAYMENT_CARD_KEY = 21
PAYMENT_ENTITY_KEYS = 23
FEATURES = PAYMENT_ENTITY_KEYS + 6
PAYMENT_WORDS = FEATURES + (FEATURE_COUNT + 1) // 2
# Values of PAYMENT_STATE.
STATE_LIVE, STATE_REVERSED, STATE_OTHER = constants(4)[1:]
# Values of LABEL_STATE are a label's code plus one; 0 is "no label yet".
LABEL_OFFSET = 1

# A shared entity: key (kind in KEY_2), chain, youngest time, and per window a bucket history with its sums.
SHARED_TERMINAL, SHARED_MERCHANT, SHARED_DEVICE = 0, 1, 2
SHARED_KINDS = 3
LAST_TIME = 4
LEVELS = 5
ENTITY_WORDS = LEVELS + WINDOW_WORDS * WINDOW_COUNT

# Columns of the eight-word `Columns.pairs` where the fingerprints of terminal, merchant and device start.
ENTITY_KEY_COLUMNS = (0, 2, 6)

# The single row of the progress table.
WATERMARK, NEXT_OFFSET, LABEL_NEXT_OFFSET, STARTED, LATE_RECORDS, USELESS_REFERENCES, FORCED_EVICTIONS = constants(7)
PROGRESS_WORDS = 8

# Table ids of a partition's memory, and of the memory of shared entities.
PROGRESS, CARDS, CARD_INDEX, EVENTS, PAIRS, PAIR_INDEX, PAYMENTS, PAYMENT_INDEX, CARD_LABELS = constants(9)
ENTITIES, ENTITY_INDEX, BUCKETS = constants(3)


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

    shared_sums: NDArray[np.int64]
    pair_rows: NDArray[np.int64]
    pair_earlier: NDArray[np.int64]
    values: NDArray[np.float64]
    ahead: NDArray[np.int64]
    bucket_numbers: NDArray[np.int64]
