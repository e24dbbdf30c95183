"""Metrics of the models: which acts, how good the contenders are, and what drifts; see `telemetry.catalogue`."""

from __future__ import annotations

from telemetry.metric import Label
from telemetry.rows import LEARN, SCORE, counter, gauge, info

_ACTIONS = "ALLOW, STEP_UP, REVIEW, DECLINE, FREEZE"
_ACTION, _SHADOW_ACTION = Label("action", 5, _ACTIONS), Label("shadow_action", 5, _ACTIONS)
_DRIFTING = Label("name", 160, "a feature, or score, labels, loss")
_COMPARED = Label("name", 158, "a feature, or score")
_MODEL = Label("model", 16, "champion and challengers by name")
_TOPIC = Label("topic", 12, "a topic")

MODELS = (
    info("model_info", "The model version in use.", "SRE: which version scores", SCORE | LEARN),
    gauge(
        "model_age_seconds",
        "seconds",
        "Seconds since the model version in use was taken over.",
        "SRE: ModelStale",
        SCORE | LEARN,
    ),
    gauge(
        "model_log_loss",
        "",
        "Mean log loss on the latest labels, each before it was learned.",
        "fraud manager: champion beside challengers",
        LEARN,
        _MODEL,
    ),
    gauge(
        "model_average_precision",
        "",
        "Average precision on the latest labels, each before it was learned.",
        "fraud manager: champion beside challengers (ShadowBetter)",
        LEARN,
        _MODEL,
    ),
    counter(
        "shadow_decisions_total",
        "What challengers and a policy that is tried out would have decided, beside what was decided.",
        "fraud manager: how often they would have acted otherwise",
        SCORE,
        Label("shadow", 9, "model and the name of a challenger, or policy and the version of the one that is tried"),
        _ACTION,
        _SHADOW_ACTION,
    ),
    gauge(
        "drift_index",
        "",
        "Population stability index of the last half day against the two weeks before, beyond what chance makes of it.",
        "SRE: ScoreShift; fraud manager: which feature moves",
        LEARN,
        _COMPARED,
    ),
    gauge(
        "drift_labels_ratio",
        "ratio",
        "Labels that people gave in the last half day over those that are usual; NaN while that is not known.",
        "SRE: labels that stop",
        LEARN,
    ),
    gauge(
        "drift_log_loss",
        "",
        "Mean log loss of labels, as far back as it has not changed; NaN while that is not known.",
        "fraud manager: what the models no longer explain",
        LEARN,
    ),
    gauge(
        "drifting",
        "",
        "1 for a feature, the score, labels or the loss that is beyond all its limits, else 0.",
        "SRE, fraud manager: what to look at",
        LEARN,
        _DRIFTING,
    ),
    counter(
        "drift_alarms_total",
        "Features, scores, labels or losses begun to drift.",
        "fraud manager",
        LEARN,
        _DRIFTING,
    ),
    counter(
        "model_changes_total",
        "Changes of the model that acts, by the contest, by kind.",
        "fraud manager: promotions and rollbacks",
        LEARN,
        Label("kind", 2, "promoted, rolled_back"),
    ),
    counter(
        "broadcast_rejected_total",
        "Models, directives, card states or examples that could not be used, by topic.",
        "SRE: versions that do not understand each other",
        SCORE | LEARN,
        _TOPIC,
    ),
)
