"""The broker's side of a measurement: topics, payments in, decisions counted and read back."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
from confluent_kafka import KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from cardwatch.kafka import client_options, create_topics, reader, wait_led, wanted_topics
from cardwatch.settings import KafkaSettings, load_settings
from cardwatch.simulator.kafka import headers
from streams.topics import ALERTS, DECISIONS, TOPICS_BY_NAME, TRANSACTIONS
from tests.services.kafka_broker import running_kafka

# By the models that a peer runs: where it puts its answers.
PEER_DECISIONS = {models: f"peer.{models}.decisions.v1" for models in ("both", "logistic", "forest")}
_READ_AT_ONCE = 10_000
_WAIT_S = 60.0
_FLUSH_S = 120.0
_SAY_EVERY_S = 2.0
_LOOK_EVERY_S = 0.1
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
# The broker's own clock stamps what is measured: when it was there to be read, not when somebody meant to send it.
_BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}


class CountError(Exception):
    """What was read back is not what must be there."""


def kafka_settings(bootstrap_servers: str) -> KafkaSettings:
    """The shipped settings of Kafka, for one broker."""
    return load_settings(flags={"kafka": {"bootstrap_servers": bootstrap_servers, "replication_factor": 1}}).kafka


@contextmanager
def own_cluster() -> Iterator[tuple[KafkaSettings, Path]]:
    """A broker of its own with all topics, and the folder that holds it, both gone afterwards."""
    scratch = results.CACHE / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name, running_kafka(Path(name) / "kafka") as broker:
        kafka = kafka_settings(broker.bootstrap_servers)
        prepare_topics(kafka)
        yield kafka, Path(name)


def prepare_topics(kafka: KafkaSettings) -> None:
    """Make all topics; decisions are stamped by the broker's clock."""
    create_topics(kafka, [name for name in wanted_topics(kafka) if name != DECISIONS])
    make_plain_topics(kafka, (DECISIONS, *PEER_DECISIONS.values()))


def make_plain_topics(kafka: KafkaSettings, names: Sequence[str]) -> None:
    """Make topics like that of decisions, stamped by the broker's clock."""
    settings = {**TOPICS_BY_NAME[DECISIONS].kafka_settings(), **_BROKER_TIME}
    new = [NewTopic(name, num_partitions=kafka.partitions, replication_factor=1, config=settings) for name in names]
    admin = AdminClient(client_options(kafka))
    for future in admin.create_topics(new).values():
        future.result()
    wait_led(kafka, dict.fromkeys(names, kafka.partitions))


