"""The files of rules for Prometheus, made from the promises."""

from __future__ import annotations

from cardwatch.monitoring.alert import Alert
from cardwatch.monitoring.burn import burn_alerts, recording_rules
from cardwatch.monitoring.documents import Node, to_yaml
from cardwatch.monitoring.domain import domain_alerts
from cardwatch.monitoring.objectives import Promises
from cardwatch.monitoring.windows import Windows

RECORDING_FILE, ALERTS_FILE = "objectives.rules.yml", "alerts.rules.yml"
_HEAD = "# Generated from configs/objectives.toml by `cardwatch monitoring`. Change that file and generate anew.\n"


def all_alerts(promises: Promises, windows: Windows | None = None) -> list[Alert]:
    """Every alert."""
    spans = windows or Windows()
    return [*domain_alerts(promises, spans), *burn_alerts(promises, spans)]


def rule_files(promises: Promises, windows: Windows | None = None, interval_s: float = 15.0) -> dict[str, str]:
    """Name and content of each file.

    Args:
        promises: objectives and limits.
        windows: shorter ones, to try alerts out.
        interval_s: how often rules are looked at.
    """
    spans = windows or Windows()
    interval = Windows().of(interval_s)
    recording: Node = {
        "name": "cardwatch-objectives",
        "interval": interval,
        "rules": list(recording_rules(promises, spans)),
    }
    alerts: Node = {
        "name": "cardwatch-alerts",
        "interval": interval,
        "rules": [alert.rule(promises.runbooks, spans) for alert in all_alerts(promises, spans)],
    }
    return {
        RECORDING_FILE: _HEAD + to_yaml({"groups": [recording]}),
        ALERTS_FILE: _HEAD + to_yaml({"groups": [alerts]}),
    }
