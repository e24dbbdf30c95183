"""The steps of a case, as data: what a person goes through by its kind, and what of it is left.

They follow from what the case's events say, never from ticks, so nobody keeps a list beside the case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from casework.cards import SYSTEM_ACTOR
from casework.cases import CaseEventType
from casework.kinds import KINDS, CaseKind
from casework.views import CaseView
from detector.vocabulary import CardStatus


class StepName(StrEnum):
    """What a person does about a case."""

    TAKE = "take"
    CONTACT = "contact"
    DESCRIBE = "describe"
    VERIFY = "verify"
    DECIDE = "decide"
    CARD = "card"
    REPLACE = "replace"
    ANSWER = "answer"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class CaseStep:
    """One step.

    Attributes:
        is_done: whether the case's events say that it has happened.
        is_next: whether it is the first that has not.
    """

    name: StepName
    is_done: bool
    is_next: bool


_PLAIN = (StepName.TAKE, StepName.VERIFY, StepName.ANSWER, StepName.CLOSE)
STEPS: Mapping[CaseKind, tuple[StepName, ...]] = {
    CaseKind.FRAUD_ALERT: (
        StepName.TAKE, StepName.CONTACT, StepName.VERIFY, StepName.DECIDE, StepName.CARD, StepName.CLOSE,
    ),
    CaseKind.LOST_OR_STOLEN: (
        StepName.TAKE, StepName.DESCRIBE, StepName.CARD, StepName.VERIFY, StepName.REPLACE, StepName.CLOSE,
    ),
    CaseKind.DISPUTE: (StepName.TAKE, StepName.DESCRIBE, StepName.ANSWER, StepName.CLOSE),
    CaseKind.DECLINED_PAYMENT: _PLAIN,
    CaseKind.LIMIT_CHANGE: _PLAIN,
    CaseKind.ACCOUNT_ACCESS: _PLAIN,
    CaseKind.REFERRAL: (StepName.TAKE, StepName.CLOSE),
}  # fmt: skip

_CONTACTS = frozenset({CaseEventType.CARDHOLDER_ANSWERED, CaseEventType.VERIFIED, CaseEventType.VERIFICATION_ASKED})
_ANSWERS = frozenset({CaseEventType.ORDERED, CaseEventType.DIRECTED, CaseEventType.NOTED, CaseEventType.DECIDED})


def steps_of(view: CaseView, now_ms: int) -> list[CaseStep]:
    """The steps of a case, in order."""
    steps: list[CaseStep] = []
    is_next = view.case.is_open
    for name in STEPS[view.case.kind]:
        is_done = _DONE[name](view, now_ms)
        steps.append(CaseStep(name, is_done, is_next=is_next and not is_done))
        is_next = is_next and is_done
    return steps


def _happened(*types: CaseEventType) -> Callable[[CaseView, int], bool]:
    """Whether a person let one of these happen."""

    def happened(view: CaseView, _now_ms: int) -> bool:
        return any(event.type in types and event.actor != SYSTEM_ACTOR for event in view.timeline)

    return happened


def _is_described(view: CaseView, _now_ms: int) -> bool:
    """Whether every field of the kind has been filled in."""
    return all(field.name in view.case.details for field in KINDS[view.case.kind].fields)


def _is_card_settled(view: CaseView, _now_ms: int) -> bool:
    """Whether the card is as the case wants it: a lost one stopped, a frozen one decided upon."""
    if view.case.kind is CaseKind.LOST_OR_STOLEN:
        return view.card_state is not CardStatus.ACTIVE
    return view.card_state is not CardStatus.FROZEN


def _is_verified(view: CaseView, now_ms: int) -> bool:
    """Whether identity is verified; a closed case forgets that, and whether it ever was is what counts there."""
    if view.case.is_open:
        return view.case.verification.holds(now_ms)
    return any(event.type is CaseEventType.VERIFIED for event in view.timeline)


_DONE: Mapping[StepName, Callable[[CaseView, int], bool]] = {
    StepName.TAKE: _happened(CaseEventType.TAKEN, CaseEventType.ASSIGNED),
    StepName.CONTACT: _happened(*_CONTACTS),
    StepName.DESCRIBE: _is_described,
    StepName.VERIFY: _is_verified,
    StepName.DECIDE: lambda view, _now_ms: view.case.disposition is not None,
    StepName.CARD: _is_card_settled,
    StepName.REPLACE: lambda view, _now_ms: view.card_state is CardStatus.REISSUED,
    StepName.ANSWER: _happened(*_ANSWERS),
    StepName.CLOSE: lambda view, _now_ms: not view.case.is_open,
}
