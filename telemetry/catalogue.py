"""Every metric of cardwatch, as data: the instruments are made from it, and docs/metrics.md is written from it.

A new metric is a row here; its name then works in `telemetry.instruments`. The bounds of labels are checked when this
file is imported: no process shows more than 2,000 series, whatever it is fed.
"""

from __future__ import annotations

from telemetry.errors import CatalogueError
from telemetry.metric import Label, Metric, Process
from telemetry.models import MODELS
from telemetry.promptness import PROMPTNESS
from telemetry.rows import API as _API
from telemetry.rows import HISTORY as _HISTORY
from telemetry.rows import LEARN as _LEARN
from telemetry.rows import NOTIFY as _NOTIFY
from telemetry.rows import RESPOND as _RESPOND
from telemetry.rows import SCORE as _SCORE
from telemetry.rows import WORKERS as _WORKERS
from telemetry.rows import counter as _counter
from telemetry.rows import gauge as _gauge
from telemetry.rows import histogram as _histogram
from telemetry.rows import info as _info
from telemetry.webhooks import WEBHOOKS

MOST_SERIES = 2_000
# What Prometheus' own client says of a process and of Python.
PROCESS_SERIES = 40

OVERFLOWS = "cardwatch_metric_overflows_total"

_BATCH_BUCKETS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
_SCORE_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99)
_HOUR_S = 3600.0
_DELAY_BUCKETS_S = (
    60.0, 600.0, _HOUR_S, 6 * _HOUR_S, 24 * _HOUR_S, 72 * _HOUR_S, 168 * _HOUR_S, 720 * _HOUR_S, 2880 * _HOUR_S,
)  # fmt: skip
# Ages of labels that precision is told by: the age at most, in seconds, and its name.
LABEL_AGES = ((_HOUR_S, "1h"), (24 * _HOUR_S, "1d"), (168 * _HOUR_S, "7d"), (720 * _HOUR_S, "30d"))
OLDER = "older"

_ACTION = Label("action", 5, "ALLOW, STEP_UP, REVIEW, DECLINE, FREEZE")
_AGE = Label("age", len(LABEL_AGES) + 1, "of the label: at most 1h, 1d, 7d, 30d, or older")
_PARTITION = Label("partition", 256, "number of a source partition of this worker")
_POLICY = Label("policy", 6, "versions of the policy since the process started")
_REASON = Label("reason", 24, "why, a word of the contract")
_SOURCE = Label("source", 5, "agent, cardholder, chargeback, network, import")
_TABLE = Label("table", 6, "cards, events, payments, kept, entities, buckets")
_TOPIC = Label("topic", 12, "a topic")

