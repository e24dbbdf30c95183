"""The thread of a group member's consumer: Faust's, with our assignor, and fetches that nothing is lost between.

Part of the batch seam (`streams.seam`); it runs in an event loop of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.cooperation import StayingAssignor, cooperate, know_first

# How long a fetch waits for the first record.
FETCH_WAIT_S = 1.0
# How long a broker may hold back the answer to a fetch that finds nothing. Faust says 1,500 ms. A real broker answers
# as soon as a record comes; librdkafka's mock cluster always waits to the end, which would be its latency.
_FETCH_WAIT_MS = 500
_EMBEDDED_FETCH_WAIT_MS = 10


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread: our assignor, our lock around fetches, and what the seam asks of aiokafka's consumer."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # One fetch after the other: one that looks for something seeks, and would take from the position of another.
        # Nobody looks while another fetch is wanted (`_BatchConsumer`): this thread has two workers, and who waits here
        # keeps one of them from commits and seeks.
        self._fetching = asyncio.Lock()

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust takes aiokafka's round-robin assignor when an app has no tables. It deals out partitions without
        # regard to their topics; by range, partition p of every topic goes to the same worker.
        shell = self._shell
        self._assignor = StayingAssignor() if shell.may_go_on else RangePartitionAssignor
        consumer._partition_assignment_strategy = (self._assignor,)  # noqa: SLF001
        # As our plain consumers do: what a payment system has aborted was never paid.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        embedded = shell.settings.embedded
        consumer._fetch_max_wait_ms = _EMBEDDED_FETCH_WAIT_MS if embedded else _FETCH_WAIT_MS  # noqa: SLF001
        return consumer

    @property
    def _shell(self) -> Any:
        app: Any = self.app
        return app.shell

    async def on_start(self) -> None:
        """Start as Faust does, and have the group dealt out as `streams.cooperation` says."""
        await super().on_start()
        if isinstance(self._assignor, StayingAssignor):
            cooperate(self._consumer, self._assignor, self._shell)
        else:
            know_first(self._consumer)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's name
        max_records: int | None = None,
    ) -> Any:
        """Fetch; what comes while nothing may be delivered is put back.

        A fetch may wait through a rebalance and end between its seek and the end of the flow's pause: what it brings
        would be dropped, and the seek that goes back to it is over. Seeks are made in this thread as well.
        """
        async with self._fetching:
            records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
            if self.consumer.flow_active:
                return records
            for tp, found in records.items():
                if tp in consumer.assignment():
                    consumer.seek(tp, found[0].offset)
            return {}

    async def find(self, partition: TP, offset: int) -> int | None:
        """See `Membership`; where the partition is not ours any more, nothing is sought."""
        async with self._fetching:
            return await self._find(partition, offset)

    async def _find(self, partition: TP, offset: int) -> int | None:
        consumer: Any = self._consumer
        if partition not in consumer.assignment():
            return None
        consumer.seek(partition, offset)
        before = consumer.assignment()
        records = await super()._fetch_records(consumer, {partition}, timeout=FETCH_WAIT_S, max_records=1)
        if consumer.assignment() is not before:
            return None  # whoever takes it over now seeks for itself
        first: int | None = min((found[0].offset for found in records.values()), default=None)
        reached = self.read_to(partition)
        if first is None and reached is not None and reached > offset:
            return reached  # what was aborted or compacted may be more than one look can read
        consumer.seek(partition, offset if first is None else first)
        return first

    def readable_to(self, partition: TP) -> int | None:
        """Where a reader that waits for transactions to end has everything; None before the first fetch."""
        consumer: Any = self._consumer
        end: int | None = consumer.highwater(partition)
        stable: int | None = consumer.last_stable_offset(partition)
        return end if stable is None or stable < 0 else stable

    def held_up(self, partition: TP) -> tuple[int, int] | None:
        """From where and up to where an open transaction keeps records from being read; None where none does."""
        consumer: Any = self._consumer
        end, readable = consumer.highwater(partition), self.readable_to(partition)
        return (readable, end) if end is not None and readable is not None and readable < end else None

    def read_to(self, partition: TP) -> int | None:
        """Up to where a partition was read, gaps at its end included; None where nothing was sought yet."""
        subscription = self._consumer and self._consumer._subscription.subscription  # noqa: SLF001
        state = subscription and subscription.assignment and subscription.assignment.state_value(partition)
        position: int | None = state._position if state else None  # noqa: SLF001
        return position

    async def seek_back(self, partition: TP, offset: int) -> None:
        """Read on from an offset, where the partition is still ours."""
        consumer: Any = self._consumer
        if partition in consumer.assignment():
            consumer.seek(partition, offset)

    async def take_coordinator_error(self) -> Exception | None:
        """Take the error that aiokafka's coordinator holds out to its user, so that it goes on.

        It waits for somebody to take it in `getmany`, which Faust goes around: without this, one refused join leaves a
        worker that is alive and never reads again.
        """
        if self._consumer is None:
            return None
        try:
            self._consumer._coordinator.check_errors()  # noqa: SLF001
        except KafkaError as error:
            return error  # type: ignore[no-any-return] # aiokafka has no types
        return None
