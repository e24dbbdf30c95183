"""What a cardholder does on their page, as commands of casework: the same rules as for everybody else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.ports import DeskPort
from casework import commands as do
from casework.authority import Person, Role
from casework.cases import Contact
from casework.errors import CaseOpenError, CommandError
from casework.kinds import CaseKind
from casework.playbook import CARDHOLDER_LOST, CARDHOLDER_NO, CARDHOLDER_YES
from casework.proof import CARDHOLDER_NAME, is_proven
from casework.verification import Method
from casework.views import CaseView, Opening
from detector.vocabulary import CardStatus

CARDHOLDER = Person(CARDHOLDER_NAME, Role.CARDHOLDER)
# Sooner than this no second code is sent: a page that is sent again and again must not flood a phone.
CODE_PAUSE_MS = 60_000
_STOPPABLE = (CardStatus.ACTIVE, CardStatus.FROZEN)
_YES_NOTE = "The cardholder says on their page, with a right code, that every payment was theirs."
_NO_NOTE = "The cardholder says on their page that a payment is not theirs."
_LOST_NOTE = "The cardholder reports on their page that the card is lost or stolen. To be confirmed."


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is done, with randomness not to be guessed, and what makes a form that is sent twice one write."""

    now_ms: int
    nonce: str
    idempotency_key: str


async def answer(
    desk: DeskPort, view: CaseView, transaction_id: str, code: str | None, moment: Moment, *, mine: bool
) -> CaseView:
    """Record whether a payment is the cardholder's; NO does what the playbook says, and so does a YES that is proven.

    YES is a weak label. With a code it is a verification as well; a wrong code is counted as everywhere.

    Raises:
        CommandError: as `Desk.act`.
    """
    said = do.CardholderAnswer(transaction_id, mine, code if mine else None)
    if mine:
        return await _after_yes(desk, await _act(desk, view, (said,), moment), moment)
    if view.card_state is CardStatus.REISSUED:
        return await _act(desk, view, (said,), moment)
    return await _act(desk, view, (said, *desk.playbook.cardholder[CARDHOLDER_NO].commands(_NO_NOTE)), moment)


async def _after_yes(desk: DeskPort, view: CaseView, moment: Moment) -> CaseView:
    """Do what the playbook says once every payment is proven to be theirs; beyond their bounds a person does it."""
    if not is_proven(view, moment.now_ms):
        return view
    proven = replace(moment, idempotency_key=f"{moment.idempotency_key}-proven")
    try:
        return await _act(desk, view, desk.playbook.cardholder[CARDHOLDER_YES].commands(_YES_NOTE), proven)
    except CommandError:
        return view


async def send_code(desk: DeskPort, view: CaseView, moment: Moment) -> CaseView:
    """Send a one-time code, unless one was sent a moment ago.

    Raises:
        CommandError: as `Desk.act`; verification may be locked.
    """
    if code_sent_lately(desk, view, moment.now_ms):
        return view
    return await _act(desk, view, (do.VerifyBegin(Method.CODE),), moment)


def code_sent_lately(desk: DeskPort, view: CaseView, now_ms: int) -> bool:
    """Whether a code was sent so lately that none is sent again yet."""
    challenge = view.case.verification.challenge
    if challenge is None or challenge.method is not Method.CODE:
        return False
    sent_ms = challenge.expires_ms - desk.playbook.verification.terms[Method.CODE].answer_within_ms
    return now_ms < sent_ms + CODE_PAUSE_MS


async def report_lost(desk: DeskPort, view: CaseView, moment: Moment) -> CaseView:
    """Stop the card at once, in its open case or a new one; a person confirms it later.

    Raises:
        CommandError: as `Desk.act` and `Desk.open_case`.
    """
    if view.case.is_open:
        commands = desk.playbook.cardholder[CARDHOLDER_LOST].commands(_LOST_NOTE)
        can_stop = view.card_state in _STOPPABLE
        asked = tuple(each for each in commands if can_stop or not isinstance(each, do.Freeze | do.Block))
        return await _act(desk, view, asked, moment)
    opening = Opening(CaseKind.LOST_OR_STOLEN, Contact.SELF_SERVICE, {"circumstance": "lost"}, _LOST_NOTE)
    try:
        return await desk.open_case(
            view.case.card_token,
            opening,
            CARDHOLDER,
            now_ms=moment.now_ms,
            idempotency_key=moment.idempotency_key,
        )
    except CaseOpenError as error:
        return await report_lost(desk, await desk.case(error.case_id), moment)


async def _act(desk: DeskPort, view: CaseView, commands: tuple[do.Command, ...], moment: Moment) -> CaseView:
    return await desk.act(
        view.case.case_id,
        commands,
        CARDHOLDER,
        now_ms=moment.now_ms,
        nonce=moment.nonce,
        idempotency_key=moment.idempotency_key,
    )