_FLOW = (
    _counter(
        "transactions_total",
        "Transactions scored, replayed ones included.",
        "SRE: does it work at all (ScorerSilent)",
        _SCORE,
    ),
    _counter(
        "decisions_total",
        "Decisions answered, by action and version of the policy.",
        "SRE: traffic; fraud manager: what a new policy does",
        _SCORE,
        _ACTION,
        _POLICY,
    ),
    _counter("alerts_total", "Alerts sent, by action.", "fraud manager: work to expect", _SCORE, _ACTION),
    _histogram(
        "decision_latency_seconds",
        "seconds",
        "From a record's timestamp to its decision's acknowledgement.",
        "SRE: the objective of 250 ms",
        _SCORE,
    ),
    _histogram(
        "batch_records",
        "records",
        "Records that one fetch brought.",
        "developer: are batches as large as they could be",
        _SCORE,
        buckets=_BATCH_BUCKETS,
    ),
    _counter(
        "dead_letters_total",
        "Records put aside, by reason.",
        "SRE: DeadLettersGrowing",
        _SCORE | _RESPOND | _NOTIFY,
        _REASON,
    ),
    _counter(
        "unknown_fields_total",
        "Records with fields we do not know, by topic.",
        "integrator: has a producer changed",
        _SCORE,
        _TOPIC,
    ),
    _counter(
        "skipped_records_total",
        "Offsets that Kafka had removed before they were read, by topic.",
        "SRE: was a worker away for longer than the topic keeps records",
        _SCORE,
        _TOPIC,
    ),
    _counter(
        "misplaced_records_total",
        "Sampled records whose partition is not that of their card token.",
        "SRE: a producer with another partitioner",
        _SCORE,
        _TOPIC,
    ),
    _gauge(
        "consumer_lag_records",
        "records",
        "Records waiting to be read.",
        "SRE: LagGrowing, ScorerSilent, PartitionUnanswered",
        _SCORE | _RESPOND | _LEARN,
        _TOPIC,
        _PARTITION,
        most_sets=2 * _PARTITION.bound,
    ),
    _gauge(
        "event_time_lag_seconds",
        "seconds",
        "Seconds between now and the latest event time seen.",
        "SRE: how far the event-time clock of a partition is behind",
        _SCORE,
        _PARTITION,
    ),
    _gauge(
        "partition_next_offset",
        "",
        "Offset of the next transaction to be scored.",
        "SRE: PartitionUnanswered",
        _SCORE,
        _PARTITION,
    ),
    _gauge(
        "source_partitions",
        "",
        "Partitions that the topic of transactions has.",
        "SRE: PartitionUnanswered",
        _SCORE,
    ),
    _gauge(
        "record_ahead_seconds",
        "seconds",
        "How far the newest record's timestamp lies ahead of this machine's clock, 0 where it does not.",
        "SRE: ClockSkew",
        _SCORE,
    ),
    _gauge(
        "producer_queue_records",
        "records",
        "Records that wait in the producer for Kafka's acknowledgement.",
        "SRE: does Kafka take what we send",
        _WORKERS,
    ),
    _counter(
        "producer_errors_total",
        "What the producer had to say of its connection to Kafka.",
        "SRE: health of Kafka as we see it",
        _WORKERS,
    ),
)

_DETECTION = (
    _histogram(
        "score_ratio",
        "ratio",
        "Scores given: the probability of fraud.",
        "fraud manager: distribution of scores",
        _SCORE,
        buckets=_SCORE_BUCKETS,
    ),
    _counter(
        "labels_total",
        "Labels read, by source and by what became of them.",
        "SRE: LabelsStalled; fraud manager: who labels",
        _SCORE,
        _SOURCE,
        Label("outcome", 5, "applied, corrected, repeated, unknown, late"),
    ),
    _histogram(
        "label_delay_seconds",
        "seconds",
        "From a payment to the time of its label, by the label's source.",
        "fraud manager: how late the truth comes",
        _SCORE,
        _SOURCE,
        buckets=_DELAY_BUCKETS_S,
    ),
    _counter(
        "alert_labels_total",
        "Labels of payments that were alerted, by the decision's action, what the label says and its age.",
        "fraud manager: precision of alerts",
        _SCORE,
        _ACTION,
        Label("label", 2, "fraud, genuine"),
        _AGE,
    ),
    *MODELS,
)

