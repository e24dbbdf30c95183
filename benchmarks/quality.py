"""How well cardwatch detects: prequential, on the handbook's file and on simulated attacks, beside its peers.

Every score is that of the replay: given before the payment's label was known, and never again. What a model is compared
on is what `cardwatch replay` would have answered.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import ablation, combination, protocol, quality_text, results, unlabelled, workload
from benchmarks.options import Options
from benchmarks.peers import PeerScores, require_peers, run_peers
from benchmarks.protocol import Fold, Quality, Truth
from benchmarks.recorded import Recorded, record, teach
from cardwatch.backtest import case_actions, facts_of
from cardwatch.backtest.judge import Judgement, Terms
from cardwatch.replay import Configuration, configuration, read_sections
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import load_mapping, own_names
from cardwatch.replay.source import Transactions

NAME = "quality"
PURPOSE = "how well cardwatch detects, beside its peers: on the handbook's file (--handbook) and on simulated attacks"

PAGE = results.REPOSITORY / "docs" / "detection.md"
_KEY = bytes(range(16))
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_SCENARIO = "TX_FRAUD_SCENARIO"


@dataclass(frozen=True, slots=True)
class Delay:
    """When labels come: after `days`, of alerted payments after `alerted_ms` where that is given."""

    name: str
    days: int
    alerted_ms: int | None = None


DELAYS = (
    Delay("7 days", 7),
    Delay("1 day", 1),
    Delay("alerted after 1 hour, the rest after 7 days", 7, _HOUR_MS),
)


@dataclass(frozen=True, slots=True)
class File:
    """A labelled file, ready to be replayed.

    Attributes:
        kind: of fraud of each payment, "" where it is genuine; for evaluation alone.
    """

    transactions: Transactions
    truth: Truth
    kind: list[str]
    configured: Configuration

    def record(self, delay: Delay) -> Recorded:
        """Replay it with labels that come after a delay."""
        rows = np.arange(len(self.truth.label))
        times = self.transactions.event_time_ms + delay.days * _DAY_MS
        return record(self.transactions, KnownLabels(rows, self.truth.label, times), self.configured, delay.alerted_ms)

    def record_unlabelled(self) -> Recorded:
        """Replay it with no label at all."""
        nothing = np.zeros(0, dtype=np.int64)
        return record(self.transactions, KnownLabels(nothing, nothing, nothing), self.configured)

    def judge(self, recorded: Recorded) -> Judgement:
        """What its decisions were worth, as `cardwatch backtest` counts."""
        policy, rates = self.configured.policy, self.configured.rates
        terms = Terms(policy, rates, answer_ms=_DAY_MS, wrong_ms=7 * _DAY_MS, case_actions=case_actions())
        facts = replace(facts_of(self.transactions, rates), label=self.truth.label)
        return Judgement(facts, recorded.decisions(self.configured), terms)


def run(options: Options) -> None:
    """Measure, save, and write the tables and plots."""
    if options.with_peers and options.handbook is not None:
        require_peers()
    kept: dict[str, Any] = {"load_before": options.busy_before}
    together: dict[str, list[dict[str, Any]]] = {}
    if options.handbook is not None:
        kept["handbook"] = _handbook(options, options.handbook)
        together["the handbook's file"] = kept["handbook"]["together"]
    world = _simulated_file(options)
    kept["simulated"] = _simulated(options, world)
    options.say("simulated attacks, trees and labels together")
    together["simulated attacks"] = _together(world, world.record(DELAYS[0]))
    quality_text.write_combination(PAGE, together)
    kept["together"] = together
    results.save(NAME, kept)


def _handbook(options: Options, path: Path) -> dict[str, Any]:
    """Everything that is measured on the handbook's file."""
    file = _handbook_file(path)
    folds = _folds(file.truth)
    kept: dict[str, Any] = {"folds": {name: [fold.name for fold in group] for name, group in folds.items()}}
    late, delays = _delays(options, file, folds)
    kept["delays"] = delays
    quality_text.write_delays(PAGE, [(delay.name, delays[delay.name]) for delay in DELAYS])
    every = [fold for group in folds.values() for fold in group]
    kept["fold"] = {
        fold.name: asdict(protocol.quality(file.truth, fold.test_rows(file.truth), late.score)) for fold in every
    }
    quality_text.write_folds(PAGE, kept["fold"])
    kept["day"] = quality_text.write_days(PAGE, file.truth, late.score)
    kept["bands"] = [asdict(band) for band in quality_text.write_calibration(PAGE, file.truth, late.score)]
    options.say("without any label")
    silent = file.record_unlabelled()
    found = unlabelled.by_kind(file.kind, silent.anomaly, late.event_time_ms)
    kept["scenarios"] = [asdict(each) for each in found]
    quality_text.write_scenarios(PAGE, found)
    kept["ablation"] = _ablation(options, file, folds, late, silent)
    options.say("trees and labels together")
    kept["together"] = _together(file, late)
    peers = run_peers(late, file.truth, every, options.say) if options.with_peers else []
    kept["table"] = _table(options, file, folds, late, peers)
    return kept


