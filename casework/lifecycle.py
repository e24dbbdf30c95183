"""The lifecycle of a case, as data: which state can become which, and the graph of it for people.

    new → contacting → verifying → resolving ⇄ investigating → following_up → closed

A case may skip what it does not need (nobody to contact, nothing to verify) and go back to what it needs again. From
everywhere it can wait (snoozed, with a time of return), be escalated, or be closed; a closed one can be reopened.
"""

from __future__ import annotations

from enum import StrEnum


class CaseState(StrEnum):
    """Where a case stands.

    new: nobody has looked. contacting: the cardholder is being reached. verifying: whether it is them. resolving: their
    identity is settled, now the matter is. investigating: more must be found out first. following_up: resolved, but
    something is still to be seen through. waiting: snoozed until a time. escalated: a higher tier must take it.
    reopened: closed before, and taken up again. closed: nothing is left to do.
    """

    NEW = "new"
    CONTACTING = "contacting"
    VERIFYING = "verifying"
    RESOLVING = "resolving"
    INVESTIGATING = "investigating"
    FOLLOWING_UP = "following_up"
    WAITING = "waiting"
    ESCALATED = "escalated"
    REOPENED = "reopened"
    CLOSED = "closed"


_ANYTIME = frozenset({CaseState.WAITING, CaseState.ESCALATED, CaseState.CLOSED})
_WORK = (CaseState.CONTACTING, CaseState.VERIFYING, CaseState.RESOLVING, CaseState.INVESTIGATING)


def _to(*states: CaseState) -> frozenset[CaseState]:
    return frozenset(states) | _ANYTIME


LIFECYCLE: dict[CaseState, frozenset[CaseState]] = {
    CaseState.NEW: _to(*_WORK),
    CaseState.CONTACTING: _to(CaseState.VERIFYING, CaseState.RESOLVING, CaseState.INVESTIGATING),
    CaseState.VERIFYING: _to(CaseState.CONTACTING, CaseState.RESOLVING, CaseState.INVESTIGATING),
    CaseState.RESOLVING: _to(
        CaseState.CONTACTING, CaseState.VERIFYING, CaseState.INVESTIGATING, CaseState.FOLLOWING_UP
    ),
    CaseState.INVESTIGATING: _to(
        CaseState.CONTACTING, CaseState.VERIFYING, CaseState.RESOLVING, CaseState.FOLLOWING_UP
    ),
    CaseState.FOLLOWING_UP: _to(CaseState.CONTACTING, CaseState.RESOLVING, CaseState.INVESTIGATING),
    CaseState.WAITING: frozenset({*_WORK, CaseState.FOLLOWING_UP, CaseState.ESCALATED, CaseState.CLOSED}),
    CaseState.ESCALATED: frozenset({*_WORK, CaseState.FOLLOWING_UP, CaseState.WAITING, CaseState.CLOSED}),
    CaseState.REOPENED: _to(*_WORK, CaseState.FOLLOWING_UP),
    CaseState.CLOSED: frozenset({CaseState.REOPENED}),
}
OPEN_STATES: frozenset[CaseState] = frozenset(state for state in CaseState if state is not CaseState.CLOSED)
# What a person can put a case into by saying so; the others come with an act of their own that needs more to be said.
CHOSEN_STATES: frozenset[CaseState] = frozenset({*_WORK, CaseState.FOLLOWING_UP})


def can_become(current: CaseState, target: CaseState) -> bool:
    """Whether a case may go from one state to the other; a step that keeps the state is no move."""
    return current is target or target in LIFECYCLE[current]


def possible_from(current: CaseState) -> list[str]:
    """What a case in this state can become, sorted."""
    return sorted(LIFECYCLE[current])


def mermaid() -> str:
    """The lifecycle as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {CaseState.NEW}"]
    lines += [f"    {state} --> {target}" for state in CaseState for target in sorted(LIFECYCLE[state])]
    return "\n".join(lines) + "\n"
