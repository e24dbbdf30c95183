"""Real servers, emptied, and a first model that is trained once for all tests here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.cardwatch.test_demo import demo_environment
from tests.integration.installation import Installation, command
from tests.services.kafka_broker import KafkaBroker
from tests.services.redis_server import RedisServer
from tests.streams.kafka_world import World, real_world


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory's cache with the warm model; compiles all kernels on the way."""
    data = tmp_path_factory.mktemp("warm") / "data"
    subprocess.run(command("warm", "--data-dir", str(data)), env=demo_environment(), check=True)
    return data / "cache"


@pytest.fixture
def world(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[World]:
    """Fresh topics on the real broker, and consumer groups of their own."""
    with real_world(kafka_broker.bootstrap_servers, f"file://{tmp_path}/checkpoints") as made:
        yield made


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> Iterator[str]:
    """The URL of Debian's Redis, with nothing in it before and after."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield redis_server.url
        client.flushall()


@pytest.fixture
def installation(world: World, empty_redis: str, warm_cache: Path, tmp_path: Path) -> Installation:
    """Settings for these servers; the first model not yet published; `cardwatch warm --publish` finds it trained."""
    shutil.copytree(warm_cache, tmp_path / "data" / "cache")
    return Installation(tmp_path / "data", world, empty_redis)
