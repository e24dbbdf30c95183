"""For each alert: series that fire it, that nearly do, a reset of counters, and nothing at all.

Values are promtool's: `0+10x20` counts up by 10 a step, 20 times; `_` is a scrape that is missing. A step is a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cardwatch.monitoring.documents import Node, to_yaml

LAG = 'cardwatch_consumer_lag_records{topic="payments.transactions.v1",partition="0"}'
LAG_1 = 'cardwatch_consumer_lag_records{topic="payments.transactions.v1",partition="1"}'
NEXT, NEXT_1 = (f'cardwatch_partition_next_offset{{partition="{number}"}}' for number in (0, 1))
NEXT_ELSEWHERE = 'cardwatch_partition_next_offset{partition="0",instance="b"}'
READ = "cardwatch_transactions_total"
READ_A = 'cardwatch_transactions_total{instance="a"}'
STARTED = 'cardwatch_start_progress_ratio{process="score"}'
DEAD = 'cardwatch_dead_letters_total{reason="not_json"}'
FAILED = 'cardwatch_dead_letters_total{reason="scoring_failed"}'
RESPOND_UP, SCORE_UP = (f'up{{job="cardwatch",process="{name}"}}' for name in ("respond", "score"))
FROZEN = 'cardwatch_freezes_total{outcome="frozen"}'
BREAKER, BREAKER_2 = (f'cardwatch_freeze_breaker_open{{policy="{version}"}}' for version in ("p-1", "p-2"))
STORE_FAILURES = 'cardwatch_store_failures_total{error="StoreUnavailableError"}'
OUTBOX = "cardwatch_outbox_age_seconds"
HISTORY_LAG = "cardwatch_history_lag_seconds"
ALERTS = 'cardwatch_alerts_total{action="REVIEW"}'
LABELS = 'cardwatch_labels_total{source="agent",outcome="applied"}'
MODEL_AGE = "cardwatch_model_age_seconds"
CHANGES = 'cardwatch_model_changes_total{kind="promoted"}'
SCORE_DRIFT = 'cardwatch_drift_index{name="score"}'
CHECKPOINT_AGE = 'cardwatch_checkpoint_age_seconds{instance="a"}'
ROWS_SOON = 'cardwatch_entity_rows_staleness_seconds_bucket{le="10.0",instance="a"}'
ROWS_HEARD = 'cardwatch_entity_rows_staleness_seconds_count{instance="a"}'
ROWS_MISSED = 'cardwatch_entity_rows_missed_total{instance="a"}'
ROWS_LAG = 'cardwatch_entity_rows_lag_records{instance="a"}'
REDIS_CLOCK = "cardwatch_store_clock_offset_seconds"
CERTIFICATE = 'cardwatch_certificate_expiry_timestamp_seconds{setting="kafka.client.ssl.ca.location"}'
FAST, DECIDED = 'cardwatch_decision_latency_seconds_bucket{le="0.25"}', "cardwatch_decision_latency_seconds_count"
MISSED, OPENED = (f'cardwatch_case_events_total{{type="{event}"}}' for event in ("target_missed", "opened"))
TOUCHED_SOON, TOUCHED = (
    'cardwatch_urgent_touch_seconds_bucket{le="900.0"}', "cardwatch_urgent_touch_seconds_count",
)  # fmt: skip
UNTOUCHED, UNTOUCHED_YET = (f'cardwatch_urgent_untouched_cases{{older_than="{age}"}}' for age in ("900.0", "600.0"))
UNDONE_SOON, UNDONE = 'cardwatch_freeze_undo_seconds_bucket{le="1800.0"}', "cardwatch_freeze_undo_seconds_count"
SOON, FREEZES = 'cardwatch_freeze_latency_seconds_bucket{le="2.0"}', "cardwatch_freeze_latency_seconds_count"

WEBHOOK_WAITING, WEBHOOK_WAITING_2 = (
    f'cardwatch_webhook_waiting_seconds{{endpoint="{name}"}}' for name in ("bank", "ledger")
)
WEBHOOK_DISABLED = 'cardwatch_webhook_disabled{endpoint="bank"}'
WEBHOOK_REFUSED, WEBHOOK_DELIVERED, WEBHOOK_EXPIRED = (
    f'cardwatch_webhook_events_total{{endpoint="bank",outcome="{name}"}}'
    for name in ("refused", "delivered", "expired")
)

FIRES, NEARLY, RESET, MISSING = "fires", "nearly", "reset", "missing"


@dataclass(frozen=True)
class Scenario:
    """Series, a moment, and whether the alert fires then."""

    alert: str
    severity: str
    kind: str
    fires: bool
    at: str
    series: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.alert} {self.severity} {self.kind}: {self.series}"


def _of(alert: str, severity: str, at: str, *rows: tuple[str, bool, dict[str, str]]) -> list[Scenario]:
    return [Scenario(alert, severity, kind, fires, at, series) for kind, fires, series in rows]


SCENARIOS = [
    *_of(
        "ScorerSilent", "page", "6m",
        (FIRES, True, {LAG: "5x10", READ: "100x10", STARTED: "1x10"}),
        (FIRES, True, {READ: "0x10", STARTED: "0.1x10"}),
        (NEARLY, False, {LAG: "5x10", READ: "0+1x10", STARTED: "1x10"}),
        (NEARLY, False, {LAG: "0x10", READ: "100x10", STARTED: "1x10"}),
        (NEARLY, False, {LAG: "5x10", READ: "0 60 _ 120+60x10", STARTED: "1x10"}),
        (RESET, False, {LAG: "5x10", READ: "1000+600x2 0+600x10", STARTED: "1x10"}),
        (MISSING, True, {}),
    ),
    *_of(
        "PartitionUnanswered", "page", "12m",
        (FIRES, True, {LAG: "5x15", LAG_1: "5x15", NEXT: "7x15", NEXT_1: "0+60x15", READ: "0+60x15"}),
        (FIRES, True, {NEXT_1: "0+60x15", READ: "0+60x15", "cardwatch_source_partitions": "2x15"}),
        (NEARLY, False, {LAG: "5x15", NEXT: "7x3 8x3 9x3 10x9", NEXT_1: "0+60x15", READ: "0+60x15"}),
        (NEARLY, False, {LAG: "0x15", NEXT: "7x15", NEXT_1: "0+60x15", READ: "0+60x15"}),
        (RESET, False, {LAG: "5x15", NEXT: "70+1x5 stale", NEXT_ELSEWHERE: "_x6 0+1x15", READ: "0+60x5 0+60x15"}),
        (MISSING, False, {}),
    ),
    *_of(
        "DeadLettersGrowing", "page", "15m",
        (FIRES, True, {DEAD: "0+10x20", READ: "0+100x20"}),
        (FIRES, True, {DEAD: "0+10x8 0+10x20", READ: "0+100x8 0+100x20"}),
        (NEARLY, False, {DEAD: "0+2x20", READ: "0+100x20"}),
        (NEARLY, False, {DEAD: "0+10x20", READ: "0+1000x20"}),
        (RESET, False, {DEAD: "500x8 0x20", READ: "0+100x8 0+100x20"}),
        (MISSING, False, {}),
    ),
    *_of(
        "LagGrowing", "ticket", "20m",
        (FIRES, True, {LAG: "9000+500x30"}),
        (NEARLY, False, {LAG: "20000-100x30"}),
        (NEARLY, False, {LAG: "0+400x30"}),
        (RESET, False, {LAG: "15000+500x8 0x30"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ProcessMissing", "page", "8m",
        (FIRES, True, {RESPOND_UP: "1x3 0x10"}),
        (NEARLY, False, {RESPOND_UP: "1 0 1 1 0 1 1 0 1"}),
        (NEARLY, False, {SCORE_UP: "0x10"}),
        (RESET, False, {RESPOND_UP: "0x2 1x10"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeStorm", "page", "15m",
        (FIRES, True, {FROZEN: "0+20x20", READ: "0+600x20"}),
        (NEARLY, False, {FROZEN: "0+5x20", READ: "0+60x20"}),
        (NEARLY, False, {FROZEN: "0+20x20", READ: "0+2100x20"}),
        (RESET, False, {FROZEN: "9000x8 0x20", READ: "0+600x8 0+600x20"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeBreakerOpen", "page", "5m",
        (FIRES, True, {BREAKER: "0x3 1x10", BREAKER_2: "0x10"}),
        (NEARLY, False, {BREAKER: "0x10", BREAKER_2: "0x10"}),
        (RESET, False, {BREAKER: "1x3 0x10"}),
        (MISSING, False, {}),
    ),
    *_of(
        "RedisRefusingWrites", "page", "8m",
        (FIRES, True, {STORE_FAILURES: "0+10x10"}),
        (NEARLY, False, {STORE_FAILURES: "0x5 5x10"}),
        (RESET, False, {STORE_FAILURES: "900x5 0x10"}),
        (MISSING, False, {}),
    ),
    *_of(
        "OutboxStuck", "page", "8m",
        (FIRES, True, {OUTBOX: "0+60x10"}),
        (NEARLY, False, {OUTBOX: "60x10"}),
        (RESET, False, {OUTBOX: "0 59 119 0 59 119 0 59 119 0"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ReadModelLagging", "ticket", "16m",
        (FIRES, True, {HISTORY_LAG: "0+60x20"}),
        (NEARLY, False, {HISTORY_LAG: "300x20"}),
        (RESET, False, {HISTORY_LAG: "0 301 301 301 0 301 301 301 0 301 301 301 0 301 301 301 0"}),
        (MISSING, False, {}),
    ),
    *_of(
        "WebhooksUndelivered", "ticket", "20m",
        (FIRES, True, {WEBHOOK_WAITING: "0+60x30", WEBHOOK_WAITING_2: "0x30"}),
        (FIRES, True, {WEBHOOK_WAITING: "0x30", WEBHOOK_DISABLED: "0x10 1x20"}),
        (FIRES, True, {WEBHOOK_WAITING: "0x30", WEBHOOK_REFUSED: "0x10 1x20"}),
        (NEARLY, False, {WEBHOOK_WAITING: "900x30", WEBHOOK_WAITING_2: "0x30", WEBHOOK_DISABLED: "0x30"}),
        (NEARLY, False, {WEBHOOK_DELIVERED: "0+100x30", WEBHOOK_EXPIRED: "0+9x30", WEBHOOK_REFUSED: "7x30"}),
        (RESET, False, {WEBHOOK_WAITING: "0+60x16 0x14", WEBHOOK_DISABLED: "1x10 0x20", WEBHOOK_REFUSED: "9x10 0x20"}),
        (MISSING, False, {}),
    ),
    *_of(
        "LabelsStalled", "ticket", "7h",
        (FIRES, True, {ALERTS: "0+1x500", LABELS: "50x500"}),
        (FIRES, True, {ALERTS: "0+1x500"}),
        (NEARLY, False, {ALERTS: "0+1x500", LABELS: "50x300 51x200"}),
        (NEARLY, False, {ALERTS: "0x300 20x200", LABELS: "50x500"}),
        (RESET, True, {ALERTS: "0+1x500", LABELS: "50x300 0x200"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ModelStale", "ticket", "2h10m",
        (FIRES, True, {MODEL_AGE: "80000+60x200", LABELS: "0+1x200"}),
        (NEARLY, False, {MODEL_AGE: "80000+60x200", LABELS: "9x200"}),
        (NEARLY, False, {MODEL_AGE: "78000+60x200", LABELS: "0+1x200"}),
        (RESET, False, {MODEL_AGE: "90000+60x9 0+60x200", LABELS: "0+1x9 0+1x200"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ShadowBetter", "ticket", "3h",
        (FIRES, True, {CHANGES: "0x60 1x200"}),
        (NEARLY, False, {CHANGES: "4x260"}),
        (RESET, False, {CHANGES: "4x60 0x200"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ScoreShift", "ticket", "30m",
        (FIRES, True, {SCORE_DRIFT: "0.3x40"}),
        (NEARLY, False, {SCORE_DRIFT: "0.2x40"}),
        (RESET, False, {SCORE_DRIFT: "0.3x20 0x20"}),
        (MISSING, False, {}),
    ),
    *_of(
        "CheckpointStale", "ticket", "10m",
        (FIRES, True, {CHECKPOINT_AGE: "0+60x20", READ_A: "0+10x20"}),
        (NEARLY, False, {CHECKPOINT_AGE: "0+60x20", READ_A: "90x20"}),
        (NEARLY, False, {CHECKPOINT_AGE: "120x20", READ_A: "0+10x20"}),
        (RESET, False, {CHECKPOINT_AGE: "0 60 120 0 60 120 0 60 120 0 60", READ_A: "0+10x5 0+10x20"}),
        (MISSING, False, {}),
    ),
    *_of(
        "EntityRowsStale", "ticket", "10m",
        (FIRES, True, {ROWS_SOON: "0+50x20", ROWS_HEARD: "0+100x20"}),
        (FIRES, True, {ROWS_SOON: "0+100x20", ROWS_HEARD: "0+100x20", ROWS_MISSED: "0x5 7x15"}),
        (FIRES, True, {ROWS_SOON: "100x20", ROWS_HEARD: "100x20", ROWS_LAG: "3x20"}),
        (NEARLY, False, {ROWS_SOON: "0+95x20", ROWS_HEARD: "0+100x20", ROWS_MISSED: "7x20"}),
        (NEARLY, False, {ROWS_SOON: "0+100x20", ROWS_HEARD: "0+100x20", ROWS_LAG: "3x20"}),
        (NEARLY, False, {ROWS_SOON: "100x20", ROWS_HEARD: "100x20", ROWS_LAG: "3 3 0 3 3 3 0 3 3 3 0"}),
        (NEARLY, False, {ROWS_SOON: "10x20", ROWS_HEARD: "100x20"}),
        (RESET, False, {ROWS_SOON: "0+100x5 0+100x15", ROWS_HEARD: "0+100x5 0+100x15", ROWS_MISSED: "9x5 0x15"}),
        (MISSING, False, {}),
    ),
    *_of(
        "ClockSkew", "ticket", "8m",
        (FIRES, True, {REDIS_CLOCK: "-1.5x10"}),
        (FIRES, True, {REDIS_CLOCK: "0x10", "cardwatch_record_ahead_seconds": "2x10"}),
        (NEARLY, False, {REDIS_CLOCK: "1x10", "cardwatch_record_ahead_seconds": "0.9x10"}),
        (RESET, False, {REDIS_CLOCK: "5x4 0x10"}),
        (MISSING, False, {}),
    ),
    *_of(
        "CertificateExpiring", "ticket", "5m",
        (FIRES, True, {CERTIFICATE: "1209600x10"}),
        (NEARLY, False, {CERTIFICATE: "1210000x10"}),
        (RESET, False, {CERTIFICATE: "1000x3 99999999x10"}),
        (MISSING, False, {}),
    ),
    *_of(
        "UndecidedBurn", "page", "80m",
        (FIRES, True, {FAILED: "0+20x90", READ: "0+1000x90"}),
        (FIRES, True, {FAILED: "0+20x40 0+20x50", READ: "0+1000x40 0+1000x50"}),
        (NEARLY, False, {FAILED: "0+5x90", READ: "0+1000x90"}),
        (NEARLY, False, {FAILED: "0+50x40 2000x50", READ: "0+1000x90"}),
        (RESET, False, {FAILED: "900x40 0x50", READ: "0+1000x40 0+1000x50"}),
        (MISSING, False, {}),
    ),
    *_of(
        "UndecidedBurn", "ticket", "7h",
        (FIRES, True, {FAILED: "0+2x450", READ: "0+1000x450"}),
        (NEARLY, False, {FAILED: "0+1x450", READ: "0+1100x450"}),
        (RESET, False, {FAILED: "900x200 0x250", READ: "0+1000x450"}),
        (MISSING, False, {}),
    ),
    *_of(
        "DecisionLatencyBurn", "page", "80m",
        (FIRES, True, {FAST: "0+800x90", DECIDED: "0+1000x90"}),
        (NEARLY, False, {FAST: "0+945x90", DECIDED: "0+1000x90"}),
        (NEARLY, False, {FAST: "0+500x40 20000+1000x50", DECIDED: "0+1000x90"}),
        (RESET, False, {FAST: "0+1000x40 0+1000x50", DECIDED: "0+1000x40 0+1000x50"}),
        (MISSING, False, {}),
    ),
    *_of(
        "DecisionLatencyBurn", "ticket", "7h",
        (FIRES, True, {FAST: "0+98x450", DECIDED: "0+100x450"}),
        (NEARLY, False, {FAST: "0+991x450", DECIDED: "0+1000x450"}),
        (RESET, False, {FAST: "0+100x200 0+100x250", DECIDED: "0+100x200 0+100x250"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeLatencyBurn", "page", "80m",
        (FIRES, True, {SOON: "0+18x90", FREEZES: "0+20x90"}),
        (NEARLY, False, {SOON: "0+98x90", FREEZES: "0+100x90"}),
        (NEARLY, False, {SOON: "0x90", FREEZES: "0+0.1x90"}),
        (RESET, False, {SOON: "0+20x40 0+20x50", FREEZES: "0+20x40 0+20x50"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeLatencyBurn", "ticket", "7h",
        (FIRES, True, {SOON: "0+98x450", FREEZES: "0+100x450"}),
        (NEARLY, False, {SOON: "0+996x450", FREEZES: "0+1000x450"}),
        (RESET, False, {SOON: "0+20x200 0+20x250", FREEZES: "0+20x200 0+20x250"}),
        (MISSING, False, {}),
    ),
    *_of(
        "QueueTargetBurn", "page", "80m",
        (FIRES, True, {MISSED: "0+8x90", OPENED: "0+10x90"}),
        (NEARLY, False, {MISSED: "0+2x90", OPENED: "0+10x90"}),
        (NEARLY, False, {MISSED: "0+1x40 40x50", OPENED: "0+1x90"}),
        (RESET, False, {MISSED: "90x40 0x50", OPENED: "0+10x40 0+10x50"}),
        (MISSING, False, {}),
    ),
    *_of(
        "QueueTargetBurn", "ticket", "7h",
        (FIRES, True, {MISSED: "0+1x450", OPENED: "0+10x450"}),
        (NEARLY, False, {MISSED: "0+1x450", OPENED: "0+25x450"}),
        (RESET, False, {MISSED: "90x200 0x250", OPENED: "0+10x450"}),
        (MISSING, False, {}),
    ),
    *_of(
        "UrgentTouchBurn", "page", "80m",
        (FIRES, True, {TOUCHED_SOON: "0+2x90", TOUCHED: "0+10x90"}),
        (FIRES, True, {TOUCHED_SOON: "0x90", TOUCHED: "0x90", UNTOUCHED: "0x40 12x50"}),
        (NEARLY, False, {TOUCHED_SOON: "0+8x90", TOUCHED: "0+10x90", UNTOUCHED: "0x90"}),
        (NEARLY, False, {TOUCHED_SOON: "0x90", TOUCHED: "0x90", UNTOUCHED: "0x90", UNTOUCHED_YET: "50x90"}),
        (NEARLY, False, {TOUCHED_SOON: "0x90", TOUCHED: "0x90", UNTOUCHED: "9x90"}),
        (NEARLY, False, {TOUCHED_SOON: "0x90", TOUCHED: "0+2x40 80x50", UNTOUCHED: "20x40 0x50"}),
        (RESET, False, {TOUCHED_SOON: "0+10x40 0+10x50", TOUCHED: "0+10x40 0+10x50", UNTOUCHED: "0x90"}),
        (MISSING, False, {}),
    ),
    *_of(
        "UrgentTouchBurn", "ticket", "7h",
        (FIRES, True, {TOUCHED_SOON: "0+9x450", TOUCHED: "0+10x450", UNTOUCHED: "0x450"}),
        (NEARLY, False, {TOUCHED_SOON: "0+96x450", TOUCHED: "0+100x450", UNTOUCHED: "0x450"}),
        (RESET, False, {TOUCHED_SOON: "0+10x200 0+10x250", TOUCHED: "0+10x200 0+10x250", UNTOUCHED: "0x450"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeUndoBurn", "page", "80m",
        (FIRES, True, {UNDONE_SOON: "0+3x90", UNDONE: "0+10x90"}),
        (NEARLY, False, {UNDONE_SOON: "0+5x90", UNDONE: "0+10x90"}),
        (NEARLY, False, {UNDONE_SOON: "0x90", UNDONE: "0+0.1x90"}),
        (RESET, False, {UNDONE_SOON: "0+10x40 0+10x50", UNDONE: "0+10x40 0+10x50"}),
        (MISSING, False, {}),
    ),
    *_of(
        "FreezeUndoBurn", "ticket", "7h",
        (FIRES, True, {UNDONE_SOON: "0+8x450", UNDONE: "0+10x450"}),
        (NEARLY, False, {UNDONE_SOON: "0+95x450", UNDONE: "0+100x450"}),
        (RESET, False, {UNDONE_SOON: "0+10x200 0+10x250", UNDONE: "0+10x200 0+10x250"}),
        (MISSING, False, {}),
    ),
]  # fmt: skip


def _labels(scenario: Scenario) -> str:
    return f'alertname="{scenario.alert}",severity="{scenario.severity}",alertstate="firing"'


def promtool_document(rules: list[str], scenarios: list[Scenario]) -> str:
    """A file of tests for promtool."""
    tests: list[Node] = [
        {
            "name": it.name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in it.series.items()],
            "promql_expr_test": [
                {
                    "expr": f"count(ALERTS{{{_labels(it)}}}) > bool 0",
                    "eval_time": it.at,
                    "exp_samples": [{"labels": "{}", "value": 1}] if it.fires else [],
                }
            ],
        }
        for it in scenarios
    ]
    return to_yaml({"rule_files": rules, "evaluation_interval": "1m", "tests": tests})
