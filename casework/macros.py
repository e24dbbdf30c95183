"""Macros: one decision with many effects, as the playbook spells it, with places for what the agent says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from casework.commands import Approve, Command, Commands, Macro, Refuse, Reopen, Undo
from casework.errors import ConfigurationError
from casework.kinds import CaseKind

NOTE_PLACE = "$note"
_NOT_IN_MACROS = (Approve, Refuse, Macro, Undo, Reopen)


@dataclass(frozen=True, slots=True)
class MacroSpec:
    """One macro.

    Attributes:
        title: what it is called at the desk.
        kinds: for cases of which kinds; empty: all.
        actions: its commands as the playbook has them, with `$note` where the agent's words go.
    """

    name: str
    title: str
    kinds: frozenset[CaseKind]
    actions: tuple[dict[str, Any], ...]

    def suits(self, kind: CaseKind) -> bool:
        """Whether it is for cases of this kind."""
        return not self.kinds or kind in self.kinds

    def commands(self, note: str) -> tuple[Command, ...]:
        """Its commands with the agent's words in their places."""
        return msgspec.convert({"actions": _filled(list(self.actions), note)}, Commands).actions


class MacroSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The structure of an entry of `[macros]`."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    actions: list[dict[str, Any]]
    kinds: list[CaseKind] = []


def read_macros(given: Mapping[str, MacroSettings]) -> dict[str, MacroSpec]:
    """Read `[macros]`.

    Raises:
        ConfigurationError: one cannot be carried out; the message names it.
    """
    macros = {}
    for name, settings in given.items():
        spec = MacroSpec(name, settings.title, frozenset(settings.kinds), tuple(settings.actions))
        try:
            commands = spec.commands("A note.")
        except msgspec.ValidationError as error:
            message = f"playbook: macros.{name}: {error}"
            raise ConfigurationError(message) from None
        if any(isinstance(command, _NOT_IN_MACROS) for command in commands):
            message = f"playbook: macros.{name} may not approve, refuse, reopen, undo or begin macros"
            raise ConfigurationError(message)
        macros[name] = spec
    return macros


def _filled(value: Any, note: str) -> Any:
    """A value with the note in its places."""
    if isinstance(value, dict):
        return {name: _filled(item, note) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, note) for item in value]
    return note if value == NOTE_PLACE else value
