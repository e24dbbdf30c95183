"""The box of dead letters: which records were put aside, what became of them, and sending one again.

A letter is known by where its record stood (`payments.transactions.v1/3/1234`), whatever how often it was written. What
was done about it is a record of its own behind it in the same partition, so the topic itself says who did what, when.

Sending again is safe: a transaction is known by its identity, an alert by its id, a label replaces the one before. So a
crash between the sending and the note of it, or two people at once, at most send one record twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from streams.card_numbers import redact_bytes, redact_headers, redact_text
from streams.dead_letters import ALTERED_HEADER, DETAIL_HEADER, ORIGINAL, REASON_HEADER, origin_of
from streams.events import ID_HEADER, HeaderList, Outgoing, cloud_event
from streams.records import Headers, ReadRecord, TopicPartition
from streams.topics import DEAD_LETTERS

RETRY_HEADER = "cardwatch_retry_of"
_RESOLVES_HEADER = "resolves"
_TYPE = "cardwatch.dead_letter.resolved.v1"
_SOURCE = "/cardwatch/dlq"


class LetterState(StrEnum):
    """waiting: nobody did anything about it. retried: its record was sent again. dropped: a person let it go."""

    WAITING = "waiting"
    RETRIED = "retried"
    DROPPED = "dropped"


class Resolution(msgspec.Struct, frozen=True):
    """What was done about a letter: the value of the record that says so."""

    letter_id: str
    state: LetterState
    actor: str
    note: str
    time_ms: int


@dataclass(slots=True)
class Letter:
    """A record that was put aside.

    Attributes:
        letter_id: where it stood.
        source: topic and partition it stood in.
        reason, detail: why it was put aside; see `streams.rejections`.
        partition: of the dead-letter topic.
        time_ms: when it was put aside.
        key, value, headers: of the record, card numbers taken out.
        altered: whether something was taken out; such a record cannot be sent again.
        resolutions: what was done about it, oldest first.
    """

    letter_id: str
    source: TopicPartition
    reason: str
    detail: str
    partition: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    altered: bool
    resolutions: list[Resolution] = field(default_factory=list)

    @property
    def state(self) -> LetterState:
        """What became of it last."""
        return self.resolutions[-1].state if self.resolutions else LetterState.WAITING


def open_box(records: Iterable[ReadRecord]) -> dict[str, Letter]:
    """Letters by id, in the order of the topic; copies of a letter are one.

    Args:
        records: of the dead-letter topic, those of each partition in order. Whatever others wrote there is passed over.
    """
    letters: dict[str, Letter] = {}
    for record in records:
        headers = dict(record.headers)
        if _RESOLVES_HEADER in headers:
            resolution = _resolution(record.value)
            if resolution is not None and resolution.letter_id in letters:
                letters[resolution.letter_id].resolutions.append(resolution)
            continue
        letter = _letter(record, headers)
        if letter is not None:
            letters.setdefault(letter.letter_id, letter)
    return letters


def sent_again(letter: Letter) -> Outgoing:
    """The letter's record, for the topic that it came from; Kafka's partitioner of keys chooses the partition.

    Raises:
        ValueError: something was taken out of it, so it is not what was sent.
    """
    if letter.altered:
        message = f"{letter.letter_id}: a card number was taken out of it; its sender must send it again, with a token"
        raise ValueError(message)
    partition = letter.source.partition if letter.key is None else None
    headers: HeaderList = [*letter.headers, (RETRY_HEADER, letter.letter_id.encode())]
    return Outgoing(letter.source.topic, partition, letter.key, letter.value, headers)


def resolved(letter: Letter, resolution: Resolution) -> Outgoing:
    """The record that says what was done about a letter."""
    event_id = f"{letter.letter_id}/{resolution.state}/{resolution.time_ms}"
    headers: HeaderList = [
        (_RESOLVES_HEADER, letter.letter_id.encode()),
        *cloud_event(event_id, _TYPE, _SOURCE, resolution.time_ms),
    ]
    value = msgspec.json.encode(resolution)
    return Outgoing(DEAD_LETTERS, letter.partition, letter.letter_id.encode(), value, headers)


def _letter(record: ReadRecord, headers: dict[str, bytes | None]) -> Letter | None:
    """A letter of ours; what it holds is searched for card numbers once more."""
    origin, letter_id = origin_of(headers), headers.get(ID_HEADER)
    if origin is None or letter_id is None:
        return None
    original = [(name.removeprefix(ORIGINAL), value) for name, value in record.headers if name.startswith(ORIGINAL)]
    key, value, kept = redact_bytes(record.key), redact_bytes(record.value), redact_headers(original)
    return Letter(
        letter_id=letter_id.decode(errors="replace"),
        source=origin[0],
        reason=_text(headers.get(REASON_HEADER)),
        detail=redact_text(_text(headers.get(DETAIL_HEADER))),
        partition=record.partition,
        time_ms=record.timestamp,
        key=key,
        value=value,
        headers=kept,
        altered=headers.get(ALTERED_HEADER) != b"0" or (key, value, kept) != (record.key, record.value, original),
    )


def _resolution(value: bytes | None) -> Resolution | None:
    try:
        return msgspec.json.decode(value or b"", type=Resolution)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _text(header: bytes | None) -> str:
    return (header or b"").decode(errors="replace")
