"""Playing a stream in time: at its own pace on the live clock, or faster until it has caught up with the present."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cardwatch.simulator.payments import Payments
from cardwatch.simulator.simulator import Stream

_PAYMENTS_AT_ONCE = 1_000
_PAUSE_S = 0.005


def paced(
    stream: Stream,
    *,
    rate_per_s: float | None,
    count: int | None,
    now_ms: Callable[[], float],
    wait_s: Callable[[float], bool],
) -> Iterator[Payments]:
    """Yield the stream's payments when they are due.

    A payment is due when the rate allows it and its event time has come: so an accelerated stream that reaches the
    present goes on at the world's own pace, and nothing is ever dated in the future.

    Args:
        stream: where the payments come from.
        rate_per_s: most payments a second; None for no limit but the payments' own times.
        count: number of payments to yield in all; None for no end.
        now_ms: the clock, UTC epoch milliseconds.
        wait_s: waits so many seconds; its result says whether to stop.
    """
    began_ms, sent = now_ms(), 0
    waiting = stream.take(0)
    while count is None or sent < count:
        if not len(waiting):
            waiting = stream.take(_PAYMENTS_AT_ONCE if count is None else min(_PAYMENTS_AT_ONCE, count - sent))
        present_ms = now_ms()
        due = int(np.searchsorted(waiting.event_time_ms, present_ms, side="right"))
        if rate_per_s is not None:
            due = min(due, int((present_ms - began_ms) / 1000 * rate_per_s) - sent)
        if due > 0:
            yield waiting[:due]
            waiting = waiting[due:]
            sent += due
        if wait_s(0.0 if due > 0 else _PAUSE_S):
            return
