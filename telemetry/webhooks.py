"""Rows of the catalogue that tell of webhooks."""

from __future__ import annotations

from telemetry.metric import Label
from telemetry.rows import NOTIFY, counter, gauge, histogram

# As many as may be configured; `cardwatch.webhook_settings` refuses more.
_ENDPOINT = Label("endpoint", 16, "name of a configured endpoint")
_READERS = "SRE: WebhooksUndelivered"

WEBHOOKS = (
    counter(
        "webhook_events_total",
        "Events of cases and cards by what became of them at an endpoint; old history at a first start is expired.",
        _READERS,
        NOTIFY,
        _ENDPOINT,
        Label("outcome", 4, "delivered, refused, expired, unreadable"),
    ),
    counter(
        "webhook_attempts_total",
        "Posts to an endpoint, by what its answer meant.",
        "SRE, integrator: what an endpoint answers",
        NOTIFY,
        _ENDPOINT,
        Label("answer", 4, "delivered, refused, unavailable, gone"),
    ),
    histogram(
        "webhook_delay_seconds",
        "seconds",
        "From an event to the endpoint having it.",
        "integrator: how soon systems know",
        NOTIFY,
        _ENDPOINT,
        buckets=(0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 28_800.0),
    ),
    gauge(
        "webhook_waiting_seconds",
        "seconds",
        "Age of the oldest event in hand that the endpoint has not taken; 0 where it takes what comes.",
        _READERS,
        NOTIFY,
        _ENDPOINT,
    ),
    gauge(
        "webhook_disabled",
        "",
        "1 while the endpoint is told nothing, until a person enables it.",
        _READERS,
        NOTIFY,
        _ENDPOINT,
    ),
)
