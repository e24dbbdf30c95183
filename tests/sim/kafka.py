"""A simulated Kafka: logs in memory, consumer groups, producers whose records travel."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaError

from streams.murmur2 import partition_of
from streams.records import Headers, ReadRecord, TopicPartition
from streams.recovery import Tails
from streams.topics import LABELS, TOPICS_BY_NAME, TRANSACTIONS
from tests.sim.loop import ProcessDiedError
from tests.sim.world import EPOCH_MS, Process, World

_GAPPED = (TRANSACTIONS, LABELS)


class SimLogs:
    """All partitions of all topics."""

    def __init__(self, world: World, partitions: int) -> None:
        """Empty logs; topics keyed by card have `partitions`."""
        self._world = world
        self._keyed = partitions
        self._records: dict[TopicPartition, list[ReadRecord]] = {}
        self._offsets: dict[TopicPartition, list[int]] = {}

    def partitions_of(self, topic: str) -> int:
        return TOPICS_BY_NAME[topic].partition_count(self._keyed)

    def append(
        self, topic: str, partition: int | None, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> ReadRecord:
        """Write a record; without a partition the key chooses it."""
        if partition is None or partition < 0:
            partition = partition_of(key or b"", self.partitions_of(topic))
        place = TopicPartition(topic, partition)
        offset = self.end(place)
        if topic in _GAPPED and self._world.chance(self._world.chances.gap):
            offset += self._world.rng.randint(1, 3)  # what a transaction's marker or compaction leaves
        pairs = tuple(headers)
        now_ms = EPOCH_MS + int(self._world.now_s * 1000)
        record = ReadRecord(topic, partition, offset, now_ms, key, value, pairs)
        self._records.setdefault(place, []).append(record)
        self._offsets.setdefault(place, []).append(offset)
        return record

    def take_input(self, other: SimLogs) -> None:
        """Hold the same transactions and labels as another world's logs."""
        for place, records in other._records.items():
            if place.topic in _GAPPED:
                self._records[place] = list(records)
                self._offsets[place] = [record.offset for record in records]

    def end(self, place: TopicPartition) -> int:
        offsets = self._offsets.get(place)
        return offsets[-1] + 1 if offsets else 0

    def read(self, place: TopicPartition, start: int, count: int | None = None) -> list[ReadRecord]:
        """Records from an offset on."""
        first = bisect_left(self._offsets.get(place, []), start)
        found = self._records.get(place, [])
        return found[first:] if count is None else found[first : first + count]

    def all(self, topic: str) -> list[ReadRecord]:
        """A whole topic, partition after partition."""
        places = (TopicPartition(topic, number) for number in range(self.partitions_of(topic)))
        return [record for place in places for record in self._records.get(place, [])]

    @contextmanager
    def open_tails(self, starts: Mapping[TopicPartition, int]) -> Iterator[Tails]:
        """See `streams.recovery.OpenTails`: records of different partitions come mixed in any way."""
        spans = {place: range(min(start, self.end(place)), self.end(place)) for place, start in starts.items()}
        yield spans, self._mixed([self.read(place, span.start) for place, span in spans.items()])

    def _mixed(self, runs: list[list[ReadRecord]]) -> Iterator[ReadRecord]:
        waiting = [iter(run) for run in runs if run]
        while waiting:
            run = self._world.rng.choice(waiting)
            for _ in range(self._world.rng.randint(1, 20)):
                record = next(run, None)
                if record is None:
                    waiting.remove(run)
                    break
                yield record


class _Report:
    """What a delivery report says of a record, in librdkafka's words."""

    def __init__(self, record: ReadRecord) -> None:
        self._record = record

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return self._record.partition

    def offset(self) -> int:
        return self._record.offset


Queued = tuple[bytes | None, bytes | None, Headers, Callable[[KafkaError | None, Any], None]]


