"""The desk's lists: what is blocked, allowed or watched, of which kind, whose decision it was, and until when. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from casework.errors import InvalidCommandError
from casework.outbox import AUDIT_TOPIC, CONTROL_TOPIC, Draft

MAXIMUM_VALUE = 64
_COUNTRY = re.compile("[A-Z]{2}")


class Effect(StrEnum):
    """block: payments are declined. allow: neither models nor reviewing rules act. watch: a person reviews them."""

    BLOCK = "block"
    ALLOW = "allow"
    WATCH = "watch"


class Subject(StrEnum):
    """What an entry names."""

    CARD = "card"
    MERCHANT = "merchant"
    TERMINAL = "terminal"
    DEVICE = "device"
    COUNTRY = "country"


@dataclass(frozen=True, slots=True)
class ListKey:
    """Which entry."""

    effect: Effect
    subject: Subject
    value: str

    @property
    def name(self) -> str:
        """One text for all of it."""
        return f"{self.effect}:{self.subject}:{self.value}"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One entry.

    Attributes:
        revision: rises by one with every change.
        owner, reason, set_ms: who changed it last, why, and when.
        until_ms: until when it holds; 0 where it was taken off.
    """

    effect: Effect
    subject: Subject
    value: str
    revision: int
    owner: str
    reason: str
    set_ms: int
    until_ms: int

    @property
    def name(self) -> str:
        """That of its key."""
        return ListKey(self.effect, self.subject, self.value).name

    def holds(self, now_ms: int) -> bool:
        """Whether it acts at this time."""
        return now_ms < self.until_ms


def check_key(key: ListKey) -> None:
    """Pass if the value can stand on a list.

    Raises:
        InvalidCommandError: it cannot.
    """
    if key.subject is Subject.COUNTRY and _COUNTRY.fullmatch(key.value) is None:
        message = "value must be an ISO 3166-1 alpha-2 code"
        raise InvalidCommandError(message)
    if not key.value.strip() or len(key.value) > MAXIMUM_VALUE or not key.value.isprintable():
        message = f"value must have 1 to {MAXIMUM_VALUE} printable characters"
        raise InvalidCommandError(message)


def changed(before: ListEntry | None, key: ListKey, owner: str, reason: str, until_ms: int, now_ms: int) -> ListEntry:
    """The entry after somebody put it on the list until then, or with 0 took it off."""
    revision = 1 if before is None else before.revision + 1
    return ListEntry(key.effect, key.subject, key.value, revision, owner, reason, now_ms, until_ms)


def drafts_of(entry: ListEntry) -> list[Draft]:
    """What the scorer and the audit are told of an entry's change."""
    told = {
        "kind": "list_entry",
        "effect": entry.effect.value,
        "subject": entry.subject.value,
        "value": entry.value,
        "until_ms": entry.until_ms,
    }
    audit = told | {"owner": entry.owner, "reason": entry.reason, "time_ms": entry.set_ms, "revision": entry.revision}
    return [
        Draft(CONTROL_TOPIC, f"list:{entry.name}", "cardwatch.control.list_entry", told),
        Draft(AUDIT_TOPIC, f"list:{entry.name}", "cardwatch.audit.list_entry", audit),
    ]
