"""The doors of a role: everything through which it reaches Kafka, behind ports, so that a simulation can stand there.

Behind `KafkaDoors` are Faust, librdkafka and a broker. `tests/sim` has doors to a log in memory, on a clock of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from streams.broadcast import Broadcast
from streams.cluster import ClusterFacts, look_at
from streams.producer import Producer, open_producer
from streams.records import ReadRecord, TopicPartition
from streams.recovery import OpenTails, open_tails
from streams.row_follower import RowFollower
from streams.seam import StreamShell
from streams.settings import StreamSettings
from streams.turns import BatchHandler, Result
from telemetry.vitals import Vitals


class Shell(Protocol):
    """A role's membership in its group, around its `BatchHandler`; see `StreamShell`."""

    async def start(self) -> None:
        """Join the group and begin to read."""
        ...

    async def stop(self) -> None:
        """Finish the batch in hand, let the handler save, leave the group."""
        ...

    async def wait_broken(self) -> None:
        """Return only by raising `WorkerError`."""
        ...

    async def break_down(self, error: BaseException) -> None:
        """Record a failure that ends the role."""
        ...

    async def alone(self, work: Awaitable[Result]) -> Result:
        """Run work of the role while no call of the handler runs."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit the next offsets to read; False where the group has moved on."""
        ...

    def lag(self) -> dict[TopicPartition, int]:
        """Records between what was delivered and the end of each partition."""
        ...


class Broadcasts(Protocol):
    """What every worker must know, read whole by each; see `Broadcast`."""

    def start(self) -> None:
        """Begin to read."""
        ...

    def wait_caught_up(self) -> None:
        """Return when everything is read that was there at the start; blocks."""
        ...

    def take(self) -> list[ReadRecord]:
        """What was read since the last call, in order; of models only the last."""
        ...

    def close(self) -> None:
        """Stop reading; blocks."""
        ...


class Follower(Protocol):
    """Rows of shared entities that other workers publish; see `RowFollower`."""

    def start(self) -> None:
        """Begin to read."""
        ...

    def follow(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, and nothing else."""
        ...

    def take(self) -> ReadRecord | None:
        """The next record that waits."""
        ...

    def ends(self) -> Mapping[int, int]:
        """The next offset of each partition that is followed, as far as is known."""
        ...

    def close(self) -> None:
        """Stop reading; blocks."""
        ...


class Doors(Protocol):
    """Makes what a role reaches Kafka through."""

    def producer(self) -> Producer:
        """A producer of outputs."""
        ...

    def broadcasts(self, topics: tuple[str, ...]) -> Broadcasts:
        """A reader of whole topics."""
        ...

    def follower(self) -> Follower:
        """A reader of other workers' rows of shared entities."""
        ...

    def shell(self, role: str, topics: tuple[str, ...], handler: BatchHandler) -> Shell:
        """A member of the role's group."""
        ...

    def look_at(self, topics: tuple[str, ...], producer: Producer) -> ClusterFacts:
        """Check the topics of a role; blocks.

        Raises:
            TopicError: a topic is missing or has the wrong number of partitions.
        """
        ...

    @property
    def open_tails(self) -> OpenTails:
        """What reads the ends of output topics back."""
        ...


class KafkaDoors:
    """The doors to a Kafka cluster."""

    def __init__(self, settings: StreamSettings, vitals: Vitals) -> None:
        """Nothing connects yet; what keeps a role from being ready is told to `vitals`."""
        self._settings = settings
        self._vitals = vitals

    def producer(self) -> Producer:
        """See `Doors`."""
        return open_producer(self._settings)

    def broadcasts(self, topics: tuple[str, ...]) -> Broadcast:
        """See `Doors`."""
        return Broadcast(topics, self._settings)

    def follower(self) -> RowFollower:
        """See `Doors`."""
        return RowFollower(self._settings)

    def shell(self, role: str, topics: tuple[str, ...], handler: BatchHandler) -> StreamShell:
        """See `Doors`."""
        return StreamShell(role, topics, handler, self._settings, self._vitals)

    def look_at(self, topics: tuple[str, ...], producer: Producer) -> ClusterFacts:
        """See `Doors`."""
        return look_at(topics, producer, self._settings)

    @property
    def open_tails(self) -> OpenTails:
        """See `Doors`."""
        return lambda starts: open_tails(self._settings, starts)
