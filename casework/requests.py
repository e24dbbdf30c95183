"""What a person asks around a case's commands: consent of a second person, macros and their undoing."""

from __future__ import annotations

from dataclasses import replace

from casework import commands as do
from casework.acting import needs_second, perform
from casework.authority import Act, Authority, Person, Role
from casework.cards import SYSTEM_ACTOR
from casework.cases import Asked, CaseEventType, Facts
from casework.commands import Command, decode_commands, encode_commands
from casework.deeds import Scene
from casework.errors import (
    CaseLockedError,
    CommandError,
    IllegalCaseMoveError,
    InvalidCommandError,
    NotAuthorisedError,
    NothingWaitsError,
)
from casework.lifecycle import possible_from
from casework.macros import MacroSpec
from casework.work import Work


def carry_out(scene: Scene, commands: tuple[Command, ...]) -> None:
    """Do what was asked, all of it or nothing.

    Raises:
        CommandError: it cannot be done.
    """
    special = [command for command in commands if isinstance(command, do.Approve | do.Refuse | do.Macro | do.Undo)]
    if not special:
        perform(scene, commands)
    elif len(commands) == 1:
        _special(scene, special[0])
    else:
        message = "approve, refuse, macro and undo stand alone"
        raise InvalidCommandError(message)


def spelled_out(scene: Scene, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """The same commands, a macro as what it consists of."""
    if len(commands) == 1 and isinstance(commands[0], do.Macro):
        return _spec(scene, commands[0].name).commands(commands[0].note)
    return commands


def _special(scene: Scene, command: do.Approve | do.Refuse | do.Macro | do.Undo) -> None:
    if not scene.case.is_open:
        raise IllegalCaseMoveError(scene.case.state, possible_from(scene.case.state))
    if isinstance(command, do.Approve):
        _approve(scene)
    elif isinstance(command, do.Refuse):
        _waiting_for(scene)
        scene.authority.require(scene.by, Act.APPROVE)
        scene.happen(CaseEventType.APPROVAL_REFUSED, note=command.reason, facts=Facts(approval=None))
    elif isinstance(command, do.Macro):
        _begin_macro(scene, command)
    else:
        _undo(scene)


def _waiting_for(scene: Scene) -> Asked:
    """What waits for consent."""
    asked = scene.case.approval
    if asked is None:
        message = "nothing waits for consent"
        raise NothingWaitsError(message)
    return asked


def _approve(scene: Scene) -> None:
    """Do what somebody else asked for, in their name; that it was agreed to, and by whom, is an event of its own."""
    asked = _waiting_for(scene)
    scene.authority.require(scene.by, Act.APPROVE)
    if asked.by == scene.by.name:
        raise NotAuthorisedError(Act.APPROVE, "same_person")
    scene.happen(CaseEventType.APPROVED, note=asked.name, facts=Facts(approval=None, owner=None, locked_until_ms=0))
    perform(
        replace(scene, by=Person(asked.by, Role(asked.role)), verified_at_ms=asked.time_ms, consented=True),
        decode_commands(asked.commands),
    )


def _begin_macro(scene: Scene, command: do.Macro) -> None:
    """Let a macro follow in a moment. It is tried out now, so that what cannot be done is refused now."""
    spec = _spec(scene, command.name)
    case, work = scene.case, scene.work
    if case.pending is not None:
        message = "pending: another macro has not followed yet"
        raise InvalidCommandError(message)
    commands = spec.commands(command.note)
    trial = replace(scene, work=Work(work.step_id, work.snapshot, work.playbook, work.now_ms, case))
    needs_second(trial, commands)
    perform(trial, commands)
    asked = Asked(
        spec.name,
        scene.by.name,
        scene.by.role,
        work.now_ms,
        work.now_ms + work.playbook.undo_ms,
        encode_commands(commands),
    )
    scene.happen(CaseEventType.MACRO_BEGUN, note=command.note, facts=Facts(pending=asked))


def _spec(scene: Scene, name: str) -> MacroSpec:
    """The macro of this name, if it is for cases of this kind."""
    case, macros = scene.case, scene.work.playbook.macros
    spec = macros.get(name)
    if spec is None or not spec.suits(case.kind):
        known = [name for name, each in macros.items() if each.suits(case.kind)]
        message = f"name must be one of {', '.join(known)}"
        raise InvalidCommandError(message)
    return spec


def _undo(scene: Scene) -> None:
    """Take a macro back that has not followed yet."""
    pending = scene.case.pending
    if pending is None:
        message = "nothing is left to undo"
        raise NothingWaitsError(message)
    scene.authority.require(scene.by, Act.CASE_WORK)
    if scene.case.locked_by_other(scene.by.name, scene.work.now_ms):
        raise CaseLockedError(scene.case.owner or "", scene.case.locked_until_ms)
    scene.happen(CaseEventType.MACRO_UNDONE, note=pending.name, facts=Facts(pending=None))


def finish_macro(work: Work, authority: Authority, asked: Asked) -> None:
    """Let a macro's effects follow, in the name of whoever began it; what cannot be done any more is said so."""
    work.happen(CaseEventType.MACRO_DONE, SYSTEM_ACTOR, note=asked.name, facts=Facts(pending=None))
    scene = Scene(
        work=work,
        by=Person(asked.by, Role(asked.role)),
        authority=authority,
        # No macro begins a verification, so no code is made.
        key=b"",
        nonce=f"{work.step_id}{work.now_ms}",
        verified_at_ms=asked.time_ms,
    )
    perform(scene, decode_commands(asked.commands))


def macro_fails(work: Work, asked: Asked, error: CommandError) -> None:
    """Say that a macro's effects do not follow, and why."""
    work.happen(CaseEventType.MACRO_FAILED, SYSTEM_ACTOR, note=f"{asked.name}: {error}", facts=Facts(pending=None))
