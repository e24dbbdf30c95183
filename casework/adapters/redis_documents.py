"""What is written into Redis and read from it: JSON, entries behind their revision, what scripts take and give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from casework.errors import StoreError
from casework.outbox import OutboxEntry, OutboxMessage
from casework.store import UNWRITTEN
from casework.traits import name_in_traits
from casework.views import CaseFilters

encoder = msgspec.json.Encoder()
_headers_decoder = msgspec.json.Decoder(dict[str, str])

Decoded = TypeVar("Decoded")


def message_parts(messages: Sequence[OutboxMessage]) -> tuple[str | bytes, ...]:
    """Messages as the scripts take them: topic, key, value and headers of each."""
    return tuple(
        part
        for message in messages
        for part in (message.topic, message.key, message.value, encoder.encode(message.headers))
    )


def behind_revision(decoder: msgspec.json.Decoder[Decoded], raw: bytes | None) -> Decoded | None:
    """An entry as `entry.lua` writes it, behind its revision."""
    return None if raw is None else decoded(decoder, raw.partition(b" ")[2])


def text_of(raw: bytes | str | None) -> str:
    """A text of Redis; a missing one is empty."""
    return UNWRITTEN if raw is None else raw.decode() if isinstance(raw, bytes) else raw


def decoded(decoder: msgspec.json.Decoder[Decoded], raw: bytes | None) -> Decoded | None:
    """A document of Redis; None where it is missing."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        message = "a document in Redis cannot be read: was it written by a later version?"
        raise StoreError(message) from error


def place_of(entry_id: bytes | str) -> tuple[int, int]:
    """An id of a stream's entry, in the order of the stream."""
    time_part, _, sequence = text_of(entry_id).partition("-")
    return int(time_part), int(sequence)


def outbox_entry(entry_id: bytes | str, fields: Mapping[bytes, bytes]) -> OutboxEntry:
    """An entry of the outbox's stream."""
    return OutboxEntry(
        entry_id=text_of(entry_id),
        time_ms=int(fields[b"time_ms"]),
        topic=text_of(fields[b"topic"]),
        key=text_of(fields[b"key"]),
        value=fields[b"value"],
        headers=_headers_decoder.decode(fields[b"headers"]),
    )


def score_pairs(answer: Sequence[tuple[bytes, float]]) -> Iterator[tuple[float, str]]:
    """Score and member of each entry of a sorted set that was asked for with its scores, as RESP3 gives them."""
    return ((score, text_of(member)) for member, score in answer)


def narrowing(filters: CaseFilters) -> tuple[str | int, ...]:
    """Filters as `list.lua` takes them."""
    taker = filters.taker
    return (
        "*" if filters.action is None else int(filters.action),
        "*" if filters.kind is None else filters.kind.value,
        "*" if filters.owner is None else name_in_traits(filters.owner),
        "*" if filters.due is None else filters.due.value,
        filters.now_ms,
        *(("*", "*") if taker is None else (name_in_traits(taker.name), taker.tier)),
    )
