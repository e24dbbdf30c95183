"""Every error casework raises, as one tree.

CaseworkError
├── AlertError                  a record of `fraud.alerts.v1` that is not an alert
├── ConfigurationError          a playbook or message setting that cannot be used
├── CommandError                a person's command that cannot be carried out as asked
│   ├── CaseNotFoundError       no such case is known
│   ├── InvalidCommandError     a field of the command is out of bounds; nothing of it is repeated
│   ├── InvalidCursorError      a cursor that no page ever gave out
│   ├── IllegalMoveError        a lifecycle forbids it; carries what is possible instead
│   │   ├── IllegalCaseMoveError  that of the case
│   │   └── IllegalCardMoveError  that of the card
│   ├── NotAuthorisedError      the matrix of roles and acts does not allow it; says why
│   ├── IdentityNotVerifiedError  it needs the cardholder's verified identity
│   ├── VerificationError       identity cannot be verified this way now; says why
│   ├── CaseLockedError         somebody else works on the case; says who and until when
│   ├── CaseOpenError           the card has an open case already; carries its id
│   ├── EndpointNotFoundError   no such endpoint of webhooks is configured
│   ├── ReplayUnderWayError     the endpoint is being told again already
│   ├── NothingWaitsError       there is nothing to approve, refuse, undo or cancel
│   ├── VersionConflictError    If-Match names an older sequence; carries what changed since
│   └── IdempotencyConflictError  the Idempotency-Key was used for another request
├── LinkError                   a cardholder's link that is none of ours, is for something else, or has ended
├── SendError                   a notice could not be handed to its sender
├── PostError                   a system of others gave no answer, or may not be asked
├── WebhookSecretError          a secret that cannot sign webhooks; nothing of it is repeated
├── HistoryError                the memory of closed cases did not do it
│   ├── HistoryUnavailableError  its database does not answer
│   ├── HistoryConflictError    somebody else has taken in the same events meanwhile
│   └── HistoryOriginError      it was read from another topic or cluster, and must be rebuilt
└── StoreError                  the system of record did not do it
    ├── StoreUnavailableError   no answer: whether it was done is unknown, asking again is safe
    │   ├── StoreAccessError    it refuses our user, or TLS with it fails; says what to check
    │   ├── StoreFencedError    it was restarted or took over, and is being compared with Kafka
    │   └── UnconfirmedError    it was done, and Kafka has not acknowledged it yet
    ├── StoreFullError          the store has no memory left; it refuses writes and forgets nothing
    ├── StoreContentionError    others kept changing the same card; asking again is safe
    ├── OutboxFullError         the relay is so far behind that nothing more is accepted
    └── StoreSetupError         the store was set up for another number of shards or format
        └── StoreEmptyError     it was not set up, or lost everything
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

Change = TypeVar("Change")


class CaseworkError(Exception):
    """Base of everything casework raises on purpose."""


class AlertError(CaseworkError):
    """A record is not an alert of the contract; the message names the field, never its content."""


class ConfigurationError(CaseworkError):
    """A setting cannot be used; the message names it and says what would be right."""


class CommandError(CaseworkError):
    """A person's command cannot be carried out as asked; nothing was changed."""


class CaseNotFoundError(CommandError):
    """No case of this id is open, or was closed within the memory of closed cases."""


class InvalidCommandError(CommandError):
    """A field of the command is out of bounds; the message names the field and its bounds."""


class InvalidCursorError(CommandError):
    """The cursor was not given out by a page of this list."""


class IllegalMoveError(CommandError):
    """A lifecycle forbids the move.

    Attributes:
        subject: what has the lifecycle: "case" or "card".
        current: wire name of the state it is in.
        possible: wire names of the states it can become, sorted; empty where it is final.
    """

    subject = "subject"

    def __init__(self, current: str, possible: Sequence[str]) -> None:
        """Say what is possible instead."""
        self.current = current
        self.possible = tuple(possible)
        allowed = ", ".join(possible) if possible else "nothing else"
        super().__init__(f"the {self.subject} is {current} and can become {allowed}")


class IllegalCaseMoveError(IllegalMoveError):
    """The lifecycle of a case forbids the move."""

    subject = "case"


class IllegalCardMoveError(IllegalMoveError):
    """The lifecycle of a card forbids the move."""

    subject = "card"


class NotAuthorisedError(CommandError):
    """The matrix of roles and acts does not allow it.

    Attributes:
        act: what was asked for.
        why: "role": never for this role; "bounds": not for so much at stake; "tier": the case needs a higher tier;
            "same_person": nobody is their own second person; "second": it takes a second person's consent, in a case.
    """

    def __init__(self, act: str, why: str) -> None:
        """Name the act and the cause."""
        self.act = act
        self.why = why
        super().__init__(f"{act} is not allowed ({why})")


