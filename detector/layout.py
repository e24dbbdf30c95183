"""Where things stand inside the rows of each table, and which tables form the state of a partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.buckets import LEVEL_WORDS
from detector.catalogue import FEATURE_COUNT, SHARED_WINDOWS_MS, WINDOWS_MS
from detector.jit import constants
from detector.memory import LINE

WINDOW_COUNT = len(WINDOWS_MS)
LONGEST = constants(WINDOW_COUNT)[-1]

# A card. Fields 0 to 2 are the key; field 3, which links rows that are free, holds FIRST_NUMBER in one that is not. Its
# payments lie in a block of the arena, and what has the number n in the card's life is entry n - FIRST_NUMBER of it.
# The usual amount is kept as a sum, the sum of squared logarithms, and in one word how many payments and the sum of
# their logarithms. INHERITED is 1 once the card was given the history of the one that it replaces, or went without. A
# window is four words from CARD_WINDOWS on.
(
    FIRST_NUMBER, GENERATION, CLOCK, LAST_PLACE, LAST_PLACE_TIME, BLOCK, ORDER, COUNT, BASE_MS, USUAL_SUM, USUAL_COUNTS,
    USUAL_SQUARES, INHERITED, CARD_WINDOWS,
) = constants(17)[3:]  # fmt: skip
USUAL_SHIFT = 32
# COUNTED holds two counts: payments, and of them the refused ones above REFUSED_SHIFT.
START, COUNTED, SPENDS, SPEND_SUM = constants(4)
CARD_WINDOW_WORDS = 4
REFUSED_SHIFT = 32
COUNTED_MASK = (1 << REFUSED_SHIFT) - 1
CARD_WORDS = CARD_WINDOWS + WINDOW_COUNT * CARD_WINDOW_WORDS

# A payment in a card's block: columns of uint32, each as long as the block has entries. TIME is relative to the card's
# BASE_MS. Tokens are 32 bits of their fingerprint, the category's 22 with the hour of the day and the risk of the
# payment's pattern above: within one card's history that is as good as the whole.
TIME, AMOUNT, ATTRIBUTES, MERCHANT, TERMINAL, DEVICE, CATEGORY, RING = constants(8)
HOUR_SHIFT, RISK_SHIFT, HOUR_MASK = 22, 27, 31
LARGEST_AMOUNT = (1 << 32) - 1
# REFUSED follows outcomes that come later; SUPERSEDED says that a later payment at the same merchant stands behind it;
# TRUSTED that it counts in the card's usual amount.
(
    ATTRIBUTE_SPEND, ATTRIBUTE_REFUSED, ATTRIBUTE_REVERSED, ATTRIBUTE_SUPERSEDED, ATTRIBUTE_FRAUD, ATTRIBUTE_GENUINE,
    ATTRIBUTE_TRUSTED,
) = (1, 2, 4, 8, 16, 32, 64)  # fmt: skip
RATIO_SHIFT, RATIO_BITS, COUNTRY_SHIFT = 10, 12, 22
RATIO_MASK = (1 << RATIO_BITS) - 1
# What a card has met before (merchants, terminals, ...) is looked for among so many of its last payments.
CARD_MEMORY_PAYMENTS = 1024

# Whom a card meets.
PAIR_TERMINAL, PAIR_MERCHANT, PAIR_COUNTRY, PAIR_DEVICE, PAIR_CATEGORY = constants(5)

# A remembered payment: identity, what it did, how it was decided, and its label. The bins of its features stand in a
# row of the same number of the table BINS.
(
    PAYMENT_TIME, PAYMENT_CARD, PAYMENT_GENERATION, PAYMENT_NUMBER, PAYMENT_STATE, DECIDED, SCORE_BITS, ANOMALY_BITS,
    FIRST_OFFSET, EXPECTED_LOSS, RULE_HITS, REASONS, LABEL_STATE, PAYMENT_AMOUNT, PAYMENT_AMOUNT_MINOR,
    PAYMENT_ABOUT, PAYMENT_SEQUENCE,
) = constants(21)[4:]  # fmt: skip
PAYMENT_CARD_KEY = 21
PAYMENT_ENTITY_KEYS = 23
# Field 3, which links rows that are free, is LEVEL here, whose rows never are: a payment that left the ring stands for
# two to this power. COUNTED_ONCE says that its label was counted while it stood for itself.
PAYMENT_LEVEL = 3
LEVEL_MASK, COUNTED_ONCE = 255, 256
# Bits of the float64 share of allowed payments that were reviewed by chance when it was decided.
PAYMENT_REVIEW_SHARE = PAYMENT_ENTITY_KEYS + 8
PAYMENT_WORDS = PAYMENT_REVIEW_SHARE + 1
BIN_WORDS = (FEATURE_COUNT + 7) // 8
# Bits of PAYMENT_ABOUT, for what people are shown and for taking a payment back.
# HIGH says that it was far above the card's usual amount when it was scored.
ABOUT_SPEND, ABOUT_REFUSED_AT_FIRST, ABOUT_HIGH = 1, 2, 1 << 40
ABOUT_KIND_SHIFT, ABOUT_CHANNEL_SHIFT, ABOUT_CURRENCY_SHIFT, ABOUT_COUNTRY_SHIFT = 4, 7, 12, 27
# Values of PAYMENT_STATE.
STATE_LIVE, STATE_REVERSED, STATE_OTHER = constants(4)[1:]
# Values of LABEL_STATE are a label's code plus one; 0 is "no label yet".
LABEL_OFFSET = 1

# A shared entity: key (kind in KEY_2), youngest time, its latest known outcomes (`detector.outcomes`), and per window
# of SHARED_WINDOWS_MS the words of a history of `detector.buckets`.
SHARED_TERMINAL, SHARED_MERCHANT, SHARED_DEVICE, SHARED_CATEGORY, SHARED_PATTERN = constants(5)
# Those that a record names; a pattern has one history, of the time for which outcomes speak.
SHARED_KINDS = 4
LAST_TIME, OUTCOMES, OUTCOME_COUNT = constants(7)[4:]
LEVELS = LINE
SHARED_HOUR, SHARED_DAY, SHARED_MONTH, SHARED_LONGEST = constants(4)
# Windows that have a history of their own in a row; the longest, of patterns, stands in the place of the first.
SHARED_WINDOW_COUNT = len(SHARED_WINDOWS_MS) - 1
ENTITY_WORDS = LEVELS + LEVEL_WORDS * SHARED_WINDOW_COUNT

# Columns of the ten-word `Columns.pairs` where the fingerprints of terminal, merchant, device and category start.
ENTITY_KEY_COLUMNS = (0, 2, 6, 8)
CATEGORY_COLUMN = 8

# A segment of payments on disk: its number, a word of the digest of its content, how many it holds, their earliest and
# latest time, and how many of them, from the first, have become genuine where they had no label.
SEGMENT_NUMBER, SEGMENT_DIGEST, SEGMENT_ROWS = constants(3)
SEGMENT_FIRST_MS, SEGMENT_LAST_MS, SEGMENT_MATURED = constants(7)[4:]
SEGMENT_WORDS = 7
# A label that came to a payment on disk, keyed by the number of its segment and its place there.
LATE_LABEL = 4
LATE_LABEL_WORDS = 5

# What shared entities contain of a source partition: for each source of rows (`detector.shared_rows`) the number below
# which they contain everything, the largest event time, whether anything was seen, and up to where the topic of rows
# was read.
OF_TRANSACTIONS, OF_LABELS, OF_MATURED, OF_MATURED_ON_DISK = constants(4)
SOURCE_KINDS = 4
SOURCE_WATERMARK, SOURCE_STARTED, SOURCE_POSITION = constants(7)[4:]
SOURCE_WORDS = 7
MOST_PARTITIONS = 4096

# The single row of the progress table. MATURED_TO is the offset behind the last payment of the ring that was asked
# whether it is genuine because nobody complained.
(
    WATERMARK, NEXT_OFFSET, LABEL_NEXT_OFFSET, STARTED, LATE_RECORDS, USELESS_REFERENCES, FORCED_EVICTIONS,
    SEGMENTS_WRITTEN, MATURED_TO,
) = constants(9)  # fmt: skip
PROGRESS_WORDS = 9

# Table ids of a partition's memory, and of the memory of shared entities.
(
    PROGRESS, CARDS, CARD_INDEX, PAYMENTS, PAYMENT_INDEX, BINS, KEPT, KEPT_INDEX, KEPT_BINS, SEGMENTS, LATE_LABELS,
    LATE_LABEL_INDEX,
) = constants(12)  # fmt: skip
ENTITIES, ENTITY_INDEX, SOURCES = constants(3)


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
    """What the kernel writes, one row a record; of `shared_rows` only the first `shared_row_count[0]`."""

    features: NDArray[np.float32]
    effective_time_ms: NDArray[np.int64]
    late: NDArray[np.int64]
    payment_row: NDArray[np.int64]
    duplicate: NDArray[np.int64]
    shared_rows: NDArray[np.int64]
    shared_row_count: NDArray[np.int64]


class Scratch(NamedTuple):
    """Small arrays the kernel reuses for every record."""

    values: NDArray[np.float64]
    ahead: NDArray[np.int64]
    bucket_numbers: NDArray[np.int64]
