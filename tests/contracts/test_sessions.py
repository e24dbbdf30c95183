"""What every memory of the console's sessions promises."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from api.console.memory_sessions import MemorySessions
from api.ports import SessionMemory
from cardwatch.redis_sessions import RedisSessions
from tests.contracts.conftest import REDIS_KINDS, Servers, connection_to

HOUR_MS = 3_600_000
Story = Callable[[SessionMemory], Awaitable[None]]


@pytest.fixture(params=["memory", *REDIS_KINDS])
def play(request: pytest.FixtureRequest, servers: Servers) -> Callable[[Story], None]:
    """Plays a story on a fresh memory."""
    kind: str = request.param

    @asynccontextmanager
    async def memory() -> AsyncIterator[SessionMemory]:
        if kind == "memory":
            yield MemorySessions(lambda: int(asyncio.get_running_loop().time() * 1000))
            return
        made = RedisSessions(connection_to(servers.url(kind), kind), prefix=f"cardwatch:test-{uuid.uuid4().hex}")
        yield made
        await made.close()

    async def played(story: Story) -> None:
        async with memory() as made:
            await story(made)

    return lambda story: asyncio.run(played(story))


def test_what_was_put_is_there_until_it_is_taken(play: Callable[[Story], None]) -> None:
    """It can be looked at as often as one likes, and taken once; others are not touched."""

    async def story(memory: SessionMemory) -> None:
        assert await memory.get("a") is None
        assert await memory.put_new("a", b"one", HOUR_MS)
        assert await memory.put_new("b", b"two", HOUR_MS)
        assert [await memory.get("a"), await memory.get("a")] == [b"one", b"one"]
        assert [await memory.take("a"), await memory.take("a"), await memory.get("a")] == [b"one", None, None]
        assert await memory.get("b") == b"two"

    play(story)


def test_a_name_is_given_once(play: Callable[[Story], None]) -> None:
    """Of many who put something under one name at once one does; the others change nothing."""

    async def story(memory: SessionMemory) -> None:
        values = [b"%d" % number for number in range(20)]
        won = await asyncio.gather(*(memory.put_new("a", value, HOUR_MS) for value in values))
        assert won.count(True) == 1
        assert await memory.get("a") == values[won.index(True)]
        assert (await asyncio.gather(*(memory.take("a") for _ in range(20)))).count(None) == 19

    play(story)


def test_the_first_calls_may_come_together(play: Callable[[Story], None]) -> None:
    """As they do where a page of many parts is the first that a process answers."""

    async def story(memory: SessionMemory) -> None:
        names = [str(number) for number in range(50)]
        assert all(await asyncio.gather(*(memory.put_new(name, name.encode(), HOUR_MS) for name in names)))
        assert await asyncio.gather(*(memory.get(name) for name in names)) == [name.encode() for name in names]

    play(story)


def test_it_ends(play: Callable[[Story], None]) -> None:
    """After its life it is gone, and the name is free again."""

    async def story(memory: SessionMemory) -> None:
        assert await memory.put_new("a", b"one", 30)
        while await memory.get("a") is not None:  # noqa: ASYNC110  nobody tells when a name is free again
            await asyncio.sleep(0.01)
        assert await memory.put_new("a", b"two", HOUR_MS)

    play(story)
