"""The batch seam: Faust keeps the group, we take whole fetches (DESIGN, decisions 2 and 3; docs/decisions).

Faust hands every message through four asyncio tasks, which ends near 8,000 to 20,000 events a second. Here its consumer
gives the list of records that one fetch brought for one partition to a `BatchHandler` instead. Faust still joins the
group, follows assignments, fetches, and commits what we say; it acknowledges nothing itself.

It overrides and reads private names of Faust and aiokafka; `streams.seam_names` lists them.

    what happens              what Faust does                             what the handler sees
    group gets partitions     pauses, then `perform_seek`                 assigned() -> the offsets to go on from
    a fetch returns           `_drain_messages`                           batch(), one partition after the other
    group takes them away     stops the flow, signals                     revoked(), after the batch in hand is done
    graceful stop             stops fetching, `on_before_shutdown`        stopping(), while commits still work
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Awaitable, Mapping
from typing import Any

import faust
from aiokafka.errors import (  # type: ignore[import-untyped]
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaConsumer
from faust.transport.drivers.aiokafka import Transport
from faust.types import TP

from streams.errors import WorkerError
from streams.records import TopicPartition
from streams.seam_names import check_versions
from streams.seam_security import broker_credentials
from streams.seam_thread import FETCH_WAIT_S, ConsumerThread
from streams.settings import StreamSettings
from streams.tasks import end_tasks
from streams.turns import BatchHandler, PreparingHandler, Result, Turns
from telemetry.vitals import Vitals

_IDLE_S = 0.05
# A spare worker without partitions polls nothing; a short limit would throw it out of the group again and again.
_MAXIMUM_POLL_INTERVAL_S = 24 * 3600.0
_STALL_CHECKS = 6
_COORDINATOR_CHECK_S = 0.5

logger = logging.getLogger(__name__)


class _BatchConsumer(AIOKafkaConsumer):
    """Faust's consumer, draining whole fetches into the shell."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._assigned_in = 0

    def _new_consumer_thread(self) -> Any:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Loop until stopped: fetch, check that the assignment is still the one fetched for, deliver."""
        shell = _shell_of(self.app)
        ahead: asyncio.Task[Any] | None = None
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001
                # Without partitions Faust looks again after a second, which payments of those that come would wait for.
                if ahead is None and self.flow_active and not self._get_active_partitions():
                    await asyncio.sleep(_IDLE_S)
                    continue
                records, _ = await (ahead or self._wait_next_records(timeout=FETCH_WAIT_S))
                fetched = {TopicPartition(tp.topic, tp.partition): found for tp, found in (records or {}).items()}
                ahead = self._fetch_ahead(fetched)
                await shell.turns.hand_over(fetched, self)
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the role and is told to its owner
            await shell.turns.break_down(error)
        finally:
            await end_tasks([ahead] if ahead is not None else [])

    def _fetch_ahead(self, fetched: Mapping[TopicPartition, list[Any]]) -> asyncio.Task[Any] | None:
        """Fetch what comes next while this is handled, where more is known to wait.

        The consumer's thread takes a fetch apart in the time that kernels leave the interpreter free. Whoever keeps up
        waits instead: a batch should hold all that has come meanwhile.
        """
        turns = _shell_of(self.app).turns
        if sum(map(len, fetched.values())) < self.app.conf.broker_max_poll_records or not turns.follows(fetched):
            return None
        return asyncio.create_task(self._wait_next_records(timeout=FETCH_WAIT_S), name="fetch ahead")

    def flows(self) -> bool:
        """See `Membership`."""
        return bool(self.flow_active)

    def generation(self) -> int:
        """See `Membership`."""
        return int(self.app.consumer_generation_id)

    async def find(self, partition: TopicPartition, offset: int) -> int | None:
        """See `Membership`."""
        thread: Any = self._thread
        first: int | None = await thread.call_thread(thread.find, TP(*partition), offset)
        if first == offset:
            logger.warning("%s/%d: what was fetched from offset %d on did not arrive; it is fetched again",
                           *partition, offset)  # fmt: skip
        return first

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        """Note which rebalance this is the end of; the next one cannot begin before this returns."""
        self._assigned_in = self.app.rebalancing_count
        await super().on_partitions_assigned(assigned, generation_id)

    def _require_latest(self) -> None:
        """Refuse to end a rebalance while the next one is under way, or about to be for a member that is none any more.

        Faust would let records flow again, to a handler whose partitions are about to go. Who was thrown out of the
        group while it joined has no generation: whatever it wrote could not be told from what an owner writes.
        """
        if self.app.rebalancing_count != self._assigned_in or self.generation() < 0:
            raise RebalanceAgain

    def resume_flow(self) -> None:
        """Let records flow, unless the next rebalance has begun: its takeover lets them flow at its end."""
        if self.app.rebalancing_count == self._assigned_in:
            super().resume_flow()

    async def perform_seek(self) -> None:
        """Ask the handler where to go on, and seek there; Faust calls this last before the flow resumes."""
        self._require_latest()
        shell = _shell_of(self.app)
        assignment = frozenset(TopicPartition(tp.topic, tp.partition) for tp in self.assignment())
        try:
            positions = await shell.turns.take_over(assignment, self.generation())
            wanted = {TP(*tp): at for tp, at in positions.items() if at is not None}
            if len(wanted) < len(assignment):
                # Only for who wants it: it is a question to the coordinator for each partition.
                committed: Mapping[TP, int | None] = await self.seek_to_committed()
                for tp, at in committed.items():
                    if at is not None and at >= 0:
                        shell.turns.next_offsets.setdefault(TopicPartition(*tp), at)
            if wanted:
                await self.seek_wait(wanted)
        except Exception as error:
            await shell.turns.break_down(error)
            raise
        self._require_latest()

    def highwater(self, tp: Any) -> Any:
        """Up to where a partition can be read, as the last fetch said: to its end, or to a transaction that is open."""
        thread: Any = self._thread
        return thread.readable_to(tp)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's watchdog warns by its own acknowledgements, which we do not use; `StreamShell` has its own."""


