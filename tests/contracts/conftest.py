"""Every implementation of the store port, each with fresh keys for every test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import create_engine, text

from casework.adapters.memory_store import MemoryStore
from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_restore import RestorableRedisStore
from casework.adapters.redis_store import RedisStore
from casework.adapters.sql_history.store import SqlHistory
from casework.desk import Desk
from casework.store import Store
from tests.casework.examples import desk_on
from tests.contracts.servers import bundled_server, cluster, debian_server, guarded_server
from tests.services.postgres_server import postgres_programs, running_postgres
from tests.services.redis_server import redis_program

Result = TypeVar("Result")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
# The guarded one lets nobody do what cardwatch itself does not; tests that look into Redis take the plain one.
REDIS_KINDS = ("bundled", "guarded", "cluster")
_OPEN_KINDS = ("bundled", "debian", "cluster")
_SERVERS = {
    "bundled": bundled_server, "debian": debian_server, "guarded": guarded_server, "cluster": cluster,
}  # fmt: skip
# Of the topic that a history was read from.
ORIGIN = "cluster/topic"
# Slow machines are not what the contract is about.
_POLICY = ConnectionPolicy(timeout_s=20.0, budget_s=60.0)


class Servers:
    """Starts each kind of server when it is first asked for, and stops all at the end."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._urls: dict[str, str] = {}

    def url(self, kind: str) -> str:
        """The URL of a running server of this kind."""
        if kind != "bundled" and redis_program() is None:
            pytest.skip("redis-server is not installed")
        if kind not in self._urls:
            self._urls[kind] = self._stack.enter_context(_SERVERS[kind](self._directory))
        return self._urls[kind]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp("contracts"))


@dataclass
class Bench:
    """Stores of one kind on one event loop."""

    run_coroutine: Callable[[Coroutine[Any, Any, Any]], Any]
    new_store: Callable[..., Store]
    closing: list[RedisStore]

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run to the end."""
        result: Result = self.run_coroutine(coroutine)
        return result

    def store(self, **settings: Any) -> Store:
        """A store; those of one bench with the same settings share their data, except in memory."""
        return self.new_store(**settings)

    def desk(self, **settings: Any) -> Desk:
        """A desk on a store that is set up."""
        desk = desk_on(self.store(**settings))
        self.run(desk.open())
        return desk

    def close(self) -> None:
        """Close what was opened."""
        for store in self.closing:
            self.run(store.close())


def memory_bench(runner: asyncio.Runner) -> Bench:
    """A bench of memory stores."""

    def new_store(shards: int = 4, outbox_limit: int = 10_000) -> Store:
        return MemoryStore(shards, outbox_limit)

    return Bench(runner.run, new_store, [])


def connection_to(url: str, kind: str) -> RedisConnection:
    """A connection to a server of any kind."""
    return RedisConnection(connect(RedisAddress(url, cluster=kind == "cluster"), _POLICY), _POLICY)


def redis_bench(runner: asyncio.Runner, kind: str, url: str) -> Bench:
    """A bench of Redis stores under a prefix of their own."""
    closing: list[RedisStore] = []
    prefix = f"{'cardwatch:' if kind == 'guarded' else ''}test-{uuid.uuid4().hex}"

    def new_store(shards: int = 4, outbox_limit: int = 10_000) -> Store:
        settings = RedisStoreSettings(shards, outbox_limit, prefix)
        store = RestorableRedisStore(connection_to(url, kind), settings)
        closing.append(store)
        return store

    return Bench(runner.run, new_store, closing)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def run(runner: asyncio.Runner) -> Run:
    return runner.run


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in REDIS_KINDS)])
def bench(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Bench]:
    """A bench of each kind of store."""
    if request.param == "memory":
        made = memory_bench(runner)
    else:
        servers: Servers = request.getfixturevalue("servers")
        made = redis_bench(runner, request.param, servers.url(request.param))
    yield made
    made.close()


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.redis) for kind in _OPEN_KINDS])
def new_redis_bench(request: pytest.FixtureRequest, servers: Servers) -> Callable[[asyncio.Runner], Bench]:
    """Makes benches of each kind of Redis, each on fresh keys."""
    return partial(redis_bench, kind=request.param, url=servers.url(request.param))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.skipif(postgres_programs() is None, reason="no PostgreSQL here")),
    ]
)
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlHistory]:
    """An empty history."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/history.db"
    else:
        url = request.getfixturevalue("postgres")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    made = SqlHistory(url)
    made.open()
    made.positions(ORIGIN)
    yield made
    made.close()
