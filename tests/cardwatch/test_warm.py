"""The demo's first model, on two days instead of twelve."""

from __future__ import annotations

from pathlib import Path

import pytest

from cardwatch import warm
from cardwatch.embedded import DataDirectory, broker_spec
from cardwatch.kafka import wanted_topics
from cardwatch.mock_broker import BrokerAddress
from cardwatch.settings import load_settings
from cardwatch.supervisor import Supervisor
from cardwatch.topic_reader import TopicReader
from streams.topics import MODELS

pytestmark = [pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def two_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_DAYS", 2)
    monkeypatch.setattr(warm, "_ATTACKS_A_DAY", 3)


def test_the_model_is_kept_until_what_it_is_made_of_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start does not train; a damaged file, or other settings of the models, do. Training is repeatable."""
    settings = load_settings()
    first, trained = warm.warm_model(settings, tmp_path)
    assert trained
    assert first.name == warm.FIRST_VERSION
    assert first.frauds_learned > 0
    kept, trained = warm.warm_model(settings, tmp_path)
    assert not trained
    assert kept.to_bytes() == first.to_bytes()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"damaged")
    again, trained = warm.warm_model(settings, tmp_path)
    assert trained
    assert again.to_bytes() == first.to_bytes()
    monkeypatch.setattr(warm, "catalogue_digest", lambda: "another")
    _, trained = warm.warm_model(settings, tmp_path)
    assert trained
    assert len(list(tmp_path.iterdir())) == 1


def test_the_model_is_published_once(tmp_path: Path) -> None:
    """A Kafka that has a model keeps it: what agents have taught is never overwritten by a warm start."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    version, _ = warm.warm_model(load_settings(), data.cache)
    tree = Supervisor(data.logs, say=print)
    try:
        tree.start(broker_spec(data, wanted_topics(load_settings().kafka)))
        address = BrokerAddress.read(data.broker_address_file)
        assert address is not None
        kafka = load_settings(flags={"kafka": {"bootstrap_servers": address.bootstrap_servers}}).kafka
        assert warm.publish(kafka, version)
        assert not warm.publish(kafka, version)
        reader = TopicReader(kafka, MODELS, back=10)
        found = [record for _ in range(20) for record in reader.read()]
        reader.close()
        assert [record.value for record in found] == [version.to_bytes()]
    finally:
        tree.stop()