class _BatchTransport(Transport):
    Consumer = _BatchConsumer


class _Tables(TableManager):
    """The tables of an app that has none. Faust waits a second for some to be declared before it joins its group."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _Boot(BootStrategy):
    enable_web = False
    # Outputs go through our own producer; Faust's would only hold a connection open.
    enable_kafka_producer = False


class _App(faust.App):
    """A Faust app whose consumer is ours."""

    BootStrategy = _Boot
    shell: StreamShell

    def _new_transport(self) -> Any:
        return _BatchTransport(self.conf.broker_consumer, self)


def _shell_of(app: Any) -> StreamShell:
    """The shell around an app of ours."""
    shell: StreamShell = app.shell
    return shell


def _new_app(group: str, settings: StreamSettings, data_directory: str) -> _App:
    """Configure Faust for one consumer group."""
    return _App(
        group,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=broker_credentials(settings.kafka_options),
        broker_client_id=settings.worker_name,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_request_timeout=max(settings.recovery_timeout_s, settings.session_timeout_s) + 30.0,
        broker_rebalance_timeout=settings.recovery_timeout_s,
        broker_max_poll_interval=_MAXIMUM_POLL_INTERVAL_S,
        broker_max_poll_records=settings.batch_rows,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,
        datadir=data_directory,
        store="memory://",
        TableManager=_Tables,
    )


class StreamShell:
    """One role's consumer group: Faust inside, a `BatchHandler` outside."""

    def __init__(
        self, role: str, topics: tuple[str, ...], handler: BatchHandler, settings: StreamSettings, vitals: Vitals
    ) -> None:
        """Prepare; nothing connects before `start`. A stall is told to `vitals` before it ends the role.

        Raises:
            SeamError: the installed Faust or aiokafka is not what the seam was written for.
        """
        check_versions()
        self.role = role
        self.turns = Turns(role, handler)
        self.settings = settings
        self._vitals = vitals
        self._data = tempfile.TemporaryDirectory(prefix="cardwatch-faust-")
        app: Any = _new_app(settings.group(role), settings, self._data.name)
        app.shell = self
        self._app = app
        for topic in topics:
            app.topics.add(app.topic(topic, acks=False, value_serializer="raw", key_serializer="raw"))
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_before_shutdown.connect(self._on_before_shutdown)
        # On the embedded broker one worker is alone, and needs no more rebalances than there have to be.
        self.may_go_on = isinstance(handler, PreparingHandler) and not settings.embedded
        self._loop: asyncio.AbstractEventLoop | None = None
        self._staying: frozenset[TopicPartition] = frozenset()
        # By partition, from where and up to where nothing was delivered at the last check, and where it was read again.
        self._undelivered: dict[TopicPartition, tuple[int, int]] = {}
        self._read_twice: dict[TopicPartition, tuple[int, int]] = {}
        # By partition, where an open transaction holds it up, and at how many checks it has.
        self._open: dict[TopicPartition, tuple[int, int]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the group and begin to read. Returns at once; `wait_broken` tells of failures."""
        self.turns.note_progress()
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.create_task(self._app.start(), name=f"{self.role} faust start")
        self._tasks = [
            asyncio.create_task(self._run(self._starting), name=f"{self.role} faust"),
            asyncio.create_task(self._watch_progress(), name=f"{self.role} watchdog"),
            asyncio.create_task(self._watch_coordinator(), name=f"{self.role} coordinator"),
        ]

    async def stop(self) -> None:
        """Leave: the batch in hand is finished, `stopping` is called, then the group is left."""
        if self._app._consumer is not None:  # noqa: SLF001
            # Who gives the batch in hand up must not be given the one behind it.
            self._app.consumer.stop_flow()
        self.turns.interrupt()
        await end_tasks(self._tasks)
        if self._starting is not None:
            # A Faust that is stopped in the middle of its start leaves its consumer's thread running for ever.
            await asyncio.wait([self._starting])
        await self._app.stop()
        self._data.cleanup()

    async def wait_broken(self) -> None:
        """Return only by raising: when the handler or Faust has failed.

        Raises:
            WorkerError: names the role; the cause is attached.
        """
        await self.turns.wait_broken()

    async def break_down(self, error: BaseException) -> None:
        """Record a failure that ends the role; the first one counts."""
        await self.turns.break_down(error)

    async def alone(self, work: Awaitable[Result]) -> Result:
        """Run work of the role while no call of the handler runs; see `Turns`."""
        return await self.turns.alone(work)

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """See `streams.cooperation.Keeper`."""
        if self._loop is not None and not self._app.should_stop:
            await asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(self.turns.prepare(partitions, generation), self._loop)
            )

    def stay(self, partitions: frozenset[TopicPartition]) -> None:
        """See `streams.cooperation.Keeper`."""
        self._staying = partitions

    def is_taking_over(self) -> bool:
        """See `streams.cooperation.Keeper`."""
        return bool(self._app.rebalancing)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit the next offsets to read; False where the group has moved on and the commit means nothing."""
        faust_offsets = {TP(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        return bool(await self._app.consumer._commit(faust_offsets))  # noqa: SLF001

    def lag(self) -> dict[TopicPartition, int]:
        """Records between what was delivered and the end of each partition, as far as the last fetch knows."""
        consumer = self._app.consumer
        lags: dict[TopicPartition, int] = {}
        for tp in self.turns.taken:
            end = consumer.highwater(TP(tp.topic, tp.partition))
            if end is not None:
                lags[tp] = max(0, end - self._read_to(tp))
        return lags

    def _read_to(self, partition: TopicPartition) -> int:
        """What was delivered of a partition, and what of the log behind that is known to hold no record."""
        next_offset = self.turns.next_offsets.get(partition, 0)
        known = self._read_twice.get(partition)
        if known is None or known[0] != next_offset or self.turns.is_handing_over:
            return next_offset
        position = self._app.consumer._thread.read_to(TP(*partition)) or 0  # noqa: SLF001
        return max(next_offset, min(known[1], position))

    async def _read_again(self) -> None:
        """Read what did not arrive between two checks once more: it comes now, or is a gap, as a transaction's end."""
        thread = self._app.consumer._thread  # noqa: SLF001
        before, self._undelivered = self._undelivered, {}
        for partition in self.turns.taken:
            next_offset = self.turns.next_offsets.get(partition)
            position = thread.read_to(TP(*partition))
            if next_offset is None or position is None or position <= next_offset or self.turns.is_handing_over:
                continue
            self._undelivered[partition] = next_offset, position
            if next_offset == before.get(partition, (-1, 0))[0] and position > before[partition][1]:
                self.turns.note_progress()  # what is read was aborted: nothing comes of it, and nothing is stuck
            elif before.get(partition) == (next_offset, position) != self._read_twice.get(partition):
                self._read_twice[partition] = next_offset, position
                with contextlib.suppress(TimeoutError):
                    seek = thread.call_thread(thread.seek_back, TP(*partition), next_offset)
                    await asyncio.wait_for(seek, FETCH_WAIT_S)

    async def _run(self, starting: asyncio.Task[None]) -> None:
        """Wait for Faust to start and then to crash; a crash inside Faust is a failure of the role."""
        try:
            await asyncio.shield(starting)
            await self._app._crashed.wait()  # noqa: SLF001
            await self.break_down(self._app.crash_reason or WorkerError("Faust stopped"))
        except Exception as error:  # noqa: BLE001 - whatever ends Faust ends the role, and is told to its owner
            await self.break_down(error)

    async def _watch_progress(self) -> None:
        """End the role when there is something to read and nothing is read; be not ready well before.

        A `perform_seek` slower than `broker_request_timeout` within a rebalance, for one, ends Faust's recovery
        silently and leaves a worker that never fetches again.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.settings.stall_timeout_s / _STALL_CHECKS)
            waited_s = loop.time() - self.turns.progress_s
            if self.turns.taken:
                await self._read_again()
            waiting = self.waits_for()
            if waiting is None:
                self.turns.note_progress()
            elif waited_s > self.settings.stall_timeout_s:
                await self.break_down(WorkerError(f"no progress for {waited_s:.0f} s: {waiting}"))
                return
            self._vitals.waits_for("transaction", self._held_up() if self.turns.taken else None)
            is_late = waiting is not None and waited_s > self.settings.stall_timeout_s / 2
            self._vitals.waits_for("progress", f"{waiting}, for {waited_s:.0f} s" if is_late else None)

    def _held_up(self) -> str | None:
        """What an open transaction has kept from being read since the last check but one, at least."""
        thread, before = self._app.consumer._thread, self._open  # noqa: SLF001
        spans = {partition: thread.held_up(TP(*partition)) for partition in self.turns.taken}
        self._open = {
            partition: (span[0], before[partition][1] + 1 if before.get(partition, (-1, 0))[0] == span[0] else 1)
            for partition, span in spans.items()
            if span is not None
        }
        for partition, (start, checks) in self._open.items():
            if checks > _STALL_CHECKS // 2:
                return f"{partition.topic}/{partition.partition} is held up by a transaction open since offset {start}"
        return None

    def waits_for(self) -> str | None:
        """What should go on, and may not: None where there is nothing to do."""
        if self._app.rebalancing:
            return "a rebalance is under way"
        consumer = self._app._consumer  # noqa: SLF001
        if consumer is None or not consumer.assignment():
            return None
        if not self.turns.taken:
            return "partitions were assigned and never taken over"
        # The first answer to a fetch says where a partition ends, be it empty.
        if any(consumer.highwater(TP(tp.topic, tp.partition)) is None for tp in self.turns.taken):
            return "partitions were taken over and never fetched"
        waiting = sum(self.lag().values())
        return f"{waiting} records wait" if waiting else None

    async def _watch_coordinator(self) -> None:
        """Let the group's coordinator go on after an error; one that will not go away by itself ends the role."""
        while True:
            await asyncio.sleep(_COORDINATOR_CHECK_S)
            thread = self._app._consumer and self._app.consumer._thread  # noqa: SLF001
            if not thread or not thread.started:
                continue
            error = await thread.call_thread(thread.take_coordinator_error)
            if isinstance(error, GroupAuthorizationFailedError | TopicAuthorizationFailedError):
                await self.break_down(error)
            elif error is not None:
                logger.warning("group of role %s: %s; joining again", self.role, type(error).__name__)

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        """Faust performs no seek for an empty assignment: tell the handler here."""
        if not assigned:
            await self.turns.take_over(frozenset(), int(self._app.consumer_generation_id))

    async def _on_revoked(self, _app: Any, revoked: Any, **_: Any) -> None:
        """Wait for the batch in hand, then let the handler save what it loses."""
        # Faust stops the flow only where something is assigned: what comes first to a member that had nothing would be
        # delivered before anybody has taken it over.
        self._app.consumer.stop_flow()
        self._read_twice.clear()
        lost = frozenset(TopicPartition(tp.topic, tp.partition) for tp in revoked) - self._staying
        await self.turns.give_up(lost)

    async def _on_before_shutdown(self, _app: Any, **_: Any) -> None:
        """Nothing signals a revocation on a graceful stop: this is where the last checkpoint happens."""
        await self.turns.stop()
