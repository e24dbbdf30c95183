"""`cardwatch simulate`: the simulator's own command, with the broker of the settings where none is given."""

from __future__ import annotations

from cardwatch.simulator.cli import add_arguments, run

__all__ = ["add_arguments", "run"]
