"""What all tests share: real servers on loopback, one of each for a whole run, and Hypothesis without deadlines."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests.services.kafka_broker import KafkaBroker, running_kafka
from tests.services.redis_server import RedisServer, redis_program, running_redis

# Two busy cores and kernels that compile on first use make times meaningless; a found example is printed to be kept.
hypothesis.settings.register_profile("cardwatch", deadline=None, print_blob=True)
hypothesis.settings.load_profile("cardwatch")


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A real Kafka, shared: use topics and groups of your own. Only for tests marked `kafka`."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Debian's Redis, shared: use a key prefix of your own or flush. Skips where there is none."""
    if redis_program() is None:
        pytest.skip("redis-server is not installed")
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server
