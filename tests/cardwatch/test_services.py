"""How commands find a running demo, and the command line on embedded services: topics, trigger, doctor."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from cardwatch import kafka
from cardwatch.cli import main
from cardwatch.embedded import DataDirectory, broker_spec, redis_spec, redis_url
from cardwatch.errors import SettingsError
from cardwatch.mock_broker import BrokerAddress
from cardwatch.model_topic import versions_kept, write_version
from cardwatch.services import Layers, RunningServices, connected, own_secrets
from cardwatch.settings import load_settings, shipped_toml
from cardwatch.supervisor import Supervisor
from cardwatch.topic_reader import Seen, TopicReader
from detector.models import ModelsConfig, Trainer
from streams.murmur2 import partition_of
from streams.topics import TRANSACTIONS


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDWATCH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DataDirectory]:
    """Embedded services published as a demo's."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    tree = Supervisor(data.logs, say=print)
    try:
        tree.start(broker_spec(data, kafka.wanted_topics(load_settings().kafka)), redis_spec(data))
        address = BrokerAddress.read(data.broker_address_file)
        assert address is not None
        flags = own_secrets(data) | {
            "kafka": {"bootstrap_servers": address.bootstrap_servers, "embedded": True},
            "redis": {"url": redis_url(data)},
        }
        world = {"seed": 3, "cards": 500, "merchants": 500}
        RunningServices(os.getpid(), flags, "http://127.0.0.1:1", {"demo-agent": "secret"}, world).publish(data)
        yield data
    finally:
        tree.stop()


def layers(data: DataDirectory) -> Layers:
    return Layers(flags={"data": {"directory": str(data.root)}})


def test_a_running_demo_is_found_and_a_dead_one_is_not(tmp_path: Path) -> None:
    """Commands talk to the demo of their data directory while its process lives."""
    data = DataDirectory(tmp_path)
    data.create()
    assert RunningServices.find(data) is None
    RunningServices(os.getpid(), {}, "http://127.0.0.1:1", {}).publish(data)
    assert RunningServices.find(data) is not None
    RunningServices(2**22 + 1, {}, "http://127.0.0.1:1", {}).publish(data)
    assert RunningServices.find(data) is None


