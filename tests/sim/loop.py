"""An event loop of one simulated process: clock and threads are the world's, it runs step by step."""

from __future__ import annotations

import asyncio
import heapq
import math
from asyncio import events
from collections.abc import Callable
from typing import Any

# How many callbacks one step may run at most; then it is another process' turn.
_CALLBACKS_A_STEP = 8


class ProcessDiedError(BaseException):
    """kill -9: raised inside a process at the very operation at which it dies. Nothing it does afterwards counts."""


class SimLoop(asyncio.BaseEventLoop):
    """What a process runs in. A dead loop takes whatever is still called on it, and does nothing."""

    def __init__(self, clock: Callable[[], float], in_thread: Callable[[Callable[[], None]], None]) -> None:
        """Run by `clock`, in seconds; blocking work is handed to `in_thread`, which runs it some time later."""
        super().__init__()
        self._ready: Any  # a deque and a heap of handles, in the base class without types
        self._scheduled: Any
        self._sim_clock = clock
        self._in_thread = in_thread
        self.is_dead = False

    def time(self) -> float:
        return self._sim_clock()

    def run_in_executor(  # type: ignore[override] # wider
        self,
        executor: Any,  # noqa: ARG002 - there is one kind of thread
        func: Any,
        *args: Any,
    ) -> Any:
        """Run blocking work as a thread would: later, and while the loop goes on."""
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - goes to the one who waits
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self._in_thread(work)
        return future

    def due_s(self) -> float:
        """When there is something to do: now, at a timer, or never."""
        if self._ready:
            return 0.0
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else math.inf

    def step(self) -> None:
        """Run what is ready now, and what becomes ready by it, some times over."""
        now_s = self.time()
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._when <= now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        events._set_running_loop(self)
        try:
            for _ in range(_CALLBACKS_A_STEP):
                if not ready or self.is_dead:
                    return
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            events._set_running_loop(None)

    def die(self) -> None:
        """Never run anything again."""
        self.is_dead = True
        self._ready.clear()
        self._scheduled.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody waited for is an error of the simulation, unless the process is dead."""
        if not self.is_dead and "never retrieved" not in str(context.get("message")):
            super().call_exception_handler(context)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task: Any = super().create_task(coro, name=name, context=context)
        task._log_destroy_pending = False  # a process that dies leaves tasks behind, and nobody is to hear of it
        return task

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override] # wider
        handle = super().call_soon(callback, *args, context=context)
        if self.is_dead:
            self._ready.clear()
        return handle

    def __del__(self) -> None:
        """Nothing has to be closed."""

    def _process_events(self, event_list: Any) -> None:
        """There are no files to wait for."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who had to be woken."""
