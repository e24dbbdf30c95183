"""The memory of sessions in this process: for tests. It forgets everything on exit."""

from __future__ import annotations

from collections.abc import Callable


class MemorySessions:
    """`SessionMemory` on a dictionary."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Begin empty, by a clock in UTC epoch milliseconds."""
        self._clock = clock
        self._kept: dict[str, tuple[int, bytes]] = {}

    async def put_new(self, name: str, value: bytes, life_ms: int) -> bool:
        """See `SessionMemory`."""
        now_ms = self._clock()
        self._kept = {other: kept for other, kept in self._kept.items() if kept[0] > now_ms}
        kept = self._kept.setdefault(name, (now_ms + life_ms, value))
        return kept[1] is value

    async def get(self, name: str) -> bytes | None:
        """See `SessionMemory`."""
        ends_ms, value = self._kept.get(name, (0, b""))
        return value if ends_ms > self._clock() else None

    async def take(self, name: str) -> bytes | None:
        """See `SessionMemory`."""
        value = await self.get(name)
        self._kept.pop(name, None)
        return value
