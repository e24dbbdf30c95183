"""Grafana's dashboards: fresh, of metrics that there are, and with a way from each alert to its panel and runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cardwatch.monitoring.objectives import read_promises
from cardwatch.monitoring.panels import DASHBOARDS, Dashboard
from cardwatch.monitoring.rules import all_alerts, rule_files
from dashboards.__main__ import FOLDER
from dashboards.drawing import dashboard_files
from telemetry.catalogue import CATALOGUE
from telemetry.metric import Process

ROOT = Path(__file__).resolve().parents[2]


def panels(text: str) -> Iterator[dict[str, Any]]:
    for panel in json.loads(text)["panels"]:
        if panel["type"] != "row":
            yield panel


@pytest.mark.generated
def test_the_dashboards_are_fresh() -> None:
    """Whoever changes a panel writes the files anew: python -m dashboards."""
    made = dashboard_files()
    assert {path.name: path.read_text("utf-8") for path in (ROOT / FOLDER).glob("*.json")} == made


def test_there_is_one_for_each_kind_of_process() -> None:
    """And one each for the service, for detection and for casework."""
    uids = {board.uid for board in DASHBOARDS}
    assert uids >= {"cardwatch-service", "cardwatch-detection", "cardwatch-casework"}
    assert uids >= {f"cardwatch-process-{process}" for process in Process}


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_queries_name_metrics_and_rules_that_there_are(board: Dashboard) -> None:
    """A panel of a metric that nobody shows would stay empty for ever."""
    known = {
        name + ending
        for name, row in CATALOGUE.items()
        for ending in (("_bucket", "_count", "_sum") if row.buckets else ("",))
    }
    recorded = set(re.findall(r'record: "([^"]+)"', "".join(rule_files(read_promises()).values())))
    for panel in board.panels:
        for query in panel.queries:
            for name in re.findall(r"\bcardwatch[_:][\w:]+", query.expression):
                assert name in known | recorded, (panel.title, name)


def test_alerts_lead_to_a_dashboard_and_panels_to_runbooks() -> None:
    """From the page that wakes somebody to what shows it, and on to what to do."""
    alerts = all_alerts(read_promises())
    assert {alert.dashboard for alert in alerts} <= {board.uid for board in DASHBOARDS}
    names = {alert.name for alert in alerts}
    shown = {panel.alert for board in DASHBOARDS for panel in board.panels if panel.alert}
    assert shown <= names
    for name, text in dashboard_files().items():
        for panel in panels(text):
            links = [link["url"] for link in panel.get("links") or []]
            assert all((ROOT / url).is_file() for url in links), name


def test_lines_of_a_panel_are_told_apart() -> None:
    """Grafana draws one of two targets with the same letter."""
    for text in dashboard_files().values():
        for panel in panels(text):
            letters = [target["refId"] for target in panel["targets"]]
            assert letters
            assert len(set(letters)) == len(letters)
