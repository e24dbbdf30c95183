"""The parts of the benchmark of quality: what is taught again is what was replayed, and what is counted is right."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss

from benchmarks import ablation, calibration, combination, peers, protocol, quality, quality_text, unlabelled
from benchmarks.protocol import Fold, Truth
from benchmarks.recorded import Recorded, record, teach
from cardwatch.replay import configuration, read_sections
from cardwatch.replay.evaluation import average_precision
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import own_names
from cardwatch.replay.source import Transactions
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.output import write_files

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> quality.File:
    """Four weeks of few cards with many attacks."""
    folder = tmp_path_factory.mktemp("quality")
    settings = WorldSettings(seed=4, cards=150, merchants=500, attacks_per_thousand_cards_day=8)
    stream = Simulator(settings).stream(1_767_225_600_000)
    write_files(stream, 12_000, folder / "payments.parquet", folder / "labels.parquet")
    table, labels = pq.read_table(folder / "payments.parquet"), pq.read_table(folder / "labels.parquet")
    transactions = Transactions(table, own_names(table.column_names), bytes(range(16)))
    attacks = dict(zip(labels.column("transaction_id").to_pylist(), labels.column("attack").to_pylist(), strict=True))
    kind = [attacks.get(name) or "" for name in transactions.transaction_ids().to_pylist()]
    label = np.array([int(bool(each)) for each in kind], dtype=np.int64)
    truth = Truth.of(transactions.event_time_ms, transactions.card_numbers(), label)
    return quality.File(transactions, truth, kind, configuration(read_sections(None)))


@pytest.fixture(scope="module")
def recorded(file: quality.File) -> Recorded:
    return file.record(quality.Delay("1 day", 1))


@pytest.mark.compiled
def test_teaching_again_gives_the_replays_own_scores(file: quality.File, recorded: Recorded) -> None:
    """To the digits that are written, so that what is compared with it differs by what was left out alone."""
    taught = teach(recorded, file.configured.models)
    assert np.allclose(taught.score, recorded.score, rtol=0, atol=1e-6)
    nothing = np.zeros(recorded.features.shape[1], dtype=bool)
    assert np.array_equal(teach(recorded, file.configured.models, nothing).score, taught.score)
    everything = teach(recorded, file.configured.models, ~nothing)
    assert len(np.unique(everything.score.round(3))) < 50


@pytest.mark.compiled
def test_families_are_disjoint_and_labels_have_their_own(file: quality.File, recorded: Recorded) -> None:
    """Each feature of the file is in one family; those that labels change are told apart from the rest."""
    silent = file.record_unlabelled()
    found = ablation.families(recorded.features, silent.features)
    together = np.sum([family.columns for family in found], axis=0)
    assert together.max() == 1
    assert np.array_equal(together == 1, ~np.isnan(recorded.features).all(axis=0))
    names = {family.name for family in found}
    assert {"payment: behaviour", "card: behaviour", "merchant: what labels say"} <= names
    assert "card at country: what labels say" not in names


@pytest.mark.compiled
def test_trees_and_labels_are_measured_alone_and_together(file: quality.File, recorded: Recorded) -> None:
    """Together is the replay's own score; the trees' is the anomaly score; without it the model says something else."""
    trees, alone, both = combination.experts(recorded, file.truth, file.configured.models)
    later = (file.truth.day - file.truth.day[0]) // 7 + 1 == 2
    for expert, score in ((trees, recorded.anomaly), (both, recorded.score)):
        expected = average_precision(file.truth.label[later], score[later])
        assert expert.average_precision[0] == pytest.approx(expected, abs=1e-4)
    assert alone.average_precision != both.average_precision
    assert trees.log_loss is None
    after = file.truth.day - file.truth.day[0] >= 7
    assert both.log_loss == pytest.approx(log_loss(file.truth.label[after], recorded.score[after]), rel=1e-4)


@pytest.mark.compiled
def test_alerted_payments_that_are_answered_at_once_are_worth_something(file: quality.File, recorded: Recorded) -> None:
    """The mixed delay is between both: it is another replay, and its decisions are judged as a backtest's are."""
    mixed = record(
        file.transactions,
        KnownLabels(np.arange(len(file.kind)), file.truth.label, file.transactions.event_time_ms + DAY_MS),
        file.configured,
        HOUR_MS,
    )
    assert (mixed.score != recorded.score).any()
    judged = file.judge(recorded)
    assert judged.by_costs()["saved_minor"] > 0
    assert judged.work()["alerts"] == int((recorded.action != 0).sum())


