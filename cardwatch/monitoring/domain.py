"""The alerts of the domain: what can go wrong with detecting fraud that no objective shows, or shows too late."""

from __future__ import annotations

from cardwatch.monitoring.alert import PAGE, TICKET, Alert
from cardwatch.monitoring.objectives import AlertLimits, Promises
from cardwatch.monitoring.windows import DAY_S, HOUR_S, MINUTE_S, Windows
from streams.topics import TRANSACTIONS

_STORE_FAILURES = 5
# Rows of other scorers are late after so long, a bound of their histogram; this share may not be later.
_ROWS_LATE_S, _ROWS_IN_TIME = "10.0", 0.9
_TRANSACTIONS_LAG = f'cardwatch_consumer_lag_records{{topic="{TRANSACTIONS}"}}'


def domain_alerts(promises: Promises, windows: Windows) -> list[Alert]:
    """All of them, the most urgent first."""
    limits = promises.alerts
    return [
        *_flow(limits, windows),
        *_freezes(limits, windows),
        *_casework(limits, windows),
        *_learning(limits, windows),
        *_machines(limits, windows),
    ]


def _flow(limits: AlertLimits, windows: Windows) -> list[Alert]:
    minutes_2, minutes_5, minutes_10 = (windows.of(count * MINUTE_S) for count in (2, 5, 10))
    dead = f"sum(increase(cardwatch_dead_letters_total[{minutes_10}]))"
    read = f"(sum(increase(cardwatch_transactions_total[{minutes_10}])) + {dead})"
    return [
        Alert(
            "ScorerSilent", PAGE, MINUTE_S,
            f"(\n  sum({_TRANSACTIONS_LAG}) > 0\n  and sum(rate(cardwatch_transactions_total[{minutes_2}])) == 0\n)\n"
            'or max(cardwatch_start_progress_ratio{process="score"}) < 1\n'
            "or absent(cardwatch_transactions_total)",
            "Payments come in and none is decided, or no scorer runs",
            "Every payment goes unwatched: frauds go through, or payment systems refuse everything.",
        ),
        Alert(
            "PartitionUnanswered", PAGE, 2 * MINUTE_S,
            f"(\n  sum by (partition) ({_TRANSACTIONS_LAG}) > 0\n"
            f"  and sum by (partition) (changes(cardwatch_partition_next_offset[{minutes_5}])) == 0\n"
            f"  and on () sum(rate(cardwatch_transactions_total[{minutes_5}])) > 0\n)\n"
            "or (max(cardwatch_source_partitions) - count(count by (partition) (cardwatch_partition_next_offset)) > 0)",
            "A partition of payments is not scored while others are",
            "The payments of a part of all cards go unwatched.",
        ),
        Alert(
            "DeadLettersGrowing", PAGE, MINUTE_S,
            f"{dead} > {limits.dead_letters_least}\nand {dead} > {limits.dead_letters_ratio:.6g} * {read}",
            "Many records cannot be read and are put aside",
            "These payments get no decision: nobody watches them.",
        ),
        Alert(
            "LagGrowing", TICKET, 5 * MINUTE_S,
            f"sum by (topic) (cardwatch_consumer_lag_records) > {limits.lag_records}\n"
            f"and sum by (topic) (deriv(cardwatch_consumer_lag_records[{minutes_10}])) > 0",
            "More records come in than are worked off",
            "Decisions come later and later; DecisionLatencyBurn pages once that is felt.",
        ),
        Alert(
            "ProcessMissing", PAGE, 2 * MINUTE_S,
            'up{job="cardwatch", process!="score"} == 0',
            "A process does not answer Prometheus",
            "Without respond nobody is frozen, without the API no agent can work, without learn models grow old.",
        ),
    ]  # fmt: skip


def _freezes(limits: AlertLimits, windows: Windows) -> list[Alert]:
    minutes_10 = windows.of(10 * MINUTE_S)
    frozen = f'sum(increase(cardwatch_freezes_total{{outcome=~"frozen|held"}}[{minutes_10}]))'
    payments = f"sum(increase(cardwatch_transactions_total[{minutes_10}]))"
    return [
        Alert(
            "FreezeStorm", PAGE, 0.0,
            f"{frozen} > {limits.freeze_storm_least}\nand {frozen} > {limits.freeze_storm_ratio:.6g} * {payments}",
            "Far more cards are frozen, or would be, than usual",
            "People stand at a till and cannot pay: an attack, or a model or rule that is wrong.",
            "cardwatch-detection",
        ),
        Alert(
            "FreezeBreakerOpen", PAGE, 0.0,
            "max by (policy) (cardwatch_freeze_breaker_open) == 1",
            "The circuit breaker holds all freezes for people",
            "Stolen cards go on paying until an agent has looked at each of them.",
            "cardwatch-detection",
        ),
    ]  # fmt: skip


