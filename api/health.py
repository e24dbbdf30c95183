"""Liveness and readiness: which dependency is missing, asked with a time limit and never with its own words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

logger = logging.getLogger("cardwatch.api")

CHECK_TIMEOUT_SECONDS = 2.0

Check = Callable[[], Awaitable[None]]


class Health:
    """What the service depends on."""

    def __init__(self, checks: Mapping[str, Check], timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> None:
        """Ask `checks` whenever somebody wants to know.

        Args:
            checks: per dependency (a short name such as "redis") a function whose awaitable returns when it can be
                used, and raises when it cannot.
            timeout_seconds: after this a silent dependency counts as missing.
        """
        self._checks = dict(checks)
        self._timeout_seconds = timeout_seconds

    @property
    def dependencies(self) -> list[str]:
        """Names of everything that is checked."""
        return list(self._checks)

    async def missing(self) -> list[str]:
        """Names of the dependencies that cannot be used now, in the order of configuration."""
        answers = await asyncio.gather(*(self._usable(name) for name in self._checks))
        return [name for name, usable in zip(self._checks, answers, strict=True) if not usable]

    async def _usable(self, name: str) -> bool:
        """Ask one dependency; whatever it raises means no."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._checks[name]()
        except Exception as error:  # noqa: BLE001 - any failure of a check is the answer, its class is enough to log
            logger.warning("readiness: %s is missing (%s)", name, type(error).__name__)
            return False
        return True
