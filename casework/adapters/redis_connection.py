"""One policy for every connection to Redis: time limits, retries with jitter and a budget, a circuit breaker.

Connecting, pooling, retries and following a cluster or sentinels are redis-py's own. Its circuit breaker belongs to its
client of several databases, which knows neither sentinels nor a cluster; so that part, a few lines, is ours.

Everything that is sent may be sent again: reads, trims, and scripts that know what was done by its id.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import parse_url
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from casework.adapters.redis_access import refusal
from casework.errors import StoreAccessError, StoreError, StoreFullError, StoreUnavailableError

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.02, 0.5
# What a server says that is about to become, or has ceased to be, the one to write to: asking again helps.
_IN_TRANSITION = (ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError)
# Redis 6 says it without a class of its own.
_OUT_OF_MEMORY = "OOM "
_NO_REPLICAS = "NOREPLICAS"


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """How long and how often Redis is asked.

    Attributes:
        timeout_s: for connecting, and for each answer.
        retries: of a command whose connection broke or stayed silent, with growing pauses of random length.
        budget_s: for a call in all, its retries and pauses included.
        failures_to_open: after so many calls in a row without an answer the circuit opens: calls fail at once.
        rest_s: for so long, give or take a fifth; then Redis is asked again.
    """

    timeout_s: float = 2.0
    retries: int = 3
    budget_s: float = 5.0
    failures_to_open: int = 5
    rest_s: float = 1.0


class RedisClient(Protocol):
    """What we use of `redis.asyncio.Redis` and `RedisCluster`."""

    def initialize(self) -> Awaitable[Any]:
        """Find out what has to be known before the first command."""

    def execute_command(self, *args: Any, **options: Any) -> Awaitable[Any]:
        """Send a command."""

    def pipeline(self, transaction: Any = None) -> Any:
        """A pipeline; ours are never transactions, the scripts are."""

    async def aclose(self) -> None:
        """Close the connections."""


class _Pipeline(Protocol):
    """What we use of redis-py's pipelines."""

    def execute_command(self, *args: Any) -> Any:
        """Queue a command."""

    def execute(self, raise_on_error: bool = True) -> Awaitable[list[Any]]:  # noqa: FBT001, FBT002  redis-py's signature
        """Send what is queued."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is.

    Attributes:
        url: `redis://`, `rediss://` or `unix://`; with sentinels, how to talk to the master.
        cluster: whether `url` names a node of a Redis Cluster.
        sentinels: host and port of each sentinel; empty where `url` says all.
        service: the master's name at the sentinels.
    """

    url: str
    cluster: bool = False
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""


