"""A respond worker on a real Redis as a process of its own, so that it can be killed."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_restore import RestorableRedisStore
from casework.breaker import BreakerLimits
from streams.app import Role, run_worker
from streams.clock import epoch_ms
from streams.metrics import StreamMetrics
from streams.reconciliation import Reconciler
from streams.respond import RespondRole
from streams.settings import StreamSettings
from streams.topic_tail import read_since
from tests.casework.examples import desk_on, playbook
from tests.streams.stand_in import KEY

POLICY = ConnectionPolicy(timeout_s=2.0, retries=2, budget_s=5.0)
# These tests count freezes; the circuit breaker has its own.
PLAYBOOK = replace(playbook(), breaker=BreakerLimits(freezes_per_minute=100_000, freezes_per_hour=100_000))
MEMORIES_MS = (PLAYBOOK.outcome_memory_ms, PLAYBOOK.closed_case_memory_ms)


def open_store(redis: dict[str, Any], replicas: int = 0) -> RestorableRedisStore:
    """The store at an address that was written as JSON."""
    address = RedisAddress(
        redis["url"], sentinels=tuple((host, port) for host, port in redis["sentinels"]), service=redis["service"]
    )
    connection = RedisConnection(connect(address, POLICY), POLICY, replicas=replicas)
    return RestorableRedisStore(connection, RedisStoreSettings(shards=4))


class Responder:
    """The respond role with its store."""

    def __init__(self, settings: StreamSettings, redis: dict[str, Any], replicas: int) -> None:
        self._store = open_store(redis, replicas)
        self._desk = desk_on(self._store, PLAYBOOK)
        metrics = StreamMetrics(CollectorRegistry())
        reconciler = Reconciler(self._store, self._desk, partial(read_since, settings), MEMORIES_MS, epoch_ms, metrics)
        self._role = RespondRole(self._desk, settings, metrics, reconciler=reconciler)

    async def start(self) -> None:
        await self._desk.open()
        await self._role.start()

    async def stop(self) -> None:
        await self._role.stop()
        await self._store.close()

    async def wait_broken(self) -> None:
        await self._role.wait_broken()


def main() -> None:
    """Take settings, Redis and number of replicas as JSON from the command line."""
    # A test that fails shows what the worker said.
    logging.basicConfig(format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    for name in ("streams", "aiokafka.consumer.group_coordinator"):
        logging.getLogger(name).setLevel(logging.INFO)
    known = json.loads(sys.argv[1])
    settings = StreamSettings(fingerprint_key=KEY, **known["settings"])

    def roles() -> list[Role]:
        return [Responder(settings, known["redis"], known["replicas"])]

    run_worker(roles)


if __name__ == "__main__":
    main()
