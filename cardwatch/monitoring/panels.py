"""The dashboards as data: rows of panels, each with its queries; what draws them is another matter.

One dashboard for the service, one for detection, one for casework, and one for each kind of process.
"""

from __future__ import annotations

from dataclasses import dataclass

from telemetry.metric import Process

RATE = "$__rate_interval"
_DECISIONS = "cardwatch_decisions_total"
_STOPPED = 'cardwatch_decisions_total{action!="ALLOW"}'


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the name of its lines."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title: what it shows.
        unit: of Grafana's names of units.
        queries: its lines.
        alert: whose runbook it links to, if it belongs to one.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    alert: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard: `uid` is also its file's name."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    @property
    def panels(self) -> list[Panel]:
        """All panels."""
        return [panel for _, panels in self.rows for panel in panels]


def _panel(title: str, unit: str, *queries: tuple[str, str], alert: str = "") -> Panel:
    return Panel(title, unit, tuple(Query(*query) for query in queries), alert)


def _rate(metric: str, by: str = "", window: str = RATE) -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}[{window}]))"


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({share}, {_rate(f'{metric}_bucket', 'le')})", name)
        for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
    )


_BUDGETS = tuple(
    (f"cardwatch:{name}:bad_ratio_rate1h / on () cardwatch:{name}:budget_ratio", name)
    for name in ("decided", "decision_latency", "freeze_latency", "queue_targets", "urgent_touch", "freeze_undo")
)

SERVICE = Dashboard(
    "cardwatch-service",
    "cardwatch: service",
    (
        (
            "Objectives",
            (
                _panel("How fast budgets burn (1: just used up in 30 days)", "none", *_BUDGETS),
                _panel(
                    "From payment to decision",
                    "s",
                    *_quantiles("cardwatch_decision_latency_seconds"),
                    alert="DecisionLatencyBurn",
                ),
                _panel(
                    "From payment to frozen card",
                    "s",
                    *_quantiles("cardwatch_freeze_latency_seconds"),
                    alert="FreezeLatencyBurn",
                ),
            ),
        ),
        (
            "Traffic and errors",
            (
                _panel("Payments", "ops", (_rate("cardwatch_transactions_total"), "scored"), alert="ScorerSilent"),
                _panel("Decisions by action", "ops", (_rate("cardwatch_decisions_total", "action"), "{{action}}")),
                _panel(
                    "Dead letters by reason",
                    "ops",
                    (_rate("cardwatch_dead_letters_total", "reason"), "{{reason}}"),
                    alert="DeadLettersGrowing",
                ),
            ),
        ),
        (
            "Saturation",
            (
                _panel(
                    "Records waiting",
                    "short",
                    ("sum by (topic) (cardwatch_consumer_lag_records)", "{{topic}}"),
                    alert="LagGrowing",
                ),
                _panel(
                    "Event time behind, by partition",
                    "s",
                    ("max by (partition) (cardwatch_event_time_lag_seconds)", "{{partition}}"),
                    alert="PartitionUnanswered",
                ),
                _panel(
                    "Producers: records not acknowledged",
                    "short",
                    ("sum by (process) (cardwatch_producer_queue_records)", "{{process}}"),
                ),
            ),
        ),
        (
            "Processes",
            (
                _panel(
                    "Up and ready",
                    "short",
                    ('up{job="cardwatch"}', "{{process}} up"),
                    ("cardwatch_ready", "{{process}} ready"),
                    alert="ProcessMissing",
                ),
                _panel("Memory", "bytes", ('process_resident_memory_bytes{job="cardwatch"}', "{{process}}")),
                _panel("Log lines of warnings and errors", "ops", (
                    f'sum by (process, level) (rate(cardwatch_log_lines_total{{level=~"warning|error"}}[{RATE}]))',
                    "{{process}} {{level}}",
                )),
            ),
        ),
    ),
)  # fmt: skip

