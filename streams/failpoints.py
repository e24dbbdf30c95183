"""Places in the commit protocol at which a test may end this process: `kill -9`, at the very step it names.

Off, as always outside of tests, `reach` is a function that does nothing. With CARDWATCH_FAILPOINTS naming a folder at
the start of the process, a file in it with the name of a place arms that place: the process that reaches it next
removes the file and is gone. So each file kills once, whoever comes first, and a test may arm a running system.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "CARDWATCH_FAILPOINTS"

# The windows of the protocol, in the order in which a payment passes them.
AFTER_DECODE: Final = "after_decode"
AFTER_SCORING: Final = "after_scoring"
AFTER_PRODUCE: Final = "after_produce"
BEFORE_CHECKPOINT: Final = "before_checkpoint"
BEFORE_COMMIT: Final = "before_commit"
AFTER_COMMIT: Final = "after_commit"
BEFORE_STEP: Final = "before_step"
AFTER_STEP: Final = "after_step"
AFTER_ALERTS_COMMIT: Final = "after_alerts_commit"
OUTBOX_READ: Final = "outbox_read"
OUTBOX_SENT: Final = "outbox_sent"


def _off(place: str) -> None:
    """Nothing is armed, ever."""


def armed_in(folder: Path, die: Callable[[], None]) -> Callable[[str], None]:
    """What looks for armed places in a folder, and dies at the first that it reaches."""

    def reach(place: str) -> None:
        try:
            (folder / place).unlink()
        except FileNotFoundError:
            return
        die()

    return reach


def _die() -> None:
    """End at once: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


reach: Callable[[str], None] = armed_in(Path(os.environ[VARIABLE]), _die) if VARIABLE in os.environ else _off
