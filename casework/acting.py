"""Which act of the matrix each command is, and whether it may be done: by whom, now, for this case.

Everything a person does to a case comes through `perform`: the lock, the tier, the matrix and verified identity are
looked at here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from casework import commands as do
from casework import deeds
from casework.authority import Act, Authority, Circumstances, Role
from casework.cases import Asked, Case, CaseEventType, Facts
from casework.commands import Command
from casework.deeds import Scene
from casework.errors import (
    CaseLockedError,
    IdentityNotVerifiedError,
    IllegalCaseMoveError,
    InvalidCommandError,
    NotAuthorisedError,
)
from casework.kinds import CaseKind
from casework.lifecycle import possible_from
from casework.views import CardOrder
from casework.work import Work
from detector.vocabulary import CardStatus


class _Deed(NamedTuple):
    """How a command is done.

    Attributes:
        act: what the matrix must allow.
        do: does it.
        needs_identity: whether the cardholder's identity must be verified.
        free: whether it may be done while somebody else works on the case, and from any tier.
    """

    act: Act
    do: Callable[[Scene, Any], None]
    needs_identity: bool = False
    free: bool = False


DEEDS: Mapping[type, _Deed] = {
    do.Move: _Deed(Act.CASE_WORK, deeds.move),
    do.Note: _Deed(Act.CASE_WORK, deeds.note, free=True),
    do.Take: _Deed(Act.CASE_TAKE, deeds.take),
    do.Release: _Deed(Act.CASE_TAKE, deeds.release),
    do.Assign: _Deed(Act.CASE_REASSIGN, deeds.assign, free=True),
    do.Describe: _Deed(Act.CASE_WORK, deeds.describe),
    do.Customer: _Deed(Act.CASE_WORK, deeds.customer, free=True),
    do.SetSeverity: _Deed(Act.CASE_WORK, deeds.set_severity),
    do.Snooze: _Deed(Act.CASE_SNOOZE, deeds.snooze),
    do.Return: _Deed(Act.CASE_SNOOZE, deeds.return_),
    do.Escalate: _Deed(Act.CASE_ESCALATE, deeds.escalate_case),
    do.VerifyBegin: _Deed(Act.CASE_VERIFY, deeds.verify_begin),
    do.VerifyAnswer: _Deed(Act.CASE_VERIFY, deeds.verify_answer),
    do.VerifySeen: _Deed(Act.CASE_VERIFY, deeds.verify_seen),
    do.CardholderAnswer: _Deed(Act.CASE_WORK, deeds.cardholder_answer, free=True),
    do.Freeze: _Deed(Act.CARD_FREEZE, deeds.command_card(CardStatus.FROZEN), free=True),
    do.Unfreeze: _Deed(Act.CARD_UNFREEZE, deeds.command_card(CardStatus.ACTIVE), needs_identity=True),
    do.Block: _Deed(Act.CARD_BLOCK, deeds.command_card(CardStatus.BLOCKED)),
    do.Reissue: _Deed(Act.CARD_REISSUE, deeds.reissue, needs_identity=True),
    do.LowerLimit: _Deed(Act.LIMIT_LOWER, deeds.change_limit),
    do.ChangeLimit: _Deed(Act.LIMIT_CHANGE, deeds.change_limit, needs_identity=True),
    do.AcceptDispute: _Deed(Act.DISPUTE_ACCEPT, deeds.accept_dispute),
    do.Watch: _Deed(Act.CARD_WATCH, deeds.watch),
    do.AllowMerchant: _Deed(Act.MERCHANT_ALLOW, deeds.allow_merchant),
    do.Travel: _Deed(Act.TRAVEL_NOTE, deeds.travel),
    do.Decide: _Deed(Act.CASE_OVERRIDE, deeds.decide),
    do.Close: _Deed(Act.CASE_OVERRIDE, deeds.close),
    do.Reopen: _Deed(Act.CASE_REOPEN, deeds.reopen),
}


def perform(scene: Scene, commands: tuple[Command, ...]) -> None:
    """Carry commands out in order; where the matrix wants a second person, all of them wait for one.

    Raises:
        CommandError: one cannot be carried out; the work is to be thrown away.
    """
    if needs_second(scene, commands) and not scene.consented:
        for command in commands:
            _check(scene, command)
        asked = Asked("+".join(tag_of(command) for command in commands), scene.by.name, scene.by.role,
                      scene.work.now_ms, 0, do.encode_commands(commands))  # fmt: skip
        scene.happen(CaseEventType.APPROVAL_ASKED, note=asked.name, facts=Facts(approval=asked))
        return
    for command in commands:
        _check(scene, command)
        DEEDS[type(command)].do(scene, command)


def needs_second(scene: Scene, commands: tuple[Command, ...]) -> bool:
    """Whether a second person must agree to one of the commands.

    Raises:
        NotAuthorisedError: the person may not do one of them at all.
    """
    wanted = [
        scene.authority.needs_second(scene.by, DEEDS[type(command)].act, circumstances_of(scene.case, command))
        for command in commands
    ]
    return any(wanted)


def circumstances_of(case: Case, command: Command) -> Circumstances:
    """What a command is about, as far as the matrix may bound it."""
    if isinstance(command, do.LowerLimit | do.ChangeLimit):
        return Circumstances(command.limit_minor, command.currency)
    if isinstance(command, do.AcceptDispute) and case.kind is CaseKind.DISPUTE:
        amount, currency = case.details["amount_minor"], case.details["currency"]
        return Circumstances(amount if isinstance(amount, int) else None, str(currency))
    return at_stake_in(case)


def at_stake_in(case: Case) -> Circumstances:
    """What is at stake in a case: its payments, or what is expected to be lost where their amounts are not known."""
    amount_minor = max(case.amount_minor, case.expected_loss_minor)
    return Circumstances(amount_minor or None, case.currency, case.score)


_ACT_OF_STATE = {
    CardStatus.ACTIVE: Act.CARD_UNFREEZE,
    CardStatus.FROZEN: Act.CARD_FREEZE,
    CardStatus.BLOCKED: Act.CARD_BLOCK,
}


def check_card_order(work: Work, order: CardOrder, authority: Authority) -> None:
    """Look at whether somebody may command a card outside of a case, by the same rules as within one.

    Raises:
        NotAuthorisedError: the matrix does not allow it; consent of a second person takes a case.
        IdentityNotVerifiedError: an unfreeze, and the open case does not know the cardholder.
        CaseLockedError: somebody else works on the open case; freezing is possible all the same.
        InvalidCommandError: nobody commands a card to become that.
    """
    case, act = work.case, _ACT_OF_STATE.get(order.target)
    if act is None:
        message = "target must be active, frozen or blocked"
        raise InvalidCommandError(message)
    at_stake = Circumstances() if case is None else at_stake_in(case)
    if authority.needs_second(order.by, act, at_stake):
        raise NotAuthorisedError(act, "second")
    if act is Act.CARD_FREEZE:
        return
    if case is not None and case.locked_by_other(order.by.name, work.now_ms):
        raise CaseLockedError(case.owner or "", case.locked_until_ms)
    is_known = case is not None and case.verification.holds(work.now_ms)
    if act is Act.CARD_UNFREEZE and _would_thaw(work) and not is_known:
        raise IdentityNotVerifiedError(act)


def _would_thaw(work: Work) -> bool:
    """Whether an unfreeze would change the card: an active one it confirms, a blocked one it cannot change."""
    return work.card.state is CardStatus.FROZEN


def tag_of(command: Command) -> str:
    """The command's name, as HTTP and events spell it."""
    return str(type(command).__struct_config__.tag)


def _check(scene: Scene, command: Command) -> None:
    """Look at the lock, the tier and identity. Opening up a closed case looks at none of them."""
    case, deed = scene.case, DEEDS[type(command)]
    if isinstance(command, do.Reopen):
        return
    if not case.is_open:
        raise IllegalCaseMoveError(case.state, possible_from(case.state))
    # Nobody's lock or tier stands between cardholders and their own card.
    if not deed.free and scene.by.role is not Role.CARDHOLDER:
        if case.locked_by_other(scene.by.name, scene.work.now_ms):
            raise CaseLockedError(case.owner or "", case.locked_until_ms)
        if scene.by.tier < case.tier:
            raise NotAuthorisedError(deed.act, "tier")
    if deed.needs_identity and not _is_identified(scene, case, command):
        raise IdentityNotVerifiedError(deed.act)


def _is_identified(scene: Scene, case: Case, command: Command) -> bool:
    """Whether the cardholder is known to be who they say; where nothing would change nobody needs to."""
    verification = case.verification
    if isinstance(command, do.Unfreeze) and not _would_thaw(scene.work):
        return True
    return verification.verified_ms <= scene.verified_at_ms < verification.verified_until_ms
