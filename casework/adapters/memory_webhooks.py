"""The log of webhooks in this process: for tests. It forgets everything on exit."""

from __future__ import annotations

from collections import defaultdict

from casework.webhook_log import LINES_KEPT, STANDING_KEPT_MS, UNTOLD_KEPT, Disabled, Line, Outcome, Standing


class MemoryWebhooks:
    """`WebhookLog` on dictionaries."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lines: defaultdict[str, list[Line]] = defaultdict(list)
        self._untold: defaultdict[str, dict[str, Line]] = defaultdict(dict)
        self._disabled: dict[str, Disabled] = {}
        self._standings: defaultdict[str, dict[str, Standing]] = defaultdict(dict)

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

    async def untold_span(self, endpoint: str) -> tuple[int, int | None]:
        """See `WebhookLog`."""
        untold = await self.untold(endpoint)
        return len(untold), untold[0].event_time_ms if untold else None

    async def say(self, endpoint: str, worker: str, standing: Standing) -> None:
        """See `WebhookLog`."""
        said = self._standings[endpoint] | {worker: standing}
        oldest_ms = standing.time_ms - STANDING_KEPT_MS
        self._standings[endpoint] = {name: each for name, each in said.items() if each.time_ms >= oldest_ms}

    async def standings(self, endpoint: str) -> list[Standing]:
        """See `WebhookLog`."""
        return list(self._standings[endpoint].values())

    async def disable(self, endpoint: str, disabled: Disabled) -> None:
        """See `WebhookLog`."""
        self._disabled[endpoint] = disabled

    async def disabled(self, endpoint: str) -> Disabled | None:
        """See `WebhookLog`."""
        return self._disabled.get(endpoint)

    async def enable(self, endpoint: str) -> None:
        """See `WebhookLog`."""
        self._disabled.pop(endpoint, None)
