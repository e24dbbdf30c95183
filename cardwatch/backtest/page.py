"""A backtest's report as one self-contained HTML page: tables and plots, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from itertools import accumulate
from typing import Any

from cardwatch.backtest.table import Block, blocks, headline
from cardwatch.charts import Axis, Series, bar_chart, line_chart
from casework.notices import format_money

_RUNS = ("current", "candidate")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 3px solid #0b5cad; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; white-space: pre; }
th:first-child { text-align: left; } tbody th { font-weight: 400; }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; border: 1px solid #8886; }
""".strip()


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    tables = blocks(report)
    parts = [
        "<h1>Backtest: candidate against current</h1>",
        f"<p>{escape(headline(report))}</p>",
        _table(tables[0]),
        "<h2>Plots</h2>",
        *(f"<figure>{chart}</figure>" for chart in _charts(report)),
        "<h2>Details</h2>",
        *map(_table, tables[1:]),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>cardwatch backtest: {escape(report['candidate_file'])}</title>\n"
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _table(block: Block) -> str:
    """A table that says what its rows and columns are; a wide one is scrolled by keyboard too."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in block.heads)
    rows = [
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in block.rows
    ]
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(block.caption)}"><table>\n'
        f"<caption>{escape(block.caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        "<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _charts(report: Mapping[str, Any]) -> list[str]:
    """Money over time, work over time, actions, and precision over recall."""
    day, currency = Axis("day of the file", "{:.0f}".format), report["currency"]

    def money(amount_minor: float) -> str:
        # Whole units are enough on an axis, and its label names the currency.
        text = format_money(abs(round(amount_minor)), currency).removeprefix(f"{currency} ").partition(".")[0]
        return f"-{text}" if amount_minor < 0 else text

    saved = [_daily(name, list(accumulate(report[name]["days"]["saved_minor"])), report) for name in _RUNS]
    alerts = [_daily(name, report[name]["days"]["alerts"], report) for name in _RUNS]
    cases = [_daily(name, report[name]["days"]["cases"], report) for name in _RUNS]
    curves = [Series(name, [tuple(point) for point in report[name]["precision_recall"]]) for name in _RUNS]
    return [
        line_chart(
            "Money saved since the first day", _ends(saved, f"{currency} saved", money),
            day, Axis(f"{currency}, by costs", money), saved,
        ),
        line_chart("Alerts a day", _ends(alerts, "Alerts on the last whole day"), day, Axis("alerts"), alerts),
        line_chart("Cases opened a day", _ends(cases, "Cases on the last whole day"), day, Axis("cases"), cases),
        _actions(report),
        line_chart(
            "Precision over recall", "Of the payments with the highest scores the share that was fraud, over the share "
            "of all frauds among them; the higher the better.",
            Axis("recall", "{:.1f}".format, 0.0, 1.0), Axis("precision", "{:.1f}".format, 0.0, 1.0), curves,
        ),
    ]  # fmt: skip


def _daily(name: str, values: list[int], report: Mapping[str, Any]) -> Series:
    """A line of one value a day; the last day is whole or left out, for half a day looks like a fall."""
    whole = len(values) if report["days"] < 2 else len(values) - 1
    return Series(name, [(float(day + 1), float(value)) for day, value in enumerate(values[:whole])])


def _ends(series: list[Series], what: str, write: Callable[[float], str] = "{:,.0f}".format) -> str:
    """Where the lines end, in words."""
    said = [f"{line.name} {write(line.points[-1][1])}" for line in series if line.points]
    return f"{what}: {', '.join(said)}."


def _actions(report: Mapping[str, Any]) -> str:
    """Of all frauds the share that met each action."""
    actions = list(report["current"]["actions"])
    frauds = max(report["frauds"], 1)
    shares = [(name, [100 * report[name]["actions"][action]["fraud"] / frauds for action in actions]) for name in _RUNS]
    said = "; ".join(
        f"{name}: " + ", ".join(f"{action} {share:.1f}%" for action, share in zip(actions, values, strict=True))
        for name, values in shares
    )
    return bar_chart(
        "What happened to the frauds", f"{said}.", actions, Axis("% of all frauds", "{:.1f}".format), shares
    )
