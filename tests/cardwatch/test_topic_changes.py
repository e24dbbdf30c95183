"""What differs between topics as they should be and as they are; on a real Kafka also what apply does about it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from cardwatch import kafka
from cardwatch.cli import main
from cardwatch.kafka import Cluster
from cardwatch.settings import KafkaSettings, load_settings
from cardwatch.topic_changes import Difference, compare
from streams.topics import ALERTS, CARD_STATES, CASES, LABELS, MODELS, TOPICS, TRANSACTIONS
from tests.services.kafka_broker import KafkaBroker
from tests.services.process import wait_until
from tests.streams.kafka_world import PARTITIONS, World, real_world

_DAY_MS = 24 * 3600 * 1000
# What Kafka says of a topic that nobody has told anything.
_DEFAULTS = {"retention.ms": str(7 * _DAY_MS), "max.message.bytes": "1048588", "min.insync.replicas": "1"}
Found = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDWATCH_"):
            monkeypatch.delenv(name)


def wanted() -> KafkaSettings:
    return load_settings().kafka


def as_wanted(settings: KafkaSettings) -> tuple[Cluster, Found]:
    """A cluster with everything as it should be."""
    partitions = kafka.wanted_topics(settings)
    cluster = Cluster("c", 3, partitions, dict.fromkeys(partitions, settings.replication_factor))
    return cluster, {spec.name: _DEFAULTS | kafka.wanted_settings(settings, spec) for spec in TOPICS}


def with_setting(topic: str, name: str, value: str) -> list[Difference]:
    """What differs where one setting of one topic has another value."""
    cluster, found = as_wanted(wanted())
    found[topic][name] = value
    return list(compare(wanted(), cluster, found))


def test_nothing_differs_where_all_is_as_wanted() -> None:
    """Kafka's own defaults beyond that are no difference."""
    assert list(compare(wanted(), *as_wanted(wanted()))) == []


@pytest.mark.parametrize(
    ("topic", "name", "value", "means", "sets"),
    [
        (TRANSACTIONS, "retention.ms", "3600000", "never answered", str(7 * _DAY_MS)),
        (CASES, "retention.ms", str(3650 * _DAY_MS), "cannot be brought back", "-1"),
        (CARD_STATES, "cleanup.policy", "delete", "takes a frozen card for an active one", "compact"),
        (CARD_STATES, "cleanup.policy", "compact,delete", "takes a frozen card for an active one", "compact"),
        (LABELS, "cleanup.policy", "compact", "frauds that are known are forgotten", "delete"),
        (MODELS, "max.message.bytes", "1048588", "scored by an old one", str(16 * 2**20)),
        (LABELS, "min.insync.replicas", "1", "goes with it", "2"),
    ],
)
def test_a_setting_that_loses_records_is_set(topic: str, name: str, value: str, means: str, sets: str) -> None:
    """Each is named, with what it means for payers, and apply sets it."""
    (found,) = with_setting(topic, name, value)
    assert (found.topic, found.setting, found.value) == (topic, name, sets)
    assert means in found.means


@pytest.mark.parametrize(
    ("topic", "name", "value"),
    [
        (TRANSACTIONS, "retention.ms", str(30 * _DAY_MS)),
        (TRANSACTIONS, "retention.ms", "-1"),
        (MODELS, "max.message.bytes", str(32 * 2**20)),
        (LABELS, "min.insync.replicas", "3"),
        (LABELS, "segment.ms", "1"),
    ],
)
def test_what_an_operator_set_beyond_that_is_no_difference(topic: str, name: str, value: str) -> None:
    """A longer retention, larger records, stricter acknowledgements, and settings that cardwatch does not know."""
    assert with_setting(topic, name, value) == []


def test_alerts_that_are_kept_too_long_are_left_to_a_person() -> None:
    """To shorten a retention removes records, which apply never does."""
    (found,) = with_setting(ALERTS, "retention.ms", str(20 * _DAY_MS))
    assert not found.can_be_applied
    assert (found.found, found.wanted) == ("20 days", "at most 7 days")


def test_partitions_are_planned_work() -> None:
    """They are never changed silently: a card's history would be elsewhere."""
    cluster, found = as_wanted(wanted())
    cluster = replace(cluster, partitions={**cluster.partitions, LABELS: 12})
    (difference,) = compare(wanted(), cluster, found)
    assert (difference.setting, difference.can_be_applied) == ("partitions", False)
    assert "docs/runbooks/add-partitions.md" in difference.remedy


