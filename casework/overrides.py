"""An override as the commands that it consists of: decide, command the card, close."""

from __future__ import annotations

from collections.abc import Mapping

from casework.commands import Block, Close, Command, Decide, Freeze, Unfreeze
from casework.views import CardAction, Override

_CARD_COMMANDS: Mapping[CardAction, type[Unfreeze | Freeze | Block]] = {
    CardAction.UNFREEZE: Unfreeze,
    CardAction.FREEZE: Freeze,
    CardAction.BLOCK: Block,
}


def commands_of(override: Override) -> tuple[Command, ...]:
    """Decide, command the card for that reason, close."""
    on_card = _CARD_COMMANDS.get(override.card_action)
    commands: list[Command] = [Decide(override.disposition, override.note)]
    if on_card is not None:
        commands.append(on_card(str(override.disposition)))
    return (*commands, Close(str(override.disposition), override.note))
