"""A backtest's report as rows that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casework.notices import format_money

_UNKNOWN = "–"
_REASONS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Block:
    """A table: a caption, the heads of its columns, and rows whose first cell names them."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def blocks(report: Mapping[str, Any]) -> list[Block]:
    """Everything that is shown as tables, the most important first."""
    return [
        _summary(report),
        *(_confusion(report, name) for name in ("current", "candidate")),
        _by_action(report),
        _by_reason(report),
    ]


def table(report: Mapping[str, Any]) -> str:
    """The report as text for a terminal."""
    parts = [headline(report)]
    for block in blocks(report):
        rows = [list(block.heads), *[list(row) for row in block.rows]]
        widths = [max(len(row[column]) for row in rows) for column in range(len(block.heads))]
        lines = [_line(row, widths) for row in rows]
        parts.append("\n".join([block.caption, lines[0], "-" * len(lines[0]), *lines[1:]]))
    return "\n\n".join(parts)


def headline(report: Mapping[str, Any]) -> str:
    """What was compared, in a sentence or two."""
    changed = report["changed"]
    what = " and ".join(report["candidate_changes"])
    return (
        f"{report['candidate_file']} changes {what}. {report['payments']:,} payments of {report['days']:,} days in "
        f"{report['file']}, {report['labelled']:,} of them labelled, {report['frauds']:,} fraud: "
        f"{changed['payments']:,} ({changed['share']:.3%}) are decided differently, and the candidate saves "
        f"{_signed_money(changed['saved_more_minor'], report['currency'])} compared with the current one."
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A row of text: names to the left, numbers to the right."""
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _summary(report: Mapping[str, Any]) -> Block:
    """Both runs side by side, with the difference."""
    currency, terms = report["currency"], report["terms"]

    def money(amount_minor: float) -> str:
        return _money(round(amount_minor), currency)

    def rows(title: str, path: str, write: Callable[[float], str]) -> list[str]:
        values = [_at(report[name], path) for name in ("current", "candidate")]
        if None in values:
            return [title, *(_UNKNOWN if value is None else write(value) for value in values), _UNKNOWN]
        difference = values[1] - values[0]
        return [title, *map(write, values), ("+" if difference > 0 else "") + write(difference)]

    policies = [report[name]["policy_version"] for name in ("current", "candidate")]
    return Block(
        f"Current and candidate (costs: those of policy {terms['costs_of_policy']}; a freeze lasts "
        f"{terms['answer_after']}, and is wrong without a fraud within {terms['wrong_within']})",
        ["", "current", "candidate", "difference"],
        [
            ["policy", *policies, ""],
            rows("saved by costs", "money.by_costs.saved_minor", money),
            rows("  by each policy's own costs", "money.by_costs.saved_by_own_costs_minor", money),
            rows("cost by costs", "money.by_costs.cost_minor", money),
            rows("  foreseen by the scores", "money.by_costs.foreseen_cost_minor", money),
            rows("  bother of genuine payments", "money.by_costs.bother_of_genuine_minor", money),
            rows("fraud refused", "money.by_labels.fraud_refused_minor", money),
            rows("fraud while the card was frozen", "money.by_labels.fraud_while_frozen_minor", money),
            rows("fraud lost", "money.by_labels.fraud_lost_minor", money),
            rows("  of it asked about", "money.by_labels.fraud_asked_minor", money),
            rows("genuine payments refused", "money.by_labels.genuine_refused_minor", money),
            rows("genuine while the card was frozen", "money.by_labels.genuine_while_frozen_minor", money),
            rows("alerts a day", "work.alerts_a_day", "{:,.1f}".format),
            rows("  on the busiest day", "work.alerts_on_the_busiest_day", "{:,.0f}".format),
            rows("  of genuine payments", "work.wrong_alerts_a_day", "{:,.1f}".format),
            rows("cases a day", "work.cases_a_day", "{:,.1f}".format),
            rows("  on the busiest day", "work.cases_on_the_busiest_day", "{:,.0f}".format),
            rows("freezes", "freezes.freezes", "{:,.0f}".format),
            rows("cards frozen wrongly", "freezes.wrongly_frozen_cards", "{:,.0f}".format),
            rows("  their days without a card", "freezes.wrongly_frozen_card_days", "{:,.1f}".format),
            rows("  freezes of which nothing is known", "freezes.not_known", "{:,.0f}".format),
            rows("AUC ROC", "quality.auc_roc", "{:.4f}".format),
            rows("Average Precision", "quality.average_precision", "{:.4f}".format),
            rows("Card Precision@100", "quality.card_precision_at_100", "{:.4f}".format),
        ],
    )


def _confusion(report: Mapping[str, Any], name: str) -> Block:
    """Actions by what the payments really were."""
    matrix = report[name]["actions"]
    frauds = sum(row["fraud"] for row in matrix.values())
    rows = []
    for action, row in matrix.items():
        judged = row["fraud"] + row["genuine"]
        rows.append(
            [
                action,
                *(f"{row[kind]:,}" for kind in ("genuine", "fraud", "unknown")),
                f"{row['fraud'] / judged:.2%}" if judged else _UNKNOWN,
                f"{row['fraud'] / frauds:.2%}" if frauds else _UNKNOWN,
            ]
        )
    heads = ["action", "genuine", "fraud", "not known", "fraud among these", "share of all fraud"]
    return Block(f"Actions and truth, {name}", heads, rows)


def _by_action(report: Mapping[str, Any]) -> Block:
    """Payments decided differently, by both actions."""
    rows = [[f"{each['from']} to {each['to']}", *_counted(each, report)] for each in report["changed"]["by_action"]]
    return Block("Decided differently, by action", _heads("from current to candidate"), rows)


def _by_reason(report: Mapping[str, Any]) -> Block:
    """Payments decided differently, by the first reason of the more severe decision."""
    shown = report["changed"]["by_reason"]
    rows = [
        [f"{each['reason']}, candidate {each['candidate_is']}", *_counted(each, report)]
        for each in shown[:_REASONS_SHOWN]
    ]
    more = f" (the first {_REASONS_SHOWN} of {len(shown)})" if len(shown) > _REASONS_SHOWN else ""
    return Block(f"Decided differently, by first reason{more}", _heads("reason"), rows)


def _heads(first: str) -> list[str]:
    """Heads of the tables of changes."""
    return [first, "payments", "fraud", "genuine", "money of fraud", "money of genuine"]


def _counted(entry: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Counts and money of an entry of changes."""
    currency = report["currency"]
    counts = [f"{entry[name]:,}" for name in ("payments", "frauds", "genuine")]
    return [*counts, *(_money(entry[name], currency) for name in ("fraud_minor", "genuine_minor"))]


def _at(run: Mapping[str, Any], path: str) -> Any:
    """A number by its path in a run's part of the report."""
    value: Any = run
    for name in path.split("."):
        value = value[name]
    return value


def _money(amount_minor: int, currency: str) -> str:
    """Money with its sign before it."""
    text = format_money(abs(amount_minor), currency)
    return f"-{text}" if amount_minor < 0 else text


def _signed_money(amount_minor: int, currency: str) -> str:
    """Money, "less" where it is negative: for sentences."""
    return f"{format_money(abs(amount_minor), currency)} {'less' if amount_minor < 0 else 'more'}"
