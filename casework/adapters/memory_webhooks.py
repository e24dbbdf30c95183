"""The log of webhooks in this process: for tests. It forgets everything on exit."""

from __future__ import annotations

from collections import defaultdict

from casework.webhook_log import LINES_KEPT, UNTOLD_KEPT, Disabled, Line, Outcome


class MemoryWebhooks:
    """`WebhookLog` on dictionaries."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lines: defaultdict[str, list[Line]] = defaultdict(list)
        self._untold: defaultdict[str, dict[str, Line]] = defaultdict(dict)
        self._disabled: dict[str, Disabled] = {}

    async def write(self, endpoint: str, line: Line) -> None:
        """See `WebhookLog`."""
        self._lines[endpoint] = [line, *self._lines[endpoint]][:LINES_KEPT]
        self._untold[endpoint].pop(line.webhook_id, None)
        if line.outcome is not Outcome.DELIVERED:
            self._untold[endpoint][line.webhook_id] = line
            kept = (await self.untold(endpoint))[-UNTOLD_KEPT:]
            self._untold[endpoint] = {each.webhook_id: each for each in kept}

    async def newest(self, endpoint: str, count: int) -> list[Line]:
        """See `WebhookLog`."""
        return self._lines[endpoint][:count]

    async def untold(self, endpoint: str) -> list[Line]:
        """See `WebhookLog`."""
        return sorted(self._untold[endpoint].values(), key=lambda line: (line.event_time_ms, line.webhook_id))

    async def disable(self, endpoint: str, disabled: Disabled) -> None:
        """See `WebhookLog`."""
        self._disabled[endpoint] = disabled

    async def disabled(self, endpoint: str) -> Disabled | None:
        """See `WebhookLog`."""
        return self._disabled.get(endpoint)

    async def enable(self, endpoint: str) -> None:
        """See `WebhookLog`."""
        self._disabled.pop(endpoint, None)
