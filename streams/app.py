"""Running roles: one event loop, any of the roles in it, until told to stop or until one breaks."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from streams.errors import StreamsError
from telemetry import collector

# From the signal, or the failure of a role, to the end of the process; below the 30 s that Kubernetes gives by default.
# What was not saved until then is done again by the next worker, exactly as after a crash.
_STOP_WITHIN_S = 25.0

logger = logging.getLogger(__name__)


class Role(Protocol):
    """A role of the worker: score, respond or learn."""

    async def start(self) -> None:
        """Check what it needs and join its group."""
        ...

    async def stop(self) -> None:
        """Finish the batch in hand, save, and leave."""
        ...

    async def wait_broken(self) -> None:
        """Return only by raising."""
        ...


async def _run_roles(roles: Sequence[Role], stop: asyncio.Event) -> None:
    """Run roles until `stop` is set or one of them breaks; all that have started are stopped in either case.

    Raises:
        StreamsError: a role could not start or has broken; a supervisor starts the worker again.
    """
    started: list[Role] = []
    stopper = asyncio.create_task(stop.wait())
    try:
        for role in roles:
            starting = asyncio.create_task(role.start())
            await asyncio.wait([starting, stopper], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                return
            starting.result()
            started.append(role)
        # An eighth of a core at full load goes to the collector otherwise.
        collector.settle()
        watchers = [asyncio.create_task(role.wait_broken()) for role in started]
        done, pending = await asyncio.wait([stopper, *watchers], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
    except StreamsError as error:
        # Said before roles are stopped: one that hangs may take the reason with it.
        logger.error("the worker ends: %s%s", error, f" ({error.__cause__})" if error.__cause__ else "")  # noqa: TRY400
        raise
    finally:
        _end_in_time()
        stopper.cancel()
        for role in reversed(started):
            try:
                await role.stop()
            except StreamsError:
                logger.exception("a role did not stop in order; what it did not save is done again")


def _end_in_time() -> None:
    """Whatever hangs (a broker that is gone, a thread of a library) shows in the log and does not hold us up."""
    faulthandler.dump_traceback_later(_STOP_WITHIN_S, exit=True)


def run_worker(make_roles: Callable[[], Sequence[Role]]) -> None:
    """Run roles in this process until SIGTERM, SIGINT or the failure of one; blocks.

    What has not stopped 25 s later is ended.

    Args:
        make_roles: makes the roles inside the event loop that they will live in.

    Raises:
        StreamsError: a role could not start or has broken.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop_in_time() -> None:
            stop.set()
            _end_in_time()

        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop_in_time)
        await _run_roles(make_roles(), stop)

    asyncio.run(main())
