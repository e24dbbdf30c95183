"""Deterministic ids: the same cause has the same id, whatever is replayed.

Every id is a SHA-256 over its kind and cause, cut to 96 bits: among 10^10 ids two are equal with a probability below
10^-9. A case's id begins with its card's slot, twelve bits of the CRC-32 of the card token, so that the shard that
keeps a case is known from the case's id alone; the number of shards is therefore a power of two up to 4096.
"""

from __future__ import annotations

import hashlib
import re
import zlib

MAXIMUM_SHARDS = 4096
_SEPARATOR = "\x1f"
_HEX_DIGITS = 24
CASE_ID_PATTERN = r"case-([0-9a-f]{3})-[0-9a-f]{24}"
_CASE_ID = re.compile(CASE_ID_PATTERN)


def digest_of(kind: str, *cause: str) -> str:
    """Hash a cause; `kind` keeps ids of different kinds apart."""
    return hashlib.sha256(_SEPARATOR.join((kind, *cause)).encode()).hexdigest()[:_HEX_DIGITS]


def slot_of_card(card_token: str) -> int:
    """Twelve bits of a card token's CRC-32."""
    return zlib.crc32(card_token.encode()) % MAXIMUM_SHARDS


def shard_of_card(card_token: str, shards: int) -> int:
    """The shard that keeps a card: CRC-32 of its token modulo the number of shards."""
    return slot_of_card(card_token) % shards


def case_id_of(alert_id: str, card_token: str) -> str:
    """The id of the case that this alert opens, if it opens one."""
    return f"case-{slot_of_card(card_token):03x}-{digest_of('case', alert_id)}"


def shard_of_case(case_id: str, shards: int) -> int | None:
    """The shard that keeps a case; None for what is not a case id."""
    matched = _CASE_ID.fullmatch(case_id)
    return None if matched is None else int(matched[1], 16) % shards


def command_id_of(step_id: str, position: int = 0) -> str:
    """The id of a command that a step gives to a card; its first has position 0."""
    return f"command-{digest_of('command', step_id, *_place(position))}"


def notification_id_of(step_id: str, position: int = 0) -> str:
    """The id of a notice that a step sends; its first has position 0."""
    return f"notice-{digest_of('notice', step_id, *_place(position))}"


def order_id_of(step_id: str, position: int) -> str:
    """The id of a one-off order that a step gives."""
    return f"order-{digest_of('order', step_id, str(position))}"


def tick_step_id(case_id: str, sequence: int) -> str:
    """The step of what time does to a case that has come to this sequence."""
    return f"tick-{digest_of('tick', case_id, str(sequence))}"


def call_step_id(notification_id: str) -> str:
    """The step that has somebody call, because a notice was not answered."""
    return f"call-{digest_of('call', notification_id)}"


def person_case_id_of(step_id: str, card_token: str) -> str:
    """The id of the case that a person's step opens."""
    return f"case-{slot_of_card(card_token):03x}-{digest_of('person-case', step_id)}"


def _place(position: int) -> tuple[str, ...]:
    """Nothing for the first, so that ids of steps with a single one stay what they were."""
    return (str(position),) if position else ()


def message_id_of(step_id: str, position: int) -> str:
    """The CloudEvents id of the step's message at this position."""
    return f"event-{digest_of('message', step_id, str(position))}"


def access_step_id(request_id: str, what: str) -> str:
    """What names the event of who saw or changed what in one request, where a step's id would stand."""
    return f"access-{digest_of('access', request_id, what)}"


def alert_step_id(alert_id: str) -> str:
    """The step that handles an alert."""
    return f"alert-{alert_id}"


def keyed_step_id(subject: str, idempotency_key: str) -> str:
    """The step of a command under an Idempotency-Key; `subject` is the case id or card token."""
    return f"keyed-{digest_of('keyed', subject, idempotency_key)}"


def unkeyed_step_id(subject: str, request_digest: str, now_ms: int) -> str:
    """The step of a command without a key: the same request on the same subject in the same millisecond is one."""
    return f"unkeyed-{digest_of('unkeyed', subject, request_digest, str(now_ms))}"
