"""The connection policy without a server: when the circuit opens, and what errors become."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from casework.adapters.redis_connection import ConnectionPolicy, RedisConnection
from casework.errors import StoreError, StoreFullError, StoreUnavailableError

POLICY = ConnectionPolicy(failures_to_open=3, rest_s=1.0)


class ScriptedClient:
    """A client that answers as told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked = 0

    async def initialize(self) -> None:
        """There is nothing to find out."""

    async def execute_command(self, *_command: Any, **_options: Any) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else b"OK"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: Any = None) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is open."""


class Bench:
    """A connection on a scripted client and a clock that is set by hand."""

    def __init__(self) -> None:
        self.client = ScriptedClient()
        self.now_s = 100.0
        self.connection = RedisConnection(self.client, POLICY, clock_s=lambda: self.now_s)

    def ask(self) -> Any:
        return asyncio.run(self.connection.command("PING"))


def test_the_circuit_opens_rests_and_closes() -> None:
    """Three silent calls in a row, and Redis is left alone for a moment; then one answer closes the circuit."""
    bench = Bench()
    bench.client.answers = [RedisConnectionError("gone")] * 4
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            bench.ask()
    with pytest.raises(StoreUnavailableError, match="lately"):
        bench.ask()
    assert bench.client.asked == 3
    bench.now_s += 2.0
    with pytest.raises(StoreUnavailableError, match="no answer: "):
        bench.ask()
    with pytest.raises(StoreUnavailableError, match="lately"):
        bench.ask()
    bench.now_s += 2.0
    assert [bench.ask() for _ in range(3)] == [b"OK"] * 3


def test_refusals_do_not_open_the_circuit() -> None:
    """A server that refuses is one that answers."""
    bench = Bench()
    bench.client.answers = [ResponseError("wrong kind of value")] * 10
    for _ in range(10):
        with pytest.raises(StoreError, match="refused"):
            bench.ask()
    assert bench.client.asked == 10


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), StoreFullError),
        (ResponseError("OOM command not allowed"), StoreFullError),
        (ReadOnlyError("You can't write against a read only replica."), StoreUnavailableError),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), StoreUnavailableError),
        (OSError("reset by peer"), StoreUnavailableError),
    ],
)
def test_errors_say_whether_asking_again_helps(error: Exception, kind: type[StoreError]) -> None:
    """A full server, one that only reads, and one that is away are told apart; their own words are not passed on."""
    bench = Bench()
    bench.client.answers = [error]
    with pytest.raises(kind) as raised:
        bench.ask()
    assert type(raised.value) is kind
    assert str(error) not in str(raised.value)
