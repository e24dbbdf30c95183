"""`docs/metrics.md`, generated from the catalogue: `python -m telemetry.page` writes it, a test compares."""

from __future__ import annotations

from pathlib import Path

from telemetry.catalogue import CATALOGUE, MOST_SERIES, OVERFLOWS, PROCESS_SERIES, SECTIONS
from telemetry.instruments import OTHER
from telemetry.metric import Metric, Process

PAGE = Path("docs") / "metrics.md"
_HEAD = f"""# Metrics

Generated from `telemetry/catalogue.py` by `python -m telemetry.page`. Every process is one scrape target: a worker of
each role answers at `/metrics`, `/livez`, `/readyz` and `/startupz` of its port (`[metrics]`), an API process at its
own port; run several API processes on ports of their own behind a proxy, and scrape each. With
`Accept: application/openmetrics-text` histograms carry exemplars: the trace id of a payment that came with a
`traceparent`.

No label holds a card token, a name or anything else that somebody sends us freely. Each label has a bound, and no
process shows more than {MOST_SERIES:,} series. What goes over a metric's bound is counted under label values of
`{OTHER}` (a gauge of it would mean nothing and is left out), and by `{OVERFLOWS}`. With more than 256 source
partitions on one worker, metrics by partition are therefore not complete.

Scrape with a label `process` that names the kind: `score`, `respond`, `learn` or `api`; the rules of
`configs/prometheus/` need it. `configs/prometheus/prometheus.yml` is an example.

| process | series at most |
| --- | --- |
"""


def _labels(metric: Metric) -> str:
    if not metric.labels:
        return "–"
    shown = "; ".join(f"`{label.name}` (≤ {label.bound}: {label.values})" for label in metric.labels)
    return f"{shown}; together ≤ {metric.most_sets}" if metric.most_sets else shown


def metrics_page() -> str:
    """The page."""
    lines = [_HEAD]
    for process in Process:
        series = PROCESS_SERIES + sum(row.most_series for row in CATALOGUE.values() if process in row.processes)
        lines.append(f"| {process} | {series:,} |\n")
    for title, section in SECTIONS.items():
        lines.append(f"\n## {title}\n\n| metric | type | unit | processes | labels | meaning | who reads it |\n")
        lines.append("| --- | --- | --- | --- | --- | --- | --- |\n")
        for row in section:
            where = ", ".join(process for process in Process if process in row.processes)
            lines.append(
                f"| `{row.name}` | {row.kind} | {row.unit or '–'} | {where} | {_labels(row)} | {row.meaning} "
                f"| {row.readers} |\n"
            )
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(metrics_page(), encoding="utf-8")
