"""Labels: what became known of transactions, joined with their bins as scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import BatchError, StaleOffsetError
from detector.examples import Examples
from detector.kept import label_kept, mature_kept
from detector.label_kernel import (
    APPLIED,
    CORRECTED,
    REPEATED,
    TOO_LATE,
    UNKNOWN,
    Labels,
    label_batch,
    mature_payments,
)
from detector.layout import (
    BINS,
    DECIDED,
    KEPT,
    KEPT_BINS,
    LEVEL_MASK,
    OF_LABELS,
    OF_MATURED,
    PAYMENT_CARD_KEY,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_LEVEL,
    PAYMENT_REVIEW_SHARE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    SHARED_MERCHANT,
)
from detector.memory import table_rows
from detector.recent import actions_of, is_random_review
from detector.shared_rows import ROW_NUMBER, ROW_WORDS
from detector.sources import SharedRows, is_ahead, known_to, note_rows
from detector.state import EngineState, PartitionState
from detector.tokens import fingerprint_many
from detector.transactions import joined_identities
from detector.vocabulary import Label, LabelSource

_MATURE_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class LabelBatch:
    """Labels of one partition in log order.

    Attributes:
        partition: the partition of `fraud.labels.v1`, the same as of the card's transactions.
        offset: int64, strictly increasing.
        identity: uint64 (n, 2), fingerprints of (card_token, transaction_id).
        label: int64, `Label.GENUINE` or `Label.FRAUD`.
        label_time_ms: int64, when it became known.
        source: int64, codes of `LabelSource`.
        labeller: int64, a word of the fingerprint of who says so; 0 where that is not known.
    """

    partition: int
    offset: NDArray[np.int64]
    identity: NDArray[np.uint64]
    label: NDArray[np.int64]
    label_time_ms: NDArray[np.int64]
    source: NDArray[np.int64]
    labeller: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of labels."""
        return int(self.label.shape[0])


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What became of a batch of labels.

    Attributes:
        examples: one for each label that was new or corrected an earlier one.
        outcome: int64, per label one of `APPLIED`, `UNKNOWN`, `REPEATED`, `CORRECTED`, `TOO_LATE` of `label_kernel`.
        payment_time_ms: int64, per label the time of its payment; means nothing where that is unknown.
        action: int64, per label what was answered to its payment; likewise.
        shared: what the labels change in shared entities, for other workers.
    """

    examples: Examples
    outcome: NDArray[np.int64]
    payment_time_ms: NDArray[np.int64]
    action: NDArray[np.int64]
    shared: SharedRows

    @property
    def counts(self) -> dict[str, int]:
        """How many labels met which outcome, by name."""
        names = {APPLIED: "applied", UNKNOWN: "unknown", REPEATED: "repeated", CORRECTED: "corrected", TOO_LATE: "late"}
        return {name: int((self.outcome == code).sum()) for code, name in names.items()}


def build_label_batch(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    key: bytes,
    partition: int = 0,
    offset: NDArray[np.int64] | None = None,
) -> LabelBatch:
    """Build a batch from columns `transaction_id`, `card_token`, `label` (codes) and `label_time_ms`.

    A column `source` of codes may be among them, imports if not given, and a column `labelled_by` of names, None where
    not known: how far one labeller moves the models is capped.

    Raises:
        BatchError: columns of unequal length, or a label that is neither fraud nor genuine.
    """
    count = len(columns["label"])
    offsets = np.arange(count, dtype=np.int64) if offset is None else offset
    lengths = {len(columns[name]) for name in ("transaction_id", "card_token", "label", "label_time_ms")}
    if lengths != {count} or len(offsets) != count:
        message = "columns of labels differ in length"
        raise BatchError(message)
    labels = np.asarray(columns["label"], dtype=np.int64)
    if not np.isin(labels, (Label.GENUINE, Label.FRAUD)).all():
        message = "a label is 0 (genuine) or 1 (fraud)"
        raise BatchError(message)
    identities = joined_identities(list(columns["card_token"]), list(columns["transaction_id"]))
    times = np.asarray(columns["label_time_ms"], dtype=np.int64)
    given, names = columns.get("source"), columns.get("labelled_by")
    source = np.full(count, int(LabelSource.IMPORT)) if given is None else np.asarray(given, dtype=np.int64)
    labeller = np.zeros(count, dtype=np.int64)
    if names is not None:
        labeller = fingerprint_many(list(names), key).view(np.int64)[:, 0]
    return LabelBatch(partition, offsets, fingerprint_many(identities, key), labels, times, source, labeller)


def _propensity(
    payments: NDArray[np.int64], label: NDArray[np.int64], source: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The probability with which such a label becomes known, of rows of the ring of payments.

    A fraud that was let through, and that an agent found because chance had the payment reviewed, stands for all those
    that nobody drew. What is genuine becomes known without a review, when nobody has complained until it is mature; so
    does what was alerted, since agents look at all alerts, and what others report by themselves.
    """
    drawn = is_random_review(payments[:, DECIDED]) & (label == Label.FRAUD) & (source == LabelSource.AGENT)
    share = np.ascontiguousarray(payments[:, PAYMENT_REVIEW_SHARE]).view(np.float64)
    return np.where(drawn & (share > 0.0), share, 1.0)


