"""Tables and plots of docs/detection.md, each written into its own place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.calibration import BANDS, FRAUDS_TO_JUDGE, Band, bands
from benchmarks.combination import PERIODS
from benchmarks.protocol import Truth, card_precisions
from benchmarks.unlabelled import REVIEWS_A_DAY, WARM_UP_DAYS, Caught, Ordered
from cardwatch.charts import Axis, Series, line_chart
from cardwatch.replay.evaluation import auc_roc, average_precision
from casework.notices import format_money

SECTIONS = (
    "quality", "quality_folds", "quality_delays", "quality_days", "quality_calibration", "quality_ablation",
    "quality_scenarios", "quality_attacks", "quality_combination",
)  # fmt: skip
# Days in which the first labels have come and the models have learned from some thousands of payments.
WARM_UP = 35
_FORGET_DAYS = 7
_NEIGHBOURS = 3
_MEASURES = (("auc", "AUC"), ("ap", "AP"), ("cp", "CP@100"))


def write_table(page: Path, busy_before: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """Cardwatch and its peers, by group of folds, with their time a payment."""
    groups = list(rows[0]["quality"])
    head = [
        "model",
        *(f"{group}: {title}" for group in groups for _, title in _MEASURES),
        "scoring, µs", "learning, µs", "how it learned",
    ]  # fmt: skip
    lines = [
        [
            row["name"],
            *_three(row["quality"], groups),
            f"{row['scoring_us']:,.1f}", f"{row['learning_us']:,.1f}", row["note"],
        ]
        for row in rows
    ]  # fmt: skip
    _write(page, "quality", [results.machine_lines(busy_before), results.table(head, lines)])


def write_folds(page: Path, folds: Mapping[str, Mapping[str, Any]]) -> None:
    """Each test week by itself."""
    head = ["test week", "payments", "frauds", *(title for _, title in _MEASURES)]
    lines = [
        [name, f"{fold['payments']:,}", f"{fold['frauds']:,}", *(f"{fold[key]:.3f}" for key, _ in _MEASURES)]
        for name, fold in sorted(folds.items())
    ]
    _write(page, "quality_folds", [results.table(head, lines)])


def write_delays(page: Path, delays: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """What comes of labels that come sooner: quality, money and work."""
    groups = list(delays[0][1]["quality"])
    quality = results.table(
        ["labels come", *(f"{group}: {title}" for group in groups for _, title in _MEASURES)],
        [[name, *_three(found["quality"], groups)] for name, found in delays],
    )
    money = results.table(
        ["labels come", "saved by costs", "of", "fraud refused", "genuine refused", "alerts a day", "cases a day",
         "cards frozen wrongly", "of frozen"],
        [_worth(name, found) for name, found in delays],
    )  # fmt: skip
    _write(page, "quality_delays", [quality, money])


def _worth(name: str, found: Mapping[str, Any]) -> list[str]:
    """Money and work of one run."""
    currency = found["currency"]
    costs, labels, work, freezes = found["by_costs"], found["by_labels"], found["work"], found["freezes"]
    share = costs["saved_minor"] / max(costs["if_all_allowed_minor"], 1)
    return [
        name,
        format_money(max(costs["saved_minor"], 0), currency),
        f"{share:.0%}",
        format_money(labels["fraud_refused_minor"], currency),
        format_money(labels["genuine_refused_minor"], currency),
        f"{work['alerts_a_day']:,.0f}",
        f"{work['cases_a_day']:,.0f}",
        f"{freezes['wrongly_frozen_cards']:,}",
        f"{freezes['cards']:,}",
    ]


def write_days(page: Path, truth: Truth, score: NDArray[np.float64]) -> list[dict[str, float | None]]:
    """Average Precision and Card Precision@100 day by day as a plot, and by weeks as a table; returns each day's."""
    first = int(truth.day[0])
    cards = card_precisions(truth.day, truth.card, truth.label, score, forget_days=_FORGET_DAYS)
    days = [_day(truth, truth.day == day, score, day - first + 1, precision) for day, precision in cards.items()]
    chart = line_chart(
        "Quality day by day",
        "Average Precision and Card Precision@100 of each day, as a mean over seven days.",
        Axis("day of the file", "{:.0f}".format),
        Axis("mean of seven days", "{:.2f}".format),
        [Series("Average Precision", _smoothed(days, "ap")), Series("Card Precision@100", _smoothed(days, "cp"))],
    )
    lines = []
    for week in range((int(truth.day[-1]) - first + 1) // 7):
        rows = (truth.day >= first + 7 * week) & (truth.day < first + 7 * week + 7)
        mean = float(np.mean([each["cp"] for each in days if 7 * week < each["day"] <= 7 * week + 7]))
        whole = _day(truth, rows, score, week + 1, mean)
        measures = [f"{whole[key]:.3f}" for key, _ in _MEASURES]
        lines.append([f"{week + 1}", f"{int(truth.label[rows].sum()):,}", *measures])
    weeks = results.table(["week", "frauds", "AUC", "AP", "CP@100, mean of days"], lines)
    _write(page, "quality_days", [_plot(page, "quality-days", chart, "Quality day by day"), weeks])
    return [{key: None if np.isnan(value) else value for key, value in each.items()} for each in days]


def _day(
    truth: Truth, rows: NDArray[np.bool_], score: NDArray[np.float64], number: int, precision: float
) -> dict[str, float]:
    """The measures of a day or week; NaN where it has no frauds."""
    label, scores = truth.label[rows], score[rows]
    return {"day": number, "auc": auc_roc(label, scores), "ap": average_precision(label, scores), "cp": precision}


def _smoothed(days: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    """The mean of each day and the three on both sides; days without frauds are passed over."""
    values = np.array([each[key] for each in days])
    return [
        (each["day"], float(np.nanmean(near)))
        for index, each in enumerate(days)
        if not np.isnan(near := values[max(index - _NEIGHBOURS, 0) : index + _NEIGHBOURS + 1]).all()
    ]


def write_calibration(page: Path, truth: Truth, score: NDArray[np.float64]) -> list[Band]:
    """Foreseen against real frauds by band of the score, and the reliability plot."""
    warm = truth.day >= truth.day[0] + WARM_UP
    found = bands(truth.label[warm], score[warm])
    head = ["score", "payments", "frauds foreseen", "frauds", "foreseen / real", "within 0.8 to 1.25"]
    lines = [
        [
            f"{band.low:g} to {band.high:g}", f"{band.payments:,}", f"{band.foreseen:,.0f}", f"{band.frauds:,}",
            f"{band.ratio:.2f}" if band.frauds else "–",
            ("yes" if 0.8 <= band.ratio <= 1.25 else "**no**") if band.is_judged else f"under {FRAUDS_TO_JUDGE} frauds",
        ]
        for band in found
    ]  # fmt: skip
    points = [(_log(band.foreseen / band.payments), _log(band.frauds / band.payments)) for band in found if band.frauds]
    chart = line_chart(
        "Reliability",
        "Share of frauds over the mean score of each band, logarithmic; on the diagonal a score is right.",
        Axis("mean score", _power, -4.0, 0.0), Axis("share of frauds", _power, -4.0, 0.0),
        [
            Series("cardwatch", points),
            Series("a score that is right", [(-4.0, -4.0), (0.0, 0.0)]),
        ],
    )  # fmt: skip
    text = f"From day {WARM_UP + 1} on; bands from {BANDS[0]:g} to {BANDS[-1]:g}."
    _write(
        page,
        "quality_calibration",
        [text, results.table(head, lines), _plot(page, "quality-reliability", chart, "Reliability")],
    )
    return found


def _log(share: float) -> float:
    """Logarithm of a share that is not smaller than a ten-thousandth."""
    return float(np.log10(max(share, 1e-4)))


def _power(exponent: float) -> str:
    """A power of ten as people write it."""
    return f"{10.0**exponent:.2g}"


def write_ablation(page: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """What is lost without each family of features, the dearest first."""
    groups = list(rows[0]["quality"])
    whole, others = rows[0], sorted(rows[1:], key=lambda row: row["quality"][groups[-1]]["ap"])
    head = ["without", "features", *(f"{group}: {title}" for group in groups for title in ("AUC", "AP", "AP lost"))]
    lines = []
    for row in [whole, *others]:
        cells = []
        for group in groups:
            lost = whole["quality"][group]["ap"] - row["quality"][group]["ap"]
            cells += [f"{row['quality'][group]['auc']:.3f}", f"{row['quality'][group]['ap']:.3f}", f"{lost:+.3f}"]
        lines.append([row["family"], f"{row['features']}", *cells])
    _write(page, "quality_ablation", [results.table(head, lines)])


def write_scenarios(page: Path, found: Sequence[Ordered]) -> None:
    """The anomaly score by kind of fraud."""
    _write(page, "quality_scenarios", [_ordered(found)])


def write_attacks(page: Path, found: Sequence[Caught], ordered: Sequence[Ordered]) -> None:
    """Attacks that nobody ever labelled, at so many reviews a day."""
    head = ["attack", "attacked cards", "looked at in the first hour", "in the first day"]
    lines = [
        [
            each.name.replace("_", " "),
            f"{each.cards:,}",
            f"{each.in_first_hour / each.cards:.0%}",
            f"{each.ever / each.cards:.0%}",
        ]
        for each in found
    ]
    if not found:
        message = f"no attack after day {WARM_UP_DAYS}: play more --records"
        raise ValueError(message)
    text = f"{REVIEWS_A_DAY} reviews a day, from day {WARM_UP_DAYS + 1} on:"
    _write(page, "quality_attacks", [text, results.table(head, lines), _ordered(ordered)])


def write_combination(page: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Trees, labels, and both, on each file."""
    head = ["payments", "what scores", *(f"AP, {name}" for name, _, _ in PERIODS), "AUC", "log loss"]
    lines = [
        [
            name, expert["name"], *(f"{each:.3f}" for each in expert["average_precision"]), f"{expert['auc']:.3f}",
            "–" if expert["log_loss"] is None else f"{expert['log_loss']:.5f}",
        ]
        for name, group in found.items()
        for expert in group
    ]  # fmt: skip
    _write(page, "quality_combination", [results.table(head, lines)])


def _ordered(found: Sequence[Ordered]) -> str:
    """How well each kind is told from genuine payments."""
    return results.table(
        ["fraud", "payments", "AUC", "AP"],
        [[each.name.replace("_", " "), f"{each.frauds:,}", f"{each.auc:.3f}", f"{each.ap:.3f}"] for each in found],
    )


def _three(quality: Mapping[str, Mapping[str, float]], groups: Sequence[str]) -> list[str]:
    """AUC, AP and CP of each group of folds."""
    return [f"{quality[group][key]:.3f}" for group in groups for key, _ in _MEASURES]


def _plot(page: Path, name: str, chart: str, title: str) -> str:
    """Write a plot beside the page; returns the line that shows it."""
    folder = page.parent / "plots"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text(chart + "\n", encoding="utf-8")
    return f"![{title}](plots/{name}.svg)"


def _write(page: Path, name: str, parts: Sequence[str]) -> None:
    """Put parts between a section's markers."""
    results.write_section(name, "\n\n".join(parts), page)