_STATE = (
    _gauge(
        "checkpoint_age_seconds",
        "seconds",
        "Seconds since the last checkpoint was complete.",
        "SRE: CheckpointStale; what a restart would replay",
        _SCORE,
    ),
    _gauge("checkpoint_bytes", "bytes", "Bytes written by the last checkpoint.", "SRE: storage", _SCORE),
    _gauge(
        "checkpoint_duration_seconds", "seconds", "Seconds the last checkpoint took to write.", "SRE: storage", _SCORE
    ),
    _gauge("checkpoint_base_bytes", "bytes", "Bytes of the last base that was written.", "SRE: storage", _SCORE),
    _histogram(
        "checkpoint_pause_seconds",
        "seconds",
        "How long the stream waited while changes were copied.",
        "SRE: latency; developer: is it below 20 ms",
        _SCORE,
    ),
    _counter("checkpoints_failed_total", "Checkpoints and bases that were not written.", "SRE: storage", _SCORE),
    _counter(
        "entity_rows_applied_total",
        "Rows of shared entities of other score workers that were applied.",
        "SRE: do workers hear each other",
        _SCORE,
    ),
    _counter(
        "entity_rows_missed_total",
        "Records whose share in terminals, merchants and devices is missing for good: their rows are gone.",
        "SRE: EntityRowsStale",
        _SCORE,
    ),
    _histogram(
        "entity_rows_staleness_seconds",
        "seconds",
        "How old rows of shared entities of other score workers were when they were applied.",
        "SRE: EntityRowsStale",
        _SCORE,
    ),
    _counter(
        "histories_told_total",
        "Histories of cards that were replaced, told to all score workers for the new cards.",
        "support and SRE: does a new card begin with what is usual for its holder",
        _SCORE,
    ),
    _gauge(
        "entity_rows_lag_records",
        "records",
        "Records of rows of other score workers that are not applied yet; NaN until their number is known.",
        "SRE: EntityRowsStale",
        _SCORE,
    ),
    _counter("checkpoints_damaged_total", "Damaged parts of checkpoints, passed over.", "SRE: storage", _SCORE),
    _counter("commits_refused_total", "Commits that the group refused.", "SRE: workers thought dead", _SCORE),
    _gauge(
        "state_rows",
        "",
        "Rows of the engine's tables in use, over the partitions of this worker.",
        "SRE: room left (against state_capacity_rows)",
        _SCORE,
        _TABLE,
    ),
    _gauge(
        "state_capacity_rows",
        "",
        "Rows of the engine's tables that there is room for, over the partitions of this worker.",
        "SRE: room left",
        _SCORE,
        _TABLE,
    ),
    _gauge(
        "state_bytes",
        "bytes",
        "Memory behind the rows in use; of kept payments, disk.",
        "SRE: memory by kind of state",
        _SCORE,
        _TABLE,
    ),
    _gauge(
        "frozen_cards",
        "",
        "Cards known to the scorer not to be active; beside the cards in state_rows it is their share.",
        "fraud manager: share of cards frozen",
        _SCORE,
    ),
)

_CASEWORK = (
    _counter(
        "freezes_total",
        "FREEZE alerts handled, by what became of them.",
        "SRE: FreezeStorm; fraud manager",
        _RESPOND,
        Label("outcome", 8, "frozen, attached, superseded, held"),
    ),
    _histogram(
        "freeze_latency_seconds",
        "seconds",
        "From a record's timestamp to its card being frozen.",
        "SRE: the objective of 2 s",
        _RESPOND,
    ),
    _gauge(
        "cases", "", "Cases, by state.", "casework lead: work in hand", _RESPOND, Label("state", 12, "states of a case")
    ),
    _gauge(
        "outbox_age_seconds",
        "seconds",
        "Age of the oldest outbox entry that Kafka has not acknowledged.",
        "SRE: OutboxStuck",
        _RESPOND,
    ),
    _gauge(
        "history_lag_seconds",
        "seconds",
        "By how much the memory of closed cases is behind the events of cases; 0 when it is caught up.",
        "SRE: ReadModelLagging",
        _HISTORY,
    ),
    _counter(
        "history_events_total",
        "Events of cases taken into the memory of closed cases; those that came again are not counted.",
        "SRE: whether it moves",
        _HISTORY,
    ),
    _counter(
        "case_events_total",
        "Events of cases by what happened; target_near and target_missed are of the queue's clocks.",
        "SRE: QueueTargetBurn; casework lead: targets about to be missed",
        _HISTORY,
        Label("type", 48, "what happened, as in docs/cases.md"),
    ),
    *PROMPTNESS,
    _counter(
        "notices_total",
        "Notices to cardholders by what became of them; a repeated one had been sent before and was not sent again.",
        "SRE: whether cardholders are told; casework lead",
        _NOTIFY,
        Label("outcome", 4, "sent, put_off, failed, repeated"),
        Label("channel", 5, "sms, email, app; none for repeated ones"),
    ),
    _counter(
        "notice_calls_total",
        "Cardholders who are to be called: they were told something urgent and stayed silent, or could not be told.",
        "casework lead: calls to expect",
        _NOTIFY,
    ),
    _histogram(
        "notice_delay_seconds",
        "seconds",
        "From a notice being asked for to its sender having taken it over.",
        "SRE: how soon a cardholder knows",
        _NOTIFY,
        buckets=(0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 28_800.0),
    ),
    _counter(
        "store_failures_total",
        "Calls to the store of cards and cases that failed and are made again, by error.",
        "SRE: RedisRefusingWrites",
        _RESPOND | _NOTIFY,
        Label("error", 12, "class of the error"),
    ),
    _gauge(
        "store_fenced_shards",
        "",
        "Shards of Redis that take no writes until they were compared with Kafka.",
        "SRE: RedisRefusingWrites",
        _RESPOND,
    ),
    _gauge(
        "freeze_breaker_open",
        "",
        "1 while freezes of this version of the policy are held for people.",
        "SRE, fraud manager: FreezeBreakerOpen",
        _RESPOND,
        _POLICY,
    ),
    _gauge(
        "store_clock_offset_seconds",
        "seconds",
        "How far Redis' clock is ahead of this machine's; negative: behind.",
        "SRE: ClockSkew",
        _RESPOND,
    ),
)

