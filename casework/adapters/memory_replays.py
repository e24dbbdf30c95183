"""Orders of replays in this process: for tests. It forgets everything on exit."""

from __future__ import annotations

from casework.replays import Replay, ReplayProgress


class MemoryReplays:
    """`Replays` on dictionaries. A worker that has taken an order holds it until its end: nobody dies here."""

    def __init__(self) -> None:
        """Begin empty."""
        self._ordered: dict[str, Replay] = {}
        self._progress: dict[str, ReplayProgress] = {}
        self._workers: dict[str, str] = {}

    async def order(self, endpoint: str, replay: Replay) -> bool:
        """See `Replays`."""
        return self._ordered.setdefault(endpoint, replay) is replay

    async def ordered(self, endpoint: str) -> Replay | None:
        """See `Replays`."""
        return self._ordered.get(endpoint)

    async def progress(self, endpoint: str) -> ReplayProgress | None:
        """See `Replays`."""
        return self._progress.get(endpoint)

    async def take(self, endpoint: str, worker: str, hold_ms: int) -> Replay | None:  # noqa: ARG002 - see the class
        """See `Replays`."""
        ordered = self._ordered.get(endpoint)
        return ordered if ordered is not None and self._workers.setdefault(endpoint, worker) == worker else None

    async def note(self, endpoint: str, worker: str, progress: ReplayProgress, hold_ms: int) -> bool:  # noqa: ARG002 - see the class
        """See `Replays`."""
        if self._ordered.get(endpoint) != progress.replay:
            return False
        self._workers[endpoint], self._progress[endpoint] = worker, progress
        return True

    async def end(self, endpoint: str, progress: ReplayProgress) -> bool:
        """See `Replays`."""
        if self._ordered.get(endpoint) != progress.replay:
            return False
        del self._ordered[endpoint]
        self._workers.pop(endpoint, None)
        self._progress[endpoint] = progress
        return True