def produce(kafka: KafkaSettings, payments: Path, options: Options, most: int | None = None) -> float:
    """Send the payments of a file, or so many of them, as payment systems do; returns the seconds it took.

    Raises:
        CountError: the broker did not take all of them.
    """
    producer = Producer(
        client_options(kafka)
        | {"enable.idempotence": True, "partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5}
        | {"queue.buffering.max.messages": 500_000}
    )
    started_s = time.monotonic()
    batches = pq.ParquetFile(payments).iter_batches(_READ_AT_ONCE)
    records = chain.from_iterable(batch.to_pylist() for batch in batches)
    for number, record in enumerate(islice(records, most)):
        ce = headers(record) if options.with_headers else []
        while True:
            try:
                producer.produce(TRANSACTIONS, record["value"], record["key"], headers=ce)
                break
            except BufferError:
                producer.poll(0.1)
        if number % _READ_AT_ONCE == 0:
            producer.poll(0)
    if producer.flush(_FLUSH_S):
        message = "the broker did not take all payments"
        raise CountError(message)
    return time.monotonic() - started_s


class Ends:
    """Asks for the ends of a topic's partitions, cheaply enough to be asked many times a second."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Connect lazily."""
        self._admin = AdminClient(client_options(kafka))
        self._partitions = range(kafka.partitions)

    def records(self, topic: str) -> int:
        """Number of records of a topic that loses none."""
        asked = {TopicPartition(topic, partition): _LATEST for partition in self._partitions}
        return sum(future.result().offset for future in self._admin.list_offsets(asked).values())


def read_all(kafka: KafkaSettings, topic: str) -> Iterator[Message]:
    """Every record of a topic, as it stands now.

    Raises:
        CountError: Kafka stops giving records before the end.
    """
    consumer = reader(kafka)
    try:
        places = [TopicPartition(topic, partition, 0) for partition in range(kafka.partitions)]
        left = sum(consumer.get_watermark_offsets(place, timeout=_WAIT_S)[1] for place in places)
        consumer.assign(places)
        while left:
            messages = consumer.consume(min(left, _READ_AT_ONCE), timeout=_WAIT_S)
            if not messages:
                text = f"{topic}: {left} records are missing"
                raise CountError(text)
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                yield message
            left -= len(messages)
    finally:
        consumer.close()


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Payment(msgspec.Struct):
    transaction_id: str


class _Decision(msgspec.Struct):
    transaction_id: str
    action: str
    source: _Source


@dataclass(slots=True)
class Count:
    """What was found when all was read back.

    Attributes:
        payments: records of the source.
        decisions: records of the answers.
        duplicates: answers to an offset that had one already.
        missing: offsets of the source without an answer.
        foreign: answers that name another transaction than stands at their offset, or lie in another partition.
        actions: decisions by action.
        alerts: records of alerts.
        uncounted: answers that were given before time counts.
        first_ms, last_ms: the broker's time of the first answer that counts, and of the last.
    """

    payments: int = 0
    decisions: int = 0
    duplicates: int = 0
    missing: int = 0
    foreign: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    alerts: int = 0
    uncounted: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def require_exact(self) -> None:
        """Refuse anything but one right answer for each payment, and one alert for each that is not ALLOW.

        Raises:
            CountError: says what is wrong.
        """
        alarming = self.decisions - self.actions.get("ALLOW", 0)
        wrong = self.duplicates or self.missing or self.foreign or self.alerts != alarming
        if wrong or not self.payments or self.decisions != self.payments:
            message = f"payments and decisions do not agree: {self}"
            raise CountError(message)

    @property
    def span_s(self) -> float:
        """Seconds from the first answer that counts to the last, by the broker's clock."""
        return (self.last_ms - self.first_ms) / 1000.0

    @property
    def per_second(self) -> float:
        """Answers a second in that time."""
        return (self.decisions - self.uncounted) / self.span_s


def count_decisions(kafka: KafkaSettings, uncounted: int = 0) -> Count:
    """Read source, answers and alerts back, and compare them offset by offset; time counts behind so many answers."""
    count = Count(uncounted=uncounted)
    ids: list[dict[int, str]] = [{} for _ in range(kafka.partitions)]
    decode_payment = msgspec.json.Decoder(_Payment).decode
    for message in read_all(kafka, TRANSACTIONS):
        ids[_partition(message)][_offset(message)] = decode_payment(message.value() or b"").transaction_id
        count.payments += 1
    answered: list[set[int]] = [set() for _ in range(kafka.partitions)]
    decode = msgspec.json.Decoder(_Decision).decode
    times_ms = array("q")
    for message in read_all(kafka, DECISIONS):
        decision = decode(message.value() or b"")
        partition, offset = decision.source.partition, decision.source.offset
        count.decisions += 1
        count.actions[decision.action] = count.actions.get(decision.action, 0) + 1
        count.duplicates += offset in answered[partition]
        answered[partition].add(offset)
        right = ids[partition].get(offset) == decision.transaction_id and _partition(message) == partition
        count.foreign += not right
        times_ms.append(message.timestamp()[1])
    count.missing = count.payments - sum(map(len, answered))
    count.alerts = Ends(kafka).records(ALERTS)
    in_order = np.sort(np.array(times_ms, dtype=np.int64))
    count.first_ms, count.last_ms = int(in_order[uncounted]), int(in_order[-1])
    return count


@dataclass(slots=True)
class _Span:
    """The earliest and the latest time of records."""

    first_ms: int = 2**62
    last_ms: int = 0

    def note(self, message: Message) -> None:
        """Take one record in."""
        time_ms = message.timestamp()[1]
        self.first_ms = min(self.first_ms, time_ms)
        self.last_ms = max(self.last_ms, time_ms)


def rate_of(kafka: KafkaSettings, topic: str) -> tuple[int, float]:
    """Number of records of a topic, and seconds from the first to the last by the broker's clock."""
    times, records = _Span(), 0
    for message in read_all(kafka, topic):
        times.note(message)
        records += 1
    return records, (times.last_ms - times.first_ms) / 1000.0 if records else 0.0


def _partition(message: Message) -> int:
    """The partition of a record that was read."""
    partition = message.partition()
    return -1 if partition is None else partition


def _offset(message: Message) -> int:
    """The offset of a record that was read."""
    offset = message.offset()
    return -1 if offset is None else offset


@dataclass(slots=True)
class Curve:
    """How many answers there were when: seconds on the monotonic clock, and records."""

    seconds: list[float] = field(default_factory=list)
    records: list[int] = field(default_factory=list)

    def follow(
        self, ends: Ends, topic: str, wanted: int, check: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Look again and again until a topic has `wanted` records; `check` raises when that is hopeless."""
        said_s = time.monotonic()
        while True:
            check()
            found = ends.records(topic)
            now_s = time.monotonic()
            if found or self.records:
                self.seconds.append(now_s)
                self.records.append(found)
            if found >= wanted:
                return
            if now_s - said_s >= _SAY_EVERY_S:
                say(f"{found:,} of {wanted:,} decisions")
                said_s = now_s
            time.sleep(_LOOK_EVERY_S)

    @property
    def span_s(self) -> float:
        """Seconds from the first answer seen to the last."""
        return self.seconds[-1] - self.seconds[0]

    def behind(self, records: int) -> Curve:
        """The part that begins with so many records."""
        start = int(np.searchsorted(self.records, records))
        return Curve(self.seconds[start:], self.records[start:])

    def rates(self) -> NDArray[np.float64]:
        """Records a second between looks about a second apart."""
        seconds, records = np.array(self.seconds), np.array(self.records, dtype=np.float64)
        marks = np.unique(np.searchsorted(seconds, np.arange(seconds[0], seconds[-1], 1.0)))
        if len(marks) < 2:
            marks = np.array([0, len(seconds) - 1])
        return np.asarray(np.diff(records[marks]) / np.diff(seconds[marks]), dtype=np.float64)
