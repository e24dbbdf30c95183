"""Histories of cards that were replaced as they travel to the new cards' workers, on `cardwatch.histories.v1`.

Their tokens are those of this installation's fingerprints and format of state, so one of another is refused.
"""

from __future__ import annotations

import msgspec
import numpy as np

from detector.inheritance import HISTORY_COLUMNS, History
from streams.core import UnusableBroadcastError

_TIME_BYTES, _WORD_BYTES = 8, 4


class _Wire(msgspec.Struct):
    """Whose it will be, what it depends on, and little-endian bytes of its arrays."""

    card_token: str
    state: str
    times_ms: bytes
    columns: bytes
    usual: tuple[int, int, int]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_history(card_token: str, history: History, state_digest: str) -> bytes:
    """The record for a new card; `state_digest` is that of the configuration that shapes state."""
    times, columns = history.times_ms.astype("<i8").tobytes(), history.columns.astype("<u4").tobytes()
    return _encoder.encode(_Wire(card_token, state_digest, times, columns, history.usual))


def decode_history(value: bytes, state_digest: str) -> tuple[str, History]:
    """Read a record: the new card's token, and what it inherits.

    Raises:
        UnusableBroadcastError: it is none, or of another key or format of state.
    """
    try:
        wire = _decoder.decode(value)
    except msgspec.DecodeError:
        message = "this is no history of a card"
        raise UnusableBroadcastError(message) from None
    if wire.state != state_digest:
        message = "the history was written with another fingerprint key or format of state"
        raise UnusableBroadcastError(message)
    count, rest = divmod(len(wire.times_ms), _TIME_BYTES)
    if rest or count == 0 or len(wire.columns) != _WORD_BYTES * HISTORY_COLUMNS * count:
        message = "the history has no payments, or lost some"
        raise UnusableBroadcastError(message)
    times = np.frombuffer(wire.times_ms, dtype="<i8").astype(np.int64)
    if (np.diff(times) < 0).any():
        message = "the payments of the history are not in the order of time"
        raise UnusableBroadcastError(message)
    columns = np.frombuffer(wire.columns, dtype="<u4").astype(np.uint32).reshape(HISTORY_COLUMNS, count)
    return wire.card_token, History(times, columns, wire.usual)
