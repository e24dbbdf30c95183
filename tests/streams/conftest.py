"""A Kafka for each test of the roles: the embedded one, and with `-m kafka` a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka_broker import KafkaBroker
from tests.streams.kafka_world import World, mock_world, real_world


@pytest.fixture(
    params=[pytest.param("embedded", marks=pytest.mark.twin), pytest.param("real", marks=pytest.mark.kafka)]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Topics, a writer and an eye on the outputs; the same tests run on both kinds of broker."""
    checkpoints = f"file://{tmp_path}/checkpoints"
    if request.param == "embedded":
        with mock_world(checkpoints) as made:
            yield made
        return
    broker: KafkaBroker = request.getfixturevalue("kafka_broker")
    with real_world(broker.bootstrap_servers, checkpoints) as made:
        yield made
