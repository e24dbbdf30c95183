"""Rows of shared entities between score workers (DESIGN, decision 8; `detector.shared_rows`).

For each partition it owns a worker publishes what its records change in shared entities, to the partition of
`cardwatch.entity-rows.v1` with the same number. It reads the rows of all others and applies them between batches.
How far it has come with each partition stands inside the shared entities, so that a checkpoint holds both or neither:

    1. Who takes a partition over reads its rows from where its shared entities stand to the end that the topic has now.
       The former owner's last words are then known; those that it did not get out are made anew from the log.
    2. It replays the partition's log from its checkpoint. Shared entities change only by what they do not contain yet.
    3. It publishes rows of everything that it replays. They were there before, or not: nobody applies one twice.

Rows that Kafka has removed before they were read are missed, unless the partition's own replay makes them anew: counted
and told, for the entities lack them for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from detector.errors import SharedRowsError
from detector.layout import OF_LABELS, OF_TRANSACTIONS
from detector.sources import SharedRows
from streams.core import ScoringCore
from streams.doors import Follower
from streams.events import Outgoing
from streams.metrics import StreamMetrics
from streams.producer import Producer
from streams.records import ReadRecord, TopicPartition
from streams.recovery import OpenTails
from streams.topics import ENTITY_ROWS

# 360 KB a record, and some milliseconds to apply.
_ROWS_A_RECORD = 4096
# So many rows are applied at once, a microsecond each, while the stream waits; a record costs as much as some of them.
_ROWS_AT_ONCE, _ROWS_AS_LONG_AS_A_RECORD = 4096, 16
# After a batch of our own, so many rows for each of its records: those of four other workers.
_ROWS_A_RECORD_OF_OURS, _LEAST_ROWS = 4, 1024
_READ_AT_ONCE = 64
_LOGS = (int(OF_TRANSACTIONS), int(OF_LABELS))
logger = logging.getLogger(__name__)

# A record, and the rows it holds; None where it holds none of its partition.
_Decoded = tuple[ReadRecord, SharedRows | None]


@dataclass(slots=True)
class _Tail:
    """What the topic holds of a partition just opened.

    Attributes:
        waiting: what is read and not applied.
        is_wanted: whether it is to be applied; None until the first rows of a log are read, for not all can tell.
    """

    waiting: list[_Decoded]
    is_wanted: bool | None = None


class EntityRows:
    """What a score worker says to others of shared entities, and hears of them."""

    def __init__(
        self,
        core: ScoringCore,
        producer: Producer,
        follower: Follower,
        metrics: StreamMetrics,
        clock: Callable[[], int],
    ) -> None:
        """Publish by `producer`, hear through `follower`; `clock` says UTC epoch milliseconds."""
        self._clock = clock
        self._core = core
        self._producer = producer
        self._follower = follower
        self._metrics = metrics
        self._partitions: frozenset[int] = frozenset()
        self._others: frozenset[int] = frozenset()

    def start(self, partitions: int) -> None:
        """Begin: the source has so many partitions."""
        self._partitions = frozenset(range(partitions))
        self._core.follow(self._partitions)
        self._follower.start()

    def close(self) -> None:
        """Hear no more; blocks."""
        self._follower.close()

    async def publish(self, rows: SharedRows) -> None:
        """Tell others what records of an own partition change.

        Raises:
            ProducerError: Kafka takes nothing.
        """
        # Where nothing became genuine by itself there is nothing to tell; of logs all is told, so that gaps show.
        if len(rows) or (rows.source in _LOGS and rows.next > rows.first):
            for piece in rows.cut(_ROWS_A_RECORD):
                await self._producer.send(Outgoing(ENTITY_ROWS, piece.partition, None, piece.to_bytes()))

    def follow_others(self, owned: Iterable[int]) -> None:
        """Hear of all partitions but these, from where shared entities stand."""
        self._others = self._partitions - frozenset(owned)
        self._follower.follow({number: self._core.rows_position(number) for number in self._others})

    def lag(self) -> int | None:
        """Records of other workers that are in the topic and not applied; None until all ends are known."""
        ends = self._follower.ends()
        if self._others - ends.keys():
            return None
        return sum(max(0, ends[number] - self._core.rows_position(number)) for number in self._others)

    async def catch_up(self, partitions: Iterable[int], open_tails: OpenTails) -> None:
        """Apply all rows of some partitions, just opened, that there are now.

        Where the first of them are gone that the shared entities lack, and the partition's own log is about to be
        replayed from before there, its rows are left alone: the replay makes all of them anew.

        Raises:
            RecoveryError: they cannot be read to their ends.
        """
        starts = {TopicPartition(ENTITY_ROWS, number): self._core.rows_position(number) for number in partitions}
        tails = {place.partition: _Tail([]) for place in starts}
        with open_tails(starts) as (_, records):
            while read := await asyncio.to_thread(_some, records):
                for record in read:
                    self._catch_up_with(tails[record.partition], record)
        for tail in tails.values():
            if tail.is_wanted is None:
                self._apply_all(tail.waiting)

    def _catch_up_with(self, tail: _Tail, record: ReadRecord) -> None:
        """Apply a record of a partition just opened, let it wait until the partition's are known, or leave it alone."""
        if tail.is_wanted is False:
            return
        rows = self._rows_of(record)
        if tail.is_wanted is None and rows is not None and rows.source in _LOGS:
            tail.is_wanted = not self._core.will_be_replayed(rows)
        tail.waiting.append((record, rows))
        if tail.is_wanted:
            self._apply_all(tail.waiting)

    def _apply_all(self, waiting: list[_Decoded]) -> None:
        """Apply records, and empty the list."""
        for record, rows in waiting:
            self._apply(record, rows)
        waiting.clear()

    def apply_after(self, records: int) -> None:
        """Apply what other workers may have done while we handled so many records; raises as `apply_waiting`."""
        self.apply_waiting(max(_LEAST_ROWS, records * _ROWS_A_RECORD_OF_OURS))

    def apply_waiting(self, most: int = _ROWS_AT_ONCE) -> bool:
        """Apply about `most` rows; returns whether more may wait. The caller stands between two batches.

        Raises:
            BroadcastError: rows cannot be read any more.
            StateError: shared entities can take no more.
        """
        done = 0
        while done < most:
            record = self._follower.take()
            if record is None:
                return False
            rows = self._rows_of(record)
            self._apply(record, rows)
            done += (0 if rows is None else len(rows)) + _ROWS_AS_LONG_AS_A_RECORD
            self._metrics.rows_heard(record.timestamp, self._clock())
        return True

    def note_positions(self, owned: Iterable[int]) -> None:
        """Note in shared entities up to where the topic holds rows of own partitions: they contain all of those."""
        for number in owned:
            end = self._producer.positions.get(TopicPartition(ENTITY_ROWS, number))
            if end is not None:
                self._core.rows_read(number, end)

    def _apply(self, record: ReadRecord, rows: SharedRows | None) -> None:
        """Apply a record. What is none of ours is counted and passed over."""
        if rows is None:
            self._metrics.broadcast_rejected.labels(ENTITY_ROWS).inc()
        else:
            applied = self._core.apply_rows(rows)
            self._metrics.rows_applied.inc(applied.rows)
            self._metrics.missed_rows(record.partition, applied.missed)
        self._core.rows_read(record.partition, record.offset + 1)

    @staticmethod
    def _rows_of(record: ReadRecord) -> SharedRows | None:
        """The rows of a record; None where it holds none of its partition."""
        try:
            rows = SharedRows.from_bytes(record.value or b"")
        except SharedRowsError as error:
            logger.warning("%s: offset %d passed over: %s", ENTITY_ROWS, record.offset, error)
            return None
        return rows if rows.partition == record.partition else None


def _some(records: Iterator[ReadRecord]) -> list[ReadRecord]:
    """The next few records."""
    return list(islice(records, _READ_AT_ONCE))
