"""What a group's leader knows before it deals partitions out, on aiokafka's coordinator (docs/decisions/0001)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator  # type: ignore[import-untyped]
from aiokafka.errors import UnknownTopicOrPartitionError  # type: ignore[import-untyped]


class _Coordinator(GroupCoordinator):  # type: ignore[misc] # aiokafka has no types
    """A member of a group that deals out only what it knows, when it leads."""

    async def _perform_assignment(self, response: Any) -> Any:
        """Deal, once the topics are known.

        A look at them that failed is not repeated for minutes. A worker that starts while its broker does may lead the
        group with nothing but that, and would deal nothing to anybody; until it looked again, nobody would be answered.

        Raises:
            UnknownTopicOrPartitionError: they are not known for half a session; whoever leads then joins again.
        """
        topics = self._subscription.subscription.topics
        deadline_s = time.monotonic() + self._session_timeout_ms / 2000
        while not all(self._cluster.partitions_for_topic(topic) for topic in topics):
            if time.monotonic() > deadline_s:
                raise UnknownTopicOrPartitionError(", ".join(sorted(topics)))
            if not await self._client.force_metadata_update():
                await asyncio.sleep(self._retry_backoff_ms / 1000)
        return await super()._perform_assignment(response)


def know_first(consumer: Any) -> None:
    """Let an aiokafka consumer, started and not yet subscribed, deal out only what it knows.

    Its coordinator becomes one of ours in place: aiokafka has no door through which to bring another one.
    """
    consumer._coordinator.__class__ = _Coordinator  # noqa: SLF001
