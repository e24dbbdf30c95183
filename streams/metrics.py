"""What the streams count and time, for Prometheus. One registry, passed in; no card token in any label."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from casework.promptness import Deed, Done
from detector.vocabulary import DRIFT_OF_LABELS, DRIFT_OF_LOSS, Action, Flag
from streams import topics
from streams.records import TopicPartition
from streams.rejections import Reason
from telemetry.instruments import Instruments
from telemetry.metric import Process
from telemetry.promptness import PROMPT_BUCKETS_S
from telemetry.tracing import NO_SPANS, Spans
from telemetry.vitals import Vitals

# Types alone: roles that do not score shall not wait for Numba.
if TYPE_CHECKING:
    from detector.models.calibration import Evidence
    from detector.models.drift import DriftAlarm
    from detector.shadows import Shadow
    from streams.core import StateUse

# A worker with no more records before it than this counts as caught up: less than a second of work.
_CAUGHT_UP_RECORDS = 10_000
_DAY_MS = 86_400_000

_ACTIONS = [action.wire for action in Action]

logger = logging.getLogger(__name__)


class StreamMetrics:
    """The metrics of one worker process; what each means stands in telemetry/catalogue.py."""

    def __init__(
        self,
        registry: CollectorRegistry,
        process: Process | None = None,
        vitals: Vitals | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        """Register in `registry` what this kind of process has; once per registry.

        Args:
            registry: of the process.
            process: its kind; None registers everything.
            vitals: what its probes show.
            spans: of payments that are traced.
        """
        made = Instruments(registry, process)
        self.vitals = vitals or Vitals()
        self.spans = spans
        self.transactions = made.counter("cardwatch_transactions_total")
        self.decisions = made.counters("cardwatch_decisions_total")
        self.shadow_decisions = made.counters("cardwatch_shadow_decisions_total")
        self.scores = made.histogram("cardwatch_score_ratio")
        self.alerts = made.counters("cardwatch_alerts_total")
        self.freezes = made.counters("cardwatch_freezes_total")
        self.cases = made.gauges("cardwatch_cases")
        self.dead_letters = made.counters("cardwatch_dead_letters_total")
        self.unknown_fields = made.counters("cardwatch_unknown_fields_total")
        self.skipped_records = made.counters("cardwatch_skipped_records_total")
        self.misplaced = made.counters("cardwatch_misplaced_records_total")
        self.lag = made.gauges("cardwatch_consumer_lag_records")
        self.event_time_lag = made.gauges("cardwatch_event_time_lag_seconds")
        self.next_offset = made.gauges("cardwatch_partition_next_offset")
        self.source_partitions = made.gauge("cardwatch_source_partitions")
        self.record_ahead = made.gauge("cardwatch_record_ahead_seconds")
        self.decision_latency = made.histogram("cardwatch_decision_latency_seconds")
        self.freeze_latency = made.histogram("cardwatch_freeze_latency_seconds")
        self.batch_records = made.histogram("cardwatch_batch_records")
        self._make_learning(made)
        self._make_state(made)
        self.outbox_age = made.gauge("cardwatch_outbox_age_seconds")
        self.history_lag = made.gauge("cardwatch_history_lag_seconds")
        self.case_events = made.counters("cardwatch_case_events_total")
        self.history_events = made.counter("cardwatch_history_events_total")
        self._promptness = {deed: made.histogram(f"cardwatch_{deed}_seconds") for deed in Deed}
        self._untouched = made.gauges("cardwatch_urgent_untouched_cases")
        self.notices = made.counters("cardwatch_notices_total")
        self.notice_calls = made.counter("cardwatch_notice_calls_total")
        self.notice_delay = made.histogram("cardwatch_notice_delay_seconds")
        self.webhook_events = made.counters("cardwatch_webhook_events_total")
        self.webhook_attempts = made.counters("cardwatch_webhook_attempts_total")
        self.webhook_delay = made.histograms("cardwatch_webhook_delay_seconds")
        self.webhook_waiting = made.gauges("cardwatch_webhook_waiting_seconds")
        self.webhook_disabled = made.gauges("cardwatch_webhook_disabled")
        self.store_failures = made.counters("cardwatch_store_failures_total")
        self.fenced_shards = made.gauge("cardwatch_store_fenced_shards")
        self.breaker_open = made.gauges("cardwatch_freeze_breaker_open")
        self.broadcast_rejected = made.counters("cardwatch_broadcast_rejected_total")
        self.producer_queue = made.gauge("cardwatch_producer_queue_records")
        self.producer_errors = made.counter("cardwatch_producer_errors_total")
        self._producer_errors = 0
        made.gauge("cardwatch_ready").set_function(lambda: float(self.vitals.ready().is_good))
        made.gauge("cardwatch_start_progress_ratio").set_function(lambda: self.vitals.share)
        self._show_zeros()
        # Before the first checkpoint it is as old as the process.
        self._age_from_now(self.checkpoint_age)

    def _show_zeros(self) -> None:
        """Show what has not been counted yet: a rate over a counter that appears with its first event misses it."""
        for reason in Reason:
            self.dead_letters.labels(reason.value)
        for topic in (topics.TRANSACTIONS, topics.LABELS):
            self.unknown_fields.labels(topic)
        self.misplaced.labels(topics.TRANSACTIONS)
        for action in Action:
            if action is not Action.ALLOW:
                self.alerts.labels(action.wire)
        for outcome in ("frozen", "attached", "held", "superseded"):
            self.freezes.labels(outcome)
        self.store_failures.labels("StoreUnavailableError")
        for event in ("opened", "target_near", "target_missed"):
            self.case_events.labels(event)

    def _make_learning(self, made: Instruments) -> None:
        """What tells of models, labels and drift."""
        self.model = made.info("cardwatch_model_info")
        self.model_age = made.gauge("cardwatch_model_age_seconds")
        self.model_loss = made.gauges("cardwatch_model_log_loss")
        self.model_precision = made.gauges("cardwatch_model_average_precision")
        self.drift_index = made.gauges("cardwatch_drift_index")
        self.drift_labels = made.gauge("cardwatch_drift_labels_ratio")
        self.drift_loss = made.gauge("cardwatch_drift_log_loss")
        # Not known is not zero, which would say that no labels come.
        self.drift_labels.set(math.nan)
        self.drift_loss.set(math.nan)
        self.drifting = made.gauges("cardwatch_drifting")
        self.drift_alarms = made.counters("cardwatch_drift_alarms_total")
        self.model_changes = made.counters("cardwatch_model_changes_total")
        for kind in ("promoted", "rolled_back"):
            self.model_changes.labels(kind)
        self.labels = made.counters("cardwatch_labels_total")
        self.label_delay = made.histograms("cardwatch_label_delay_seconds")
        self.alert_labels = made.counters("cardwatch_alert_labels_total")

    def _make_state(self, made: Instruments) -> None:
        """What tells of state and checkpoints."""
        self.state_rows = made.gauges("cardwatch_state_rows")
        self.state_capacity = made.gauges("cardwatch_state_capacity_rows")
        self.state_bytes = made.gauges("cardwatch_state_bytes")
        self.frozen_cards = made.gauge("cardwatch_frozen_cards")
        self.store_clock_offset = made.gauge("cardwatch_store_clock_offset_seconds")
        self.checkpoint_age = made.gauge("cardwatch_checkpoint_age_seconds")
        self.checkpoint_bytes = made.gauge("cardwatch_checkpoint_bytes")
        self.checkpoint_duration = made.gauge("cardwatch_checkpoint_duration_seconds")
        self.checkpoint_base_bytes = made.gauge("cardwatch_checkpoint_base_bytes")
        self.checkpoint_pause = made.histogram("cardwatch_checkpoint_pause_seconds")
        self.checkpoints_failed = made.counter("cardwatch_checkpoints_failed_total")
        self.checkpoints_damaged = made.counter("cardwatch_checkpoints_damaged_total")
        self.rows_applied = made.counter("cardwatch_entity_rows_applied_total")
        self.rows_missed = made.counter("cardwatch_entity_rows_missed_total")
        self.histories_told = made.counter("cardwatch_histories_told_total")
        self._rows_staleness = made.histogram("cardwatch_entity_rows_staleness_seconds")
        self._rows_lag = made.gauge("cardwatch_entity_rows_lag_records")
        self.commits_refused = made.counter("cardwatch_commits_refused_total")

    def decided(self, action: str, policy: str, count: int = 1) -> None:
        """Count decisions of one action."""
        self.decisions.labels(action, policy).inc(count)

    def compared(
        self, shadows: Sequence[Shadow], action: NDArray[np.int64], flags: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        """Count what those would have answered that do not act, beside what was answered.

        Args:
            shadows: of a batch.
            action: of the batch.
            flags: of the batch; repeated payments keep their first answer and are not counted.
            rows: of the batch that are answered now.
        """
        if not shadows:
            return
        counted = rows[flags[rows] & int(Flag.DUPLICATE) == 0]
        for shadow in shadows:
            pairs = shadow.at(counted).differences(action[counted], len(_ACTIONS))
            for own, other in np.argwhere(pairs).tolist():
                told = self.shadow_decisions.labels(shadow.name, _ACTIONS[own], _ACTIONS[other])
                told.inc(int(pairs[own, other]))

    def show_lags(self, lags: Mapping[TopicPartition, int]) -> None:
        """Bring the gauges of lag, and what readiness says of it, up to date."""
        for partition, records in lags.items():
            self.lag.labels(partition.topic, str(partition.partition)).set(records)
        self.vitals.behind(sum(lags.values()), _CAUGHT_UP_RECORDS)

    def show_state(self, use: StateUse) -> None:
        """Bring the gauges of state up to date."""
        for table, (rows, capacity, size_bytes) in use.tables.items():
            self.state_rows.labels(table).set(rows)
            self.state_capacity.labels(table).set(capacity)
            self.state_bytes.labels(table).set(size_bytes)
        self.frozen_cards.set(use.frozen_cards)

    def show_producer(self, waiting: int, errors: int) -> None:
        """Show the producer's health.

        Args:
            waiting: records that Kafka has not acknowledged.
            errors: how often it had something to say about its connection, since it was made.
        """
        self.producer_queue.set(waiting)
        self.producer_errors.inc(errors - self._producer_errors)
        self._producer_errors = errors

    def prompt(self, done: Sequence[Done], now_ms: int) -> None:
        """Note how long people took; what is older than a day is history read anew, not how well it goes now."""
        for each in done:
            if now_ms - each.time_ms <= _DAY_MS:
                self._promptness[each.deed].observe(each.waited_ms / 1000)

    def show_untouched(self, since_ms: Sequence[int], now_ms: int) -> None:
        """Show how many urgent cases wait for the desk for longer than each bound of their histogram."""
        for bound_s in PROMPT_BUCKETS_S:
            count = sum(now_ms - since > bound_s * 1000 for since in since_ms)
            self._untouched.labels(repr(bound_s)).set(count)

    def rows_heard(self, timestamp_ms: int, now_ms: int) -> None:
        """Note how old rows of shared entities were, by their record's Kafka timestamp, when they were applied."""
        self._rows_staleness.observe(max(now_ms - timestamp_ms, 0) / 1000)

    def show_rows_lag(self, records: int | None) -> None:
        """Show how many records of rows wait to be applied; None where that is not known, which is not zero."""
        self._rows_lag.set(math.nan if records is None else records)

    def missed_rows(self, partition: int, records: int) -> None:
        """Say that shared entities lack for good what so many records of a partition did."""
        if records:
            logger.warning("shared entities lack what %d records of partition %d did", records, partition)
            self.rows_missed.inc(records)

    def store_failed(self, error: Exception) -> None:
        """The store of cards and cases did not answer: count it, and be not ready until it does."""
        self.store_failures.labels(type(error).__name__).inc()
        self.vitals.waits_for("redis", type(error).__name__)

    def store_answered(self) -> None:
        """The store of cards and cases answers."""
        self.vitals.waits_for("redis", None)

    def forget_partition(self, partition: int) -> None:
        """Another worker shows this partition now."""
        self.lag.forget(partition=str(partition))
        self.event_time_lag.forget(partition=str(partition))
        self.next_offset.forget(partition=str(partition))

    def model_evidence(self, name: str, evidence: Evidence) -> None:
        """Note how good a contender has been."""
        self.model_loss.labels(name).set(evidence.log_loss)
        self.model_precision.labels(name).set(evidence.average_precision)

    def drift_seen(self, name: str, value: float, *, is_wrong: bool) -> None:
        """See `DriftObserver`."""
        if name == DRIFT_OF_LABELS:
            self.drift_labels.set(value)
        elif name == DRIFT_OF_LOSS:
            self.drift_loss.set(value)
        else:
            self.drift_index.labels(name).set(value)
        self.drifting.labels(name).set(float(is_wrong))

    def drift_alarm(self, alarm: DriftAlarm) -> None:
        """See `DriftObserver`."""
        logger.warning("drift of %s: %.3f at event time %d", alarm.name, alarm.value, alarm.time_ms)
        self.drift_alarms.labels(alarm.name).inc()

    def model_in_use(self, version: str) -> None:
        """Note that another model version is in use from now on."""
        self.model.info({"version": version})
        self._age_from_now(self.model_age)

    def checkpoint_done(self, size_bytes: int, duration_s: float) -> None:
        """Note a complete checkpoint."""
        self.checkpoint_bytes.set(size_bytes)
        self.checkpoint_duration.set(duration_s)
        self._age_from_now(self.checkpoint_age)

    @staticmethod
    def _age_from_now(gauge: Gauge) -> None:
        """Let a gauge show the seconds since now."""
        since_s = time.time()
        gauge.set_function(lambda: time.time() - since_s)