def test_acknowledgements_that_too_few_copies_can_give_are_not_asked_for() -> None:
    """min.insync.replicas above the copies would have the broker refuse every payment."""
    cluster, found = as_wanted(wanted())
    cluster = replace(cluster, copies={**cluster.copies, TRANSACTIONS: 1})
    found[TRANSACTIONS]["min.insync.replicas"] = "1"
    differences = list(compare(wanted(), cluster, found))
    assert [each.setting for each in differences] == ["replication factor", "min.insync.replicas"]
    assert not any(each.can_be_applied for each in differences)


@pytest.fixture
def real(kafka_broker: KafkaBroker, tmp_path: Path) -> Iterator[World]:
    with real_world(kafka_broker.bootstrap_servers, f"file://{tmp_path}/checkpoints") as made:
        yield made


def alter(world: World, topic: str, values: Mapping[str, str]) -> None:
    """As an operator does."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": world.settings.bootstrap_servers})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


@pytest.mark.kafka
def test_diff_and_apply_on_a_real_broker(
    real: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Diff says what differs and ends with 1; apply makes and sets it, leaves the rest, and diff is silent after it."""
    monkeypatch.setenv("CARDWATCH_KAFKA__BOOTSTRAP_SERVERS", real.settings.bootstrap_servers)
    monkeypatch.setenv("CARDWATCH_KAFKA__PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("CARDWATCH_KAFKA__REPLICATION_FACTOR", "1")
    assert main(["topics", "diff"]) == 0, capsys.readouterr().out
    admin = AdminClient({"bootstrap.servers": real.settings.bootstrap_servers})
    admin.delete_topics([CASES])[CASES].result(30)
    alter(real, CARD_STATES, {"cleanup.policy": "delete", "segment.ms": "777777"})
    alter(real, TRANSACTIONS, {"retention.ms": "3600000"})
    alter(real, LABELS, {"retention.ms": "-1"})
    capsys.readouterr()

    def seen() -> bool:
        return main(["topics", "diff"]) == 1 and capsys.readouterr().out.endswith("3 differences\n")

    # What the controller knows, the broker knows a moment later.
    wait_until(seen, seconds=30, what="the broker has the changes")
    assert main(["topics", "diff"]) == 1
    told = capsys.readouterr().out
    assert "fraud.cases.v1: topic is missing, should be there" in told
    assert "cards.state.v1: cleanup.policy is delete, should be compact" in told
    assert "payments.transactions.v1: retention.ms is 0.04 days, should be at least 7 days" in told

    assert main(["topics", "apply"]) == 0
    told = capsys.readouterr().out
    assert "fraud.cases.v1: made, with 4 partitions" in told
    assert "cards.state.v1: cleanup.policy set to compact, was delete" in told
    assert main(["topics", "diff"]) == 0
    assert main(["topics", "apply"]) == 0
    assert capsys.readouterr().out == "nothing differs\nnothing differs\n"
    left = kafka.topic_settings(load_settings().kafka, [CARD_STATES, LABELS])
    assert (left[CARD_STATES]["segment.ms"], left[LABELS]["retention.ms"]) == ("777777", "-1")


@pytest.mark.kafka
def test_apply_says_what_it_leaves(
    real: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partitions stay as they are, the exit code is 1, and the page that says what to do is named."""
    monkeypatch.setenv("CARDWATCH_KAFKA__BOOTSTRAP_SERVERS", real.settings.bootstrap_servers)
    monkeypatch.setenv("CARDWATCH_KAFKA__PARTITIONS", str(2 * PARTITIONS))
    monkeypatch.setenv("CARDWATCH_KAFKA__REPLICATION_FACTOR", "1")
    assert main(["topics", "apply"]) == 1
    told = capsys.readouterr().out
    assert "payments.transactions.v1: partitions is 4, should be 8" in told
    assert "docs/runbooks/add-partitions.md" in told
    partitions = kafka.look_at(load_settings().kafka).partitions
    assert {partitions[name] for name in (TRANSACTIONS, LABELS)} == {PARTITIONS}