def _examples(
    words: NDArray[np.int64],
    bins: NDArray[np.uint8],
    label: NDArray[np.int64],
    label_time_ms: NDArray[np.int64],
    source: NDArray[np.int64],
    labeller: NDArray[np.int64],
) -> Examples:
    """Examples of payments, as rows of the ring's words and their bins, with the labels given."""
    merchant, card = (words[:, word] for word in (PAYMENT_ENTITY_KEYS + 2 * SHARED_MERCHANT, PAYMENT_CARD_KEY))
    weight = np.ldexp(np.ones(len(words)), words[:, PAYMENT_LEVEL] & LEVEL_MASK)
    sources = np.column_stack([labeller, merchant, card])
    return Examples(bins, label, weight, label_time_ms, sources, _propensity(words, label, source))


def _rows_of(
    partition: PartitionState, table: int, bins: int, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Words and bins of rows of a table of payments."""
    return (
        table_rows(partition.memory, table)[rows, :PAYMENT_WORDS],
        table_rows(partition.memory, bins).view(np.uint8)[rows, :FEATURE_COUNT],
    )


def apply_labels(state: EngineState, labels: LabelBatch) -> LabelResult:
    """Take in labels: counts of cards and entities, and examples for the models.

    An error leaves the state as it was.

    Raises:
        StaleOffsetError: the batch starts below the partition's next label offset.
        StateError: the partition is not open.
    """
    partition = state.partition(labels.partition)
    outcome = np.zeros(len(labels), dtype=np.int64)
    rows = np.zeros(len(labels), dtype=np.int64)
    first = partition.label_next_offset
    if len(labels) and int(labels.offset[0]) < first:
        message = f"label offset {int(labels.offset[0])} of partition {labels.partition} was applied before"
        raise StaleOffsetError(message)
    batch = Labels(labels.offset, labels.identity.view(np.int64), labels.label, labels.label_time_ms)
    with state.change(partition):
        known = (
            known_to(state.shared, labels.partition, OF_LABELS),
            known_to(state.shared, labels.partition, OF_MATURED),
        )
        written = np.empty((len(labels), ROW_WORDS), dtype=np.int64)
        count = label_batch(
            partition.memory, state.shared, batch, known, state.limits(), outcome, rows, written, state.scratch
        )
        missing = np.flatnonzero(rows == 0)
        told = outcome[missing]
        kept = label_kept(state, labels.partition, Labels(*(column[missing] for column in batch)), told)
        outcome[missing] = told
        words = np.concatenate([written[: int(count)], kept.rows])
        words = words[np.argsort(words[:, ROW_NUMBER], kind="stable")]
        shared = SharedRows(labels.partition, int(OF_LABELS), first, partition.label_next_offset, 0, words)
        note_rows(state.shared, shared)
    words, bins = _rows_of(partition, int(PAYMENTS), int(BINS), np.maximum(rows, 0))
    words[rows < 0], bins[rows < 0] = _rows_of(partition, int(KEPT), int(KEPT_BINS), -rows[rows < 0])
    is_found = kept.which >= 0
    words[missing[is_found]] = kept.found.words[kept.which[is_found]]
    bins[missing[is_found]] = kept.found.bins[kept.which[is_found]]
    return _learned(words, bins, labels, outcome, shared)


def _learned(
    words: NDArray[np.int64],
    bins: NDArray[np.uint8],
    labels: LabelBatch,
    outcome: NDArray[np.int64],
    shared: SharedRows,
) -> LabelResult:
    """Examples with the label that each record said, even where a later one of the batch corrects it."""
    new = (outcome == APPLIED) | (outcome == CORRECTED)
    columns = (words, bins, labels.label, labels.label_time_ms, labels.source, labels.labeller)
    examples = _examples(*(column[new] for column in columns))
    return LabelResult(examples, outcome, words[:, PAYMENT_TIME], actions_of(words[:, DECIDED]), shared)


class Matured(NamedTuple):
    """Payments that have become genuine.

    Attributes:
        examples: one a payment.
        shared: what that changes in shared entities, for other workers.
    """

    examples: Examples
    shared: SharedRows


def mature(state: EngineState, partition: int, now_ms: int) -> Matured:
    """Let unlabelled payments of the configured age become genuine: nobody has complained of them.

    What cardwatch refused stays unlabelled, since of that nobody can complain. After a takeover nothing matures before
    the partition has caught up with what shared entities contain of it.

    Args:
        state: of the worker.
        partition: an open source partition.
        now_ms: event time now, usually the partition's watermark.

    Returns:
        At most 65,536 at a time.
    """
    owner = state.partition(partition)
    before_ms = now_ms - state.config.maturity_ms
    if is_ahead(state, partition):
        nothing = SharedRows(partition, int(OF_MATURED), 0, 0, 0, np.zeros((0, ROW_WORDS), dtype=np.int64))
        return Matured(_matured(*_rows_of(owner, int(PAYMENTS), int(BINS), np.zeros(0, dtype=np.int64)), 0), nothing)
    rows = np.zeros(_MATURE_AT_ONCE, dtype=np.int64)
    written = np.empty((_MATURE_AT_ONCE, ROW_WORDS), dtype=np.int64)
    with state.change(owner):
        known = known_to(state.shared, partition, OF_MATURED)
        count = mature_payments(
            owner.memory, state.shared, before_ms, known, state.limits(), rows, written, state.scratch
        )
        words, bins = _rows_of(owner, int(PAYMENTS), int(BINS), rows[:count])
        shared = SharedRows(partition, int(OF_MATURED), 0, owner.matured_to, 0, written[:count])
        note_rows(state.shared, shared)
        kept = None if count else mature_kept(state, partition, before_ms)
        if kept is not None:
            words, bins, shared = kept.found.words, kept.found.bins, kept.shared
    return Matured(_matured(words, bins, state.config.maturity_ms), shared)


def _matured(words: NDArray[np.int64], bins: NDArray[np.uint8], maturity_ms: int) -> Examples:
    """Examples of payments that nobody complained of."""
    times = words[:, PAYMENT_TIME] + maturity_ms
    columns = (np.full(len(words), code) for code in (int(Label.GENUINE), int(LabelSource.MATURITY), 0))
    genuine, source, nobody = columns
    return _examples(words, bins, genuine, times, source, nobody)
