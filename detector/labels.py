"""Labels: what became known of transactions, joined with their bins as scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import BatchError, StaleOffsetError
from detector.examples import Examples
from detector.label_kernel import APPLIED, CORRECTED, REPEATED, TOO_LATE, UNKNOWN, label_batch, mature_payments
from detector.layout import (
    BINS,
    LABEL_STATE,
    PAYMENT_CARD_KEY,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_TIME,
    PAYMENTS,
    SHARED_MERCHANT,
)
from detector.memory import table_rows
from detector.state import EngineState, PartitionState
from detector.tokens import fingerprint_many
from detector.transactions import joined_identities
from detector.vocabulary import Label

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
        labeller: int64, a word of the fingerprint of who says so; 0 where that is not known.
    """

    partition: int
    offset: NDArray[np.int64]
    identity: NDArray[np.uint64]
    label: NDArray[np.int64]
    label_time_ms: NDArray[np.int64]
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
    """

    examples: Examples
    outcome: NDArray[np.int64]

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

    A column `labelled_by` of names, None where not known, may be among them; how far one labeller moves the models is
    capped.

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
    names = columns.get("labelled_by")
    labeller = np.zeros(count, dtype=np.int64)
    if names is not None:
        labeller = fingerprint_many(list(names), key).view(np.int64)[:, 0]
    return LabelBatch(partition, offsets, fingerprint_many(identities, key), labels, times, labeller)


def _gather(state: PartitionState, rows: NDArray[np.int64], label_time_ms: NDArray[np.int64]) -> Examples:
    """The bins and labels that stand in rows of the ring of payments."""
    bins = table_rows(state.memory, int(BINS)).view(np.uint8)[rows, :FEATURE_COUNT]
    payments = table_rows(state.memory, int(PAYMENTS))
    merchant, card = (payments[rows, word] for word in (PAYMENT_ENTITY_KEYS + 2 * SHARED_MERCHANT, PAYMENT_CARD_KEY))
    sources = np.column_stack([np.zeros(len(rows), dtype=np.int64), merchant, card])
    return Examples(bins, payments[rows, LABEL_STATE] - 1, np.ones(len(rows)), label_time_ms, sources)


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
    if not len(labels):
        return LabelResult(_gather(partition, rows, labels.label_time_ms), outcome)
    if int(labels.offset[0]) < partition.label_next_offset:
        message = f"label offset {int(labels.offset[0])} of partition {labels.partition} was applied before"
        raise StaleOffsetError(message)
    with state.change(partition):
        label_batch(
            partition.memory, state.shared, labels.identity.view(np.int64), labels.label, labels.label_time_ms,
            int(labels.offset[-1]) + 1, state.limits(), outcome, rows, state.scratch,
        )  # fmt: skip
    learned = (outcome == APPLIED) | (outcome == CORRECTED)
    return LabelResult(_gather_labels(partition, rows, labels, learned), outcome)


def _gather_labels(
    partition: PartitionState, rows: NDArray[np.int64], labels: LabelBatch, learned: NDArray[np.bool_]
) -> Examples:
    """Examples with the label that each record said, even where a later one of the batch corrects it."""
    examples = _gather(partition, rows[learned], labels.label_time_ms[learned])
    sources = examples.sources
    sources[:, 0] = labels.labeller[learned]
    return Examples(examples.bins, labels.label[learned], examples.weight, examples.label_time_ms, sources)


def mature(state: EngineState, partition: int, now_ms: int) -> Examples:
    """Let unlabelled payments of the configured age become genuine.

    Args:
        state: of the worker.
        partition: an open source partition.
        now_ms: event time now, usually the partition's watermark.

    Returns:
        One example a payment, at most 65,536 at a time.
    """
    owner = state.partition(partition)
    rows = np.zeros(_MATURE_AT_ONCE, dtype=np.int64)
    maturity_ms = state.config.maturity_ms
    with state.change(owner):
        count = mature_payments(owner.memory, state.shared, now_ms - maturity_ms, state.limits(), rows, state.scratch)
    found = rows[:count]
    times = table_rows(owner.memory, int(PAYMENTS))[found, PAYMENT_TIME] + maturity_ms
    return _gather(owner, found, times)