class IdentityNotVerifiedError(CommandError):
    """An unfreeze, another limit or a new card was asked for, and the cardholder's identity is not verified.

    Attributes:
        act: what was asked for.
    """

    def __init__(self, act: str) -> None:
        """Name the act."""
        self.act = act
        super().__init__(f"{act} needs verified identity")


class VerificationError(CommandError):
    """Identity cannot be verified this way now.

    Attributes:
        why: "locked": too many wrong answers; "nothing_asked"; "expired"; "too_few_payments".
    """

    def __init__(self, why: str) -> None:
        """Name the cause."""
        self.why = why
        super().__init__(f"identity cannot be verified: {why}")


class CaseLockedError(CommandError):
    """Somebody else works on the case.

    Attributes:
        owner: who.
        until_ms: until when, unless they go on.
    """

    def __init__(self, owner: str, until_ms: int) -> None:
        """Say who and until when."""
        self.owner = owner
        self.until_ms = until_ms
        super().__init__("somebody else works on the case")


class CaseOpenError(CommandError):
    """The card has an open case already: one at a time.

    Attributes:
        case_id: which.
    """

    def __init__(self, case_id: str) -> None:
        """Name the open case."""
        self.case_id = case_id
        super().__init__("the card has an open case")


class EndpointNotFoundError(CommandError):
    """No endpoint of webhooks has this name, or it is not active."""


class ReplayUnderWayError(CommandError):
    """The endpoint has an order to be told again that is not over: one at a time."""


class NothingWaitsError(CommandError):
    """There is nothing to approve, refuse, undo or cancel, or not any more."""


class VersionConflictError(CommandError, Generic[Change]):
    """If-Match names a sequence that is not the current one.

    Attributes:
        expected: the sequence the caller had seen.
        current: the sequence now.
        changes: what happened after `expected`, oldest first (case events, or changes of the card).
    """

    def __init__(self, expected: int, current: int, changes: Sequence[Change]) -> None:
        """Carry what the caller had not seen."""
        self.expected = expected
        self.current = current
        self.changes = tuple(changes)
        super().__init__(f"changed since sequence {expected}: it is {current} now")


class IdempotencyConflictError(CommandError):
    """The Idempotency-Key was used on this card or case for a request that differs from this one."""


class LinkError(CaseworkError):
    """A cardholder's link is none of ours, is for something else, or has ended; nothing of it is repeated."""


class SendError(CaseworkError):
    """A notice could not be handed to its sender within the allowed attempts.

    Attributes:
        problem: why, in a word or a status; nothing of the notice.
        may_pass: whether sending it later may help: the sender is away or overloaded, it did not refuse the notice.
    """

    def __init__(self, notification_id: str, problem: str, *, may_pass: bool) -> None:
        """Name the notice and what is in the way."""
        super().__init__(f"notice {notification_id} was not taken over: {problem}")
        self.problem = problem
        self.may_pass = may_pass


class PostError(CaseworkError):
    """A system of others gave no answer in time, or its address is not one that may be asked.

    Attributes:
        problem: why, in a word; nothing of what was posted.
    """

    def __init__(self, problem: str) -> None:
        """Say what is in the way."""
        super().__init__(f"no answer: {problem}")
        self.problem = problem


class WebhookSecretError(CaseworkError):
    """A secret cannot sign webhooks; the message says what is right."""


class StoreError(CaseworkError):
    """The system of record did not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store gave no answer. Whether the step was done is unknown; asking again is safe."""


class StoreAccessError(StoreUnavailableError):
    """The store does not let us in, or not do that; nothing was done. The message says what to check."""


class StoreFencedError(StoreUnavailableError):
    """The store was restarted or took over from another: it takes no writes until it was compared with the topics."""


class UnconfirmedError(StoreUnavailableError):
    """It was done, but Kafka has not acknowledged it in time; asking again with the same key is safe."""


class StoreFullError(StoreError):
    """The store has no memory left: nothing was done, nothing is forgotten, asking again later is safe."""


class StoreContentionError(StoreError):
    """Others kept changing the same card; nothing was done, asking again is safe."""


class OutboxFullError(StoreError):
    """The outbox of the card's shard is full because the relay is behind; nothing was done."""


class StoreSetupError(StoreError):
    """The store was set up with another number of shards or in another format."""


class StoreEmptyError(StoreSetupError):
    """The store was never set up, or lost everything."""


class HistoryError(CaseworkError):
    """The memory of closed cases did not do what was asked."""


class HistoryUnavailableError(HistoryError):
    """Its database does not answer; asking again is safe."""


class HistoryConflictError(HistoryError):
    """Somebody else has taken in the same events meanwhile; what is there is whole."""


class HistoryOriginError(HistoryError):
    """What is there was read from another topic or cluster: `cardwatch rebuild history` makes it anew."""
