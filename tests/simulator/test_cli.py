"""`cardwatch simulate`: files, Kafka, and what it says of wrong options."""

from __future__ import annotations

import argparse
import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from cardwatch.mock_broker import MockCluster
from cardwatch.simulator import cli
from cardwatch.simulator.errors import DeliveryError
from cardwatch.simulator.kafka import Sender
from streams.murmur2 import partition_of

TOPIC = "payments.transactions.v1"
PARTITIONS = 3
SMALL = ["--seed", "4", "--cards", "200", "--merchants", "500"]


def simulate(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args([*SMALL, *arguments]))


@pytest.fixture
def broker() -> Iterator[str]:
    cluster = MockCluster({TOPIC: PARTITIONS})
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield cluster.bootstrap_servers
    for number, handler in handlers.items():
        signal.signal(number, handler)
    cluster.close()


def test_files_and_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out` and `--labels` write both files and say how many payments and frauds are in them."""
    out, labels = tmp_path / "t.jsonl", tmp_path / "l.csv"
    assert simulate("--records", "500", "--attacks", "100", "--out", str(out), "--labels", str(labels)) == 0
    assert len(out.read_text("utf-8").splitlines()) == 500
    frauds = sum(",1," in line for line in labels.read_text("utf-8").splitlines())
    assert f"500 payments, {frauds} of them fraudulent" in capsys.readouterr().out


def test_kafka_gets_keyed_records_in_javas_partitions(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Records arrive with key, CloudEvents headers and murmur2's partition, a card's in time order."""
    # A day of the past: in the twelve hours before now, 200 cards may have paid less often.
    assert simulate("--broker", broker, "--records", "300", "--rate", "100000", "--start", "2026-01-01") == 0
    assert "300 payments acknowledged" in capsys.readouterr().out
    consumer = Consumer({"bootstrap.servers": broker, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    messages: list[Message] = []
    while len(messages) < 300:
        fetched = consumer.consume(300, timeout=20)
        assert fetched, "the records did not arrive"
        messages += fetched
    consumer.close()
    latest: dict[str, int] = {}
    for message in messages:
        record, key = json.loads(message.value() or b""), message.key() or b""
        headers = dict(message.headers() or [])
        assert key.decode() == record["card_token"]
        assert message.partition() == partition_of(key, PARTITIONS)
        assert headers["ce_id"] == record["transaction_id"].encode()
        assert set(headers) == {"ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion"}
        assert latest.get(record["card_token"], 0) <= record["event_time_ms"] <= message.timestamp()[1]
        latest[record["card_token"]] = record["event_time_ms"]


def test_live_records_are_dated_when_they_are_sent(broker: str) -> None:
    """On the live clock event time is the present; the world is as large as the rate needs."""
    assert simulate("--broker", broker, "--records", "5", "--clock", "live", "--payments-per-card-day", "1000") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "either --out FILE or --broker"),
        (["--out", "a.csv", "--broker", "b:1"], "either --out FILE or --broker"),
        (["--out", "a.txt"], ".jsonl, .csv, .parquet"),
        (["--out", "a.csv", "--labels", "l.txt"], ".jsonl, .csv, .parquet"),
        (["--out", "a.csv", "--records", "0"], "--records is 0"),
        (["--out", "a.csv", "--start", "yesterday"], "--start 'yesterday' is no time"),
        (["--out", "a.csv", "--cards", "3"], "cards is 3"),
        (["--broker", "b:1", "--rate", "0"], "--rate is 0"),
        (["--broker", "b:1", "--labels", "l.csv"], "--labels goes with --out"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that cannot be used end with code 2 and a sentence, before anything is written."""
    monkeypatch.chdir(tmp_path)
    assert simulate(*arguments) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be opened ends with code 1 and the reason."""
    assert simulate("--out", str(tmp_path / "none" / "a.csv")) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1767225600000", "2026-01-01T00:00:00Z", "2026-01-01", "2026-01-01T01:00:00+01:00"])
def test_moments(text: str) -> None:
    """Moments are epoch milliseconds or ISO 8601, UTC unless they say otherwise."""
    assert cli.start_time_ms(text) == 1_767_225_600_000


def test_a_broker_that_refuses_is_told(broker: str) -> None:
    """Leaving the sender's block without all acknowledgements raises, with the number and the reason."""
    options = {"message.timeout.ms": "300", "allow.auto.create.topics": "false"}
    record = {"card_token": "tok_a", "transaction_id": "t", "event_time_ms": 1}
    with (
        pytest.raises(DeliveryError, match="1 records were not acknowledged"),
        Sender("127.0.0.1:1", options={**options, "log_level": "0"}) as sender,
    ):
        sender.send([record])
    assert broker
