"""Engines for the simulation."""

from __future__ import annotations

from typing import Any

from tests.streams.stand_in import StandInCore

# Where a FREEZE begins depends on the model version: who decides a payment again, later, may decide otherwise.
_LINES_MINOR = (500_000, 800_000, 650_000, 900_000)


class SimCore(StandInCore):
    """The stand-in engine, whose models draw the line of a FREEZE differently."""

    def freeze_from_minor(self) -> int:
        number = self.model.rpartition("-")[2]
        return _LINES_MINOR[int(number) % len(_LINES_MINOR)] if number.isdigit() else _LINES_MINOR[0]

    def state_of_cards(self) -> dict[str, Any]:
        """What must not depend on what happened on the way: how often each card paid, and what was labelled."""
        return {
            f"{number}": (sorted(held.payments_by_card.items()), sorted(held.labels.items()), sorted(held.identities))
            for number, held in self.partitions.items()
        }

    def decided(self) -> dict[tuple[int, int], int]:
        """What is remembered of each payment: its action, by partition and offset."""
        held = [(number, entry) for number, state in self.partitions.items() for entry in state.decided.values()]
        return {(number, offset): action for number, (offset, action) in held}
