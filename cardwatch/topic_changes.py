"""Topics as they should be and as they are: what differs, what that means for payers, and what can be done about it.

What an operator set beyond that stays as it is: other settings, records kept for longer, stricter acknowledgements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cardwatch import kafka
from cardwatch.kafka import Cluster
from cardwatch.settings import KafkaSettings
from streams.topics import ALERTS, TOPICS, TopicSpec

_DAY_MS = 24 * 3600 * 1000
_FOR_EVER = "-1"
_PARTITIONS_PAGE = "docs/runbooks/add-partitions.md"

TopicSettings = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something about a topic that is not as it should be.

    Attributes:
        topic: its name.
        setting: Kafka's name of what differs; `topic` where it is missing.
        found: what is there, for people.
        wanted: what should be, for people.
        means: for payers, cardholders or people at the desk.
        remedy: what `cardwatch topics apply` does, or why it does not and who does.
        value: what apply sets the setting to; None where it changes no setting.
    """

    topic: str
    setting: str
    found: str
    wanted: str
    means: str
    remedy: str
    value: str | None = None

    @property
    def can_be_applied(self) -> bool:
        """Whether apply does away with it."""
        return self.value is not None or self.setting == "topic"


def differences(settings: KafkaSettings, cluster: Cluster) -> list[Difference]:
    """Ask the broker for the settings of our topics and compare; the embedded broker has none.

    Raises:
        ServiceError: it does not tell.
    """
    there = [spec.name for spec in TOPICS if spec.name in cluster.partitions]
    found = {} if settings.embedded else kafka.topic_settings(settings, there)
    return list(compare(settings, cluster, found))


def compare(settings: KafkaSettings, cluster: Cluster, found: TopicSettings) -> Iterator[Difference]:
    """What differs, topic by topic.

    Args:
        settings: what cardwatch wants.
        cluster: partitions and copies of the topics that are there.
        found: their settings; without those of a topic only its partitions and copies are compared.
    """
    for spec in TOPICS:
        if spec.name not in cluster.partitions:
            yield Difference(
                spec.name,
                "topic",
                "missing",
                "there",
                "the roles that need it do not start: nothing is decided, frozen or told by them",
                "makes it",
            )
            continue
        yield from _of_partitions(spec, settings, cluster)
        if spec.name in found:
            yield from _of_copies(spec, settings, cluster)
            for name, wanted in kafka.wanted_settings(settings, spec).items():
                yield from _of_setting(spec, name, found[spec.name].get(name, ""), wanted, cluster.copies[spec.name])


def apply(settings: KafkaSettings, found: Sequence[Difference]) -> Iterator[str]:
    """Make what is missing and set what can be set; yields what was done, as it is done.

    Raises:
        ServiceError: the broker refuses.
    """
    missing = [each.topic for each in found if each.setting == "topic"]
    kafka.create_topics(settings, missing)
    partitions = kafka.wanted_topics(settings)
    for name in missing:
        yield f"{name}: made, with {partitions[name]} partitions"
    for name in dict.fromkeys(each.topic for each in found if each.value is not None):
        changes = [each for each in found if each.topic == name and each.value is not None]
        kafka.set_topic(settings, name, {each.setting: str(each.value) for each in changes})
        for each in changes:
            yield f"{name}: {each.setting} set to {each.value}, was {each.found}"


def kept_for(spec: TopicSpec) -> str:
    """How long Kafka keeps a topic's records, for people."""
    return "the last of each key, for ever" if spec.compacted else _days(str(spec.retention_ms))


def _of_partitions(spec: TopicSpec, settings: KafkaSettings, cluster: Cluster) -> Iterator[Difference]:
    wanted, found = spec.partition_count(settings.partitions), cluster.partitions[spec.name]
    if found == wanted:
        return
    if spec.partitions is None:
        means = "a card's payments would be scored without its history, so no role starts"
    else:
        means = "its order would be lost, so no role that needs it starts"
    remedy = f"leaves it: planned work, {_PARTITIONS_PAGE}; or set kafka.partitions to what is there"
    yield Difference(spec.name, "partitions", str(found), str(wanted), means, remedy)


def _of_copies(spec: TopicSpec, settings: KafkaSettings, cluster: Cluster) -> Iterator[Difference]:
    found = cluster.copies[spec.name]
    if found < settings.replication_factor:
        wanted, means = f"at least {settings.replication_factor}", f"with a broker its records go, and {spec.when_lost}"
        remedy = "leaves it: `kafka-reassign-partitions` adds copies, while everything runs"
        yield Difference(spec.name, "replication factor", str(found), wanted, means, remedy)


def _of_setting(spec: TopicSpec, name: str, found: str, wanted: str, copies: int) -> Iterator[Difference]:
    """The difference of one setting, if there is one."""
    shown = _days if name == "retention.ms" else str
    if name == "cleanup.policy":
        if found != wanted:
            yield Difference(spec.name, name, found, wanted, spec.when_lost, f"sets it to {wanted}", wanted)
    elif _number(found) < _number(wanted):
        means = {
            "retention.ms": spec.when_lost,
            "max.message.bytes": "models that are too large are refused: payments go on being scored by an old one",
            "min.insync.replicas": f"what one broker alone has acknowledged goes with it, and {spec.when_lost}",
        }[name]
        least, remedy, value = f"at least {shown(wanted)}", f"sets it to {wanted}", wanted
        if name == "min.insync.replicas" and copies < int(wanted):
            # Set now, it would have the broker refuse every record.
            yield Difference(spec.name, name, found, least, means, "leaves it until there are so many copies")
        else:
            yield Difference(spec.name, name, shown(found), least, means, remedy, value)
    elif name == "retention.ms" and spec.not_longer and _number(found) > _number(wanted):
        remedy = (
            f"leaves it, for that removes records: kafka-configs --alter --topic {ALERTS} --add-config {name}={wanted}"
        )
        yield Difference(spec.name, name, shown(found), f"at most {shown(wanted)}", spec.when_lost, remedy)


def _number(value: str) -> float:
    """A setting as a number; -1 stands for no bound."""
    return float("inf") if value == _FOR_EVER else float(value)


def _days(value: str) -> str:
    if value == _FOR_EVER:
        return "for ever"
    days = int(value) / _DAY_MS
    return f"{days:,.0f} days" if days == int(days) else f"{days:,.2f} days"
