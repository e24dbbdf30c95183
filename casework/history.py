"""What is remembered of cases for ever: closed ones, search and statistics. Fed from `fraud.cases.v1`, asked by people.

Redis holds open cases and forgets closed ones after a while. This is the memory behind it: a relational read model, a
function of the topic alone, so that it can be thrown away and made again (`cardwatch rebuild history`). Nothing decides
by it; it lags by as much as its role is behind, and says by how much.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from casework.cards import SYSTEM_ACTOR
from casework.cases import Case, CaseEvent, Disposition
from casework.kinds import CaseKind
from casework.promptness import Done

MAXIMUM_QUERY = 200
MAXIMUM_HISTORY_PAGE = 200
DEFAULT_HISTORY_PAGE = 50
# More than so many urgent cases that nobody has touched are one disaster.
MOST_UNTOUCHED = 10_000
_WORD = re.compile(r"\w+")
_IDEOGRAPHS = ("CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "KATAKANA")


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it stands in the topic.

    Attributes:
        partition, offset: of its record.
        event: what it says; None for a record that is no event of ours.
    """

    partition: int
    offset: int
    event: CaseEvent | None


@dataclass(frozen=True, slots=True)
class HistoryFilters:
    """What is looked for; all of it must hold.

    Attributes:
        text: a card token, transaction, merchant or case id as it is, or words of the notes people wrote.
        is_closed: only closed cases, or only open ones.
        closed_from_ms, closed_before_ms: when it was closed, UTC epoch milliseconds.
    """

    text: str | None = None
    is_closed: bool | None = None
    kind: CaseKind | None = None
    disposition: Disposition | None = None
    closed_by: str | None = None
    closed_from_ms: int | None = None
    closed_before_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Cases, the last opened first.

    Attributes:
        next_cursor: pass it back for what follows; None at the end.
    """

    cases: tuple[Case, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReasonStatistics:
    """How a reason code did in cases that were closed.

    Attributes:
        cases: that had it.
        frauds: of these, confirmed.
        median_minutes: from opening to closing.
    """

    reason: str
    cases: int
    frauds: int
    median_minutes: float

    @property
    def precision(self) -> float:
        """Share of its cases that were fraud."""
        return self.frauds / self.cases if self.cases else 0.0


@dataclass(frozen=True, slots=True)
class PersonStatistics:
    """What one person closed.

    Attributes:
        median_minutes: from opening to closing.
    """

    person: str
    closed: int
    median_minutes: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """A span of time in numbers, by when cases were opened and closed.

    Attributes:
        median_first_action_minutes: from opening to the first thing a person did; None where nothing was closed.
        median_minutes: from opening to closing.
        targets_missed: cases closed whose target had been missed.
        undone_freezes, undone_in_time: wrongful freezes that were undone, and those within 30 minutes of opening.
    """

    opened: int
    closed: int
    dispositions: Mapping[str, int]
    kinds: Mapping[str, int]
    median_first_action_minutes: float | None
    median_minutes: float | None
    targets_missed: int
    undone_freezes: int
    undone_in_time: int
    reasons: Sequence[ReasonStatistics] = field(default_factory=tuple)
    people: Sequence[PersonStatistics] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken in.

    Attributes:
        new: how many events were.
        done: what they ended that was waited for.
    """

    new: int
    done: tuple[Done, ...] = ()


class HistoryWriter(Protocol):
    """Where events go; see `casework.adapters.sql_history`."""

    def positions(self, origin: str) -> dict[int, int]:
        """The next offset of each partition that was ever read.

        Args:
            origin: identity of cluster and topic.

        Raises:
            HistoryOriginError: what is there was read from another topic.
        """

    def apply(self, told: Sequence[Told]) -> Taken:
        """Take events in; those that are known change nothing.

        Raises:
            HistoryConflictError: somebody else has taken them in meanwhile; ask for the positions again.
        """

    def untouched_since_ms(self) -> list[int]:
        """Since when each urgent case waits for the desk, the earliest first; at most `MOST_UNTOUCHED` of them."""


class History(Protocol):
    """What people ask."""

    def find(self, filters: HistoryFilters, cursor: str | None, limit: int) -> HistoryPage:
        """Cases, the last opened first.

        Raises:
            InvalidCursorError: no list gave it out.
        """

    def statistics(self, from_ms: int, before_ms: int) -> Statistics:
        """What happened in a span of time, `before_ms` excluded."""


def searchable(text: str) -> str:
    """Text as it is indexed and asked for: lower case, words apart, each ideograph a word of its own.

    Neither SQLite nor PostgreSQL knows where a Chinese word ends; character by character, a phrase finds it.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORD.findall("".join(f" {letter} " if _is_ideograph(letter) else letter for letter in folded)))


def _is_ideograph(letter: str) -> bool:
    return ord(letter) > 0x2E7F and unicodedata.name(letter, "").startswith(_IDEOGRAPHS)


def terms_of(case: Case, event: CaseEvent) -> Iterator[str]:
    """What a case is found by as it is, as far as this event says it."""
    if event.sequence == 1:
        yield case.case_id
        yield case.card_token
    if event.alert is not None:
        yield event.alert.transaction_id
        if event.alert.merchant_id:
            yield event.alert.merchant_id
    facts = event.facts.transaction_ids
    if isinstance(facts, tuple):
        yield from facts


def words_of(event: CaseEvent) -> str:
    """What people wrote, as it is indexed; empty where the event holds no words of theirs."""
    texts: list[str] = [event.note] if event.note and event.actor != SYSTEM_ACTOR else []
    details = event.facts.details
    if isinstance(details, Mapping):
        texts += [value for value in details.values() if isinstance(value, str)]
    return searchable(" ".join(texts))


def first_action_ms(events: Iterable[CaseEvent]) -> int | None:
    """When a person first did something; None where nobody has."""
    return min((event.time_ms for event in events if event.actor != SYSTEM_ACTOR), default=None)
