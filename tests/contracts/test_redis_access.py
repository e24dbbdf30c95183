"""A Redis behind TLS, a user and rights: what cardwatch needs is written down, and a refusal says what to check."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.errors import StoreAccessError
from tests.services.certificates import Authority
from tests.services.redis_server import RedisServer, documented_guard, redis_program, running_redis

pytestmark = [pytest.mark.redis, pytest.mark.skipif(redis_program() is None, reason="redis-server is not installed")]
ROOT = Path(__file__).parents[2]
_POLICY = ConnectionPolicy(retries=0)
_ALSO_SENDING = ("redis_sessions.py", "store_clock.py")
# What redis-py sends by itself: pings, another database than 0, `scan_iter`; and what doctor reads.
_BESIDES = {"PING", "SELECT", "SCAN", "CONFIG|GET"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("guarded")
    with running_redis(folder / "redis", guard=documented_guard(folder / "authority")) as running:
        yield running


def ask(url: str, *command: str) -> object:
    """One command on a connection of its own."""

    async def play() -> object:
        connection = RedisConnection(connect(RedisAddress(url), _POLICY), _POLICY)
        try:
            return await connection.command(*command)
        finally:
            await connection.close()
            # A handshake that failed is closed by asyncio in its next turns, which a loop that ends may not have.
            await asyncio.sleep(0.05)

    return asyncio.run(play())


def test_the_documented_user_is_let_in_over_tls(server: RedisServer) -> None:
    """By the address that docs/deployment.md shows."""
    assert ask(server.url, "SET", "cardwatch:a", "1")
    assert ask(server.url, "GET", "cardwatch:a") == b"1"


def test_a_refusal_says_what_to_check_and_no_secret(server: RedisServer, tmp_path: Path) -> None:
    """A wrong password, another authority, a right that is missing, somebody else's key."""
    password = server.url.split(":")[2].split("@")[0]
    authority = server.url.rpartition("=")[2]
    refused = {
        "password: check redis.url": (server.url.replace(password, "0123456789abcdef"), ("GET", "cardwatch:a")),
        "check ssl_ca_certs": (server.url.replace(authority, str(Authority(tmp_path).file)), ("GET", "cardwatch:a")),
        "the rights that docs/deployment.md lists": (server.url, ("FLUSHALL",)),
        "give it the rights": (server.url, ("GET", "somebody-elses")),
    }
    for told, (url, command) in refused.items():
        with pytest.raises(StoreAccessError) as raised:
            ask(url, *command)
        assert told in str(raised.value)
        assert not {password, "0123456789abcdef", authority} & set(re.split(r"[\s@:=]+", str(raised.value)))


def test_the_rights_are_those_that_the_code_uses() -> None:
    """Every command of adapters and scripts is among them, and no other."""
    files = [*ROOT.glob("casework/adapters/*.py"), *(ROOT / "cardwatch" / name for name in _ALSO_SENDING)]
    calls = {
        word for path in files for word in re.findall(r'(?:command|\[|, |^|\s)\(\s*"([A-Z]{3,})"', path.read_text())
    }
    scripts = {
        word
        for path in ROOT.glob("casework/adapters/lua/*.lua")
        for word in re.findall(r"call\('(\w+)'", path.read_text())
    }
    text = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    (user,) = re.findall(r"^user cardwatch on .*$", text, re.MULTILINE)
    allowed = {word.upper() for word in re.findall(r"\+([a-z|]+)", user)}
    assert allowed - _BESIDES == calls | scripts
