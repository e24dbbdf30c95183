"""The store port: the system of record for cards, open cases and the outbox.

A card, its open case and its outbox entries change together or not at all. The desk reads a `Snapshot`, plans a `Step`
in pure code, and commits it. The store carries the step out only if the card is still as the snapshot had it and the
step's id is new; so two who plan at once cannot overwrite each other, and a step that is committed twice is done once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from casework.breaker import Breaker
from casework.cards import CardRecord
from casework.cases import Case, CaseEvent, CaseState
from casework.lists import ListEntry
from casework.outbox import OutboxEntry, OutboxMessage
from casework.views import CardView, CaseFilters, CaseView, Outcome

UNWRITTEN = ""
_DIGEST_DIGITS = 16
_encoder = msgspec.json.Encoder()
NO_STEP = ""
EVERY_CASE = CaseFilters()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of a step that was done, under its id.

    Attributes:
        request: digest of the request; another request under the same id is a conflict.
        outcome: of an alert.
        card, case: the answer to a person's command.
    """

    request: str
    outcome: Outcome | None = None
    card: CardView | None = None
    case: CaseView | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A card as it is.

    Attributes:
        version: `Step.version_after` of the step that wrote the card last; `UNWRITTEN` for a card nobody ever spoke of.
            An equal version means that card and case are what they were.
        case: the card's open case.
        recorded: what is known of the step that was asked about.
    """

    card: CardRecord
    version: str = UNWRITTEN
    case: Case | None = None
    recorded: Recorded | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one card, its case and the outbox: all of it or nothing.

    Attributes:
        step_id: names the step for ever.
        version_before: the version of the snapshot it was planned on.
        card: after it.
        case_before, case: the case it touches, before and after; None where it touches or opens none.
        events: new events of `case`.
        recorded, recorded_memory_ms: what to remember under `step_id`, and for how long.
        closed_memory_ms: how long to keep `case` if it is closed now.
        messages: for the outbox.
        time_ms: when it is taken.
    """

    step_id: str
    version_before: str
    card: CardRecord
    case_before: Case | None
    case: Case | None
    events: tuple[CaseEvent, ...]
    recorded: Recorded
    recorded_memory_ms: int
    closed_memory_ms: int
    messages: tuple[OutboxMessage, ...]
    time_ms: int

    @property
    def version_after(self) -> str:
        """The card's version once the step was carried out.

        It says what was written, not only by which step: another worker may have done the very same step from another
        snapshot or at another moment, and what is planned on our own result of it must then be refused.
        """
        written = hashlib.sha256(_encoder.encode((self.card, self.case)), usedforsecurity=False)
        return f"{self.step_id}:{written.hexdigest()[:_DIGEST_DIGITS]}"


@dataclass(frozen=True, slots=True)
class BreakerStep:
    """A change of one circuit breaker, with what must be told of it: all of it or nothing."""

    before: Breaker
    after: Breaker
    messages: tuple[OutboxMessage, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class ListStep:
    """A change of one entry of the desk's lists, with what must be told of it: all of it or nothing."""

    before: ListEntry | None
    after: ListEntry
    messages: tuple[OutboxMessage, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A case with all its events, oldest first."""

    case: Case
    events: tuple[CaseEvent, ...]


@dataclass(frozen=True, slots=True)
class ListedCase:
    """An entry of a list of cases; `case` is None where it has been forgotten since."""

    position: str
    case: Case | None


class Store(Protocol):
    """What the desk needs of a store; every implementation passes `tests/contracts/test_store.py`.

    Every method raises `StoreUnavailableError` where the store gives no answer.
    """

    @property
    def shards(self) -> int:
        """Number of shards, fixed when the store was set up: a power of two up to 4096."""

    async def open(self, *, create: bool) -> None:
        """Check the set-up, and set up an empty store if `create`.

        Raises:
            StoreSetupError: it is set up for another number of shards or in another format, or is not set up.
        """

    async def ping(self) -> None:
        """Return when the store answers."""

    async def load(self, asks: Sequence[tuple[str, str]]) -> list[Snapshot]:
        """Read cards as they are now.

        Args:
            asks: pairs of card token and step id; `NO_STEP` asks about the card only.
        """

    async def commit(self, steps: Sequence[Step]) -> list[bool]:
        """Carry out steps in the given order, each atomically.

        Returns:
            for each, whether it was carried out; it was not where the card is not at `version_before` any more, or
            `step_id` was done before.

        Raises:
            OutboxFullError: a step was not carried out because the outbox of its shard is full. Others may have been.
        """

    async def load_breaker(self, policy_version: str) -> Breaker:
        """Read the circuit breaker of a policy version; a new one where none is known."""

    async def commit_breaker(self, step: BreakerStep) -> bool:
        """Carry a change out if the breaker is still at the revision it was planned on; whether it was.

        Raises:
            OutboxFullError: there is something to tell, and the outbox of its shard is full.
        """

    async def list_breakers(self) -> list[Breaker]:
        """Every breaker that is known, in any order."""

    async def load_list_entry(self, name: str) -> ListEntry | None:
        """Read an entry of the desk's lists by its name; None where there never was one."""

    async def commit_list_entry(self, step: ListStep) -> bool:
        """Carry a change out if the entry is still at the revision it was planned on; whether it was.

        Raises:
            OutboxFullError: the outbox of its shard is full.
        """

    async def list_entries(self) -> list[ListEntry]:
        """Every entry there ever was, in any order; one that was taken off has no time left."""

    async def tell(self, place: str, messages: Sequence[OutboxMessage], time_ms: int) -> None:
        """Let messages that belong to no step enter the outbox of the shard to which a text belongs.

        They have half of its room: steps go on where there is none for them any more.

        Raises:
            OutboxFullError: the outbox is half full.
        """

    async def load_case(self, case_id: str) -> StoredCase | None:
        """Read a case with its events; None where there is none."""

    async def list_cases(
        self, states: Sequence[CaseState], after: str, count: int, filters: CaseFilters = EVERY_CASE
    ) -> list[ListedCase]:
        """List cases of these states by `queue_position`, from all shards, beginning behind the position `after`.

        Open ones that do not pass the filters are left out; one that ceases to pass just now, and closed ones, may be
        there all the same. `filters.state` and `filters.card_token` are not looked at.
        """

    async def due_cases(self, shard: int, now_ms: int, count: int) -> list[str]:
        """Ids of a shard's cases whose `ticking.alarm_ms` is not later than `now_ms`, the earliest first."""

    async def related_cases(self, entities: Sequence[str], count: int) -> dict[str, list[Case]]:
        """For each entity (see `Case.entities`) up to `count` cases that have to do with it, the latest first.

        A case that nothing was heard of for as long as closed cases are remembered may be missing.
        """

    async def count_cases(self) -> dict[CaseState, int]:
        """Count the listed cases by state."""

    async def read_outbox(self, shard: int, after: str | None, count: int) -> list[OutboxEntry]:
        """Read up to `count` entries of a shard's outbox, oldest first, behind the entry `after`."""

    async def first_entries(self, shards: Sequence[int], count: int) -> dict[int, list[OutboxEntry]]:
        """The oldest entries of each of these shards that has any, up to `count` each: one question for all."""

    async def ack_outbox(self, shard: int, up_to: str) -> None:
        """Remove a shard's entries up to and including `up_to`."""

    async def outbox_oldest_ms(self) -> int | None:
        """Smallest `time_ms` among the first entries of all shards; None where all are empty."""