_PROCESS = (
    _info("build_info", "Version and kind of this process.", "SRE: what runs where", _WORKERS | _API),
    _gauge(
        "start_progress_ratio", "ratio", "How far the start has come; 1 once started.", "SRE: a long replay", _WORKERS
    ),
    _gauge("ready", "", "1 while /readyz says yes.", "SRE: rolling restarts", _WORKERS),
    _counter(
        "log_lines_total",
        "Log lines, by level.",
        "SRE: a burst of warnings",
        _WORKERS | _API,
        Label("level", 5, "a level"),
    ),
    _counter(
        OVERFLOWS.removeprefix("cardwatch_"),
        "Times a metric was told of more label sets than its bound; see docs/metrics.md.",
        "developer: a label that grows",
        _WORKERS | _API,
        Label("metric", 64, "name of a metric"),
    ),
    _gauge(
        "certificate_expiry_timestamp_seconds",
        "seconds",
        "When the first certificate in a configured file ends, as Unix time.",
        "SRE: CertificateExpiring",
        _WORKERS | _API,
        Label("setting", 8, "the setting that names the file"),
    ),
)

_HTTP = (
    _counter(
        "http_requests_total",
        "Requests answered by the HTTP service.",
        "SRE: errors of the API and the console",
        _API,
        Label("method", 8, "methods of HTTP, or OTHER"),
        Label("route", 96, "template of the route, never the path"),
        Label("status", 24, "status code"),
        most_sets=400,
    ),
    _histogram(
        "http_request_duration_seconds",
        "seconds",
        "Time from a request's first byte read to its answer's last byte sent; to the first of a stream of events.",
        "SRE: latency of the API and the console",
        _API,
        Label("route", 64, "template of the route, never the path"),
    ),
    _counter(
        "sign_ins_total",
        "Attempts to sign in at the console, by how they ended.",
        "SRE: the identity provider is away; security: somebody tries keys or forged answers",
        _API,
        Label("outcome", 24, "signed_in, unknown_key, provider_unavailable, role_missing, or the check that failed"),
    ),
    _counter(
        "waiting_answers_total",
        "Answers to callers that waited for a decision, by what they rest on.",
        "SRE, integrator: how often a caller gets no decision in time",
        _API,
        Label("kind", 8, "what the answer rests on"),
    ),
)

SECTIONS = {
    "Payments": _FLOW,
    "Detection": _DETECTION,
    "State and checkpoints": _STATE,
    "Casework": _CASEWORK,
    "Webhooks": WEBHOOKS,
    "Processes": _PROCESS,
    "HTTP": _HTTP,
}


def _by_name() -> dict[str, Metric]:
    """All rows by name.

    Raises:
        CatalogueError: a name stands twice, or a process could show too many series.
    """
    found: dict[str, Metric] = {}
    for row in (row for section in SECTIONS.values() for row in section):
        if row.name in found:
            message = f"{row.name} stands twice in the catalogue"
            raise CatalogueError(message)
        found[row.name] = row
    for process in Process:
        series = PROCESS_SERIES + sum(row.most_series for row in found.values() if process in row.processes)
        if series > MOST_SERIES:
            message = f"a {process} process could show {series} series, more than {MOST_SERIES}"
            raise CatalogueError(message)
    return found


CATALOGUE = _by_name()


def label_age(age_s: float) -> str:
    """The name of a label's age."""
    return next((name for most_s, name in LABEL_AGES if age_s <= most_s), OLDER)