def _casework(limits: AlertLimits, windows: Windows) -> list[Alert]:
    minutes_2, hour = windows.of(2 * MINUTE_S), windows.of(HOUR_S)
    untold = 'cardwatch_webhook_events_total{outcome=~"refused|unreadable"}'
    return [
        Alert(
            "RedisRefusingWrites", PAGE, MINUTE_S,
            # One hiccup is no outage; while Redis is away, relay and counting alone fail some ten times a minute.
            f"sum(increase(cardwatch_store_failures_total[{minutes_2}])) > {_STORE_FAILURES}",
            "Redis does not answer, or refuses what must be written",
            "No card is frozen and no frozen one released; payments are still decided.",
            "cardwatch-casework",
        ),
        Alert(
            "OutboxStuck", PAGE, MINUTE_S,
            f"max(cardwatch_outbox_age_seconds) > {limits.outbox_stuck_s:.6g}",
            "Freezes and cases do not reach Kafka",
            "Payment systems do not hear that a card is frozen, or free again.",
            "cardwatch-casework",
        ),
        Alert(
            "ReadModelLagging", TICKET, 5 * MINUTE_S,
            f"max(cardwatch_history_lag_seconds) > {limits.history_lag_s:.6g}",
            "The memory of closed cases is behind",
            "Nothing: agents do not find what was closed lately, and figures are old.",
            "cardwatch-casework",
        ),
        Alert(
            "WebhooksUndelivered", TICKET, 0.0,
            f"max by (endpoint) (cardwatch_webhook_waiting_seconds) > {limits.webhooks_waiting_s:.6g}\n"
            "or max by (endpoint) (cardwatch_webhook_disabled) == 1\n"
            f"or sum by (endpoint) (increase({untold}[{hour}])) > 0",
            "A system does not take what it is told of cases and cards, or is told nothing any more",
            "What this system does for them, it does late or not at all; cards and cases are not touched.",
            "cardwatch-process-notify",
        ),
    ]  # fmt: skip


def _learning(limits: AlertLimits, windows: Windows) -> list[Alert]:
    hours_6, day = windows.of(6 * HOUR_S), windows.of(DAY_S)
    labels = f"(sum(increase(cardwatch_labels_total[{hours_6}])) or vector(0))"
    return [
        Alert(
            "LabelsStalled", TICKET, 10 * MINUTE_S,
            f"{labels} == 0\nand on () sum(increase(cardwatch_alerts_total[{hours_6}])) > "
            f"{limits.labels_stalled_alerts}",
            "Alerts go out and no label comes back",
            "Nothing at once; models no longer learn what is fraud.",
            "cardwatch-detection",
        ),
        Alert(
            "ModelStale", TICKET, 10 * MINUTE_S,
            f"max(cardwatch_model_age_seconds) > {limits.model_stale_s:.6g}\n"
            f'and on () sum(increase(cardwatch_labels_total{{outcome="applied"}}[{day}])) > 0',
            "No new model has been taken over though labels come",
            "Nothing at once; new kinds of fraud are learned late.",
            "cardwatch-detection",
        ),
        Alert(
            "ShadowBetter", TICKET, 0.0,
            f"sum(increase(cardwatch_model_changes_total[{day}])) > 0",
            "A model that learned in shadow has turned out better, and acts now",
            "Fewer are stopped wrongly, or more frauds are; look whether that is so.",
            "cardwatch-detection",
        ),
        Alert(
            "ScoreShift", TICKET, 15 * MINUTE_S,
            f'max(cardwatch_drift_index{{name="score"}}) > {limits.score_shift_index:.6g}',
            "Scores are no longer distributed as they were",
            "Too many or too few payments may be stopped.",
            "cardwatch-detection",
        ),
    ]  # fmt: skip


def _machines(limits: AlertLimits, windows: Windows) -> list[Alert]:
    minutes_5 = windows.of(5 * MINUTE_S)
    skew = limits.clock_skew_s
    rows_s, hour = "cardwatch_entity_rows_staleness_seconds", windows.of(HOUR_S)
    return [
        Alert(
            "CheckpointStale", TICKET, 2 * MINUTE_S,
            f"cardwatch_checkpoint_age_seconds > {limits.checkpoint_stale_s:.6g}\n"
            f"and on (instance) rate(cardwatch_transactions_total[{minutes_5}]) > 0",
            "A scorer works and does not save its state",
            "Nothing at once; a restart would take longer the longer this lasts.",
        ),
        Alert(
            "EntityRowsStale", TICKET, 2 * MINUTE_S,
            f'sum by (instance) (rate({rows_s}_bucket{{le="{_ROWS_LATE_S}"}}[{minutes_5}]))\n'
            f"< {_ROWS_IN_TIME:.6g} * sum by (instance) (rate({rows_s}_count[{minutes_5}]))\n"
            f"or sum by (instance) (increase(cardwatch_entity_rows_missed_total[{hour}])) > 0\n"
            f"or min by (instance) (min_over_time(cardwatch_entity_rows_lag_records[{minutes_5}])) > 0\n"
            f"unless sum by (instance) (rate({rows_s}_count[{minutes_5}])) > 0",
            "A scorer hears late or not at all of what others do to terminals and merchants, or has missed it",
            "Frauds at places that other scorers know to be bad are scored as if nothing were known.",
        ),
        Alert(
            "ClockSkew", TICKET, 2 * MINUTE_S,
            f"max(abs(cardwatch_store_clock_offset_seconds)) > {skew:.6g}\n"
            f"or max(cardwatch_record_ahead_seconds) > {skew:.6g}",
            "Clocks of machines disagree",
            "An agent's word and an alert may be put into the wrong order: a released card may be frozen again.",
        ),
        Alert(
            "CertificateExpiring", TICKET, 0.0,
            "cardwatch_certificate_expiry_timestamp_seconds - time() < "
            f"{limits.certificate_days * DAY_S:.6g}",
            "A certificate ends soon",
            "Nothing until it ends; then nothing connects and everything stands.",
        ),
    ]  # fmt: skip
