"""Labels: joined with the features as scored, published as examples for the learner.

A label names a payment that its sender has seen decided. Read by different fetches, the label may come first all the
same, above all when both topics are replayed after a crash. So a label waits until its partition's transactions have
been read up to the label's own Kafka timestamp, or to their end while the label has some age.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from detector.errors import StateError
from detector.examples import Examples
from detector.sources import SharedRows
from detector.vocabulary import Action, Label, LabelSource
from streams.checkpoint_format import Position
from streams.clock import Clock
from streams.codecs import Decoded, LabelCodec
from streams.core import LabelOutcome, ScoringCore
from streams.dead_letters import put_aside
from streams.entity_rows import EntityRows
from streams.examples import LABELLED, MATURED, Progress, examples_record
from streams.metrics import StreamMetrics
from streams.ownership import OwnedPartition
from streams.producer import Producer
from streams.records import RawRecord, TopicPartition
from streams.rejections import Reason, Rejected
from streams.scoring import cut
from streams.topics import LABELS
from telemetry.catalogue import label_age

# A fetch of the transactions that was under way when the label was written has come back after this time.
_PATIENCE_MS = 1_000
# So many labels wait at most; more would mean that transactions are hours behind, and memory is bounded.
_WAITING_LABELS = 200_000
_APPLIED_AT_ONCE = 4096

_SOURCE_WIRE = {int(source): source.wire for source in LabelSource}
# What became of labels that say something new of their payment.
_NEW = frozenset({"applied", "corrected"})
logger = logging.getLogger(__name__)


class Labeller:
    """Applies labels once their transactions can be known."""

    def __init__(
        self,
        core: ScoringCore,
        codec: LabelCodec,
        producer: Producer,
        metrics: StreamMetrics,
        clock: Clock,
        rows: EntityRows | None = None,
    ) -> None:
        """Label what `core` remembers, and tell other workers by `rows`."""
        self._rows = rows
        self._core = core
        self._codec = codec
        self._producer = producer
        self._metrics = metrics
        self._clock = clock

    def take(self, owned: OwnedPartition, records: Sequence[RawRecord]) -> None:
        """Let labels wait for their turn."""
        last = owned.waiting_labels[-1].offset if owned.waiting_labels else owned.position.label_next_offset - 1
        owned.waiting_labels.extend(record for record in records if record.offset > last)

    async def release(self, owned: OwnedPartition, transactions_read: Callable[[int], bool]) -> None:
        """Apply the labels whose turn has come.

        Args:
            owned: the partition.
            transactions_read: whether all transactions of a partition have been read.

        Raises:
            StateError: state cannot take more.
            ProducerError: Kafka takes no examples.
        """
        if not owned.waiting_labels or owned.answered.decisions:
            return
        now_ms = self._clock()
        old_enough_ms = now_ms - _PATIENCE_MS if transactions_read(owned.number) else 0
        ready_to_ms = max(owned.seen_to_ms, old_enough_ms)
        ready: list[RawRecord] = []
        waiting = owned.waiting_labels
        while waiting and (waiting[0].timestamp <= ready_to_ms or len(waiting) > _WAITING_LABELS):
            ready.append(waiting.popleft())
            if len(ready) == _APPLIED_AT_ONCE:
                await self._apply(owned, ready, now_ms)
                ready = []
        if ready:
            await self._apply(owned, ready, now_ms)

    async def _apply(self, owned: OwnedPartition, records: Sequence[RawRecord], now_ms: int) -> None:
        """Decode and apply labels, in order."""
        decoded = self._codec.decode(records, now_ms)
        source = TopicPartition(LABELS, owned.number)
        await put_aside(decoded.rejected, source, owned.answered.dead_letters, self._producer, self._metrics, now_ms)
        if decoded.unknown_fields:
            self._metrics.unknown_fields.labels(LABELS).inc(decoded.unknown_fields)
        published = owned.answered.example_progress.get(LABELLED, 0)
        middle = int(np.searchsorted(decoded.offset, published))
        for rows, is_new in ((slice(0, middle), False), (slice(middle, len(decoded.records)), True)):
            if rows.start < rows.stop:
                await self._join(owned, decoded, rows, is_new=is_new, now_ms=now_ms)
        owned.position = Position(owned.position.next_offset, records[-1].offset + 1)

    async def _join(self, owned: OwnedPartition, decoded: Decoded, rows: slice, *, is_new: bool, now_ms: int) -> None:
        """Join labels with features, halving what fails down to the record at fault."""
        waiting = [rows]
        while waiting:
            at = waiting.pop()
            try:
                outcome = self._core.label(cut(decoded.columns, at), owned.number, decoded.offset[at])
            except StateError:
                raise
            except Exception:
                logger.exception("labels from offset %d of partition %d failed", decoded.offset[at.start], owned.number)
                if at.stop - at.start == 1:
                    record = decoded.records[at.start]
                    rejected = Rejected(record, Reason.LABELLING_FAILED, "our own code failed on this record")
                    source, known = TopicPartition(LABELS, owned.number), owned.answered.dead_letters
                    await put_aside([rejected], source, known, self._producer, self._metrics, now_ms)
                else:
                    middle = (at.start + at.stop) // 2
                    waiting += [slice(middle, at.stop), slice(at.start, middle)]
            else:
                self._count(decoded, at, outcome)
                await self._tell(outcome.shared)
                if is_new and len(outcome.examples):
                    progress = Progress(LABELLED, owned.number, int(decoded.offset[at][-1]) + 1)
                    await self._producer.send(examples_record(outcome.examples, progress, now_ms))

    def _count(self, decoded: Decoded, rows: slice, outcome: LabelOutcome) -> None:
        """Count labels by source and by what became of them, how late they came, and what alerts were right."""
        columns = (decoded.columns[name][rows] for name in ("source", "label", "label_time_ms"))
        payments = outcome.payment_time_ms.tolist(), outcome.actions.tolist()
        for source, label, time_ms, became, paid_ms, action in zip(*columns, outcome.outcomes, *payments, strict=True):
            name = _SOURCE_WIRE[source]
            self._metrics.labels.labels(name, became).inc()
            if became in _NEW:
                delay_s = max(0.0, (time_ms - paid_ms) / 1000)
                self._metrics.label_delay.labels(name).observe(delay_s)
                if action != Action.ALLOW:
                    said = Label(label).wire
                    self._metrics.alert_labels.labels(Action(action).wire, said, label_age(delay_s)).inc()

    async def mature(self, owned: OwnedPartition) -> None:
        """Let old payments that nobody complained of become genuine examples.

        What was published before a crash is taken out of state first, without being published again.
        """
        progress = self._core.progress(owned.number)
        if progress.is_replaying:
            return
        published_ms = owned.answered.example_progress.get(MATURED, 0)
        if published_ms:
            while len(await self._mature(owned, published_ms)):
                pass
            if not owned.answered.decisions:
                owned.answered.example_progress.pop(MATURED)
        while len(examples := await self._mature(owned, progress.watermark_ms)):
            reached = Progress(MATURED, owned.number, progress.watermark_ms)
            await self._producer.send(examples_record(examples, reached, self._clock()))

    async def _mature(self, owned: OwnedPartition, now_ms: int) -> Examples:
        """Let some payments become genuine, and tell other workers."""
        matured = self._core.mature(owned.number, now_ms)
        await self._tell(matured.shared)
        return matured.examples

    async def _tell(self, rows: SharedRows) -> None:
        """Tell other workers, where there may be any."""
        if self._rows is not None:
            await self._rows.publish(rows)
