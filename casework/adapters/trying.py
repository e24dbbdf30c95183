"""Trying again with growing pauses, for senders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from casework.errors import SendError

_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5


async def try_again(attempt: Callable[[], Awaitable[None]], pause: Callable[[float], Awaitable[None]]) -> None:
    """Ask a sender up to four times while what is in the way may pass.

    Args:
        attempt: asks once; raises `SendError` where the notice was not taken over.
        pause: waits for the given seconds (`asyncio.sleep`).

    Raises:
        SendError: of the last attempt.
    """
    for made in range(1, _ATTEMPTS + 1):
        try:
            await attempt()
        except SendError as error:
            if not error.may_pass or made == _ATTEMPTS:
                raise
            await pause(_FIRST_PAUSE_SECONDS * 2 ** (made - 1))
        else:
            return
