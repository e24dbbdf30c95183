"""Transactions of one fetch: decoded, assessed, answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import StateError
from detector.vocabulary import Action
from streams import failpoints, plain_decisions
from streams.clock import Clock
from streams.codecs import Decoded, TransactionCodec
from streams.core import AssessedBatch, ScoringCore
from streams.dead_letters import put_aside
from streams.encoding import Subject, Versions, encode_fallback, encode_full
from streams.entity_rows import EntityRows
from streams.events import Outgoing
from streams.examples import UNLABELLED, Progress, examples_record
from streams.metrics import StreamMetrics
from streams.murmur2 import partition_of
from streams.ownership import OwnedPartition
from streams.plain_decisions import PlainDecisions, encode_plain
from streams.producer import Producer
from streams.records import RawRecord, TopicPartition, from_offset
from streams.recovery import StandingDecision
from streams.rejections import Reason, Rejected
from streams.topics import ALERTS, DECISIONS, TRANSACTIONS
from telemetry.tracing import trace_id_of

_ACTIONS = {int(action): action.wire for action in Action}
logger = logging.getLogger(__name__)


def _place(partition: int, decoded: Decoded, row: int) -> dict[str, Any]:
    """Where a payment came from, for log lines and spans."""
    trace_id = trace_id_of(decoded.traceparents.get(row))
    return {"partition": partition, "offset": int(decoded.offset[row]), "trace_id": trace_id}


def cut(columns: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """A slice of every column."""
    return {name: column[rows] for name, column in columns.items()}


class Scorer:
    """Answers transactions. One record that breaks our own code costs that record its score, and no other."""

    def __init__(
        self,
        core: ScoringCore,
        codec: TransactionCodec,
        producer: Producer,
        metrics: StreamMetrics,
        clock: Clock,
        rows: EntityRows | None = None,
    ) -> None:
        """Score with `core`, answer through `producer`, tell other workers by `rows`."""
        self._rows = rows
        self._core = core
        self._codec = codec
        self._producer = producer
        self._metrics = metrics
        self._clock = clock
        self.partition_count = 0

    def warm_up(self) -> None:
        """Compile whatever the first fetch would otherwise wait for."""
        self._core.warm_up()
        self._codec.warm_up()
        plain_decisions.warm_up()

    async def score(self, owned: OwnedPartition, records: Sequence[RawRecord]) -> None:
        """Score one fetch of one partition, and answer what has not been answered.

        Raises:
            StateError: state cannot take more; going on would lose payments.
            ProducerError: Kafka takes no answers.
        """
        now_ms = self._clock()
        fresh = from_offset(records, owned.position.next_offset)
        if not fresh:
            return
        began_ns = time.time_ns()
        decoded = self._codec.decode(fresh, now_ms)
        self._trace("decode", owned, decoded, slice(0, len(decoded.records)), began_ns)
        failpoints.reach(failpoints.AFTER_DECODE)
        source = TopicPartition(TRANSACTIONS, owned.number)
        dead_letters = owned.answered.dead_letters
        await put_aside(decoded.rejected, source, dead_letters, self._producer, self._metrics, now_ms)
        if decoded.unknown_fields:
            self._metrics.unknown_fields.labels(TRANSACTIONS).inc(decoded.unknown_fields)
        self._check_place(owned, decoded)
        for rows in self._stretches(owned, decoded.offset):
            began_ns = time.time_ns()
            for at, assessed in self._assess(owned, decoded, rows):
                self._trace("assess", owned, decoded, at, began_ns)
                failpoints.reach(failpoints.AFTER_SCORING)
                if assessed is None:
                    await self._fall_back(owned, decoded, at.start, now_ms)
                else:
                    await self._answer(owned, decoded, assessed, at.start, now_ms)
                began_ns = time.time_ns()
        failpoints.reach(failpoints.AFTER_PRODUCE)
        owned.position = type(owned.position)(fresh[-1].offset + 1, owned.position.label_next_offset)
        owned.seen_to_ms = max(owned.seen_to_ms, int(fresh[-1].timestamp))
        if owned.answered.decisions and owned.position.next_offset > owned.answered.last_decided:
            owned.answered.decisions = {}
        self._metrics.transactions.inc(len(decoded.records))
        self._metrics.batch_records.observe(float(len(records)))
        self._metrics.record_ahead.set(max(0.0, (fresh[-1].timestamp - now_ms) / 1000))

    def _trace(self, step: str, owned: OwnedPartition, decoded: Decoded, rows: slice, began_ns: int) -> None:
        """Record a step for those of its payments that are traced."""
        if self._metrics.spans.is_on and decoded.traceparents:
            for row, trace in decoded.traceparents.items():
                if rows.start <= row < rows.stop:
                    place = {"partition": owned.number, "offset": int(decoded.offset[row])}
                    self._metrics.spans.record(step, trace, began_ns, time.time_ns(), place)

    def _check_place(self, owned: OwnedPartition, decoded: Decoded) -> None:
        """Look whether a sampled card's partition is the one that Kafka's partitioner gives it."""
        if decoded.records and self.partition_count:
            token = decoded.columns["card_token"][0]
            if partition_of(token.encode(), self.partition_count) != owned.number:
                self._metrics.misplaced.labels(TRANSACTIONS).inc()

    @staticmethod
    def _stretches(owned: OwnedPartition, offset: NDArray[np.int64]) -> list[slice]:
        """Rows that are treated alike: cut where answers, or examples, end that were there before."""
        ends = (owned.answered.last_decided + 1, owned.answered.example_progress.get(UNLABELLED, 0))
        places = sorted({0, *np.searchsorted(offset, ends).tolist(), len(offset)})
        return [slice(start, stop) for start, stop in pairwise(places)]

    def _assess(
        self, owned: OwnedPartition, decoded: Decoded, rows: slice
    ) -> Iterator[tuple[slice, AssessedBatch | None]]:
        """Assess rows in order, halving what fails down to the record at fault; that one yields no assessment."""
        waiting = [rows]
        while waiting:
            at = waiting.pop()
            try:
                batch = self._core.build(cut(decoded.columns, at), owned.number, decoded.offset[at])
                assessed = self._core.assess(batch)
            except StateError:
                raise
            except Exception as error:
                if at.stop - at.start == 1:
                    # The record's content is not logged, and the traceback holds none of it.
                    logger.exception("a payment failed", extra=_place(owned.number, decoded, at.start))
                    yield at, None
                    continue
                logger.warning("a batch of %d failed (%s) and is halved", at.stop - at.start, type(error).__name__)
                middle = (at.start + at.stop) // 2
                waiting += [slice(middle, at.stop), slice(at.start, middle)]
            else:
                yield at, assessed

    async def _fall_back(self, owned: OwnedPartition, decoded: Decoded, row: int, now_ms: int) -> None:
        """Answer a record that our own code failed on, and put a copy aside."""
        columns, offset = decoded.columns, int(decoded.offset[row])
        rejected = Rejected(decoded.records[row], Reason.SCORING_FAILED, "our own code failed on this record")
        source = TopicPartition(TRANSACTIONS, owned.number)
        await put_aside([rejected], source, owned.answered.dead_letters, self._producer, self._metrics, now_ms)
        if offset not in owned.answered.decisions:
            subject = Subject(
                columns["transaction_id"][row], columns["card_token"][row], int(columns["event_time_ms"][row]),
                owned.number, offset,
            )  # fmt: skip
            trace = decoded.traceparents.get(row)
            versions = self._core.versions()
            await self._producer.send(encode_fallback(subject, versions, now_ms, trace))
            self._metrics.decided(Action.ALLOW.wire, versions.policy)

    async def _answer(
        self, owned: OwnedPartition, decoded: Decoded, assessed: AssessedBatch, first_row: int, now_ms: int
    ) -> None:
        """Send the decisions of a stretch, alerts beside those that are not ALLOW, and its sample of examples."""
        batch, standing = assessed.batch, owned.answered.decisions
        rows = np.arange(len(batch))
        if standing and int(batch.offset[0]) <= owned.answered.last_decided:
            rows = self._adopt(standing, assessed)
        if len(rows):
            self._metrics.scores.observe_many(assessed.score[rows])
            self._metrics.compared(assessed.shadows, assessed.action, assessed.flags, rows)
            await self._send(owned, decoded, assessed, first_row, rows, now_ms)
        published = owned.answered.example_progress.get(UNLABELLED, 0)
        if len(assessed.unlabelled) and int(batch.offset[0]) >= published:
            progress = Progress(UNLABELLED, owned.number, int(batch.offset[-1]) + 1)
            await self._producer.send(examples_record(assessed.unlabelled, progress, now_ms))
        if self._rows is not None:
            await self._rows.publish(assessed.shared)

    def _adopt(self, standing: Mapping[int, StandingDecision], assessed: AssessedBatch) -> NDArray[np.int64]:
        """Let decisions stand that were given before; returns the rows that still need one."""
        unanswered: list[int] = []
        for row, offset in enumerate(assessed.batch.offset.tolist()):
            decision = standing.get(offset)
            if decision is None:
                unanswered.append(row)
            elif decision.action != assessed.action[row] or decision.score != assessed.score[row]:
                self._core.adopt(assessed, row, decision)
        return np.array(unanswered, dtype=np.int64)

    async def _send(
        self,
        owned: OwnedPartition,
        decoded: Decoded,
        assessed: AssessedBatch,
        first_row: int,
        rows: NDArray[np.int64],
        now_ms: int,
    ) -> None:
        """Send decisions in order: runs of plain ones together, the others one by one with their headers."""
        batch, versions = assessed.batch, self._core.versions()
        plain = encode_plain(assessed, versions)
        timestamps = decoded.timestamp_ms[first_row : first_row + len(batch)]
        target = TopicPartition(DECISIONS, owned.number)
        traces = decoded.traceparents
        is_alone = ~plain.is_plain
        is_alone[[row - first_row for row in traces if 0 <= row - first_row < len(batch)]] = True
        start = 0
        for stop in np.flatnonzero(is_alone[rows]).tolist():
            row = int(rows[stop])
            await self._send_plain(target, plain, rows[start:stop], timestamps)
            start = stop + 1
            trace = traces.get(first_row + row)
            decision = self._encode_full(assessed, versions, row, int(timestamps[row]), now_ms, trace)
            if decision is None:
                await self._fall_back(owned, decoded, first_row + row, now_ms)
                continue
            action = int(assessed.action[row])
            place = _place(owned.number, decoded, first_row + row)
            # An alert acts on a card: it goes out when its decision is in the log as the one that stands, not before.
            alert = None if action == Action.ALLOW else decision._replace(topic=ALERTS)
            await self._producer.send(decision, self._latency_noter(timestamps[row : row + 1], trace, place), alert)
            self._metrics.decided(_ACTIONS[action], versions.policy)
            if alert is not None:
                self._metrics.alerts.labels(_ACTIONS[action]).inc()
        await self._send_plain(target, plain, rows[start:], timestamps)

    async def _send_plain(
        self,
        target: TopicPartition,
        plain: PlainDecisions,
        rows: NDArray[np.int64],
        timestamps: NDArray[np.int64],
    ) -> None:
        """Send a run of ALLOW decisions without headers, each counted and timed once."""
        if len(rows):
            await self._producer.send_many(target, plain.messages(rows), self._latency_noter(timestamps[rows]))
            self._metrics.decided(Action.ALLOW.wire, self._core.versions().policy, len(rows))

    @staticmethod
    def _encode_full(
        assessed: AssessedBatch, versions: Versions, row: int, timestamp_ms: int, now_ms: int, trace: bytes | None
    ) -> Outgoing | None:
        """Encode one decision with headers; None where our own code fails on it, state being applied already."""
        try:
            return encode_full(assessed, versions, row, timestamp_ms=timestamp_ms, now_ms=now_ms, traceparent=trace)
        except Exception:
            batch = assessed.batch
            place = {"partition": batch.partition, "offset": int(batch.offset[row]), "trace_id": trace_id_of(trace)}
            logger.exception("a decision cannot be written", extra=place)
            return None

    def _latency_noter(
        self, timestamps_ms: NDArray[np.int64], trace: bytes | None = None, place: Mapping[str, Any] | None = None
    ) -> Callable[[], None]:
        """What notes the latency of a batch when its last decision is acknowledged; of one payment its trace, too."""
        sent_ns = time.time_ns()
        trace_id = trace_id_of(trace)

        def note() -> None:
            latency_s = (self._clock() - timestamps_ms) / 1000.0
            self._metrics.decision_latency.observe_many(latency_s)
            if trace_id is not None and place is not None:
                acknowledged_ns = time.time_ns()
                self._metrics.decision_latency.exemplify(float(latency_s[0]), trace_id, acknowledged_ns / 1e9)
                where = {name: value for name, value in place.items() if name != "trace_id"}
                self._metrics.spans.record("produce", trace, sent_ns, acknowledged_ns, where)

        return note