@pytest.mark.compiled
def test_rivers_peers_score_what_is_asked(recorded: Recorded, file: quality.File) -> None:
    """Online peers learn late labels and answer for the test rows alone."""
    asked = np.arange(len(file.kind)) % 10 == 0
    found = peers._online("lr", peers._logistic(), recorded, peers._evened(recorded.features), asked, one_in=1)
    assert np.array_equal(~np.isnan(found.score), asked)
    assert ((found.score[asked] >= 0) & (found.score[asked] <= 1)).all()


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it, before anything is measured."""
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(peers.MissingPeerError, match=r"cardwatch\[peers\]"):
        peers.require_peers()


def test_bands_foresee_what_they_say() -> None:
    """Scores of a band are added up and compared with its frauds; few frauds are not judged."""
    score = np.concatenate([np.full(1000, 0.1), np.full(10, 0.95), [1.0, 0.0]])
    label = np.concatenate([np.repeat([1, 0], [100, 900]), np.ones(10, np.int64), [1, 0]])
    low, middle, high = calibration.bands(label, score)
    assert (low.payments, low.frauds, low.ratio) == (1, 0, float("inf"))
    assert (middle.low, middle.frauds, round(middle.ratio, 6), middle.is_judged) == (0.1, 100, 1.0, True)
    assert (high.payments, high.frauds, high.is_judged) == (11, 11, False)


def test_reviews_are_of_the_most_unusual_cards_and_no_more_than_can_be_done() -> None:
    """The level is the week's before; a card is looked at once a day, and nobody on the first day."""
    times = np.array([0, 1, 2, DAY_MS, DAY_MS + 1, DAY_MS + 2, DAY_MS + 3], dtype=np.int64)
    card = np.array([1, 2, 3, 4, 4, 5, 6])
    anomaly = np.array([0.1, 0.5, 0.2, 0.6, 0.7, 0.3, 0.9])
    assert unlabelled.reviewed(anomaly, card, times, reviews_a_day=1).tolist() == [3]
    assert unlabelled.reviewed(anomaly, card, times, reviews_a_day=2).tolist() == [3, 5]


def test_an_attack_is_caught_in_its_first_hour_or_later() -> None:
    """From its first fraud on; looks before it, and attacks in the warm-up, do not count."""
    start = 20 * DAY_MS
    times = np.array([0, 5, start - 1, start, start + HOUR_MS // 2, start + 2 * HOUR_MS], dtype=np.int64)
    card = np.array([9, 9, 1, 1, 1, 2])
    kind = ["burst", "", "", "theft", "theft", "theft"]
    early = unlabelled.caught(kind, card, times, np.array([4]))
    assert [(each.name, each.cards, each.in_first_hour) for each in early] == [("theft", 2, 1), ("all", 2, 1)]
    before = unlabelled.caught(kind, card, times, np.array([2]))
    assert before[0].in_first_hour == before[0].ever == 0


def test_each_kind_of_fraud_is_ordered_against_the_genuine() -> None:
    """Frauds of other kinds are neither for nor against it."""
    times = np.array([0, *(20 * DAY_MS + np.arange(4))], dtype=np.int64)
    found = unlabelled.by_kind(["", "a", "b", "", ""], np.array([0.0, 0.9, 0.1, 0.5, 0.4]), times)
    assert [(each.name, each.frauds, each.auc) for each in found] == [("a", 1, 1.0), ("b", 1, 0.0), ("all", 2, 0.5)]


def test_the_page_has_a_place_for_everything() -> None:
    """Each section can be written."""
    text = quality.PAGE.read_text(encoding="utf-8")
    for name in (*quality_text.SECTIONS, "selective", "poisoning", "worlds", "models"):
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1


def test_folds_that_the_file_lacks_are_left_out() -> None:
    """A file that ends too soon has no test weeks, and no mean of half of them."""
    first = Fold.beginning(protocol.VALIDATION[-1]).first
    last = Fold.beginning(protocol.CHAPTER_3).test_first + 6
    known = Truth(np.array([first, last]), np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert list(quality._folds(known)) == ["chapter 3", "validation weeks"]
