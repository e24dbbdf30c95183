"""Whether what a cardholder said on their page is enough to let their card pay again without anybody looking first."""

from __future__ import annotations

from casework.cards import CARDHOLDER_ACTOR, SYSTEM_ACTOR
from casework.cases import CaseEventType
from casework.verification import Method
from casework.views import CaseView
from detector.vocabulary import CardStatus


def is_proven(view: CaseView, now_ms: int) -> bool:
    """Whether the cardholder, known by a code, says of every payment of the case that it was theirs.

    Not where a person stopped the card, handed the case on, or works on it now: people are overruled by people.
    """
    case = view.case
    return (
        case.is_open
        and case.tier == 1
        and not case.locked_by_other(CARDHOLDER_ACTOR, now_ms)
        and view.card_state is CardStatus.FROZEN
        and _was_frozen_by_us(view)
        and case.verification.holds(now_ms)
        and case.verification.method is Method.CODE
        and all(answers_of(view).get(transaction_id) is True for transaction_id in case.transaction_ids)
    )


def answers_of(view: CaseView) -> dict[str, bool]:
    """What the cardholder said last of each payment that they answered: whether it is theirs."""
    told = [event.told or {} for event in view.timeline if event.type is CaseEventType.CARDHOLDER_ANSWERED]
    return {str(each["transaction_id"]): bool(each["mine"]) for each in told}


def _was_frozen_by_us(view: CaseView) -> bool:
    """Whether the card's last change that the case knows of was our answer to an alert."""
    changes = [event for event in view.timeline if event.card_change is not None]
    return bool(changes) and changes[-1].actor == SYSTEM_ACTOR