def connect(address: RedisAddress, policy: ConnectionPolicy) -> RedisClient:
    """Make a client that connects on first use."""
    options: dict[str, Any] = {
        "socket_timeout": policy.timeout_s,
        "socket_connect_timeout": policy.timeout_s,
        "retry": Retry(ExponentialWithJitterBackoff(cap=_LONGEST_BACKOFF_S, base=_FIRST_BACKOFF_S), policy.retries),
    }
    client: RedisClient
    if address.sentinels:
        limits = {"socket_timeout": policy.timeout_s, "socket_connect_timeout": policy.timeout_s}
        parts = parse_url(address.url)  # type: ignore[no-untyped-call] # redis-py leaves it bare
        given = {name: value for name, value in parts.items() if name not in {"host", "port", "path"}}
        sentinel = Sentinel(list(address.sentinels), sentinel_kwargs=limits)  # type: ignore[no-untyped-call]
        client = sentinel.master_for(address.service, **given, **options)
    elif address.cluster:
        client = RedisCluster.from_url(address.url, **options)
    else:
        client = Redis.from_url(address.url, **options)
    return client


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the SHA-1 by which Redis names it; nothing is secured by that."""

    text: bytes
    sha: str

    @classmethod
    def shipped(cls, name: str) -> Script:
        """Read one of `casework/adapters/lua`."""
        text = resources.files("casework.adapters.lua").joinpath(name).read_bytes()
        return cls(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


class _Circuit:
    """Counts calls in a row that got no answer."""

    def __init__(self, policy: ConnectionPolicy, clock_s: Callable[[], float]) -> None:
        self._policy = policy
        self._clock_s = clock_s
        self._failures = 0
        self._closed_from_s = 0.0

    def require_closed(self) -> None:
        """Pass if Redis may be asked.

        Raises:
            StoreUnavailableError: it did not answer lately.
        """
        if self._clock_s() < self._closed_from_s:
            message = "Redis gave no answer lately and is asked again in a moment"
            raise StoreUnavailableError(message)

    def failed(self) -> None:
        """Note a call without an answer."""
        self._failures += 1
        if self._failures >= self._policy.failures_to_open:
            # Processes that lost the same Redis at the same moment do not ask in step.
            rest_s = self._policy.rest_s * random.uniform(0.8, 1.2)  # noqa: S311  nothing is secured by it
            self._closed_from_s = self._clock_s() + rest_s

    def answered(self) -> None:
        """Note an answer, be it a refusal."""
        self._failures = 0


class RedisConnection:
    """Sends commands by the policy, and turns redis-py's errors into ours."""

    def __init__(
        self,
        client: RedisClient,
        policy: ConnectionPolicy,
        *,
        replicas: int = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Work through `client`, whose answers must be bytes (`decode_responses` off).

        Args:
            client: made by `connect`.
            policy: for every call.
            replicas: so many must have a script's changes before they count as made.
            clock_s: seconds on a clock that never goes back.
        """
        self.client = client
        self._policy = policy
        self._replicas = replicas
        self._circuit = _Circuit(policy, clock_s)
        self._initializing = asyncio.Lock()
        self._is_initialized = False

    async def close(self) -> None:
        """Close the connections, those to sentinels as well, which redis-py's client leaves open."""
        await self.client.aclose()
        manager = getattr(getattr(self.client, "connection_pool", None), "sentinel_manager", None)
        for sentinel in () if manager is None else manager.sentinels:
            await sentinel.aclose()

    async def command(self, *command: Any) -> Any:
        """Send one command."""
        async with self._translated():
            return await self.client.execute_command(*command)

    async def pipelined(self, commands: Sequence[tuple[Any, ...]], *, tolerant: bool = False) -> list[Any]:
        """Send commands together; each alone is atomic, together they are not.

        With `tolerant`, a NOSCRIPT among the answers is returned in its place instead of being raised.
        """
        if not commands:
            return []
        async with self._translated():
            pipeline: _Pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers = await pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not (tolerant and isinstance(answer, NoScriptError)):
                    raise answer
        return answers

    async def evaluate(self, script: Script, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Run a script once for each command's keys and arguments, in order; its answers.

        Raises:
            StoreUnavailableError: also where too few replicas have the changes; they may still come to be.
        """
        waiting = [self._wait()] if self._replicas else []
        sent = [("EVALSHA", script.sha, *command) for command in commands]
        answers = await self.pipelined([*sent, *waiting], tolerant=True)
        self._require_replicas(answers[len(commands) :])
        del answers[len(commands) :]
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # EVAL makes the script known as well. Order is kept: what was done in the first trip came before.
            again = [("EVAL", script.text, *commands[place]) for place in unknown]
            answers_again = await self.pipelined([*again, *waiting])
            self._require_replicas(answers_again[len(unknown) :])
            for place, answer in zip(unknown, answers_again, strict=False):
                answers[place] = answer
        return answers

    async def require_replicated(self, key: str) -> None:
        """Return when enough replicas have everything that was written before this call.

        WAIT counts what its own connection wrote; so `key` is written first, behind everything that came before.

        Raises:
            StoreUnavailableError: too few have it.
        """
        if self._replicas:
            answers = await self.pipelined([("SET", key, b""), self._wait()])
            self._require_replicas(answers[1:])

    def _wait(self) -> tuple[Any, ...]:
        return ("WAIT", self._replicas, int(1000 * self._policy.timeout_s / 2))

    def _require_replicas(self, answers: Sequence[Any]) -> None:
        if any(int(answer) < self._replicas for answer in answers):
            message = f"fewer than {self._replicas} replicas of Redis have it"
            raise StoreUnavailableError(message)

    async def _initialize(self) -> None:
        """Connect alone: redis-py's client of a cluster breaks connections where its very first calls come together."""
        if self._is_initialized:
            return
        async with self._initializing:
            if not self._is_initialized:
                await self.client.initialize()
                self._is_initialized = True

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Turn redis-py's errors into ours; their texts may repeat what was sent, so they are not passed on."""
        self._circuit.require_closed()
        try:
            async with asyncio.timeout(self._policy.budget_s):
                await self._initialize()
                yield
        except ResponseError as error:
            self._circuit.answered()
            raise _refusal(error) from error
        except (RedisError, RedisClusterException, OSError) as error:
            self._circuit.failed()
            refused = refusal(error)
            if refused:
                raise StoreAccessError(refused) from error
            message = f"Redis gave no answer: {type(error).__name__}"
            raise StoreUnavailableError(message) from error
        self._circuit.answered()


def _refusal(error: ResponseError) -> StoreError:
    """What a refusal of Redis means."""
    refused = refusal(error)
    if refused:
        return StoreAccessError(refused)
    if isinstance(error, OutOfMemoryError) or _OUT_OF_MEMORY in str(error):
        return StoreFullError("Redis has no memory left and refuses writes; raise its maxmemory")
    if isinstance(error, _IN_TRANSITION) or str(error).startswith(_NO_REPLICAS):
        return StoreUnavailableError(f"Redis cannot be written to now: {type(error).__name__}")
    return StoreError(f"Redis refused a command: {type(error).__name__}")