class SimConnection:
    """See `streams.producer.Connection`: records wait in the process, travel in order, and are acknowledged later.

    Partitions are independent of each other. What waits when the process dies is lost, but for what was on its way.
    """

    def __init__(self, logs: SimLogs, process: Process) -> None:
        """Send from `process` to `logs`."""
        self._logs = logs
        self._process = process
        self._world = process.world
        self._queues: dict[TopicPartition, list[Queued]] = {}
        self._acknowledged_s: dict[TopicPartition, float] = {}
        process.at_death.append(self._die)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        *,
        on_delivery: Callable[[KafkaError | None, Any], None],
        headers: list[tuple[str, str | bytes | None]],
    ) -> None:
        self._process.operation()
        if partition < 0:
            partition = partition_of(key or b"", self._logs.partitions_of(topic))
        place = TopicPartition(topic, partition)
        pairs = tuple((name, data.encode() if isinstance(data, str) else data) for name, data in headers)
        queue = self._queues.setdefault(place, [])
        queue.append((key, value, pairs, on_delivery))
        if len(queue) == 1:
            self._world.after(self._world.delay_s(), lambda: self._travel(place))

    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        partition: int,
        *,
        on_delivery: Callable[[KafkaError | None, Any], None],
    ) -> int:
        for message in messages:
            self.produce(topic, message["value"], message["key"], partition, on_delivery=on_delivery, headers=[])
        return len(messages)

    def list_topics(self, topic: str | None = None, *, timeout: float) -> Any:
        """Nobody asks: the doors know."""
        raise NotImplementedError

    def close(self, timeout_s: float) -> None:  # noqa: ARG002 - it never takes as long
        for place, queue in self._queues.items():
            while queue:
                self._deliver(place, queue.pop(0))

    @property
    def is_empty(self) -> bool:
        return not any(self._queues.values())

    def _die(self) -> None:
        """Some of what waits was on its way."""
        for place, queue in self._queues.items():
            for key, value, headers, _ in queue[: self._world.rng.randint(0, len(queue))]:
                self._logs.append(*place, key, value, headers)
        self._queues.clear()

    def _travel(self, place: TopicPartition) -> None:
        """Bring some of what waits into the log."""
        world, queue = self._world, self._queues.get(place)
        if not queue or not self._process.is_alive:
            return
        if self._process.is_paused:
            world.after(self._process.paused_until_s - world.now_s, lambda: self._travel(place))
            return
        if world.chance(world.chances.refused_output):
            self._refuse(place)
            return
        for _ in range(world.rng.randint(1, len(queue))):
            self._deliver(place, queue.pop(0))
        if queue:
            world.after(world.delay_s(), lambda: self._travel(place))

    def _deliver(self, place: TopicPartition, queued: Queued) -> None:
        """Append a record, and let its acknowledgement travel."""
        key, value, headers, on_delivery = queued
        report = _Report(self._logs.append(*place, key, value, headers))

        def acknowledge() -> None:
            if self._process.is_alive:
                with suppress(ProcessDiedError):
                    on_delivery(None, report)

        # Acknowledgements of a partition come in its order, as librdkafka reports them.
        at_s = max(self._acknowledged_s.get(place, 0.0), self._world.now_s + self._world.delay_s())
        self._acknowledged_s[place] = at_s
        self._world.after(at_s - self._world.now_s, acknowledge)

    def _refuse(self, place: TopicPartition) -> None:
        """Report everything that waits for a partition as timed out; some of it is in the log all the same."""
        queue = self._queues.pop(place)
        self._world.note(f"{self._process.name}: {len(queue)} records for {place.topic} time out")
        written = self._world.rng.randint(0, len(queue))
        for number, (key, value, headers, on_delivery) in enumerate(queue):
            if number < written:
                self._logs.append(*place, key, value, headers)
            report = _Report(ReadRecord(*place, -1, 0, key, value, headers))
            with suppress(ProcessDiedError):
                on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), report)
