"""From panels as data to Grafana's JSON, by Grafana's own foundation SDK."""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import TimeZoneBrowser
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef

from cardwatch.monitoring.objectives import read_promises
from cardwatch.monitoring.panels import DASHBOARDS, Dashboard, Panel

_COLUMNS, _HEIGHT = 24, 8
_TAG = "cardwatch"
_SOURCE = DataSourceRef("prometheus", "${source}")


def dashboard_files() -> dict[str, str]:
    """Name and content of each dashboard's file."""
    runbooks = read_promises().runbooks
    return {f"{board.uid}.json": _draw(board, runbooks) for board in DASHBOARDS}


def _draw(board: Dashboard, runbooks: str) -> str:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags([_TAG])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone(TimeZoneBrowser)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .link(
            dashboard.DashboardLink("cardwatch")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .as_dropdown(as_dropdown=True)
        )
    )
    for title, panels in board.rows:
        if panels:
            built = built.with_row(dashboard.Row(title))
            for panel in panels:
                built = built.with_panel(_panel(panel, _COLUMNS // min(3, len(panels)), runbooks))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _panel(panel: Panel, width: int, runbooks: str) -> timeseries.Panel:
    drawn = (
        timeseries.Panel()
        .title(panel.title)
        .unit(panel.unit)
        .height(_HEIGHT)
        .span(width)
        .min(0)
        .fill_opacity(10)
        .datasource(_SOURCE)
    )
    if panel.alert:
        address = f"{runbooks.rstrip('/')}/{panel.alert}.md"
        drawn = drawn.description(f"Alert: {panel.alert}").links(
            [dashboard.DashboardLink(f"Runbook: {panel.alert}").type(DashboardLinkType.LINK).url(address)]
        )
    for name, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(name).expr(query.expression).legend_format(query.legend)
        drawn = drawn.with_target(target.range().datasource(_SOURCE))
    return drawn