DETECTION = Dashboard(
    "cardwatch-detection",
    "cardwatch: detection",
    (
        (
            "Decisions",
            (
                _panel(
                    "Share of payments by action, ALLOW left out",
                    "percentunit",
                    (f"{_rate(_STOPPED, 'action')} / on () group_left () {_rate(_DECISIONS)}", "{{action}}"),
                ),
                _panel("Decisions by policy", "ops", (_rate("cardwatch_decisions_total", "policy"), "{{policy}}")),
                _panel("Scores", "percentunit", *_quantiles("cardwatch_score_ratio")),
            ),
        ),
        (
            "Freezes",
            (
                _panel(
                    "Freezes by outcome",
                    "ops",
                    (_rate("cardwatch_freezes_total", "outcome"), "{{outcome}}"),
                    alert="FreezeStorm",
                ),
                _panel(
                    "Share of cards that are not active",
                    "percentunit",
                    ('sum(cardwatch_frozen_cards) / sum(cardwatch_state_rows{table="cards"})', "not active"),
                ),
            ),
        ),
        (
            "Labels and models",
            (
                _panel(
                    "Labels by source",
                    "ops",
                    (_rate("cardwatch_labels_total", "source"), "{{source}}"),
                    alert="LabelsStalled",
                ),
                _panel(
                    "Age of the model in use",
                    "s",
                    ("max by (process) (cardwatch_model_age_seconds)", "{{process}}"),
                    alert="ModelStale",
                ),
                _panel("Models published and taken over", "short", ("cardwatch_model_info", "{{process}} {{version}}")),
            ),
        ),
    ),
)

CASEWORK = Dashboard(
    "cardwatch-casework",
    "cardwatch: casework",
    (
        (
            "Cases",
            (
                _panel("Cases by state", "short", ("sum by (state) (cardwatch_cases)", "{{state}}")),
                _panel(
                    "Cases opened, targets near and missed",
                    "ops",
                    (
                        _rate('cardwatch_case_events_total{type=~"opened|target_near|target_missed"}', "type"),
                        "{{type}}",
                    ),
                    alert="QueueTargetBurn",
                ),
                _panel(
                    "From urgent to touched by the desk",
                    "s",
                    *_quantiles("cardwatch_urgent_touch_seconds"),
                    alert="UrgentTouchBurn",
                ),
                _panel(
                    "Urgent cases that nobody has touched, by how long",
                    "short",
                    ("max by (older_than) (cardwatch_urgent_untouched_cases)", "longer than {{older_than}} s"),
                    alert="UrgentTouchBurn",
                ),
                _panel(
                    "From frozen to freed, where it was for nothing",
                    "s",
                    *_quantiles("cardwatch_freeze_undo_seconds"),
                    alert="FreezeUndoBurn",
                ),
                _panel("Age of the outbox", "s", ("max(cardwatch_outbox_age_seconds)", "oldest"), alert="OutboxStuck"),
                _panel(
                    "Alerts waiting",
                    "short",
                    ('sum(cardwatch_consumer_lag_records{topic="fraud.alerts.v1"})', "alerts"),
                ),
            ),
        ),
        (
            "Redis and the API",
            (
                _panel(
                    "Redis' clock beside ours",
                    "s",
                    ("cardwatch_store_clock_offset_seconds", "offset"),
                    alert="ClockSkew",
                ),
                _panel("Requests by status", "ops", (_rate("cardwatch_http_requests_total", "status"), "{{status}}")),
                _panel("Time of requests", "s", *_quantiles("cardwatch_http_request_duration_seconds")),
            ),
        ),
    ),
)


def _of_process(process: Process, *further: Panel) -> Dashboard:
    """What every process of a kind shows, and what only this kind has."""
    which = f'{{job="cardwatch",process="{process}"}}'
    common = (
        _panel("Processor", "percentunit", (f"rate(process_cpu_seconds_total{which}[{RATE}])", "{{instance}}")),
        _panel("Memory", "bytes", (f"process_resident_memory_bytes{which}", "{{instance}}")),
        _panel("Open files", "short", (f"process_open_fds{which}", "{{instance}}")),
        _panel("Version", "short", (f"cardwatch_build_info{which}", "{{instance}} {{version}}")),
        _panel(
            "Log lines by level",
            "ops",
            (f"sum by (level) (rate(cardwatch_log_lines_total{which}[{RATE}]))", "{{level}}"),
        ),
    )
    return Dashboard(
        f"cardwatch-process-{process}",
        f"cardwatch: {process} processes",
        (("Process", common), ("Work", further)),
    )