def _handbook_file(path: Path) -> File:
    """The handbook's transactions under the shipped mapping."""
    mapping_path = resources.files("configs") / "mappings" / "handbook.toml"
    mapping = load_mapping(Path(str(mapping_path)))
    table = pq.read_table(path)
    transactions = Transactions(table, mapping, _KEY)
    in_order = table.take(pa.array(np.argsort(table.column("TX_DATETIME").to_numpy(), kind="stable")))
    cards = in_order.column(mapping.columns["card_token"]).to_numpy().astype(np.int64)
    if transactions.labels is None:
        message = f"{path.name} has no labels"
        raise ValueError(message)
    kind = [""] * len(cards)
    if _SCENARIO in table.column_names:
        scenarios = in_order.column(_SCENARIO).to_pylist()
        kind = [f"scenario {number}" if number else "" for number in scenarios]
    truth = Truth.of(transactions.event_time_ms, cards, transactions.labels)
    return File(transactions, truth, kind, configuration(read_sections(None)))


def _folds(truth: Truth) -> dict[str, list[Fold]]:
    """The folds that lie in the file, by the group whose mean is shown."""
    groups = {
        "chapter 3": (protocol.CHAPTER_3,),
        "validation weeks": protocol.VALIDATION,
        "test weeks": protocol.TEST,
    }
    found = {name: [Fold.beginning(day) for day in days] for name, days in groups.items()}
    return {name: folds for name, folds in found.items() if all(fold.lies_in(truth) for fold in folds)}


def _means(truth: Truth, folds: dict[str, list[Fold]], score: NDArray[np.float64]) -> dict[str, Quality]:
    """The mean quality of each group of folds."""
    return {
        name: Quality.mean([protocol.quality(truth, fold.test_rows(truth), score) for fold in group])
        for name, group in folds.items()
    }


def _delays(options: Options, file: File, folds: dict[str, list[Fold]]) -> tuple[Recorded, dict[str, dict[str, Any]]]:
    """Replay with each delay of labels; returns the first of them, and what each was worth."""
    first: Recorded | None = None
    found = {}
    for delay in DELAYS:
        options.say(f"labels: {delay.name}")
        recorded = file.record(delay)
        judged = file.judge(recorded)
        found[delay.name] = {
            "quality": {name: asdict(mean) for name, mean in _means(file.truth, folds, recorded.score).items()},
            "currency": file.configured.policy.reference_currency,
            "by_costs": judged.by_costs(), "by_labels": judged.by_labels(), "work": judged.work(),
            "freezes": judged.freezes(), "us_a_payment": recorded.seconds / len(recorded.score) * 1e6,
        }  # fmt: skip
        first = recorded if first is None else first
    if first is None:
        message = "there is no delay to measure"
        raise ValueError(message)
    return first, found


def _ablation(
    options: Options, file: File, folds: dict[str, list[Fold]], late: Recorded, silent: Recorded
) -> list[dict[str, Any]]:
    """The models taught again without each family of features."""
    options.say("ablation: all features")
    nothing = ablation.Family("nothing", np.zeros(late.features.shape[1], dtype=bool))
    rows: list[dict[str, Any]] = []
    for family in [nothing, *ablation.families(late.features, silent.features)]:
        options.say(f"ablation: without {family.name}")
        taught = teach(late, file.configured.models, family.columns)
        means = _means(file.truth, folds, taught.score)
        rows.append(
            {
                "family": family.name,
                "features": family.size,
                "quality": {name: asdict(mean) for name, mean in means.items()},
            }
        )
    quality_text.write_ablation(PAGE, rows)
    return rows


def _together(file: File, recorded: Recorded) -> list[dict[str, Any]]:
    """What it is worth that one model weighs the other's score."""
    return [asdict(expert) for expert in combination.experts(recorded, file.truth, file.configured.models)]


def _table(
    options: Options, file: File, folds: dict[str, list[Fold]], late: Recorded, peers: list[PeerScores]
) -> list[dict[str, Any]]:
    """The table of cardwatch and its peers."""
    options.say("time of cardwatch's own models")
    own = teach(late, file.configured.models)
    ours = PeerScores("**cardwatch**", late.score, own.scoring_us, own.learning_us, "online, as replayed")
    rows = [
        {
            "name": each.name, "note": each.note, "scoring_us": each.scoring_us, "learning_us": each.learning_us,
            "quality": {name: asdict(mean) for name, mean in _means(file.truth, folds, each.score).items()},
        }
        for each in (ours, *peers)
    ]  # fmt: skip
    quality_text.write_table(PAGE, options.busy_before, rows)
    return rows


def _simulated_file(options: Options) -> File:
    """A simulated world with its attacks."""
    payments, labels = workload.replay_files(options.records, options.say)
    table, truth = pq.read_table(payments), pq.read_table(labels)
    transactions = Transactions(table, own_names(table.column_names), _KEY)
    attacks = dict(zip(truth.column("transaction_id").to_pylist(), truth.column("attack").to_pylist(), strict=True))
    kind = [attacks.get(name) or "" for name in transactions.transaction_ids().to_pylist()]
    label = np.array([int(bool(each)) for each in kind], dtype=np.int64)
    cards = transactions.card_numbers()
    truth_of_all = Truth.of(transactions.event_time_ms, cards, label)
    return File(transactions, truth_of_all, kind, configuration(read_sections(None)))


def _simulated(options: Options, file: File) -> list[dict[str, Any]]:
    """Attacks of the simulated world that nobody ever labelled, at 100 reviews a day."""
    options.say("simulated attacks, without any label")
    silent, kind, transactions = file.record_unlabelled(), file.kind, file.transactions
    cards = transactions.card_numbers()
    looked_at = unlabelled.reviewed(silent.anomaly, cards, transactions.event_time_ms)
    found = unlabelled.caught(kind, cards, transactions.event_time_ms, looked_at)
    ordered = unlabelled.by_kind(kind, silent.anomaly, transactions.event_time_ms)
    quality_text.write_attacks(PAGE, found, ordered)
    return [asdict(each) for each in found]
