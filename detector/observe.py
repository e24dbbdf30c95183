"""From a batch to features and changed state: the safe wrapper around the kernels' walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import BatchError, StaleOffsetError
from detector.kernel import observe_batch
from detector.layout import Columns, Observed
from detector.state import EngineState, PartitionState
from detector.transactions import TransactionBatch

_LETTERS = 26
_COUNTRY_SHIFT = 15


def _letters(codes: list[str | None], length: int) -> NDArray[np.int64]:
    """Pack codes of `length` capital letters into integers, 5 bits a letter with A as 1; 0 where missing."""
    texts = np.array([code or "" for code in codes], dtype=f"S{length}")
    bytes_ = texts.view(np.uint8).reshape(len(codes), length).astype(np.int64)
    letters = np.where(bytes_ == 0, 0, bytes_ - ord("A") + 1)
    if ((letters < 0) | (letters > _LETTERS) | ((letters == 0) & (bytes_ != 0))).any():
        message = "currencies and countries are codes of capital letters"
        raise BatchError(message)
    packed = np.zeros(len(codes), dtype=np.int64)
    for index in range(length):
        packed |= letters[:, index] << (5 * index)
    return packed


def unpack_letters(packed: int, length: int) -> str | None:
    """The code that `_letters` packed, None if it was missing."""
    if not packed & ((1 << (5 * length)) - 1):
        return None
    return "".join(chr(ord("A") - 1 + ((packed >> (5 * index)) & 31)) for index in range(length))


def kernel_columns(batch: TransactionBatch, amount_reference: NDArray[np.int64]) -> Columns:
    """The batch as the kernel reads it."""
    pairs = np.concatenate([batch.terminal, batch.merchant, batch.country, batch.device], axis=1).view(np.int64)
    places = np.stack([batch.latitude, batch.longitude, batch.home_latitude, batch.home_longitude], axis=1)
    return Columns(
        event_time_ms=batch.event_time_ms,
        amount_minor=batch.amount_minor,
        amount_reference=amount_reference,
        kind=batch.kind,
        channel=batch.channel,
        entry_mode=batch.entry_mode,
        refused=batch.refused,
        outcome_known=batch.outcome_known,
        currency_country=_letters(list(batch.currency), 3) | (_letters(batch.country_code, 2) << _COUNTRY_SHIFT),
        offset=batch.offset,
        card=batch.card.view(np.int64),
        identity=batch.identity.view(np.int64),
        refers_to=batch.refers_to.view(np.int64),
        pairs=np.ascontiguousarray(pairs),
        ip_country=batch.ip_country.view(np.int64),
        places=np.ascontiguousarray(places),
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
