"""Ending background tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

_ASK_AGAIN_S = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended; what they raised meanwhile is dropped.

    Once is not enough: `asyncio.wait_for` up to Python 3.11 loses a cancellation that comes just when what it waits for
    is done (python/cpython#86296), and redis-py calls it with every command.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=_ASK_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