def test_keys_and_secrets_are_readable_for_this_user_only(tmp_path: Path) -> None:
    """Nobody else on the machine can read the demo's keys."""
    data = DataDirectory(tmp_path)
    data.create()
    RunningServices(os.getpid(), {}, "", {"demo-agent": "secret"}).publish(data)
    first = own_secrets(data)
    assert own_secrets(data) == first
    for path in (data.run / "services.json", data.root / "secrets.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in repr(RunningServices.find(data))


def test_layers_reach_a_child_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given on the command line holds in every process of the tree."""
    given = Layers(flags={"kafka": {"bootstrap_servers": "a:1", "embedded": True}, "api": {"port": 0, "keys": {}}})
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    settings = Layers().load()
    assert settings.kafka.bootstrap_servers == "a:1"
    assert settings.kafka.embedded
    assert settings.api.port == 0


def test_configured_addresses_win_over_a_demo(demo: DataDirectory) -> None:
    """A flag or setting is never silently replaced by what happens to run."""
    chosen = layers(demo).with_flags({"kafka": {"bootstrap_servers": "other:9092"}})
    assert connected(chosen).kafka.bootstrap_servers == "other:9092"
    assert connected(layers(demo)).kafka.embedded


def test_without_anything_both_addresses_are_asked_for(tmp_path: Path) -> None:
    """The message says what to type."""
    with pytest.raises(
        SettingsError, match=r"(?s)start `cardwatch demo`, or give --broker host:port.*--redis redis://"
    ):
        connected(layers(DataDirectory(tmp_path)))


def test_topics_are_listed(demo: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """Every topic is shown with its partitions; 0 if all are right."""
    assert main(["topics", "--data-dir", str(demo.root)]) == 0
    shown = capsys.readouterr().out
    assert "payments.transactions.v1         8 partitions" in shown
    assert "cardwatch.models.v1              1 partitions" in shown


def test_models_are_listed_shown_promoted_and_rolled_back(
    demo: DataDirectory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What a person puts in place is the newest version, with a record of it; a file that is no model is refused."""
    where = ["--data-dir", str(demo.root)]
    assert main(["models", *where, "list"]) == 1
    assert "no model yet" in capsys.readouterr().err
    kafka_settings = connected(layers(demo)).kafka
    trainer = Trainer(ModelsConfig.from_mapping(shipped_toml("models.toml")))
    for number in range(1, 4):
        write_version(kafka_settings, trainer.version(f"m-{number:06d}", number))
    assert main(["models", *where, "rollback"]) == 0
    assert "m-000004 acts now: m-000002 again, in place of m-000003" in capsys.readouterr().out
    assert main(["models", *where, "promote", "m-000001"]) == 0
    assert main(["models", *where, "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-5:]] == [f"m-{number:06d}" for number in range(1, 6)]
    assert lines[-1].endswith("m-000001  acts")
    assert main(["models", *where, "show"]) == 0
    shown = capsys.readouterr().out
    assert "rolled_back_by_hand: m-000002 in place of m-000003, by " in shown
    assert "promoted_by_hand: m-000001 in place of m-000004, by " in shown
    assert [version.examples_offset for version in versions_kept(kafka_settings)] == [1, 2, 3, 3, 3]
    broken = tmp_path / "model.npz"
    broken.write_bytes(b"no model")
    assert main(["models", *where, "promote", str(broken)]) == 2
    assert main(["models", *where, "show", "m-000099"]) == 2


def test_wrong_partitions_are_told(
    demo: DataDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic with another number of partitions than configured is named."""
    monkeypatch.setenv("CARDWATCH_KAFKA__PARTITIONS", "4")
    assert main(["topics", "--data-dir", str(demo.root)]) == 1
    assert "8 partitions, must have 4" in capsys.readouterr().out
    assert main(["topics", "diff", "--data-dir", str(demo.root)]) == 1
    assert "payments.transactions.v1: partitions is 8, should be 4" in capsys.readouterr().out
    assert main(["topics", "apply", "--data-dir", str(demo.root)]) == 2
    assert "apply is for a real one" in capsys.readouterr().err


def test_trigger_plays_an_attack_where_payment_systems_would(
    demo: DataDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """The attack's payments are on the topic, keyed by card, in murmur2's partition, of the demo's world."""
    reader = TopicReader(connected(layers(demo)).kafka, TRANSACTIONS)
    assert main(["trigger", "stolen_card", "--data-dir", str(demo.root)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("stolen_card: ")
    seen: list[Seen] = []
    for _ in range(100):
        seen.extend(reader.read())
        if len(seen) == int(said.split()[1]):
            break
    reader.close()
    assert len(seen) == int(said.split()[1])
    for record in seen:
        token = record.fields()["card_token"]
        assert record.partition == partition_of(token.encode(), 8)
        assert token in said


def test_doctor_finds_nothing_wrong_with_a_demo(demo: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """What cardwatch starts itself is right by its own measure; records of ours lie where they should."""
    assert main(["trigger", "card_range_burst", "--data-dir", str(demo.root)]) == 0
    code = main(["doctor", "--broker-clock", "--data-dir", str(demo.root)])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "keys lie where murmur2 puts them" in shown
    assert "redis: appendfsync is always" in shown
    assert "clock: Redis agrees" in shown


def test_doctor_names_what_is_wrong(demo: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """A producer with librdkafka's own partitioner, and a Redis that forgets, are found, each with what to do."""
    settings = connected(layers(demo))
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "consistent_random"})
    for number in range(40):
        producer.produce(TRANSACTIONS, json.dumps({}).encode(), key=f"card-{number}".encode())
    assert producer.flush(20) == 0
    with redis.Redis.from_url(redis_url(demo)) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert main(["doctor", "--data-dir", str(demo.root)]) == 1
    shown = capsys.readouterr().out
    assert 'crc32 does, librdkafka\'s default\n       -> in librdkafka producers set "partitioner"' in shown
    assert "WRONG  redis: appendonly is no" in shown
    assert "WRONG  redis: maxmemory-policy is allkeys-lru" in shown


def test_doctor_says_what_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Services that are away are findings, not stack traces."""
    arguments = ["doctor", "--broker", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1", "--data-dir", str(tmp_path)]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "no Kafka broker answers at 127.0.0.1:1" in shown
    assert "redis: does not answer" in shown
    assert "detector.fingerprint_key: missing" in shown
