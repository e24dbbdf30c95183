"""From a batch to features and changed state: the safe wrapper around the kernels' walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import StaleOffsetError
from detector.kernel import observe_batch
from detector.layout import OF_TRANSACTIONS, Columns, Observed
from detector.shared_rows import ROW_WORDS
from detector.sources import SharedRows, known_to, note_rows
from detector.state import EngineState, PartitionState
from detector.texts import unpack_letters
from detector.transactions import TransactionBatch

__all__ = ["check_offsets", "kernel_columns", "observe", "unpack_letters"]
_COUNTRY_SHIFT = 15


def kernel_columns(batch: TransactionBatch, amount_reference: NDArray[np.int64]) -> Columns:
    """The batch as the kernel reads it."""
    return Columns(
        event_time_ms=batch.event_time_ms,
        amount_minor=batch.amount_minor,
        amount_reference=amount_reference,
        kind=batch.kind,
        channel=batch.channel,
        entry_mode=batch.entry_mode,
        refused=batch.refused,
        outcome_known=batch.outcome_known,
        currency_country=batch.currency | (batch.country_code << _COUNTRY_SHIFT),
        offset=batch.offset,
        card=batch.card.view(np.int64),
        identity=batch.identity.view(np.int64),
        refers_to=batch.refers_to.view(np.int64),
        pairs=batch.pairs.view(np.int64),
        ip_country=batch.ip_country.view(np.int64),
        places=batch.places,
    )


def check_offsets(state: PartitionState, batch: TransactionBatch) -> None:
    """Refuse offsets that were applied before.

    Raises:
        StaleOffsetError: the batch starts below the partition's next offset.
    """
    if len(batch) and int(batch.offset[0]) < state.next_offset:
        first = int(batch.offset[0])
        message = f"offset {first} of partition {batch.partition} was applied before: next is {state.next_offset}"
        raise StaleOffsetError(message)


def observe(state: EngineState, number: int, columns: Columns) -> tuple[Observed, SharedRows]:
    """Walk a batch of a partition and change state; call inside `EngineState.change`, so that an error undoes it."""
    partition, rows = state.partition(number), columns.event_time_ms.shape[0]
    # A record writes its row in the place behind the last one before it is known whether it has any.
    shared_rows = np.empty((rows + 1, ROW_WORDS), dtype=np.int64)
    features = np.full((rows, FEATURE_COUNT), np.nan, dtype=np.float32)
    effective_time_ms, late, payment_row, duplicate = np.zeros((4, rows), dtype=np.int64)
    observed = Observed(
        features, effective_time_ms, late, payment_row, duplicate, shared_rows, np.zeros(1, dtype=np.int64)
    )
    first, known = partition.next_offset, known_to(state.shared, number, OF_TRANSACTIONS)
    observe_batch(partition.memory, state.shared, columns, known, state.limits(), state.plan, state.scratch, observed)
    words = observed.shared_rows[: int(observed.shared_row_count[0])]
    made = SharedRows(number, int(OF_TRANSACTIONS), first, partition.next_offset, partition.watermark_ms, words)
    if rows:
        note_rows(state.shared, made)
    return observed, made