PROCESSES = (
    _of_process(
        Process.SCORE,
        _panel("Records of a fetch", "short", *_quantiles("cardwatch_batch_records")),
        _panel("Offsets scored", "ops", (
            "sum by (partition) (deriv(cardwatch_partition_next_offset[1m]))", "{{partition}}",
        )),
        _panel(
            "Age of the checkpoint", "s", ("cardwatch_checkpoint_age_seconds", "{{instance}}"), alert="CheckpointStale"
        ),
        _panel(
            "Rows of other scorers: how late", "s", *_quantiles("cardwatch_entity_rows_staleness_seconds"),
            alert="EntityRowsStale",
        ),
        _panel("Rows of other scorers: records not applied", "short", (
            "cardwatch_entity_rows_lag_records", "{{instance}}",
        )),
        _panel("Size of the checkpoint", "bytes", ("cardwatch_checkpoint_bytes", "{{instance}}")),
        _panel("State in use", "percentunit", (
            "sum by (table) (cardwatch_state_rows) / sum by (table) (cardwatch_state_capacity_rows)", "{{table}}",
        )),
        _panel("Memory by kind of state", "bytes", ("sum by (table) (cardwatch_state_bytes)", "{{table}}")),
    ),
    _of_process(
        Process.RESPOND,
        _panel("Alerts waiting", "short", (
            'sum by (partition) (cardwatch_consumer_lag_records{topic="fraud.alerts.v1"})', "{{partition}}",
        )),
        _panel("Producer: records not acknowledged", "short", (
            'cardwatch_producer_queue_records{process="respond"}', "{{instance}}",
        )),
    ),
    _of_process(
        Process.LEARN,
        _panel("Examples waiting", "short", (
            'sum(cardwatch_consumer_lag_records{topic="cardwatch.examples.v1"})', "examples",
        )),
        _panel(
            "Age of the version", "s", ('cardwatch_model_age_seconds{process="learn"}', "{{instance}}"),
            alert="ModelStale",
        ),
    ),
    _of_process(
        Process.HISTORY,
        _panel(
            "Behind the events of cases", "s", ("cardwatch_history_lag_seconds", "{{instance}}"),
            alert="ReadModelLagging",
        ),
        _panel("Events taken in", "ops", (_rate("cardwatch_history_events_total"), "events")),
    ),
    _of_process(
        Process.NOTIFY,
        _panel("Notices by what became of them", "ops", (_rate("cardwatch_notices_total", "outcome"), "{{outcome}}")),
        _panel("From asked for to taken over", "s", *_quantiles("cardwatch_notice_delay_seconds")),
        _panel("Calls to be made", "ops", (_rate("cardwatch_notice_calls_total"), "calls")),
        _panel(
            "Webhooks by what became of them", "ops",
            (_rate("cardwatch_webhook_events_total", "endpoint, outcome"), "{{endpoint}} {{outcome}}"),
            ("max by (endpoint) (cardwatch_webhook_disabled)", "{{endpoint}} disabled"),
            alert="WebhooksUndelivered",
        ),
        _panel("Answers of endpoints", "ops", (
            _rate("cardwatch_webhook_attempts_total", "endpoint, answer"), "{{endpoint}} {{answer}}",
        )),
        _panel("Oldest event that an endpoint has not taken", "s", (
            "max by (endpoint) (cardwatch_webhook_waiting_seconds)", "{{endpoint}}",
        ), alert="WebhooksUndelivered"),
        _panel("From an event to the endpoint having it", "s", *_quantiles("cardwatch_webhook_delay_seconds")),
    ),
    _of_process(
        Process.API,
        _panel("Requests by route", "ops", (_rate("cardwatch_http_requests_total", "route"), "{{route}}")),
        _panel("Answers to callers that wait", "ops", (_rate("cardwatch_waiting_answers_total", "kind"), "{{kind}}")),
        _panel("Signing in, by how it ended", "ops", (_rate("cardwatch_sign_ins_total", "outcome"), "{{outcome}}")),
    ),
)  # fmt: skip

DASHBOARDS = (SERVICE, DETECTION, CASEWORK, *PROCESSES)
