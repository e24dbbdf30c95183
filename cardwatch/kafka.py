"""What commands ask of Kafka through its admin protocol: which cluster, which topics, their settings, and changes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec

from cardwatch.errors import ServiceError, SettingsError
from cardwatch.settings import KafkaSettings
from streams.access import Complaints, require_usable
from streams.errors import StreamsError
from streams.topics import TOPICS, TopicSpec

_TIMEOUT_S = 10.0
_LED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.1
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

ClientOptions: TypeAlias = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says of its cluster: its id, partition count of every topic, and copies of its least kept one."""

    cluster_id: str
    brokers: int
    partitions: Mapping[str, int]
    copies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TopicFinding:
    """A topic as it should be and as it is; `found` is None where it is missing."""

    name: str
    wanted: int
    found: int | None

    @property
    def right(self) -> bool:
        """Whether it is as it should be."""
        return self.wanted == self.found


def client_options(kafka: KafkaSettings) -> ClientOptions:
    """Connection options of every client, in librdkafka's names.

    Raises:
        SettingsError: they are not usable; nothing has connected.
    """
    try:
        require_usable(kafka.client_options())
    except StreamsError as error:
        raise SettingsError(str(error)) from None
    # Log lines of librdkafka go to stderr; what matters comes back as an error.
    options: ClientOptions = {"log_level": "0"}
    return options | kafka.client_options() | {"bootstrap.servers": kafka.bootstrap_servers}


def look_at(kafka: KafkaSettings) -> Cluster:
    """Ask the broker.

    Raises:
        ServiceError: no broker answers at that address, or it does not let us in.
        SettingsError: `kafka.client` is not usable.
    """
    complaints = Complaints()
    options: dict[str, Any] = {**client_options(kafka), "error_cb": complaints}
    admin = AdminClient(options)
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        # What librdkafka said meanwhile is told now.
        admin.poll(0)
        message = f"no Kafka broker answers at {kafka.bootstrap_servers} ({_reason(error)}); check kafka.client too"
        if complaints.refusal:
            message = f"Kafka at {kafka.bootstrap_servers}: {complaints.refusal}"
        raise ServiceError(message) from None
    partitions = {name: len(topic.partitions) for name, topic in metadata.topics.items()}
    copies = {
        name: min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
        for name, topic in metadata.topics.items()
    }
    return Cluster(str(metadata.cluster_id), len(metadata.brokers), partitions, copies)


def wanted_topics(kafka: KafkaSettings) -> dict[str, int]:
    """Partition count of every topic of ours by its name."""
    return {spec.name: spec.partition_count(kafka.partitions) for spec in TOPICS}


def compare_topics(kafka: KafkaSettings, cluster: Cluster) -> list[TopicFinding]:
    """Every topic of ours, as it should be and as it is."""
    return [
        TopicFinding(name, partitions, cluster.partitions.get(name))
        for name, partitions in wanted_topics(kafka).items()
    ]


def wanted_settings(kafka: KafkaSettings, spec: TopicSpec) -> dict[str, str]:
    """Settings of a topic of ours in Kafka's own names.

    What Kafka acknowledges shall be on most of its copies: what is lost with a minority of them is then none of it.
    """
    return spec.kafka_settings() | {"min.insync.replicas": str(kafka.replication_factor // 2 + 1)}


def topic_settings(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """What holds for topics that are there, the cluster's defaults included: values by name, by topic.

    Raises:
        ServiceError: the broker does not tell.
    """
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    if not resources:
        return found
    admin = AdminClient(client_options(kafka))
    for resource, future in admin.describe_configs(resources, request_timeout=_TIMEOUT_S).items():
        try:
            entries = future.result()
        except KafkaException as error:
            message = f"the settings of topic {resource.name} cannot be read: {_reason(error)}"
            raise ServiceError(message) from None
        found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found


def set_topic(kafka: KafkaSettings, name: str, values: Mapping[str, str]) -> None:
    """Set some settings of a topic, leave all others, and wait until a broker says that they hold.

    Raises:
        ServiceError: the broker refuses, or goes on saying otherwise.
    """
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
    admin = AdminClient(client_options(kafka))
    for future in admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as error:
            message = f"the settings of topic {name} cannot be changed: {_reason(error)}"
            raise ServiceError(message) from None
    # What the controller knows, a broker knows a moment later.
    deadline_s = time.monotonic() + _LED_WITHIN_S
    while not values.items() <= topic_settings(kafka, [name])[name].items():
        if time.monotonic() > deadline_s:
            message = f"the settings of topic {name} were changed, but a broker still has the old ones"
            raise ServiceError(message)
        time.sleep(_LOOK_EVERY_S)


def create_topics(kafka: KafkaSettings, names: Iterable[str]) -> None:
    """Create topics of ours that are missing, and wait until they can be written to and read.

    Raises:
        ServiceError: the broker refuses one, or does not get it ready; the message says why.
    """
    chosen = set(names)
    new = [
        NewTopic(
            spec.name,
            num_partitions=spec.partition_count(kafka.partitions),
            replication_factor=kafka.replication_factor,
            config=wanted_settings(kafka, spec),
        )
        for spec in TOPICS
        if spec.name in chosen
    ]
    if not new:
        return
    # Without a name of its own the client would be gone before the broker answers, and with it the answer.
    admin = AdminClient(client_options(kafka))
    for name, future in admin.create_topics(new, request_timeout=_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            message = f"topic {name} cannot be created: {_reason(error)}"
            raise ServiceError(message) from None
    wait_led(kafka, {topic.topic: topic.num_partitions for topic in new})


def wait_led(kafka: KafkaSettings, partitions: Mapping[str, int]) -> None:
    """Wait until partitions have a leader that knows of it: what the controller knows, a broker knows a moment later.

    Args:
        kafka: how to reach the cluster.
        partitions: how many, by topic.

    Raises:
        ServiceError: some have none after a while.
    """
    places = [TopicPartition(name, partition) for name, count in partitions.items() for partition in range(count)]
    deadline_s = time.monotonic() + _LED_WITHIN_S
    while True:
        # A client remembers for long that it did not find a topic: a new one for each look.
        admin = AdminClient(client_options(kafka))
        try:
            for future in admin.list_offsets(dict.fromkeys(places, _LATEST), request_timeout=_TIMEOUT_S).values():
                future.result()
        except KafkaException as error:
            if time.monotonic() > deadline_s:
                message = f"topics were created, but the brokers do not lead them yet: {_reason(error)}"
                raise ServiceError(message) from None
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def reader(kafka: KafkaSettings) -> Consumer:
    """A consumer that belongs to no group and commits nothing: it is assigned what it reads."""
    return Consumer(
        client_options(kafka)
        | {"group.id": "cardwatch-reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )


def has_records(kafka: KafkaSettings, topic: str) -> bool:
    """Whether a topic of one partition holds anything.

    Raises:
        ServiceError: the broker does not answer.
    """
    consumer = reader(kafka)
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=_TIMEOUT_S)
    except KafkaException as error:
        message = f"topic {topic} cannot be read: {_reason(error)}"
        raise ServiceError(message) from None
    finally:
        consumer.close()
    return bool(high > low)


def _reason(error: KafkaException) -> str:
    """The error's name; its text may repeat configuration."""
    return str(error.args[0].name()) if error.args and hasattr(error.args[0], "name") else type(error).__name__
