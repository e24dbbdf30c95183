"""A role under watch: its start and the turns of its event loop show in the process's probes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cardwatch.settings import Settings
from cardwatch.wiring import address_parts
from streams.app import Role
from streams.tasks import end_tasks
from telemetry.vitals import Vitals

_BEAT_S = 1.0
_CERTIFICATE_SETTINGS = ("ssl.certificate.location", "ssl.ca.location")
_ADDRESS_CERTIFICATES = ("ssl_certfile", "ssl_ca_certs")


class Watched:
    """A role that tells its vital signs."""

    def __init__(self, role: Role, vitals: Vitals) -> None:
        """Watch `role`; what is known goes to `vitals`."""
        self._role = role
        self._vitals = vitals
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the role; see `Role`."""
        self._vitals.phase("starting: kernels, topics, consumer group", 0.1)
        self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        await self._role.start()
        self._vitals.started()

    async def stop(self) -> None:
        """Stop the role; see `Role`."""
        self._vitals.waits_for("work", "stopping")
        await self._role.stop()
        if self._beating is not None:
            await end_tasks([self._beating])

    async def wait_broken(self) -> None:
        """Return only by raising; see `Role`."""
        await self._role.wait_broken()

    async def _beat(self) -> None:
        while True:
            self._vitals.beat()
            await asyncio.sleep(_BEAT_S)


def certificate_files(settings: Settings) -> dict[str, Path]:
    """The files with certificates that settings name."""
    options = settings.kafka.client_options()
    found = {f"kafka.client.{name}": Path(options[name]) for name in _CERTIFICATE_SETTINGS if options.get(name)}
    if settings.api.tls_certificate:
        found["api.tls_certificate"] = Path(settings.api.tls_certificate)
    address = address_parts(settings.redis)
    return found | {f"redis.url {name}": Path(address[name]) for name in _ADDRESS_CERTIFICATES if address.get(name)}
