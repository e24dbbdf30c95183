"""Who saw or changed what of cards: one event for each request that did, on `cardwatch.access.v1`.

What changes is told by the change itself as well, in the same atomic step. This is the other half of an audit: who
looked, from which role, at which cards, by which request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from casework.authority import Person
from casework.ids import access_step_id
from casework.outbox import ACCESS_TOPIC, Draft, OutboxMessage, messages_of

# As many as the largest list that is shown; one that shows more names so many and counts the others.
MOST_NAMED_CARDS = 256


class AccessTo(StrEnum):
    """What somebody saw or changed."""

    CARD = "card"
    CASE = "case"
    CASES = "cases"
    RELATED_CASES = "related_cases"
    CLOSED_CASES = "closed_cases"
    NOTICES = "notices"
    CONTACT = "contact"
    LISTS = "lists"
    SHIFT = "shift"
    OWN_CASE = "own_case"
    """A cardholder, on their own page."""


@dataclass(frozen=True, slots=True)
class Access:
    """One request that showed or changed something of cards.

    Attributes:
        by: who.
        to: what.
        is_write: whether it was to change something.
        card_tokens: of every card, the one it was about first; at least one.
        case_id: the case, where it was one.
        route: method and template of the address, never the address.
        request_id: as the answer carries it.
        trace_id: of the W3C trace context that the request came with.
        time_ms: when, UTC epoch milliseconds.
    """

    by: Person
    to: AccessTo
    is_write: bool
    card_tokens: tuple[str, ...]
    case_id: str | None
    route: str
    request_id: str
    trace_id: str | None
    time_ms: int

    @property
    def place(self) -> str:
        """What says in which outbox it waits: the only card's, else that of the person."""
        return self.card_tokens[0] if len(self.card_tokens) == 1 else self.by.name

    def messages(self) -> tuple[OutboxMessage, ...]:
        """The event, known by its request: told twice it is one."""
        verb = "write" if self.is_write else "read"
        body = {
            "access": verb,
            "to": self.to.value,
            "actor": self.by.name,
            "role": self.by.role.value,
            "time_ms": self.time_ms,
            "card_tokens": self.card_tokens[:MOST_NAMED_CARDS],
            "cards_not_named": max(0, len(self.card_tokens) - MOST_NAMED_CARDS),
            "case_id": self.case_id,
            "route": self.route,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
        }
        step_id = access_step_id(self.request_id, self.to)
        draft = Draft(ACCESS_TOPIC, self.by.name, f"cardwatch.access.{verb}", body)
        return messages_of(step_id, self.time_ms, [draft], None)
