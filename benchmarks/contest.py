"""The contest simulated: how often it promotes what is no better, and how soon what is; and what it takes back.

Labels are drawn from true log-odds; each contender sees those with noise of its own, and is always off by so much.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.options import Options
from cardwatch.settings import shipped_toml
from detector.models import ModelsConfig
from detector.models.contest import Contest, ContestRules, log_losses

NAME = "contest"
PURPOSE = "how often the contest promotes what is no better, and how soon what is"

PAGE = results.REPOSITORY / "docs" / "detection.md"
RUNS, ROWS = 400, 60_000
_MEAN, _SPREAD, _NOISE = -3.5, 2.0, 0.5

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A champion and a challenger.

    Attributes:
        name: of the case.
        champion, challenger: by how many log-odds each is off.
        after: by how many the challenger is off in a second half, if there is one.
        margin: of the contest; None for the shipped one.
    """

    name: str
    champion: float = 0.0
    challenger: float = 0.0
    after: float | None = None
    margin: float | None = None


CASES = (
    Case("as good, the margin being 0", margin=0.0),
    Case("as good"),
    Case("worse", challenger=0.5),
    Case("better", champion=0.3),
    Case("much better", champion=1.0),
    Case("much better, then worse", champion=0.5, challenger=0.0, after=1.0),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the runs of a case.

    Attributes:
        gain: nats a fraud that the challenger is better by, on average over all runs.
        promoted: share of runs in which it was ever promoted.
        frauds: that it took, in the middle of those runs.
        rolled_back: share of the promoted that were rolled back.
        frauds_back: that it took.
    """

    gain: float
    promoted: float
    frauds: float
    rolled_back: float
    frauds_back: float


def rules_shipped() -> ContestRules:
    """The contest as shipped."""
    return ModelsConfig.from_mapping(shipped_toml("models.toml")).contest


def simulate(case: Case, rules: ContestRules, runs: int = RUNS, rows: int = ROWS) -> Outcome:
    """Play a case many times.

    Args:
        case: who contends.
        rules: of the contest.
        runs: how often.
        rows: labels of a run, and as many again where the challenger changes.
    """
    rules = rules if case.margin is None else replace(rules, margin=case.margin)
    gains: list[float] = []
    frauds: list[float] = []
    back: list[float] = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        contest = Contest(("champion", "challenger"), (True, True), rules)
        for number, off in enumerate((case.challenger, case.after)):
            if off is None:
                continue
            true = rng.normal(_MEAN, _SPREAD, rows)
            labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-true))).astype(np.int64)
            believed = np.stack([_seen(rng, true, case.champion), _seen(rng, true, off)], axis=1)
            if number == 0:
                losses = [log_losses(column, labels).sum() for column in believed.T]
                gains.append(float(losses[0] - losses[1]) / max(int(labels.sum()), 1))
            contest.take(believed, labels, np.ones(rows), np.arange(rows, dtype=np.int64))
        changes = [(verdict.winner, verdict.frauds) for verdict in contest.verdicts]
        frauds += [count for winner, count in changes[:1] if winner == "challenger"]
        back += [count for winner, count in changes[1:2] if winner == "champion"]
    return Outcome(
        float(np.mean(gains)), len(frauds) / runs, float(np.median(frauds)) if frauds else 0.0,
        len(back) / max(len(frauds), 1), float(np.median(back)) if back else 0.0,
    )  # fmt: skip


def _seen(rng: np.random.Generator, true: Float64, off: float) -> Float64:
    """What a contender believes."""
    return np.asarray(true + off + rng.normal(0.0, _NOISE, len(true)))


def run(options: Options) -> None:
    """Simulate, save, and write the table."""
    rules = rules_shipped()
    kept: dict[str, Any] = {}
    lines = []
    for case in CASES:
        options.say(f"contest: the challenger is {case.name}")
        outcome = simulate(case, rules)
        kept[case.name] = asdict(outcome)
        lines.append(
            [
                case.name, f"{outcome.gain:+.3f}", f"{outcome.promoted:.1%}",
                f"{outcome.frauds:,.0f}" if outcome.promoted else "-",
                f"{outcome.rolled_back:.0%}" if outcome.promoted else "-",
                f"{outcome.frauds_back:,.0f}" if outcome.rolled_back else "-",
            ]
        )  # fmt: skip
    text = (
        f"{RUNS} runs a line, each of {ROWS:,} labels of which a tenth are frauds, looked at after every block of "
        f"{rules.block_frauds}; margin {rules.margin:g} nats a fraud, at least {rules.least_frauds} frauds, error rate "
        f"{rules.error_rate:g}:"
    )
    head = [
        "the challenger is", "better by, nats a fraud", "ever promoted", "after frauds", "rolled back",
        "after frauds of its reign",
    ]  # fmt: skip
    results.write_section("contest", text + "\n\n" + results.table(head, lines), PAGE)
    results.save(NAME, kept)
