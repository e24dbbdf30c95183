"""From a batch to features and changed state: the safe wrapper around the kernels' walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import StaleOffsetError
from detector.kernel import observe_batch
from detector.layout import Columns, Observed
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


def observe(state: EngineState, partition: PartitionState, columns: Columns) -> Observed:
    """Walk a batch and change state; call inside `EngineState.change`, so that an error undoes it."""
    rows = columns.event_time_ms.shape[0]
    observed = Observed(np.full((rows, FEATURE_COUNT), np.nan, dtype=np.float32), *np.zeros((4, rows), dtype=np.int64))
    observe_batch(partition.memory, state.shared, columns, state.limits(), state.plan, state.scratch, observed)
    return observed
